//! From the head of a request to its hold: read, plan, ask the ledger. Nothing is sent to a provider before that.
//!
//! An admission that was planned before a change of a right, team, price or route that may concern it is planned again, twice at
//! most; the third plan is decided in any case if it is not old. Whatever the plan, budgets are decided as of the end of the log, and
//! rights are looked up again before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use access_control::limits::{BindingLimits, TokenAmounts};
use axum::extract::Request;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::{ClientRequest, Surface, WrittenBody};
use events::content::{ContentPart, ContentPolicy};
use events::event::admin::{Model, Permission};
use events::event::{Actor, Chain, Context, ScopeSubject};
use events::ids::{RequestId, TenantId};
use events::ledger::RefusedRequest;
use events::refusal::{ErrorCode, Refusal};
use events::routing::Strategy;
use events_log::OpenHold;
use projections::caller::Caller;
use projections::tables::{CatchUp, Tables};
use ring::digest::{Digest, SHA256, digest};
use tokio::time::Instant;

use super::admission::{self, AdmissionRequest, NotAdmitted};
use super::answer_permit;
use super::content::RequestContent;
use super::copies::RequestToCopy;
use super::failure::no_memory;
use super::gateway::{Gateway, TABLES_WAIT_MAX};
use super::large_bodies::{LargeBodies, LargeBodyError};
use super::ledger_failure::not_admitted;
use super::plan::{self, NotPlanned, Plan};
use super::routing_headers::{RoutingHeaders, terms_of_both};
use super::running::UnheldRequest;
use super::target_places::Priority;
use super::upstream_calls::no_place;
use crate::body::memory::{BodyOwner, BodyPermit};
use crate::body::{self, BodyError, HeldBody};
use crate::figures::{CopyOutcome, Stage};
use crate::idempotency;
use crate::ledger_unavailable::ledger_unavailable;
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
        .answers
        .check_room(BodyOwner::of_inference(caller), answer_permit::STEP)
        .map_err(|bound| no_memory(bound, "nothing was sent to a provider"))?;
    unheld.call_place = Some(gateway.calls.take(BodyOwner::of_inference(caller)).map_err(no_place)?);
    unheld.timeline.end_stage(Stage::Body);
    let body_bytes = bytes.len();
    let parsed = read(&gateway.large_bodies, &body_permit, surface, bytes).await;
    let tables = gateway.tables.load();
    let caller = authorize(&tables, caller, gateway.clock.now())?;
    require_strategy_choice(&caller, strategy)?;
    let (mut request, body_sha256) = parsed?;
    request.set_headers(headers);
    if session.is_some() {
        request.facts.session = session;
    }
    request.facts.required_terms = terms_of_both(std::mem::take(&mut request.facts.required_terms), terms)?;
    request.facts.requested_strategy = strategy;
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
    let bound = ScopeSubject { chain, model, stands_for, metadata: &request.facts.metadata, teams };
    if gateway.limits.add_narrowed(limits, &tables, &bound) {
        let counted = Box::pin(gateway.limits.acquire_narrowed(limits, &mut unheld.permit)).await;
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
    let Some(memory) = gateway.copies.keep(model.tenant_id, request.body()) else {
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

/// Errors: `FORBIDDEN`, if a strategy is requested and the caller may not choose any.
pub fn require_strategy_choice(caller: &Caller, requested: Option<Strategy>) -> Result<(), Refusal> {
    requested.map_or(Ok(()), |_| caller.require(Permission::RoutingChoose))
}

/// The name of the model that an alias stands for now; `None` for a model with targets, and for a name that the caller may not use.
fn stands_for<'a>(tables: &'a Tables, caller: &Caller, model: &str, now: DateTime<Utc>) -> Option<&'a str> {
    let named =
        caller.may_use_model(tables, model).then(|| tables.named_model(caller.chain.tenant, model, now))?.ok()?;
    named.alias().map(|_| named.serving.value.name.as_str())
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

/// A request with its plan, and the hold that it was granted for it.
struct PlannedRequest {
    caller: Arc<Caller>,
    /// The log position of the tables that caller and plan come from.
    at: u64,
    plan: Box<Plan>,
    request: Box<ClientRequest>,
    first_body: WrittenBody,
    hold: OpenHold,
    content: RequestContent,
}

/// Plans a request and asks for its hold, again if what the plan depends on has changed meanwhile.
async fn plan_and_admit(
    gateway: &Gateway,
    mut tables: Arc<Tables>,
    mut caller: Arc<Caller>,
    received: &Received<'_>,
    mut request: Box<ClientRequest>,
    unheld: &mut UnheldRequest,
) -> Result<PlannedRequest, Refusal> {
    let (mut plans_left, mut attempts_left) = (PLANS_MAX, ATTEMPTS_MAX);
    // The last plan, which was stale, with its body.
    let mut stale: Option<(Box<Plan>, WrittenBody)> = None;
    let mut has_caught_up = false;
    // Of a prompt that may be longer than the window of a target.
    let mut counted: Option<CountedPrompt> = None;
    loop {
        let context = caller.context().in_request(received.id);
        let (at, planned_from) = (tables.position, Instant::now());
        let planned = plan_with_counted(gateway, &tables, &caller, &request, received.id, &mut counted).await;
        // A later change of it makes the plan stale.
        let tenant = context.tenant_id.and_then(|tenant| tables.tenant(tenant));
        let content_policy = match received.copied {
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
                            caller = authorize_again(gateway, &tables, &caller, received, &request)?;
                            continue;
                        }
                        CatchUp::FoundNothing => {}
                        CatchUp::TimedOut => return Err(not_current()),
                    }
                }
                return Err(record_refusal(gateway, received.id, context, &request.facts.model, refusal).await);
            }
        };
        let written = match stale.take().filter(|(stale, _)| plan.has_first_body_of(stale)) {
            Some((_, first_body)) => (plan, request, first_body),
            None => {
                let write = move || with_first_body(plan, request);
                work_on(&gateway.large_bodies, received.body_permit, received.body_bytes, write).await?
            }
        };
        let (mut plan, planned_request, first_body) = written;
        request = planned_request;
        let content = gateway.content_of(content_policy, &context, received.id, at).await?;
        let prompt_digest = prompt_digest(gateway, received, &request, &content).await?;
        let tokens_bound = plan.tokens_bound(request.facts.choices, is_guest);
        gateway
            .limits
            .reserve_tokens(&mut unheld.permit, tokens_bound)
            .await
            .map_err(|refused| gateway.limited(&context, &refused))?;
        if plans_left == PLANS_MAX {
            unheld.timeline.end_stage(Stage::Plan);
        }
        plans_left = plans_left.saturating_sub(1);
        let asking = AdmissionRequest {
            id: received.id,
            context,
            caller: &caller,
            teams: &teams,
            request: &request,
            body_sha256: received.body_sha256,
            content: &content,
            prompt_digest: prompt_digest.clone(),
            idempotency_key: received.idempotency_key,
            planned_at: at,
            stands_until: (plans_left == 0).then(|| planned_from + LAST_PLAN_STANDS),
            shared,
            is_guest,
            rate_limited_tokens: unheld.permit.shared_tokens(),
            shadow_of: received.copied.map(|copied| copied.request),
        };
        let changed_at = match admission::admit(gateway, asking, &mut plan).await {
            Ok(hold) => {
                gateway.limits.admitted(&mut unheld.permit).await;
                return Ok(PlannedRequest { caller, at, plan, request, first_body, hold, content });
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
        unheld.permit.settle(TokenAmounts::NONE);
        tables = gateway.tables.load();
        caller = authorize_again(gateway, &tables, &caller, received, &request)?;
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
        let known = gateway.knowledge(counted.as_ref());
        let uncounted = match plan::plan(tables, caller, request, id, gateway.now(), known) {
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
    received: &Received<'_>,
    request: &ClientRequest,
) -> Result<Arc<Caller>, Refusal> {
    let caller = authorize(tables, caller, gateway.clock.now())?;
    require_strategy_choice(&caller, request.facts.requested_strategy)?;
    if let Some(copied) = received.copied {
        require_live_tenant(tables, copied.tenant)?;
    }
    Ok(caller)
}

/// The salted digest of a prompt that is kept, of a large one on a thread of its own.
async fn prompt_digest(
    gateway: &Gateway,
    received: &Received<'_>,
    request: &ClientRequest,
    content: &RequestContent,
) -> Result<Option<String>, Refusal> {
    if content.policy() != ContentPolicy::Sealed {
        return Ok(None);
    }
    let (content, body) = (content.clone(), request.body().clone());
    let digest = move || Ok(content.prompt_digest(&body));
    work_on(&gateway.large_bodies, received.body_permit, received.body_bytes, digest).await
}

/// Parses a body, a large one on a thread of its own.
pub async fn read(
    large_bodies: &LargeBodies,
    permit: &Arc<BodyPermit>,
    surface: Surface,
    body: Bytes,
) -> Result<(Box<ClientRequest>, Digest), Refusal> {
    work_on(large_bodies, permit, body.len(), move || parse(surface, body)).await
}

/// Works on a body of this size: on a large one on a thread of its own.
pub async fn work_on<T: Send + 'static>(
    large_bodies: &LargeBodies,
    permit: &Arc<BodyPermit>,
    bytes: usize,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if !LargeBodies::is_large(bytes) {
        return work();
    }
    large_bodies.run(permit, work).await.unwrap_or_else(|error| Err(nothing_sent(error)))
}

fn nothing_sent(error: LargeBodyError) -> Refusal {
    error.refusal("nothing was sent to a provider")
}

/// The refusal of a request while this node is behind the ledger.
pub fn not_current() -> Refusal {
    ledger_unavailable("no", "this node is behind the ledger, so nothing was sent to a provider: try again")
}

/// The plan and the request, and the body for the first target.
fn with_first_body(
    mut plan: Box<Plan>,
    request: Box<ClientRequest>,
) -> Result<(Box<Plan>, Box<ClientRequest>, WrittenBody), Refusal> {
    let body = plan.first_body(&request)?;
    Ok((plan, request, body))
}

/// The request, and the SHA-256 of its body.
fn parse(surface: Surface, body: Bytes) -> Result<(Box<ClientRequest>, Digest), Refusal> {
    let request = Box::new(ClientRequest::parse(surface, body)?);
    let body_sha256 = digest(&SHA256, request.body());
    Ok((request, body_sha256))
}

/// The caller as it is now, if it may use models: it may have lost its right since it was authenticated.
pub fn authorize(tables: &Tables, caller: &Arc<Caller>, now: DateTime<Utc>) -> Result<Arc<Caller>, Refusal> {
    let caller = caller.refreshed(tables, now)?;
    caller.require(Permission::ModelsUse)?;
    if tables.owners_are_live(&caller.chain) || is_platforms_copy(&caller) { Ok(caller) } else { Err(tenant_deleted()) }
}

/// Whether the caller sends copies of requests that the platform pays for: such a copy belongs to no tenant, and so to none that could
/// be deleted.
fn is_platforms_copy(caller: &Caller) -> bool {
    caller.chain == Chain::default() && caller.actor == Actor::SHADOW
}

/// Errors: `FORBIDDEN`, if the tenant whose conversation it is has ended.
pub fn require_live_tenant(tables: &Tables, tenant: Option<TenantId>) -> Result<(), Refusal> {
    let Some(tenant) = tenant else { return Ok(()) };
    let chain = tables.chain_of_tenant(tenant).filter(|chain| tables.owners_are_live(chain));
    chain.map(drop).ok_or_else(tenant_deleted)
}

pub fn tenant_deleted() -> Refusal {
    Refusal::new(ErrorCode::Forbidden, "the tenant of this request has been deleted")
}

/// Reads the body: it must be `application/json`, complete, and within the bounds.
pub async fn read_body(gateway: &Gateway, caller: &Caller, request: Request) -> Result<HeldBody, Refusal> {
    let (parts, body) = request.into_parts();
    if !body::is_json(&parts.headers) {
        return Err(Refusal::new(
            ErrorCode::UnsupportedMediaType,
            "the body must be JSON, sent with content-type: application/json",
        ));
    }
    let held = body::read_all(&gateway.bodies, BodyOwner::of_inference(caller), &parts.headers, body).await;
    held.map_err(BodyError::into_refusal)
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

#[cfg(test)]
mod tests {
    use events::content::ContentSalts;
    use serde_json::json;

    use super::*;
    use crate::admin::tests::lab::Lab;
    use crate::body::memory::{BodyBounds, BodyMemory};
    use crate::inference::breakers::{BreakerSettings, Breakers};
    use crate::inference::observed_targets::ObservedTargets;
    use crate::inference::plan::NodeKnowledge;

    /// Holds: http.large-bodies
    #[tokio::test(start_paused = true)]
    async fn only_large_bodies_wait_for_their_turn() {
        let memory = BodyMemory::new(BodyBounds::of_administration());
        let permit = Arc::new(memory.permit(BodyOwner::of_inference(&Caller::operator(Chain::default()))));
        let full = LargeBodies::new(0);
        for (len, expected) in [(128 * 1024, None), (128 * 1024 + 1, Some(ErrorCode::Overloaded))] {
            let body =
                |text: &str| json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }).to_string();
            let body = body(&"x".repeat(len - body("").len()));
            let read = read(&full, &permit, Surface::OpenAi, body.into()).await;
            assert_eq!(read.err().map(|refusal| refusal.code), expected, "{len} bytes");
        }
    }

    /// A body is written again only if the new plan's first target gets another one.
    #[tokio::test]
    async fn a_plan_has_the_first_body_of_a_stale_one_unless_its_first_target_takes_another() {
        let lab = Lab::new().await;
        let provider = |name: &str| json!({ "name": name, "kind": "simulator" });
        let (first, other) =
            (lab.make("/providers", provider("first")).await, lab.make("/providers", provider("other")).await);
        let price = |provider: &str, model: &str, input: &str| {
            json!({ "provider_id": provider, "model": model,
                    "input_usd_per_mtok": input, "output_usd_per_mtok": "1" })
        };
        for (provider, model) in [(&first, "echo"), (&first, "lorem"), (&other, "echo")] {
            lab.make("/prices", price(provider, model, "1")).await;
        }
        let targets = |targets: &[(&str, &str)]| {
            let of = |(provider, model): &(&str, &str)| json!({ "provider_id": provider, "model": model });
            targets.iter().map(of).collect::<Vec<_>>()
        };
        let model = json!({ "name": "m", "targets": targets(&[(&first, "echo")]) });
        let model = format!("/v1/admin/models/{}", lab.make("/models", model).await);
        let body = json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hello" }] });
        let (request, _) = parse(Surface::OpenAi, body.to_string().into()).unwrap();
        let clock = || Arc::clone(&lab.admin.clock);
        let observed = ObservedTargets::new(clock());
        let settings = BreakerSettings { failures: 5, open: Duration::from_secs(60) };
        let breakers = Breakers::new(settings, lab.admin.log.clone(), lab.admin.tables.clone(), clock());
        let salts = ContentSalts::new(b"secret");
        let known = NodeKnowledge { observed: &observed, breakers: &breakers, salts: &salts, counted: None };
        let planned = || {
            let (tables, now) = (lab.admin.tables.load(), lab.admin.clock.now());
            plan::plan(&tables, &lab.operator(), &request, lab.admin.ids.make(), now, known).unwrap()
        };
        let mut stale = planned();
        lab.make("/prices", price(&first, "echo", "2")).await;
        lab.wait(1);
        assert!(planned().has_first_body_of(&stale), "another price");
        for (change, is_same) in [
            (json!({ "targets": targets(&[(&first, "echo"), (&other, "echo")]) }), true),
            (json!({ "targets": targets(&[(&other, "echo"), (&first, "echo")]) }), true),
            (json!({ "targets": targets(&[(&first, "lorem")]) }), false),
            (json!({ "system_prefix": "Be brief." }), false),
            (json!({ "system_prefix": "Be long." }), false),
            (json!({ "strategy": "weighted" }), true),
        ] {
            lab.send(&lab.operator(), "PATCH", &model, &change).await.must(200);
            let fresh = planned();
            assert_eq!(fresh.has_first_body_of(&stale), is_same, "{change}");
            stale = fresh;
        }
    }

    #[tokio::test]
    async fn a_caller_whose_owner_was_deleted_while_the_body_was_on_its_way_is_not_served() {
        for owner in ["partners", "tenants", "users", "keys"] {
            let lab = Lab::new().await;
            let caller = lab.key(&lab.tenancy.tenant.to_string(), json!([]), &[Permission::ModelsUse]).await;
            let now = lab.admin.clock.now();
            let chain = caller.chain;
            assert!(authorize(&lab.admin.tables.load(), &caller, now).is_ok());
            let id = match owner {
                "partners" => chain.partner.unwrap().to_string(),
                "tenants" => chain.tenant.unwrap().to_string(),
                "users" => chain.user.unwrap().to_string(),
                _ => chain.key.unwrap().to_string(),
            };
            let one = format!("/v1/admin/{owner}/{id}");
            lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
            let refused = authorize(&lab.admin.tables.load(), &caller, now).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Unauthenticated, "{owner}");
        }
    }

    /// Only the caller that sends the platform's copies is served without a tenant.
    #[tokio::test]
    async fn only_copies_are_sent_for_no_tenant() {
        let lab = Lab::new().await;
        let nobody = Caller::operator(Chain::default());
        let copies = Caller { actor: Actor::SHADOW, ..nobody.clone() };
        let tables = lab.admin.tables.load();
        let allowed = |caller: Caller| authorize(&tables, &Arc::new(caller), lab.admin.clock.now()).is_ok();
        assert_eq!((allowed(copies), allowed(nobody)), (true, false));
    }

    #[tokio::test]
    async fn nobody_is_served_for_a_deleted_tenant() {
        let lab = Lab::new().await;
        let operator = lab.operator();
        assert!(authorize(&lab.admin.tables.load(), &operator, lab.admin.clock.now()).is_ok());
        let own = format!("/v1/admin/tenants/{}", lab.tenancy.tenant);
        lab.send(&operator, "DELETE", &own, &json!({})).await.must(200);
        let refused = authorize(&lab.admin.tables.load(), &operator, lab.admin.clock.now()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Forbidden);
    }
}
