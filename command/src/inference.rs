//! The request path: parse what is needed, route, bound and price, ask the ledger, dispatch, relay, settle, close.
//! Nothing is dispatched before its admission is durable, and no last byte leaves before its settlement is.

mod abandoned;
mod admission;
mod answer_permit;
mod bound;
mod call;
mod credentials;
mod described;
mod dispatch;
mod failed_calls;
mod failure;
mod measured;
mod order;
mod plan;
mod running;
mod stream;
mod turn;
mod watched;
mod whole;
mod whole_body;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::event::Context;
use events::event::admin::Permission;
use events::ids::{IdMaker, RequestId};
use events::ledger::RefusedRequest;
use events::log::{Log, LogError, OpenHold};
use events::time::Clock;
use events::wire::{ErrorCode, Refusal};
use http::{HeaderName, HeaderValue};
use openapi::{Api, Entrance};
use projections::caller::Caller;
use projections::tables::{Tables, TablesHandle};
use tokio_util::task::TaskTracker;

use crate::access::AccessRollup;
use crate::body::memory::{BodyMemory, BodyOwner, BodyPermit};
use crate::body::{self, BodyError, HeldBody};
use crate::course::{Arrival, Course};
use crate::dialects::{ClientRequest, Surface};
use crate::error::ledger_unavailable;
use crate::figures::{RequestFigures, Stage};
use crate::idempotency;
use crate::limits::{BindingLimits, LetIn, LimitRefused, RateLimiter};
use crate::reply;
use crate::secrets::vault::Vault;
use crate::tokens::TokenCounter;
use crate::trace::Tracer;
use crate::upstream::UpstreamClients;
use admission::Asking;
use failure::no_memory;
use plan::Plan;

pub use abandoned::AbandonedCalls;
pub(crate) use plan::PlannedTarget;

pub const BACKEND_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-backend");
pub const COST_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-cost-usd");
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
pub const POSITION_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-position");

/// The output cap, where budgets had not enough left for the one that was asked for.
pub const MAX_OUTPUT_TOKENS_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-max-output-tokens");

/// How long the tables may take to come up to what administration has recorded.
const TABLES_WAIT_MAX: Duration = Duration::from_secs(2);

/// What the request path works with. One for the whole process.
pub struct Gateway {
    pub log: Log,
    pub tables: TablesHandle,
    pub upstreams: UpstreamClients,
    pub vault: Arc<Vault>,
    pub limits: Arc<RateLimiter>,
    pub figures: Arc<RequestFigures>,
    /// Where traces are exported.
    pub tracer: Option<Arc<Tracer>>,
    pub access: Arc<AccessRollup>,
    pub clock: Arc<dyn Clock>,
    pub ids: IdMaker,
    /// One for each stream that is being relayed; they end with it.
    pub timers: TaskTracker,
    pub abandoned: AbandonedCalls,
    pub tokens: TokenCounter,
    /// What bodies of requests may take.
    pub bodies: Arc<BodyMemory>,
    /// What answers may take.
    pub answers: Arc<BodyMemory>,
}

impl Gateway {
    /// How long a request may take: always shorter than its hold lives.
    fn deadline(&self) -> Duration {
        self.log.hold_ttl() * 4 / 5
    }

    /// The time of what would be appended now.
    fn now(&self) -> DateTime<Utc> {
        self.log.head().time_after(self.clock.now())
    }
}

/// `POST /v1/inference/chat` and Chat Completions, on all their paths. The request's id and its caller are extensions of the
/// request.
pub fn routes(gateway: Arc<Gateway>) -> Api {
    let chats = Surface::ALL.iter().flat_map(|surface| surface.spec().paths.iter().map(move |path| (*surface, *path)));
    let api = chats.fold(Api::of(Entrance::Key), |api, (surface, (path, operation))| {
        let describe = move || described::chat(surface.spec(), operation);
        api.post(path, move |gateway, id, caller, request| asked(surface, gateway, id, caller, request), describe)
    });
    api.with_state(gateway)
}

// What a request needs over its whole course is kilobytes: boxed here, since the layers around a handler move it about.

