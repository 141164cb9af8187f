//! From the head of a request to its hold: read, authorize, plan and ask the ledger. Nothing is sent to a provider before that.

use std::sync::Arc;

use access_control::limits::BindingLimits;
use axum::extract::Request;
use chrono::{DateTime, Utc};
use dialects::{ClientRequest, Surface, WrittenBody};
use events::content::ContentPart;
use events::event::ScopeSubject;
use events::event::admin::Permission;
use events::ids::{RequestId, TenantId};
use events::refusal::Refusal;
use events_log::OpenHold;
use projections::caller::Caller;
use projections::tables::Tables;

use crate::body::HeldBody;
use crate::body::memory::{BodyOwner, BodyPermit};
use crate::figures::{CopyOutcome, Stage};
use crate::idempotency;
use crate::inference::admitted::planning::{PlannedRequest, plan_and_admit};
use crate::inference::authorized::{authorize, require_strategy_choice};
use crate::inference::calls::answer_permit;
use crate::inference::node::content::RequestContent;
use crate::inference::node::copies::RequestToCopy;
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::plan::Plan;
use crate::inference::received::reading::{read, read_body};
use crate::inference::received::routing_headers::{RoutingHeaders, terms_of_both};
use crate::inference::received::{Received, UnheldRequest};
use crate::inference::targets::target_places::Priority;
use crate::inference::targets::upstream_calls::no_place;
use crate::inference::upstream::failure::no_memory;

/// A request that has its hold and may be dispatched.
pub struct Prepared {
    pub caller: Arc<Caller>,
    /// The log position of the tables that caller and plan come from.
    pub planned_at: u64,
    /// Boxed, as the plan: both are large, and handed on many times.
    pub request: Box<ClientRequest>,
    pub plan: Box<Plan>,
    /// The size of the body as received.
    pub body_bytes: usize,
    /// The body for the first target; `None` if the cap was lowered after it was written.
    pub first_body: Option<WrittenBody>,
    /// The memory of the received body, of what was parsed from it and of what is sent.
    pub body_permit: Arc<BodyPermit>,
    pub hold: OpenHold,
    /// The kept content; what of it is lost is in `content_lost`.
    pub content: RequestContent,
    pub content_lost: Option<ContentPart>,
    pub priority: Priority,
    /// The tenant whose terms bind it: that of a copied request binds the copy.
    pub terms_of: Option<TenantId>,
    /// The parts kept for a copy, which is sent once the request was served.
    pub to_copy: Option<Box<RequestToCopy>>,
}

pub async fn prepare(
    gateway: &Gateway,
    surface: Surface,
    id: RequestId,
    caller: &Arc<Caller>,
    request: Request,
    unheld: &mut UnheldRequest,
    limits: &mut BindingLimits,
) -> Result<Prepared, Refusal> {
    // Checked before the body, so that no client sends one in vain; the check that counts follows when it has arrived.
    caller.require(Permission::ModelsUse)?;
    gateway.require_served(caller)?;
    let idempotency_key = idempotency::key_of(request.headers())
        .map_err(|error| Refusal::invalid(idempotency::IDEMPOTENCY_HEADER.as_str(), error.to_string()))?;
    let headers = (surface.spec().read_headers)(request.headers())?;
    let RoutingHeaders { priority, session, strategy, terms } = RoutingHeaders::of(request.headers())?;
    require_strategy_choice(caller, strategy)?;
    let HeldBody { bytes, permit: body_permit } = read_body(gateway, caller, request).await?;
    gateway
        .memory
        .answers
        .check_room(BodyOwner::of_inference(caller), answer_permit::STEP)
        .map_err(|bound| no_memory(bound, "nothing was sent to a provider"))?;
    unheld.call_place = Some(gateway.targets.calls.take(BodyOwner::of_inference(caller)).map_err(no_place)?);
    unheld.timeline.end_stage(Stage::Body);
    let body_bytes = bytes.len();
    let parsed = read(&gateway.memory.large_bodies, &body_permit, surface, bytes).await;
    let tables = gateway.tables.load();
    let caller = authorize(&tables, caller, gateway.clock.now())?;
    require_strategy_choice(&caller, strategy)?;
    let (mut request, body_sha256) = parsed?;
    request.set_headers(headers);
    if session.is_some() {
        request.facts.directives.session = session;
    }
    request.facts.directives.required_terms =
        terms_of_both(std::mem::take(&mut request.facts.directives.required_terms), terms)?;
    request.facts.directives.strategy = strategy;
    unheld.timeline.set_requested_model(&request.facts.model);
    let received = Received {
        id,
        body_sha256,
        body_bytes,
        body_permit: &body_permit,
        idempotency_key: idempotency_key.as_deref(),
        priority,
        copied: None,
    };
    hold(gateway, tables, caller, &received, request, unheld, limits).await
}

