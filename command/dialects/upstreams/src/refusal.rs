//! Classifies an upstream's errors: whether the request can be retried, when, and who can fix it.

mod error_body;
mod retry_after;
mod shortage;

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use hub::rejection::UpstreamWords;
use hub::{UpstreamFault, json};

use super::{ProviderKind, of};
use error_body::ErrorBody;

pub use error_body::is_out_of_money;
pub use retry_after::RETRY_AFTER_MAX;
pub use shortage::shortage;

/// Bytes of an error body that are read.
pub const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// An upstream's refusal. If its words are of use to the client, they are kept, but unreadable until they are redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRefusal {
    pub status: u16,
    pub kind: UpstreamRefusalKind,
    /// True if the key itself is not valid, or its account has no money, by a status or a code; or if it has reached a limit.
    /// Sentences do not count: they may repeat what the client has sent. Nor does a permission that the key lacks, or the price
    /// or the size of this one request.
    pub blames_key: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamRefusalKind {
    /// Too many requests or tokens. Waits are at most [`RETRY_AFTER_MAX`].
    RateLimited { retry_after: Option<Duration> },
    /// A failure of the upstream: a retry may succeed. Waits are at most [`RETRY_AFTER_MAX`].
    Transient { retry_after: Option<Duration> },
    /// The provider's key is wrong or lacks a permission. Every request to this provider will fail.
    Credentials,
    /// The account has no money left. Not retryable, although it may look like a rate limit.
    OutOfMoney,
    /// 400, 413 and 422: the request is too long, invalid or unsupported. Only the client can fix it.
    Rejected(UpstreamWords),
    /// Any other 4xx, mostly an unknown path or model, which the operator can fix; and the 400 of a target whose model the
    /// provider does not serve.
    BadRequest,
    /// Redirects and other statuses.
    Other,
}

/// Classifies a response that is not a 200. `body` may be truncated and of any kind: an object, a list, a string, HTML,
/// empty. The beginning of truncated JSON is read.
pub fn read_refusal(
    kind: ProviderKind,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> UpstreamRefusal {
    let text = read_text(body);
    let mut error = ErrorBody::of(&text);
    error.add_aws_type(headers);
    let retry_after = || retry_after::wait(headers, error.retry_delay().as_deref(), now);
    let refusal_kind = match status {
        402 => UpstreamRefusalKind::OutOfMoney,
        400..=499 if error.is_out_of_money(kind) => UpstreamRefusalKind::OutOfMoney,
        400..=499 if error.is_throttling() => UpstreamRefusalKind::RateLimited { retry_after: retry_after() },
        400 | 413 | 422 if error.is_about_credentials() => UpstreamRefusalKind::Credentials,
        400 if error.has_message(of(kind).is_about_set_up) => UpstreamRefusalKind::BadRequest,
        // Cohere: the request or the response has a token that is denied.
        498 if kind == ProviderKind::Cohere => {
            UpstreamRefusalKind::Rejected(UpstreamWords::of(error.body, error.error))
        }
        400 | 413 | 422 => UpstreamRefusalKind::Rejected(UpstreamWords::of(error.body, error.error)),
        401 | 403 | 407 => UpstreamRefusalKind::Credentials,
        429 => UpstreamRefusalKind::RateLimited { retry_after: retry_after() },
        408 | 409 | 424 | 425 | 498 | 499 | 500..=599 => UpstreamRefusalKind::Transient { retry_after: retry_after() },
        400..=499 => UpstreamRefusalKind::BadRequest,
        _ => UpstreamRefusalKind::Other,
    };
    let blames_key = match refusal_kind {
        UpstreamRefusalKind::Credentials => status == 401 || error.has_code_of_wrong_key(),
        UpstreamRefusalKind::OutOfMoney => {
            error.has_code_of_empty_account() || status == 402 && !error.is_about_price_of_request()
        }
        UpstreamRefusalKind::RateLimited { .. } => {
            !error.is_about_size_of_request()
                || shortage::is_used_up(headers)
                || retry_after::of_headers(headers, now).is_some_and(|wait| !wait.is_zero())
        }
        _ => false,
    };
    UpstreamRefusal { status, kind: refusal_kind, blames_key }
}

/// What a response that is not a 200 says, wherever the dialect has it. `body` is as for [`read_refusal`].
pub fn refusal_words(body: &[u8]) -> UpstreamWords {
    let text = read_text(body);
    let error = ErrorBody::of(&text);
    UpstreamWords::of(error.body, error.error)
}

fn read_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..REFUSAL_BYTES_MAX).unwrap_or(body));
    // Some upstreams repeat the whole request in the error, so that it is truncated.
    json::complete(&text).into_owned()
}

/// Classifies an error in place of a response. `text` is the whole chunk or body; `retryable` applies unless the
/// request is wrong.
pub fn in_band(kind: ProviderKind, text: &str, retryable: bool) -> UpstreamFault {
    let error = ErrorBody::of(text);
    if error.is_rejection() && !error.is_out_of_money(kind) && !error.is_about_credentials() {
        return UpstreamFault::Rejected(Box::new(UpstreamWords::of(error.body, error.error)));
    }
    UpstreamFault::InBandError { retryable }
}

#[cfg(test)]
mod tests;
