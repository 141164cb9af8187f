//! Two tenants of two partners, each with a user, a key and a budget, and what they do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::events::content::{ContentPolicy, ContentSalts};
use ::events::event::access::ReadKind;
use ::events::event::admin::{Budget, Key, Partner, Permission, Reach, RoleGrant, Scope, Tenant, User};
use ::events::event::inference::{Backend, FinishReason, InferenceAdmitted, InferenceEnded, Versions};
use ::events::event::{Actor, Chain, Change, Context, Event, Stream, StreamKind};
use ::events::ids::{BudgetId, KeyId, PartnerId, RequestId, TenantId, UserId};
use ::events::ledger::{Admission, AdmissionBounds, Charge, IfShort, Outcome, RefusedRequest};
use ::events::money::NanoUsd;
use ::events::refusal::{ErrorCode, Refusal};
use ::events::time::{Clock, Period, SystemClock};
use ::events::usage::{TokenClasses, Usage, UsageSource};
use ::projections::BackgroundTask;
use ::projections::caller::Caller;
use ::projections::last_use::LastUses;
use ::projections::views::past::{self, PastViewsThread};
use ::projections::views::{NodeViews, ViewHandles, ViewsThread};
use ::projections::{tables, views};
use access_log::{AccessLog, AccessLogSettings, ViewSettings};
use axum::Router;
use axum::body::Body;
use content_store::ContentReader;
use events_log::concurrency::ConcurrencyLimiter;
use events_log::{Admitted, Append, Basis, Log, LogOptions, OpenHold, PersonalData, SideRow};
use http::{Request, Response};
use http_body_util::BodyExt;
use openapi::refusals::NATIVE;
use prometheus::Registry;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;
use uuid::Uuid;

use crate::{QueryState, routes};

pub struct World {
    pub log: Log,
    pub state: QueryState,
    pub closing: watch::Sender<bool>,
    /// False while the node does not know what others have changed.
    pub is_current: Arc<AtomicBool>,
    /// The reads that were recorded, in order.
    pub reads: Arc<Mutex<Vec<(Actor, ReadKind)>>>,
    router: Router,
    views_thread: Option<ViewsThread>,
    past_thread: Option<PastViewsThread>,
    tables_task: Option<BackgroundTask>,
    access_log: Option<AccessLog>,
    _dir: tempfile::TempDir,
}

/// The members of one house: numbers 1 to 5 above its base.
#[derive(Clone, Copy)]
pub struct House(pub u128);

pub const OURS: House = House(0);
pub const THEIRS: House = House(100);

fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

impl House {
    pub fn partner(self) -> PartnerId {
        id(self.0 + 1)
    }

    pub fn tenant(self) -> TenantId {
        id(self.0 + 2)
    }

    pub fn user(self) -> UserId {
        id(self.0 + 3)
    }

    pub fn key(self) -> KeyId {
        id(self.0 + 4)
    }

    pub fn budget(self) -> BudgetId {
        id(self.0 + 5)
    }

    pub fn chain(self) -> Chain {
        Chain {
            partner: Some(self.partner()),
            tenant: Some(self.tenant()),
            user: Some(self.user()),
            key: Some(self.key()),
        }
    }

    pub fn user_with(self, roles: Vec<RoleGrant>) -> User {
        let (user_id, tenant_id) = (self.user(), self.tenant());
        User { roles, ..User::new(user_id, tenant_id, "digest") }
    }

    pub fn key_with(self, permissions: Vec<Permission>) -> Key {
        let (key_id, user_id) = (self.key(), self.user());
        Key { permissions, ..Key::new(key_id, user_id, format!("house {}", self.0)) }
    }

    /// A caller of the tenant with these permissions.
    pub fn caller(self, permissions: &[Permission]) -> Caller {
        Caller {
            actor: Actor::Key(self.key()),
            chain: self.chain(),
            permissions: permissions.iter().copied().collect(),
            reach: Reach::Tenant(self.tenant()),
            chosen_tenant: None,
            models: None,
            key_version: None,
            secret_generation: 1,
            valid_until: None,
            tables_position: 0,
        }
    }
}

pub fn operator() -> Caller {
    Caller::operator(Chain::default())
}

/// The same caller with what it was given here: a key's rights would be looked up when it reads.
pub fn as_given(caller: Caller) -> Caller {
    Caller { actor: Actor::Operator, ..caller }
}

/// The answer: the body as JSON (or lines of it), or the refusal.
pub type Answer = Result<Value, Refusal>;

impl World {
    /// Both houses, and nobody has asked for anything.
    pub async fn new() -> Self {
        Self::by(Arc::new(SystemClock::new())).await
    }

    /// The same, by this clock.
    pub async fn by(clock: Arc<dyn Clock>) -> Self {
        Self::with_content(clock, None).await
    }

