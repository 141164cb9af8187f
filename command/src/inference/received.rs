//! A request as it was received: its head, its body, and the times of its stages.

pub mod call_timeline;
pub mod parsed_request;
pub mod reading;
pub mod received_request;
pub mod routing_headers;
pub mod timeline;

use access_control::limits::RateLimitPermit;

use crate::inference::targets::upstream_calls::CallPlace;
use timeline::RequestTimeline;

/// The rate-limit permit, the timeline and the place for calls of a request, from its arrival on.
pub struct RequestState {
    pub permit: RateLimitPermit,
    pub timeline: RequestTimeline,
    /// `None` until its body has arrived.
    pub call_place: Option<CallPlace>,
}
