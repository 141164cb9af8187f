//! The plan of a request, and its hold.
//!
//! An admission that was planned before a change of a right, team, price or route that may concern it is planned again, twice at
//! most; the third plan is decided in any case if it is not old. Whatever the plan, budgets are decided as of the end of the log, and
//! rights are looked up again before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use access_control::limits::TokenAmounts;
use dialects::{ClientRequest, WrittenBody};
use events::content::ContentPolicy;
use events::event::Context;
use events::event::admin::Model;
use events::ids::RequestId;
use events::ledger::RefusedRequest;
use events::refusal::{ErrorCode, Refusal};
use events_log::OpenHold;
use projections::caller::Caller;
use projections::tables::{CatchUp, Tables};
use tokio::time::Instant;

use super::admission::{self, AdmissionRequest, NotAdmitted, with_fitting_cap};
use super::ledger_failure::not_admitted;
use crate::figures::Stage;
use crate::inference::authorized::{authorize, not_current, require_live_tenant};
use crate::inference::node::content::RequestContent;
use crate::inference::node::gateway::{Gateway, TABLES_WAIT_MAX};
use crate::inference::planned::plan::{self, NodeKnowledge, NotPlanned, Plan};
use crate::inference::received::RequestState;
use crate::inference::received::parsed_request::RequestEnvelope;
use crate::inference::received::reading::work_on;
use crate::tokens::{self, CountedPrompt};

/// How often a request is planned, if rights, prices or routes change meanwhile. The last plan is decided although they have, so that
/// somebody who changes prices all the time stops nobody; rights are checked again before each call.
const PLANS_MAX: u32 = 3;

/// How long the last plan counts without a check. The ledger records an admission at most eleven seconds after it was asked for it, the
/// clocks of two nodes may differ by five seconds each, and re-valuing waits thirty seconds for requests that were planned by the price
/// before (`revaluation/admissions.rs`): one that came later would keep that price.
const LAST_PLAN_STANDS: Duration = Duration::from_secs(5);

/// How often a request asks for its hold. Beyond its plans, it is asked for again only if how rate limits are counted has changed.
const ATTEMPTS_MAX: u32 = 8;

/// A request with its plan, and the hold that it was granted for it.
pub struct GrantedHold {
    pub caller: Arc<Caller>,
    /// The log position of the tables that caller and plan come from.
    pub planned_at: u64,
    pub plan: Box<Plan>,
    pub request: Box<ClientRequest>,
    pub first_body: WrittenBody,
    pub hold: OpenHold,
    pub content: RequestContent,
}

/// Plans a request and asks for its hold, again if what the plan depends on has changed meanwhile.
pub async fn plan_and_admit(
    gateway: &Gateway,
    mut tables: Arc<Tables>,
    mut caller: Arc<Caller>,
    envelope: &RequestEnvelope,
    mut request: Box<ClientRequest>,
    state: &mut RequestState,
) -> Result<GrantedHold, Refusal> {
    let (mut plans_left, mut attempts_left) = (PLANS_MAX, ATTEMPTS_MAX);
    // The last plan, which was stale, with its body.
    let mut stale: Option<(Box<Plan>, WrittenBody)> = None;
    let mut has_caught_up = false;
    // Of a prompt that may be longer than the window of a target.
    let mut counted: Option<CountedPrompt> = None;
    loop {
        let context = caller.context().in_request(envelope.id);
        let (at, planned_from) = (tables.position, Instant::now());
        let planned = plan_with_counted(gateway, &tables, &caller, &request, envelope.id, &mut counted).await;
        // A later change of it makes the plan stale.
        let tenant = context.tenant_id.and_then(|tenant| tables.tenant(tenant));
        let content_policy = match envelope.copied {
            None => tenant.map(|tenant| tenant.value.content_policy).unwrap_or_default(),
            // The conversation may be another tenant's, and is kept as that one's policy says.
            Some(_) => ContentPolicy::None,
        };
        let teams = tables.teams_of(&caller.chain).clone();
        let shared = tables.shared_scopes(&caller.chain, &teams);
        let has_own = planned.as_ref().is_ok_and(|plan| plan.bound.brokered.is_some());
        let is_guest = has_own && tables.is_guest(&caller.chain);
        drop(tables);
        let plan = match planned {
            Ok(plan) => Box::new(plan),
            Err(refusal) if refusal.code == ErrorCode::InvalidRequest => return Err(refusal),
            // Of a missing model: another node may have made it a moment ago.
            Err(refusal) => {
                if refusal.code == ErrorCode::ModelNotFound && !has_caught_up {
                    has_caught_up = true;
                    match gateway.tables.catch_up_with_others(&gateway.log, at).await {
                        CatchUp::FoundMore => {
                            tables = gateway.tables.load();
                            caller = authorize_again(gateway, &tables, &caller, envelope, &request)?;
                            continue;
                        }
                        CatchUp::FoundNothing => {}
                        CatchUp::TimedOut => return Err(not_current()),
                    }
                }
                return Err(record_refusal(gateway, envelope.id, context, &request.facts.model, refusal).await);
            }
        };
        let written = match stale.take().filter(|(stale, _)| plan.has_first_body_of(stale)) {
            Some((_, first_body)) => (plan, request, first_body),
            None => {
                let write = move || with_first_body(plan, request);
                work_on(&gateway.memory.large_bodies, &envelope.body_permit, envelope.body_bytes, write).await?
            }
        };
        let (mut plan, planned_request, first_body) = written;
        request = planned_request;
        let content = gateway.content_of(content_policy, &context, envelope.id, at).await?;
        let prompt_digest = prompt_digest(gateway, envelope, &request, &content).await?;
        let tokens_bound = plan.tokens_bound(request.facts.choices, is_guest);
        gateway
            .admission
            .limits
            .reserve_tokens(&mut state.permit, tokens_bound)
            .await
            .map_err(|refused| with_fitting_cap(gateway.limited(&context, &refused), &refused, &plan, &request))?;
        if plans_left == PLANS_MAX {
            state.timeline.end_stage(Stage::Plan);
        }
        plans_left = plans_left.saturating_sub(1);
        let asking = AdmissionRequest {
            id: envelope.id,
            context,
            caller: &caller,
            teams: &teams,
            request: &request,
            body_sha256: envelope.body_sha256,
            content: &content,
            prompt_digest: prompt_digest.clone(),
            idempotency_key: envelope.idempotency_key.as_deref(),
            planned_at: at,
            stands_until: (plans_left == 0).then(|| planned_from + LAST_PLAN_STANDS),
            shared,
            is_guest,
            rate_limited_tokens: state.permit.shared_tokens(),
            shadow_of: envelope.copied.map(|copied| copied.request),
        };
        let changed_at = match admission::ask_for_hold(gateway, asking, &mut plan).await {
            Ok(hold) => {
                gateway.admission.limits.admitted(&mut state.permit).await;
                return Ok(GrantedHold { caller, planned_at: at, plan, request, first_body, hold, content });
            }
            Err(NotAdmitted::Refused(refusal)) => return Err(refusal),
            Err(NotAdmitted::Stale { changed_at }) => changed_at,
        };
        attempts_left -= 1;
        if attempts_left == 0 || !gateway.tables.wait_for(changed_at, TABLES_WAIT_MAX).await {
            return Err(not_current());
        }
        stale = Some((plan, first_body));
        // The next plan may have another bound.
        state.permit.settle(TokenAmounts::NONE);
        tables = gateway.tables.load();
        caller = authorize_again(gateway, &tables, &caller, envelope, &request)?;
    }
}

