//! Refusals over gRPC: the one table of codes and statuses, and the metadata that goes with them.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use events::limit::LimitReached;
use events::refusal::{ErrorCode, Refusal};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use openapi::refusals;
use query::QueryError;
use tonic::metadata::{GRPC_CONTENT_TYPE, MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Metadata with the stable code of a refusal.
const CODE: &str = "ledgerway-code";
/// Metadata with the details of a refusal as JSON.
const DETAILS: &str = "ledgerway-details-bin";
/// How many milliseconds to wait before a retry: what gRPC's own retry policies read.
const RETRY: &str = "grpc-retry-pushback-ms";
/// Clients bound the size of headers, some of them to 8 KiB.
const MESSAGE_CHARS_MAX: usize = 500;
const DETAILS_BYTES_MAX: usize = 3 * 1024;
/// The message and the details together, as they are written: a byte of a message may take three, and three of the details
/// take four.
const WRITTEN_BYTES_MAX: usize = 7 * 1024;

/// The status of every code. Without a wildcard, so that a new code has to choose; `docs/grpc.md` has the same.
const fn code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::UpstreamRejected | ErrorCode::UnsupportedMediaType => {
            Code::InvalidArgument
        }
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::Forbidden | ErrorCode::ModelNotAllowed | ErrorCode::TermsNotMet => Code::PermissionDenied,
        ErrorCode::NotFound | ErrorCode::ModelNotFound | ErrorCode::ContentGone => Code::NotFound,
        ErrorCode::MethodNotAllowed => Code::Unimplemented,
        ErrorCode::Conflict | ErrorCode::IdempotencyKeyReused => Code::Aborted,
        ErrorCode::LegalHold
        | ErrorCode::TenantNotServed
        | ErrorCode::ViewsOff
        | ErrorCode::ModelUnpriced
        | ErrorCode::LoopDetected => Code::FailedPrecondition,
        ErrorCode::PayloadTooLarge
        | ErrorCode::RequestHeaderFieldsTooLarge
        | ErrorCode::BudgetExceeded
        | ErrorCode::RateLimited => Code::ResourceExhausted,
        ErrorCode::Internal => Code::Internal,
        ErrorCode::UpstreamError
        | ErrorCode::LedgerUnavailable
        | ErrorCode::PublishedLogUnavailable
        | ErrorCode::ContentUnavailable
        | ErrorCode::ViewBehind
        | ErrorCode::AllProvidersUnavailable
        | ErrorCode::LimitsUnavailable
        | ErrorCode::Overloaded
        | ErrorCode::Draining => Code::Unavailable,
        ErrorCode::QueryTimeout | ErrorCode::UpstreamTimeout => Code::DeadlineExceeded,
    }
}

/// The status of a refusal, with its metadata.
pub fn status(refusal: &Refusal) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(refusal.code.as_str()));
    let message: String = refusal.message.chars().take(MESSAGE_CHARS_MAX).collect();
    let details = serde_json::to_vec(&refusal.details).unwrap_or_default();
    let written = written_bytes(&message) + details.len().div_ceil(3) * 4;
    if !refusal.details.is_empty() && details.len() <= DETAILS_BYTES_MAX && written <= WRITTEN_BYTES_MAX {
        metadata.insert_bin(DETAILS, MetadataValue::from_bytes(&details));
    }
    if let Some(wait) = refusal.retry_after {
        metadata.insert(RETRY, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).into());
    }
    Status::with_metadata(code(refusal.code), message, metadata)
}

/// The most that a message takes in a header: all but letters, digits and a few marks may be written as `%20`.
fn written_bytes(message: &str) -> usize {
    message.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum()
}

/// Writes a refusal into its response: a status without a message, as gRPC has it.
pub fn write_refusal(response: &mut Response, refusal: &Refusal) {
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    // The length of the empty body.
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    if let Err(status) = status(refusal).add_header(headers) {
        tracing::error!(%status, "cannot write a gRPC status");
    }
}

/// A refusal as the source of a status, on its way through tonic.
#[derive(Debug, thiserror::Error)]
#[error("{}", .refusal.message)]
struct RefusedCall {
    refusal: Refusal,
    /// The caller's own limit that was reached, which is recorded.
    limit_reached: Option<LimitReached>,
}

/// The status of a call that was refused before its first message.
pub fn refused(refusal: Refusal, limit_reached: Option<LimitReached>) -> Status {
    let mut status = status(&refusal);
    status.set_source(Arc::new(RefusedCall { refusal, limit_reached }));
    status
}

pub fn failed(error: QueryError) -> Status {
    let (refusal, limit_reached) = error.into_refusal();
    refused(refusal, limit_reached)
}

/// Middleware that hands the refusal of a call to the door. A status of tonic's own is about the request: its message cannot
/// be decoded, or is compressed.
pub async fn with_refusal(mut response: Response) -> Response {
    let Some(status) = response.extensions_mut().remove::<Status>() else { return response };
    let source = std::error::Error::source(&status);
    match source.and_then(|source| source.downcast_ref::<RefusedCall>()) {
        Some(RefusedCall { refusal, limit_reached }) => refusals::response_at_limit(refusal.clone(), *limit_reached),
        None => refusals::response(Refusal::invalid("", status.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_code_beside_its_status() {
        let page = include_str!("../../../docs/grpc.md");
        for known in ErrorCode::ALL {
            let status = format!("{:?}", code(*known));
            let words = status.split_inclusive(|_: char| true).map(|letter| {
                if letter.chars().all(char::is_uppercase) { format!("_{letter}") } else { letter.to_uppercase() }
            });
            let word: String = words.collect();
            let beginning = format!("| `{}` |", word.trim_start_matches('_'));
            let row = page.lines().find(|line| line.starts_with(&beginning)).unwrap_or_default();
            assert!(row.contains(&format!("`{}`", known.as_str())), "{} is not beside {beginning}", known.as_str());
        }
    }

    #[test]
    fn metadata_stays_small_whatever_a_refusal_says() {
        let widest = "\u{10ffff}";
        for (message, reason) in
            [(widest.repeat(10_000), widest.repeat(10_000)), (widest.repeat(500), "x".repeat(3000))]
        {
            let long = Refusal::new(ErrorCode::InvalidRequest, message).with("reason", reason).try_again();
            let mut headers = http::HeaderMap::new();
            status(&long).add_header(&mut headers).expect("headers");
            let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!(bytes < 8 * 1024, "{bytes} bytes");
            assert_eq!(headers["grpc-retry-pushback-ms"], "1000");
        }
        let short = Refusal::invalid("types", "is ünknown");
        let mut headers = http::HeaderMap::new();
        status(&short).add_header(&mut headers).expect("headers");
        assert_eq!(
            (&headers["ledgerway-code"], &headers["grpc-status"]),
            (&"INVALID_REQUEST".parse().expect("a value"), &"3".parse().expect("a value"))
        );
        assert!(headers.contains_key(DETAILS));
    }
}
