//! Sends the copies of requests to the shadows of models: as requests of their own, on the ordinary path, from the plan to the
//! settlement. Nobody gets the answer: it is read to its end, so that its usage is known, and dropped.
//!
//! The owner of the copied model pays. A copy for the platform belongs to no tenant, so that it changes no tenant's budgets, limits or
//! usage; one for a tenant's model belongs to that tenant, and to none of its users and keys. Whose conversation it is still decides
//! where it may be sent: what the tenant and the request required of the request's targets binds the copy too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use dialects::ClientRequest;
use events::event::admin::{Permission, Reach};
use events::event::{Actor, Chain};
use events::ids::{RequestId, TenantId};
use events::refusal::{ErrorCode, Refusal};
use events::terms::RequiredTerms;
use http_body_util::BodyExt;
use projections::caller::Caller;
use projections::tables::Tables;

use crate::body::memory::BodyOwner;
use crate::figures::{CopyOutcome, Stage};
use crate::inference::admitted::admitted_request::{AdmittedRequest, admit};
use crate::inference::authorized::{AuthorizedRequest, require_live_tenant, tenant_deleted};
use crate::inference::dispatch;
use crate::inference::node::copies::{AfterServed, CountedCopy, RequestToCopy};
use crate::inference::node::gateway::Gateway;
use crate::inference::received::RequestState;
use crate::inference::received::parsed_request::{Copied, ParsedRequest, RequestEnvelope};
use crate::inference::received::reading;
use crate::inference::received::timeline::{Arrival, RequestTimeline};
use crate::inference::targets::target_places::Priority;
use crate::inference::targets::upstream_calls::no_place;

/// Returns the function that sends the copy of a request once that was served.
pub fn after_served(gateway: &Arc<Gateway>, request: Box<RequestToCopy>) -> AfterServed {
    let gateway = Arc::clone(gateway);
    Box::new(move || {
        let (copies, counted) = (gateway.background.copies.clone(), CountedCopy::new(Arc::clone(&gateway.figures)));
        copies.spawn(request.model, request.owner, send(gateway, request, counted));
    })
}

async fn send(gateway: Arc<Gateway>, copied: Box<RequestToCopy>, mut counted: CountedCopy) {
    let (id, original) = (gateway.ids.make::<RequestId>(), copied.request);
    match Box::pin(prepare(&gateway, id, *copied)).await {
        Ok((prepared, state)) => {
            counted.outcome = CopyOutcome::Sent;
            drop(counted);
            // A failure is in the log, as that of any request.
            if let Ok(response) = Box::pin(dispatch::run(&gateway, prepared, state, None)).await {
                read_to_the_end(response.into_body()).await;
            }
        }
        Err(refusal) => {
            counted.outcome = CopyOutcome::Refused;
            let code = refusal.code.as_str();
            tracing::debug!(request_id = %id, shadow_of = %original, code, "the copy of a request is refused");
        }
    }
}

/// The request ends, and is settled, with the last piece of its answer.
async fn read_to_the_end(mut answer: Body) {
    while let Some(Ok(_)) = answer.frame().await {}
}

async fn prepare(
    gateway: &Gateway,
    id: RequestId,
    copied: RequestToCopy,
) -> Result<(AdmittedRequest, RequestState), Refusal> {
    let tables = gateway.tables.load();
    let caller = Arc::new(owner_as_caller(&tables, copied.owner)?);
    gateway.require_served(&caller)?;
    require_live_tenant(&tables, copied.tenant)?;
    let terms = terms(&tables, &copied)?;
    let now = Instant::now();
    let arrival = Arrival { at: now, authenticated_at: now, trace: None, passed: copied.passed };
    let mut timeline = RequestTimeline::begin(gateway, id, copied.surface, Some(&arrival));
    let mut limits = gateway.admission.limits.binding(&tables, &caller.chain, tables.teams_of(&caller.chain));
    let permit = gateway.admission.limits.acquire(&limits).await;
    let permit = permit.map_err(|refused| gateway.limited(&caller.context().in_request(id), &refused))?;
    timeline.end_stage(Stage::Limits);
    let call_place = gateway.targets.call_places.take(BodyOwner::of_inference(&caller)).map_err(no_place)?;
    let mut state = RequestState { permit, timeline, call_place: Some(call_place) };
    let body_bytes = copied.body.len();
    let read = reading::parse_body(&gateway.memory.large_bodies, &copied.memory, copied.surface, copied.body).await;
    let (mut request, body_sha256) = read?;
    request.set_headers(copied.headers);
    make_copy(&mut request, copied.shadow, terms);
    state.timeline.set_requested_model(&request.facts.model);
    let envelope = RequestEnvelope {
        id,
        body_sha256,
        body_bytes,
        body_permit: copied.memory,
        idempotency_key: None,
        priority: Priority::Batch,
        copied: Some(Copied { request: copied.request, tenant: copied.tenant }),
    };
    let authorized = AuthorizedRequest { tables, caller, parsed: ParsedRequest { request, envelope } };
    let prepared = admit(gateway, authorized, &mut state, &mut limits).await?;
    Ok((prepared, state))
}

/// The same conversation for another model, without what its client said about it for its own accounts and sessions.
fn make_copy(request: &mut ClientRequest, shadow: String, terms: RequiredTerms) {
    let facts = &mut request.facts;
    facts.model = shadow;
    facts.directives.metadata = BTreeMap::new();
    facts.directives.session = None;
    facts.directives.strategy = None;
    facts.directives.required_terms = terms;
}

/// The caller in whose name a copy is sent: the tenant that owns the copied model, or the platform.
fn owner_as_caller(tables: &Tables, owner: Option<TenantId>) -> Result<Caller, Refusal> {
    let chain = match owner {
        None => Chain::default(),
        Some(tenant) => {
            let chain = tables.chain_of_tenant(tenant).filter(|chain| tables.owners_are_live(chain));
            Chain { user: None, key: None, ..chain.ok_or_else(tenant_deleted)? }
        }
    };
    Ok(Caller {
        actor: Actor::SHADOW,
        permissions: [Permission::ModelsUse].into(),
        reach: owner.map_or(Reach::Platform, Reach::Tenant),
        chosen_tenant: owner,
        ..Caller::operator(chain)
    })
}

/// Returns the terms required of the targets of the copied request, and those that its tenant requires by now.
fn terms(tables: &Tables, copied: &RequestToCopy) -> Result<RequiredTerms, Refusal> {
    let now = tables.required_terms(copied.tenant).clone();
    copied.terms.clone().and(now).ok_or_else(|| {
        Refusal::new(
            ErrorCode::TermsNotMet,
            "no region is within what the tenant required before and what it requires now",
        )
    })
}
