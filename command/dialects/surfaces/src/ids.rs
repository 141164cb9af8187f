//! Ids and times of responses. All are made from the gateway's id of the request, so that they lead to it.

use events::ids::RequestId;

/// The part of the request's id that ids in other forms share.
pub fn digits(request_id: &str) -> &str {
    request_id.strip_prefix("req_").unwrap_or(request_id)
}

/// The time in a request id, which is a UUIDv7; 0 for any other text.
pub fn created_unix_s(request_id: &str) -> i64 {
    let id: Option<RequestId> = request_id.parse().ok();
    let seconds = id.and_then(|id| id.uuid().get_timestamp()).map(|at| at.to_unix().0);
    seconds.and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0)
}
