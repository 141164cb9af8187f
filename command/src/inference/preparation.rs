//! From the head of a request to its hold: read, authorize, plan and ask the ledger. Nothing is sent to a provider before that.

use std::sync::Arc;

use access_control::limits::BindingLimits;
use axum::extract::Request;
use dialects::Surface;
use events::event::admin::Permission;
use events::ids::RequestId;
use events::refusal::Refusal;
use projections::caller::Caller;

use crate::body::memory::BodyOwner;
use crate::figures::Stage;
use crate::inference::admitted::admitted_request::{AdmittedRequest, admit};
use crate::inference::authorized::{AuthorizedRequest, authorize, require_strategy_choice};
use crate::inference::calls::answer_permit;
use crate::inference::node::gateway::Gateway;
use crate::inference::received::RequestState;
use crate::inference::received::received_request::RequestHead;
use crate::inference::targets::upstream_calls::no_place;
use crate::inference::upstream::failure::no_memory;

/// A request as the server hands it over.
pub struct ArrivedRequest {
    pub id: RequestId,
    pub surface: Surface,
    pub caller: Arc<Caller>,
    pub http: Request,
}

/// Returns the request with a durable hold.
///
/// Errors: why it is refused.
pub async fn prepare(
    gateway: &Gateway,
    arrived: Box<ArrivedRequest>,
    state: &mut RequestState,
    limits: &mut BindingLimits,
) -> Result<AdmittedRequest, Refusal> {
    let ArrivedRequest { id, surface, caller, http } = *arrived;
    // Checked before the body, so that no client sends one in vain; the check that counts follows when it has arrived.
    caller.require(Permission::ModelsUse)?;
    gateway.require_served(&caller)?;
    let head = RequestHead::read(id, surface, http.headers())?;
    let strategy = head.requested_strategy();
    require_strategy_choice(&caller, strategy)?;
    let received = head.receive(gateway, &caller, http).await?;
    make_room(gateway, &caller, state)?;
    state.timeline.end_stage(Stage::Body);
    let parsed = received.parse(&gateway.memory.large_bodies).await;
    let tables = gateway.tables.load();
    let caller = authorize(&tables, &caller, strategy, gateway.clock.now())?;
    // A caller that lost its right meanwhile is refused for that, even if its body is invalid too.
    let authorized = AuthorizedRequest { tables, caller, parsed: parsed? };
    state.timeline.set_requested_model(&authorized.parsed.request.facts.model);
    admit(gateway, authorized, state, limits).await
}

/// Makes sure that there is room for the answer, and takes a place for the calls.
fn make_room(gateway: &Gateway, caller: &Caller, state: &mut RequestState) -> Result<(), Refusal> {
    let owner = BodyOwner::of_inference(caller);
    gateway
        .memory
        .answers
        .check_room(owner, answer_permit::STEP)
        .map_err(|bound| no_memory(bound, "nothing was sent to a provider"))?;
    state.call_place = Some(gateway.targets.call_places.take(owner).map_err(no_place)?);
    Ok(())
}
