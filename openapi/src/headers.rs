//! Headers of responses.

use utoipa::openapi::Header;
use utoipa::openapi::header::HeaderBuilder;

use crate::schema::{self, Shape};

/// A described header: its name, schema and meaning.
pub type HeaderSpec = (&'static str, fn() -> Shape, &'static str);

/// On every response.
pub const REQUEST_ID: HeaderSpec =
    ("x-request-id", || schema::id("req_"), "Identifies the request in logs and in the ledger");
/// On responses to what was recorded.
pub const POSITION: HeaderSpec =
    ("x-ledgerway-position", schema::count, "The log position of what was recorded; absent if nothing was");
/// On temporary refusals.
pub const RETRY_AFTER: HeaderSpec = ("retry-after", schema::count, "Seconds after which to retry");
/// On refusals that a retry would meet again.
pub const SHOULD_RETRY: HeaderSpec = ("x-should-retry", || schema::one_of(["false"]), "false: a retry will not help");
/// On responses that a rate limit governs: the tightest limit.
pub const RATE_LIMIT: [HeaderSpec; 4] = [
    ("x-ratelimit-limit", schema::count, "The tightest limit; absent if none binds the caller"),
    ("x-ratelimit-remaining", schema::count, "What is left of the limit"),
    ("x-ratelimit-reset", schema::count, "When more will be left, in seconds since 1970"),
    ("x-ratelimit-measure", schema::string, "What it measures, such as `requests_per_minute`"),
];

pub fn header((name, shape, meaning): HeaderSpec) -> (String, Header) {
    (name.to_owned(), HeaderBuilder::new().schema(shape()).description(Some(meaning)).build())
}
