//! Headers of inference, most of them of answers. The request's id and the position are in all of the gateway's answers.

use chrono::{DateTime, Utc};
use events::event::admin::Retirement;
use http::{HeaderMap, HeaderName};
use openapi::deprecation_headers;

pub const BACKEND_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-backend");
pub const COST_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-cost-usd");
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
pub const POSITION_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-position");

/// Tells proxies of nginx not to hold back a stream.
pub const UNBUFFERED_HEADER: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The settlement's leaf in the published log, if the log is published.
pub const LEAF_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-leaf-hash");

/// The fields that the provider was not sent, because its dialect cannot express them.
pub const IGNORED_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-ignored");

/// The output cap, if budgets had not enough left for the requested one.
pub const MAX_OUTPUT_TOKENS_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-max-output-tokens");

/// How many headers an answer usually has, and a few more.
pub const HEADERS: usize = 12;

/// The headers of an answer of a deprecated model; `None` if it is not deprecated.
pub fn deprecation(retirement: &Retirement, now: DateTime<Utc>) -> Option<HeaderMap> {
    let since = retirement.deprecated_since(now)?;
    Some(deprecation_headers(since, retirement.retires_at))
}