async fn asked(
    surface: Surface,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response {
    Box::pin(chat(gateway, surface, id, caller, request)).await
}

async fn chat(
    gateway: Arc<Gateway>,
    surface: Surface,
    id: RequestId,
    caller: Arc<Caller>,
    request: Request,
) -> Response {
    let context = Context::about(caller.actor.clone(), caller.chain).in_request(id);
    let mut course = Course::begin(&gateway, id, surface.spec().name, request.extensions().get::<Arrival>());
    let limits = gateway.limits.binding(&gateway.tables.load(), &caller.chain);
    let answered = match gateway.limits.let_in(&limits) {
        Ok(let_in) => {
            course.passed(Stage::Limits);
            serve(&gateway, surface, id, &caller, request, Way { let_in, course }).await
        }
        Err(refused) => {
            let refusal = limited(&gateway, &context, &refused);
            course.refused_as(refusal.code);
            Err(refusal)
        }
    };
    with_standing(answered.unwrap_or_else(reply::refused), &gateway.limits, &limits)
}

/// What a request has on its way: its place under the rate limits, and where it is.
struct Way {
    let_in: LetIn,
    course: Course,
}

/// A flood of them leaves few events: see [`AccessRollup`].
fn limited(gateway: &Gateway, context: &Context, refused: &LimitRefused) -> Refusal {
    gateway.access.rate_limited(context.clone(), refused.name, refused.measure, refused.limit);
    Refusal::from(refused)
}

/// As the limits stand when the answer begins: a whole answer has settled its tokens by then.
fn with_standing(mut response: Response, limiter: &RateLimiter, limits: &BindingLimits) -> Response {
    if let Some(standing) = limiter.standing(limits) {
        standing.put_into(response.headers_mut());
    }
    response
}

async fn serve(
    gateway: &Arc<Gateway>,
    surface: Surface,
    id: RequestId,
    caller: &Arc<Caller>,
    request: Request,
    mut way: Way,
) -> Result<Response, Refusal> {
    match prepare(gateway, surface, id, caller, request, &mut way).await {
        Ok(prepared) => {
            let lowered_to = prepared.hold.lowered_to;
            let mut response = dispatch::run(gateway, prepared, way).await?;
            if let Some(cap) = lowered_to {
                response.headers_mut().insert(MAX_OUTPUT_TOKENS_HEADER, HeaderValue::from(cap));
            }
            Ok(response)
        }
        Err(refusal) => {
            way.course.refused_as(refusal.code);
            Err(refusal)
        }
    }
}

/// A request that may be dispatched.
struct Prepared {
    caller: Arc<Caller>,
    /// Position of the tables that caller and plan are of.
    planned_at: u64,
    asked: ClientRequest,
    plan: Plan,
    /// For the first target; `None` where the cap was lowered since it was made.
    first_body: Option<Bytes>,
    /// For what was received, what was read of it and what is sent of it.
    body_permit: Arc<BodyPermit>,
    hold: OpenHold,
}

async fn prepare(
    gateway: &Gateway,
    surface: Surface,
    id: RequestId,
    caller: &Arc<Caller>,
    request: Request,
    way: &mut Way,
) -> Result<Prepared, Refusal> {
    // Before the body, so that nobody sends one for nothing; what counts is asked when it is there.
    caller.require(Permission::ModelsUse)?;
    let idempotency_key = idempotency::key_of(request.headers())
        .map_err(|error| Refusal::invalid(idempotency::IDEMPOTENCY_HEADER, error.to_string()))?;
    let HeldBody { bytes, permit: body_permit } = read_body(gateway, caller, request).await?;
    gateway
        .answers
        .must_have_room(BodyOwner::of_inference(caller), answer_permit::STEP)
        .map_err(|bound| no_memory(bound, "nothing was sent to a provider"))?;
    way.course.passed(Stage::Body);
    let tables = gateway.tables.load();
    let caller = user_of_models(&tables, caller, gateway.clock.now())?;
    let context = Context::about(caller.actor.clone(), caller.chain).in_request(id);
    let mut asked = ClientRequest::parse(surface, bytes)?;
    way.course.asks_for(asked.model());
    let planned = plan::plan(&tables, &caller, &asked, id, gateway.now());
    let planned_at = tables.position;
    drop(tables);
    let mut plan = match planned {
        Ok(plan) => plan,
        Err(refusal) if refusal.code == ErrorCode::InvalidRequest => return Err(refusal),
        Err(refusal) => return Err(record_refusal(gateway, id, context, asked.model(), refusal).await),
    };
    let first_body = plan.first_body(&asked)?;
    let tokens_bound = plan.tokens_bound(asked.choices());
    gateway
        .limits
        .reserve_tokens(&mut way.let_in, tokens_bound)
        .map_err(|refused| limited(gateway, &context, &refused))?;
    way.course.passed(Stage::Plan);
    let asking = Asking { id, context, caller: &caller, asked: &asked, idempotency_key };
    let hold = admission::admit(gateway, asking, &mut plan).await?;
    way.course.passed(Stage::Admit);
    asked.forget_what_was_read();
    let first_body = match hold.lowered_to {
        None => Some(first_body),
        Some(cap) => {
            plan.lower_cap(cap);
            None
        }
    };
    Ok(Prepared { caller, planned_at, asked, plan, first_body, body_permit, hold })
}

/// The caller as it is now, where it may use models: it may have been let in long ago, and have lost its right since.
fn user_of_models(tables: &Tables, caller: &Arc<Caller>, now: DateTime<Utc>) -> Result<Arc<Caller>, Refusal> {
    let caller = caller.looked_up_again(tables, now)?;
    caller.require(Permission::ModelsUse)?;
    if !tables.owners_are_live(&caller.chain) {
        return Err(Refusal::new(ErrorCode::Forbidden, "the tenant that this request is for has ended"));
    }
    Ok(caller)
}

/// Asked once more when the hold stands, since the ledger may have taken its time: nothing is dispatched for a right that
/// was taken away before that.
async fn must_still_be_allowed(gateway: &Gateway, prepared: &Prepared) -> Result<(), Refusal> {
    if gateway.tables.are_current(prepared.planned_at) {
        return Ok(());
    }
    if !gateway.tables.catch_up(TABLES_WAIT_MAX).await {
        return Err(ledger_unavailable(
            "no",
            "the key cannot be checked now, and nothing was sent to a provider: try again",
        ));
    }
    let caller = user_of_models(&gateway.tables.load(), &prepared.caller, gateway.clock.now())?;
    let model = prepared.asked.model();
    if caller.allows_model(model) { Ok(()) } else { Err(plan::not_allowed(model)) }
}

/// `application/json`, complete, and within the bounds.
async fn read_body(gateway: &Gateway, caller: &Caller, request: Request) -> Result<HeldBody, Refusal> {
    let (parts, body) = request.into_parts();
    if !body::is_json(&parts.headers) {
        return Err(Refusal::new(
            ErrorCode::UnsupportedMediaType,
            "the body must be JSON, sent with content-type: application/json",
        ));
    }
    let held = body::whole(&gateway.bodies, BodyOwner::of_inference(caller), &parts.headers, body).await;
    held.map_err(BodyError::into_refusal)
}

/// A refusal that reached the ledger's door is a fact; without the fact there is no refusal but this one.
async fn record_refusal(gateway: &Gateway, id: RequestId, context: Context, model: &str, refusal: Refusal) -> Refusal {
    let refused = RefusedRequest { request_id: id, context, model: recorded_name(model), refusal: refusal.clone() };
    match gateway.log.refuse(refused).await {
        Ok(position) => refusal.at(position),
        Err(error) => not_admitted(&id.to_string(), &error),
    }
}

/// A name that a client made up is recorded as far as it can be a model's.
fn recorded_name(model: &str) -> String {
    model.chars().take(256).collect()
}

/// No ledger, no dispatch. Why it cannot record is for the operator, not for the client. What it records later all the
/// same, it releases.
fn not_admitted(request_id: &str, error: &LogError) -> Refusal {
    tracing::error!(request_id, %error, "record a request");
    let recorded = if error.may_be_recorded() { "unknown" } else { "no" };
    let message = "the ledger cannot record this request now, and nothing was sent to a provider: try again";
    ledger_unavailable(recorded, message)
}

/// A provider may have been at work, and the end of it is not a fact yet. It is kept, and recorded when that is possible.
fn not_ended(request_id: &str, error: &LogError) -> Refusal {
    tracing::error!(request_id, %error, "record the end of a request");
    let message = format!(
        "the ledger has not confirmed the end of this request, which may be charged: GET /v1/inferences/{request_id} says \
         what became of it. Sent again it is a new request, unless it has the same Idempotency-Key"
    );
    ledger_unavailable("unknown", message)
}

#[cfg(test)]
mod tests {
    use events::event::admin::Permission;
    use serde_json::json;

    use super::*;
    use crate::admin::tests::lab::Lab;

    #[tokio::test]
    async fn who_was_ended_while_the_body_was_on_its_way_is_not_served() {
        for owner in ["partners", "tenants", "users", "keys"] {
            let lab = Lab::new().await;
            let caller = lab.key(&lab.tenancy.tenant.to_string(), json!([]), &[Permission::ModelsUse]).await;
            let now = lab.admin.clock.now();
            let chain = caller.chain;
            assert!(user_of_models(&lab.admin.tables.load(), &caller, now).is_ok());
            let id = match owner {
                "partners" => chain.partner.unwrap().to_string(),
                "tenants" => chain.tenant.unwrap().to_string(),
                "users" => chain.user.unwrap().to_string(),
                _ => chain.key.unwrap().to_string(),
            };
            let one = format!("/v1/admin/{owner}/{id}");
            lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
            let refused = user_of_models(&lab.admin.tables.load(), &caller, now).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Unauthenticated, "{owner}");
        }
    }

    #[tokio::test]
    async fn nobody_is_served_for_a_tenant_that_has_ended() {
        let lab = Lab::new().await;
        let operator = lab.operator();
        assert!(user_of_models(&lab.admin.tables.load(), &operator, lab.admin.clock.now()).is_ok());
        let own = format!("/v1/admin/tenants/{}", lab.tenancy.tenant);
        lab.send(&operator, "DELETE", &own, &json!({})).await.must(200);
        let refused = user_of_models(&lab.admin.tables.load(), &operator, lab.admin.clock.now()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Forbidden);
    }
}
