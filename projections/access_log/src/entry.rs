//! An entry of the access log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::event::{Actor, Chain};
use events::ids::RequestId;
use events::refusal::ErrorCode;
use http::Method;

/// What is known of a request when its response begins.
#[derive(Clone, Debug)]
pub struct AnsweredRequest {
    pub began: Instant,
    pub request_id: RequestId,
    pub method: Method,
    /// The pattern of its path, such as `/v1/keys/{id}`; `None` for a path without a route.
    pub route: Option<Arc<str>>,
    /// The status that the refusal has over HTTP, or else that of the response.
    pub status: u16,
    /// The code of a refusal.
    pub code: Option<ErrorCode>,
    /// `None` if it was refused before its key was known.
    pub actor: Option<Actor>,
    /// Whose request it was.
    pub chain: Chain,
}

/// A request whose response has ended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When the last byte was handed over, or the client had gone. Never before the entry before.
    pub answered_at: DateTime<Utc>,
    /// From the request's head to `answered_at`.
    pub latency: Duration,
    pub request: AnsweredRequest,
}

impl Entry {
    pub fn latency_us(&self) -> u64 {
        u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX)
    }
}
