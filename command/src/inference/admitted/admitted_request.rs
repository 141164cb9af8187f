//! A request with its hold.

use std::sync::Arc;

use access_control::limits::BindingLimits;
use chrono::{DateTime, Utc};
use dialects::{ClientRequest, WrittenBody};
use events::content::ContentPart;
use events::event::ScopeSubject;
use events::ids::{RequestId, TenantId};
use events::refusal::Refusal;
use events_log::OpenHold;
use projections::caller::Caller;
use projections::tables::Tables;

use super::planning::{GrantedHold, plan_and_admit};
use crate::body::memory::BodyPermit;
use crate::figures::{CopyOutcome, Stage};
use crate::inference::authorized::AuthorizedRequest;
use crate::inference::node::content::RequestContent;
use crate::inference::node::copies::RequestToCopy;
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::plan::Plan;
use crate::inference::received::RequestState;
use crate::inference::received::parsed_request::ParsedRequest;
use crate::inference::targets::target_places::Priority;

/// A request that has its hold and may be dispatched.
pub struct AdmittedRequest {
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

/// Counts a request that was read against narrowed rate limits, plans it, and asks for its hold.
pub async fn admit(
    gateway: &Gateway,
    authorized: AuthorizedRequest,
    state: &mut RequestState,
    limits: &mut BindingLimits,
) -> Result<AdmittedRequest, Refusal> {
    let AuthorizedRequest { tables, caller, parsed: ParsedRequest { request, envelope } } = authorized;
    let model = &request.facts.model;
    let stands_for =
        if tables.has_narrowed_rate_limits() { stands_for(&tables, &caller, model, gateway.now()) } else { None };
    let (chain, teams) = (caller.chain, tables.teams_of(&caller.chain));
    let bound = ScopeSubject { chain, model, stands_for, metadata: &request.facts.directives.metadata, teams };
    if gateway.admission.limits.add_narrowed(limits, &tables, &bound) {
        let counted = Box::pin(gateway.admission.limits.acquire_narrowed(limits, &mut state.permit)).await;
        counted.map_err(|refused| gateway.limited(&caller.context().in_request(envelope.id), &refused))?;
    }
    let granted = plan_and_admit(gateway, tables, caller, &envelope, request, state).await?;
    let GrantedHold { caller, planned_at, mut plan, mut request, first_body, hold, content } = granted;
    state.timeline.end_stage(Stage::Admit);
    let content_lost = content.keep_prompt(hold.admitted_at, request.body().clone());
    let to_copy = match envelope.copied {
        Some(_) => None,
        None => to_copy(gateway, envelope.id, &caller, &plan, &request, state),
    };
    request.drop_unneeded_body();
    let first_body = match hold.lowered_cap {
        None => Some(first_body),
        Some(cap) => {
            plan.lower_cap(cap);
            None
        }
    };
    Ok(AdmittedRequest {
        terms_of: envelope.copied.map_or(caller.chain.tenant, |copied| copied.tenant),
        caller,
        planned_at,
        request,
        plan,
        body_bytes: envelope.body_bytes,
        first_body,
        body_permit: envelope.body_permit,
        hold,
        content,
        content_lost,
        priority: envelope.priority,
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
    state: &RequestState,
) -> Option<Box<RequestToCopy>> {
    let model = plan.model();
    let shadow = model.shadow.as_ref().filter(|shadow| shadow.draws(model.model_id, id))?;
    let Some(memory) = gateway.background.copies.keep(model.tenant_id, request.body()) else {
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
        passed: state.timeline.passed().cloned(),
        memory,
    }))
}

/// The name of the model that an alias stands for now; `None` for a model with targets, and for a name that the caller may not use.
fn stands_for<'a>(tables: &'a Tables, caller: &Caller, model: &str, now: DateTime<Utc>) -> Option<&'a str> {
    let named =
        caller.may_use_model(tables, model).then(|| tables.named_model(caller.chain.tenant, model, now))?.ok()?;
    named.alias().map(|_| named.serving.value.name.as_str())
}
