//! A request as it was received: its head, its body, and the times of its stages.

pub mod call_timeline;
pub mod described;
pub mod headers;
pub mod parsed_request;
pub mod reading;
pub mod received_request;
pub mod routing_headers;
pub mod timeline;

use access_control::limits::RateLimitPermit;

use crate::inference::targets::upstream_calls::CallPlace;
use timeline::RequestTimeline;

/// A request without a hold: its permit under the rate limits, and its timeline so far.
pub struct UnheldRequest {
    pub permit: RateLimitPermit,
    pub timeline: RequestTimeline,
    /// `None` until its body has arrived.
    pub call_place: Option<CallPlace>,
}