    /// The same, with this store of sealed content.
    pub async fn with_content(clock: Arc<dyn Clock>, content: Option<ContentReader>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(dir.path(), LogOptions::new(clock.clone())).expect("the log opens");
        let (tables, tables_task) = tables::start(&log).await.expect("the tables start");
        let (views, thread) = views::start(&log, dir.path(), clock.clone()).expect("the views start");
        let (past, past_thread) =
            past::start(&log, dir.path(), clock.clone(), "1.2.3").expect("the views of earlier positions");
        let (closing, closes) = watch::channel(false);
        let is_current = Arc::new(AtomicBool::new(true));
        let knows = Arc::clone(&is_current);
        let reads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&reads);
        let view = Some(ViewSettings { folder: dir.path().to_owned(), entries_max: 100 });
        let settings = AccessLogSettings { lines: false, view };
        let access_log = AccessLog::start(&settings, clock.clone(), &Registry::new()).expect("an access log");
        let state = QueryState {
            log: log.for_queries(),
            tables,
            views: NodeViews::new(Some(ViewHandles { now: views, past })),
            last_uses: LastUses::new(clock.clone()),
            access_log: access_log.view(),
            published: None,
            content_salts: ContentSalts::new(&[7; 32]),
            content,
            clock,
            is_current: Arc::new(move || knows.load(Ordering::Relaxed)),
            closing: closes,
            limits_left: Arc::new(|_| Vec::new()),
            capabilities: Arc::new(|_, _| None),
            concurrency: ConcurrencyLimiter::default(),
            reads: Arc::new(move |caller, kind| noted.lock().expect("a list").push((caller.actor.clone(), kind))),
        };
        let (router, _) = routes(state.clone(), NATIVE).into_parts();
        let world = Self {
            log,
            state,
            closing,
            is_current,
            reads,
            router,
            views_thread: Some(thread),
            past_thread: Some(past_thread),
            tables_task: Some(tables_task),
            access_log: Some(access_log),
            _dir: dir,
        };
        for house in [OURS, THEIRS] {
            world.build(house).await;
        }
        world
    }

    pub async fn close(mut self) {
        if let Some(tables_task) = self.tables_task.take() {
            tables_task.stop().await;
        }
        self.stop_views().await;
        if let Some(thread) = self.past_thread.take() {
            tokio::task::spawn_blocking(move || thread.stop()).await.expect("stopped");
        }
        let (log, access_log) = (self.log.clone(), self.access_log.take());
        let stop = move || {
            access_log.into_iter().for_each(AccessLog::stop);
            log.close();
        };
        tokio::task::spawn_blocking(stop).await.expect("closed");
    }

    /// From here on the views stand still.
    pub async fn stop_views(&mut self) {
        if let Some(thread) = self.views_thread.take() {
            tokio::task::spawn_blocking(move || thread.stop()).await.expect("stopped");
        }
    }

    async fn build(&self, house: House) {
        let (partner_id, tenant_id, user_id) = (house.partner(), house.tenant(), house.user());
        let of_partner = Chain { partner: Some(partner_id), ..Chain::default() };
        let of_tenant = Chain { tenant: Some(tenant_id), ..of_partner };
        let of_user = Chain { user: Some(user_id), ..of_tenant };
        let name = format!("house {}", house.0);
        let partner = Event::from(Change::created(Partner::new(partner_id, name.clone())));
        self.append(Stream::new(StreamKind::Partner, partner_id), of_partner, partner, vec![]).await;
        let tenant = Event::from(Change::created(Tenant::new(tenant_id, partner_id, name.clone())));
        self.append(Stream::new(StreamKind::Tenant, tenant_id), of_tenant, tenant, vec![]).await;
        let user = house.user_with(vec![]);
        let person = PersonalData { subject: user_id, name: "Ada".into(), email: None, salt: vec![1] };
        let side = vec![SideRow::PersonalData(person)];
        self.append(Stream::new(StreamKind::User, user_id), of_user, Event::from(Change::created(user)), side).await;
        let key = house.key_with(Permission::ALL.to_vec());
        let stream = Stream::new(StreamKind::Key, house.key());
        self.append(stream, house.chain(), Event::from(Change::created(key)), vec![]).await;
        let budget = Budget::new(house.budget(), Scope::Tenant(tenant_id), NanoUsd::new(5_000_000_000), Period::Month);
        let stream = Stream::new(StreamKind::Budget, house.budget());
        self.append(stream, of_tenant, Event::from(Change::created(budget)), vec![]).await;
    }

    pub async fn append(&self, stream: Stream, chain: Chain, event: Event, side: Vec<SideRow>) -> u64 {
        let sequence = self.sequence(stream.clone()).await;
        let context = Context::about(Actor::Operator, chain);
        let append = Append {
            stream,
            expected_sequence: sequence,
            events: vec![event],
            context,
            side,
            idempotency: None,
            basis: Basis::default(),
        };
        self.log.append(append).await.expect("appended").last
    }

    async fn sequence(&self, stream: Stream) -> u64 {
        let events = self.log.read(move |reader| reader.stream(&stream)).await.expect("read");
        events.last().map_or(0, |recorded| recorded.sequence)
    }

    /// One request that holds 1,000 nano-dollars and costs 400; the position of its settlement.
    pub async fn infers(&self, house: House, request: u128) -> u64 {
        self.infers_tagged(house, request, &[]).await
    }

    /// One that was turned away; the position of its refusal.
    pub async fn refuses(&self, house: House, request: u128) -> u64 {
        let request_id: RequestId = id(request);
        let refused = RefusedRequest {
            request_id,
            context: Context::about(Actor::Key(house.key()), house.chain()).in_request(request_id),
            model: "large".into(),
            scoped_by: None,
            refusal: Refusal::new(ErrorCode::ModelUnpriced, "no price"),
        };
        self.log.refuse(refused).await.expect("refused").expect("a position")
    }

    /// The same as [`Self::infers`], with metadata.
    pub async fn infers_tagged(&self, house: House, request: u128, metadata: &[(&str, &str)]) -> u64 {
        let tokens = TokenClasses { input_uncached_tokens: 12, output_text_tokens: 9, ..TokenClasses::default() };
        self.infers_using(house, request, metadata, (tokens, NanoUsd::new(400))).await
    }

    /// The same, with what it is said to have used and to have cost.
    pub async fn infers_using(
        &self,
        house: House,
        request: u128,
        metadata: &[(&str, &str)],
        used: (TokenClasses, NanoUsd),
    ) -> u64 {
        let hold = self.admits(house, request, metadata).await;
        self.completes(hold, used).await
    }

    /// One that is let in, with a hold of a minute.
    pub async fn admits(&self, house: House, request: u128, metadata: &[(&str, &str)]) -> OpenHold {
        self.admits_by(house, request, metadata, ContentPolicy::default()).await
    }

    /// One that is let in under this policy.
    pub async fn admits_by(
        &self,
        house: House,
        request: u128,
        metadata: &[(&str, &str)],
        content_policy: ContentPolicy,
    ) -> OpenHold {
        let request_id: RequestId = id(request);
        let context = Context::about(Actor::Key(house.key()), house.chain()).in_request(request_id);
        let admitted = InferenceAdmitted {
            model: "large".into(),
            dialect: "native".into(),
            streamed: false,
            max_output_tokens: 10,
            requested_max_output_tokens: None,
            output_tokens_beyond_cap: None,
            input_tokens_bound: 20,
            body_sha256: "00".into(),
            prompt_digest: None,
            content_policy,
            metadata: metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            versions: Versions::default(),
            would_have_refused: Vec::new(),
            rate_limited_tokens: None,
            hedge_after_ms: None,
            route: None,
            shadow_of: None,
            hold_shares: Default::default(),
        };
        let admission = Admission {
            request_id,
            context,
            planned_at: u64::MAX,
            held: NanoUsd::new(1000),
            ttl: Duration::from_secs(60),
            if_short: IfShort::AskAgain,
            bounds: AdmissionBounds::NONE,
            admitted: Box::new(admitted),
            brokered: None,
        };
        match self.log.admit(admission, None).await.expect("the ledger answers") {
            Admitted::Hold(hold) => hold,
            other => panic!("no hold: {other:?}"),
        }
    }

    /// The request's end, charged with 400 nano-dollars whatever it is said to have cost; the position of its settlement.
    pub async fn completes(&self, hold: OpenHold, (tokens, cost_usd): (TokenClasses, NanoUsd)) -> u64 {
        let ended = InferenceEnded {
            backend: Some(Backend {
                provider_id: id(6),
                provider: "sim".into(),
                model: "echo".into(),
                provider_key_id: None,
            }),
            usage: Some(Usage::new(tokens, UsageSource::Provider)),
            price_version: Some(1),
            finish_reason: Some(FinishReason::Stop),
            latency_ms: Some(12),
            attempts: Some(1),
            ..InferenceEnded::new("large".into(), hold.admitted_at, cost_usd)
        };
        let charge = Charge::Settle(NanoUsd::new(400));
        hold.end(vec![], Outcome::Completed(Box::new(ended)), charge).await.expect("settled").position
    }

    pub async fn send(&self, caller: &Caller, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::builder().uri(path).extension(Arc::new(caller.clone()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        self.router.clone().oneshot(request).await.expect("an answer")
    }

    pub async fn get(&self, caller: &Caller, path: &str) -> Answer {
        let response = self.send(caller, path, &[]).await;
        if let Some(refusal) = response.extensions().get::<Refusal>() {
            assert_eq!(response.status(), openapi::refusals::status(refusal.code));
            return Err(refusal.clone());
        }
        Ok(serde_json::from_str(&text(response).await).expect("JSON"))
    }

    /// The items of a list.
    pub async fn items(&self, caller: &Caller, path: &str) -> Vec<Value> {
        let page = self.get(caller, path).await.expect("an answer");
        page["items"].as_array().expect("items").clone()
    }

    /// The lines of a page of lines.
    pub async fn lines(&self, caller: &Caller, path: &str) -> Vec<Value> {
        let body = text(self.send(caller, path, &[]).await).await;
        body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

pub async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("UTF-8")
}
