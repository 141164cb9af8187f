//! Classifies an upstream's errors: whether the request can be retried, when, and who can fix it.

mod error_body;
mod retry_after;
mod shortage;

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use intermediate::rejection::UpstreamWords;
use intermediate::{UpstreamFault, json};

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
    pub key_blame: KeyBlame,
}

/// Whether a refusal is about the key itself: that it is not valid, that its account has no money, or that it has reached a
/// limit. A permission that the key lacks is none of these, nor is the price or the size of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBlame {
    None,
    /// Only a sentence says so, which may repeat what the client has sent.
    ByWords,
    /// A request may also bring this refusal about.
    Likely,
    /// The key is not valid, whatever the request.
    Certain,
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
    let likely = |is_likely, otherwise| if is_likely { KeyBlame::Likely } else { otherwise };
    let key_blame = match refusal_kind {
        UpstreamRefusalKind::Credentials => blame_for_credentials(status, &error),
        UpstreamRefusalKind::OutOfMoney => {
            let is_about_account = !error.is_about_price_of_request();
            let has_words = is_about_account && error.has_sentence_of_empty_account(kind);
            let by_words = if has_words { KeyBlame::ByWords } else { KeyBlame::None };
            likely(error.has_code_of_empty_account() || status == 402 && is_about_account, by_words)
        }
        UpstreamRefusalKind::RateLimited { .. } => likely(
            !error.is_about_size_of_request()
                || shortage::is_used_up(headers)
                || retry_after::of_headers(headers, now).is_some_and(|wait| !wait.is_zero()),
            KeyBlame::None,
        ),
        _ => KeyBlame::None,
    };
    UpstreamRefusal { status, kind: refusal_kind, key_blame }
}

/// A 401 is certain with a code of a wrong key, or without a word. With other words it may be about the request: OpenAI answers
/// 401 with `code: null` if a restricted key lacks the scope of one path, Azure if its principal lacks a role.
fn blame_for_credentials(status: u16, error: &ErrorBody) -> KeyBlame {
    match (status, error.has_code_of_wrong_key()) {
        (401, true) => KeyBlame::Certain,
        (_, true) => KeyBlame::Likely,
        (401, false) if error.is_empty() => KeyBlame::Certain,
        (_, false) if error.is_about_permission() => KeyBlame::None,
        (401, false) => KeyBlame::Likely,
        (_, false) if error.has_sentence_of_wrong_key() => KeyBlame::ByWords,
        (_, false) => KeyBlame::None,
    }
}

/// Returns the words of a response that is not a 200, wherever the dialect has them. `body` is as for [`read_refusal`].
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
