//! The facts of a request that its admission fixes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dialects::{Api, ClientRequest};
use events::ids::RequestId;
use events_log::OpenHold;
use provider_client::Owner;

use crate::body::memory::BodyOwner;
use crate::inference::gateway::Gateway;
use crate::inference::plan::Plan;
use crate::inference::too_much::TooMuch;

/// The facts of a request that its admission fixes; the same for all of its calls.
#[derive(Clone)]
pub struct StartedRequest {
    pub(super) id: RequestId,
    /// The id as text, written once.
    pub id_text: Arc<str>,
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
    /// The part of the request that asks for so much that the answer may be too large.
    pub may_ask_too_much: Option<TooMuch>,
    /// The part of the request that the answer repeats.
    pub(super) echo: Bytes,
}

impl StartedRequest {
    pub(super) fn new(gateway: &Gateway, hold: &OpenHold, plan: &Plan, request: &ClientRequest) -> Self {
        Self {
            id: hold.request_id,
            id_text: hold.request_id.to_string().into(),
            admitted_position: hold.admitted_position,
            owner: hold.context.tenant_id,
            body_owner: BodyOwner::of(hold.context.tenant_id, hold.context.key_id),
            started: Instant::now(),
            deadline: tokio::time::Instant::now() + gateway.time_left(hold.admitted_at),
            api: request.api(),
            streamed: request.facts.streamed,
            may_ask_too_much: TooMuch::of(request, plan),
            echo: request.echo(),
        }
    }
}