/// Counts a request that was read against narrowed rate limits, plans it, and asks for its hold.
pub async fn hold(
    gateway: &Gateway,
    tables: Arc<Tables>,
    caller: Arc<Caller>,
    received: &Received<'_>,
    request: Box<ClientRequest>,
    unheld: &mut UnheldRequest,
    limits: &mut BindingLimits,
) -> Result<Prepared, Refusal> {
    let model = &request.facts.model;
    let stands_for =
        if tables.has_narrowed_rate_limits() { stands_for(&tables, &caller, model, gateway.now()) } else { None };
    let (chain, teams) = (caller.chain, tables.teams_of(&caller.chain));
    let bound = ScopeSubject { chain, model, stands_for, metadata: &request.facts.directives.metadata, teams };
    if gateway.admission.limits.add_narrowed(limits, &tables, &bound) {
        let counted = Box::pin(gateway.admission.limits.acquire_narrowed(limits, &mut unheld.permit)).await;
        counted.map_err(|refused| gateway.limited(&caller.context().in_request(received.id), &refused))?;
    }
    let planned = plan_and_admit(gateway, tables, caller, received, request, unheld).await?;
    let PlannedRequest { caller, at: planned_at, mut plan, mut request, first_body, hold, content } = planned;
    unheld.timeline.end_stage(Stage::Admit);
    let content_lost = content.keep_prompt(hold.admitted_at, request.body().clone());
    let to_copy = match received.copied {
        Some(_) => None,
        None => to_copy(gateway, received.id, &caller, &plan, &request, unheld),
    };
    request.drop_unneeded_body();
    let first_body = match hold.lowered_cap {
        None => Some(first_body),
        Some(cap) => {
            plan.lower_cap(cap);
            None
        }
    };
    Ok(Prepared {
        terms_of: received.copied.map_or(caller.chain.tenant, |copied| copied.tenant),
        caller,
        planned_at,
        request,
        plan,
        body_bytes: received.body_bytes,
        first_body,
        body_permit: Arc::clone(received.body_permit),
        hold,
        content,
        content_lost,
        priority: received.priority,
        to_copy,
    })
}

/// Returns the parts to keep of a request that is in the share of its model's shadow.
fn to_copy(
    gateway: &Gateway,
    id: RequestId,
    caller: &Caller,
    plan: &Plan,
    request: &ClientRequest,
    unheld: &UnheldRequest,
) -> Option<Box<RequestToCopy>> {
    let model = plan.model();
    let shadow = model.shadow.as_ref().filter(|shadow| shadow.draws(model.model_id, id))?;
    let Some(memory) = gateway.unattended.copies.keep(model.tenant_id, request.body()) else {
        gateway.figures.count_copy(CopyOutcome::Dropped);
        return None;
    };
    Some(Box::new(RequestToCopy {
        request: id,
        tenant: caller.chain.tenant,
        model: model.model_id,
        owner: model.tenant_id,
        shadow: shadow.model.clone(),
        surface: request.surface(),
        body: request.body().clone(),
        headers: request.headers().clone(),
        terms: plan.required_terms()?,
        passed: unheld.timeline.passed().cloned(),
        memory,
    }))
}

/// The name of the model that an alias stands for now; `None` for a model with targets, and for a name that the caller may not use.
fn stands_for<'a>(tables: &'a Tables, caller: &Caller, model: &str, now: DateTime<Utc>) -> Option<&'a str> {
    let named =
        caller.may_use_model(tables, model).then(|| tables.named_model(caller.chain.tenant, model, now))?.ok()?;
    named.alias().map(|_| named.serving.value.name.as_str())
}

#[cfg(test)]
mod tests;
