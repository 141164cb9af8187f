//! An entry of the access log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::event::{Actor, Chain};
use events::ids::RequestId;
use events::refusal::ErrorCode;
use http::Method;

/// The status of a request whose client left, or whose process ended, before there was a response. It is what nginx logs.
pub const CLIENT_LEFT: u16 = 499;
/// Stands for all methods that are not standard: they can have any length.
const OTHER_METHOD: &str = "OTHER";

/// The known facts about a request.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    pub began: Instant,
    pub request_id: RequestId,
    /// The name of a standard method, or [`OTHER_METHOD`].
    pub method: &'static str,
    /// The pattern of its path, such as `/v1/keys/{id}`; `None` for a path without a route.
    pub route: Option<Arc<str>>,
    /// The status that the refusal has over HTTP, or else that of the response; [`CLIENT_LEFT`] as long as there is none.
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
    pub request: LoggedRequest,
}

impl LoggedRequest {
    /// The facts that are known of a request when it arrives.
    pub fn arrived(began: Instant, request_id: RequestId, method: &Method, route: Option<Arc<str>>) -> Self {
        let (status, code, actor, chain) = (CLIENT_LEFT, None, None, Chain::default());
        Self { began, request_id, method: standard(method), route, status, code, actor, chain }
    }
}

fn standard(method: &Method) -> &'static str {
    const STANDARD: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    STANDARD.iter().find(|name| **name == method.as_str()).copied().unwrap_or(OTHER_METHOD)
}

impl Entry {
    pub fn latency_us(&self) -> u64 {
        u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX)
    }
}