/// Plans a request. Its prompt is counted first if it may be longer than the context window of a target.
async fn plan_with_counted(
    gateway: &Gateway,
    tables: &Tables,
    caller: &Caller,
    request: &ClientRequest,
    id: RequestId,
    counted: &mut Option<CountedPrompt>,
) -> Result<Plan, Refusal> {
    loop {
        let node = NodeKnowledge::of(gateway, counted.as_ref());
        let uncounted = match plan::plan(tables, caller, request, id, gateway.now(), node) {
            Ok(plan) => return Ok(plan),
            Err(NotPlanned::Refused(refusal)) => return Err(refusal),
            Err(NotPlanned::Uncounted(uncounted)) => uncounted,
        };
        let counting = tokens::prompt(caller.chain.tenant, uncounted.of_body(request.body().clone()));
        *counted = Some(Box::pin(counting).await);
    }
}

/// The caller by newer tables, if it may still send this request.
fn authorize_again(
    gateway: &Gateway,
    tables: &Tables,
    caller: &Arc<Caller>,
    envelope: &RequestEnvelope,
    request: &ClientRequest,
) -> Result<Arc<Caller>, Refusal> {
    let caller = authorize(tables, caller, request.facts.directives.strategy, gateway.clock.now())?;
    if let Some(copied) = envelope.copied {
        require_live_tenant(tables, copied.tenant)?;
    }
    Ok(caller)
}

/// The salted digest of a prompt that is kept, of a large one on a thread of its own.
async fn prompt_digest(
    gateway: &Gateway,
    envelope: &RequestEnvelope,
    request: &ClientRequest,
    content: &RequestContent,
) -> Result<Option<String>, Refusal> {
    if content.policy() != ContentPolicy::Sealed {
        return Ok(None);
    }
    let (content, body) = (content.clone(), request.body().clone());
    let digest = move || Ok(content.prompt_digest(&body));
    work_on(&gateway.memory.large_bodies, &envelope.body_permit, envelope.body_bytes, digest).await
}

/// The plan and the request, and the body for the first target.
fn with_first_body(
    mut plan: Box<Plan>,
    request: Box<ClientRequest>,
) -> Result<(Box<Plan>, Box<ClientRequest>, WrittenBody), Refusal> {
    let body = plan.first_body(&request)?;
    Ok((plan, request, body))
}

/// Records a refusal that needed no ledger decision. If it cannot be recorded, the client gets `LEDGER_UNAVAILABLE` instead.
async fn record_refusal(gateway: &Gateway, id: RequestId, context: Context, model: &str, refusal: Refusal) -> Refusal {
    let model = Model::bounded_name(model);
    let refused = RefusedRequest { request_id: id, context, model, scoped_by: None, refusal: refusal.clone() };
    match gateway.log.refuse(refused).await {
        Ok(position) => refusal.at(position),
        Err(error) => not_admitted(&id.to_string(), &error),
    }
}
