//! The facts of a request that its admission fixes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dialects::{Api, ClientRequest};
use events_log::OpenHold;
use provider_client::{LoopEntries, Owner};

use crate::body::memory::BodyOwner;
use crate::inference::node::content::RequestContent;
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::plan::Plan;
use crate::inference::planned::too_much::TooMuch;
use crate::inference::received::timeline::RequestTimeline;
use crate::trace::TraceId;

/// The facts of a request that its admission fixes; the same for all of its calls.
pub struct StartedRequest {
    /// The id as text, written once.
    pub id_text: Arc<str>,
    pub trace_id: Option<TraceId>,
    pub admitted_position: u64,
    /// The tenant that the request belongs to.
    pub owner: Owner,
    /// The owner whose share of memory the answer counts against.
    pub body_owner: BodyOwner,
    pub(super) started: Instant,
    /// When the request must have ended: before its hold expires.
    pub deadline: tokio::time::Instant,
    /// The API of upstreams that it needs.
    pub api: Api,
    /// True if the client asked for a stream.
    pub streamed: bool,
    /// The estimate of the prompt's tokens.
    pub prompt_tokens: u64,
    /// The part of the request that asks for so much that the answer may be too large.
    pub may_ask_too_much: Option<TooMuch>,
    /// The part of the request that the answer repeats.
    pub(super) echo: Bytes,
    /// The gateways that the request has passed.
    pub passed: Option<LoopEntries>,
    pub content: RequestContent,
}

impl StartedRequest {
    pub(super) fn new(
        gateway: &Gateway,
        hold: &OpenHold,
        plan: &Plan,
        request: &ClientRequest,
        content: RequestContent,
        timeline: &RequestTimeline,
    ) -> Self {
        Self {
            id_text: hold.request_id.to_string().into(),
            trace_id: timeline.trace_id(),
            admitted_position: hold.admitted_position,
            owner: hold.context.tenant_id,
            body_owner: BodyOwner::of(hold.context.tenant_id, hold.context.key_id),
            started: Instant::now(),
            deadline: tokio::time::Instant::now() + gateway.time_left(hold.admitted_at),
            api: request.api(),
            streamed: request.facts.streamed,
            prompt_tokens: plan.prompt_tokens_counted(),
            may_ask_too_much: TooMuch::of(request, plan),
            echo: request.echo(),
            passed: timeline.passed().cloned(),
            content,
        }
    }

    pub fn is_out_of_time(&self) -> bool {
        self.is_out_of_time_after(Duration::ZERO)
    }

    /// Whether its time is over when it has waited for so long.
    pub fn is_out_of_time_after(&self, wait: Duration) -> bool {
        tokio::time::Instant::now() + wait >= self.deadline
    }
}
