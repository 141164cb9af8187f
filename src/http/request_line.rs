//! The line that the process logs of a request.

use std::time::Instant;

use events::refusal::ErrorCode;
use http::Method;

/// The parts of a request's log line that are not in its response.
pub struct RequestLine<'a> {
    pub request_id: &'a str,
    pub trace_id: Option<String>,
    pub method: &'a Method,
    pub path: &'a str,
    pub status: u16,
    /// The cause of a refusal that is the gateway's fault.
    pub cause: Option<Box<str>>,
    /// The code of a refusal.
    pub code: Option<ErrorCode>,
}

impl RequestLine<'_> {
    /// Logs failures; the rest only at level debug, because the ledger has it.
    pub fn log(&self, began: Instant) {
        let Self { request_id, trace_id, method, path, status, cause, code } = self;
        // Overload is the clients' doing, and its lines could fill the log.
        let is_ours = *code != Some(ErrorCode::Overloaded);
        let code = code.map(ErrorCode::as_str);
        // A number of 128 bits would be logged as a string.
        let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if cause.is_some() {
            tracing::error!(request_id, trace_id, %method, path, status, latency_ms, code, cause, "answered");
        } else if *status >= 500 && is_ours {
            tracing::warn!(request_id, trace_id, %method, path, status, latency_ms, code, "answered");
        } else {
            tracing::debug!(request_id, trace_id, %method, path, status, latency_ms, code, "answered");
        }
    }
}
