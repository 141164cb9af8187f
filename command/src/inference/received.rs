//! A request as it was received: its head, its body, and the times of its stages.

pub mod call_timeline;
pub mod described;
pub mod headers;
pub mod reading;
pub mod routing_headers;
pub mod timeline;

use std::sync::Arc;

use access_control::limits::RateLimitPermit;
use events::ids::{RequestId, TenantId};
use ring::digest::Digest;

use crate::body::memory::BodyPermit;
use crate::inference::targets::target_places::Priority;
use crate::inference::targets::upstream_calls::CallPlace;
use timeline::RequestTimeline;

/// A request without a hold: its permit under the rate limits, and its timeline so far.
pub struct UnheldRequest {
    pub permit: RateLimitPermit,
    pub timeline: RequestTimeline,
    /// `None` until its body has arrived.
    pub call_place: Option<CallPlace>,
}

/// The input that is the same for all plans of a request.
pub struct Received<'a> {
    pub id: RequestId,
    pub body_sha256: Digest,
    pub body_bytes: usize,
    pub body_permit: &'a Arc<BodyPermit>,
    pub idempotency_key: Option<&'a str>,
    pub priority: Priority,
    /// `None` if a client has sent it.
    pub copied: Option<Copied>,
}

/// The request that another one is a copy of.
#[derive(Clone, Copy)]
pub struct Copied {
    pub request: RequestId,
    /// The tenant that it belongs to.
    pub tenant: Option<TenantId>,
}
