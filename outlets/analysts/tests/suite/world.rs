//! A log of three days with a known history, its views, and what copies them.

use std::sync::Arc;
use std::time::Duration;

use analysts::{CompareCopyError, Copier, CopyComparison, compare, migrate};
use events::event::admin::{
    Budget, Enforcement, Handles, Key, Model, Partner, Price, Provider, ProviderKindName, Scope, Target, Tenant, User,
};
use events::event::hold::{CorrectedRequest, CorrectedValue};
use events::event::inference::{Backend, FinishReason, InferenceAdmitted, InferenceEnded, Versions};
use events::event::{Actor, Chain, Change, Context, Event, ResourceState, Stream, StreamKind};
use events::ids::{KeyId, ProviderId, RequestId};
use events::ledger::{Admission, AdmissionBounds, Charge, IfShort, Outcome, RefusedRequest, Revaluation};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use events::refusal::{ErrorCode, Refusal};
use events::time::{Clock, ManualClock, Period, parse_rfc3339};
use events::usage::{TokenClasses, Usage, UsageSource};
use events_log::role::{Role, RoleState, RoleStatus};
use events_log::{Admitted, Append, Basis, DatabaseAddress, Log, LogOptions, OpenHold};
use outlets::AnyOutlet;
use projections::views::{CopiedPosition, VIEWS_FILE, View, ViewsHandle, ViewsThread, start, start_copied};
use rusqlite::{Connection, OpenFlags};
use testing::postgres::TestDatabase;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How long something may take on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

pub struct World {
    pub dir: tempfile::TempDir,
    pub log: Log,
    pub clock: Arc<ManualClock>,
    requests: u128,
}

/// A tenant with one user, one key and one budget; numbers 1 to 5 above its base.
#[derive(Clone, Copy)]
pub struct Customer {
    base: u128,
    pub partner: u128,
    pub name: &'static str,
}

pub const ACME: Customer = Customer { base: 100, partner: 1, name: "Acme" };
pub const GLOBEX: Customer = Customer { base: 200, partner: 1, name: "Globex" };
pub const INITECH: Customer = Customer { base: 300, partner: 2, name: "Initech" };
pub const CUSTOMERS: [Customer; 3] = [ACME, GLOBEX, INITECH];
const PROVIDERS: [(u128, &str); 2] = [(11, "north"), (12, "south")];

pub fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

impl Customer {
    pub fn chain(self) -> Chain {
        Chain {
            partner: Some(id(self.partner)),
            tenant: Some(id(self.base + 1)),
            user: Some(id(self.base + 2)),
            key: Some(id(self.base + 3)),
        }
    }

    fn budget(self) -> Budget {
        let scope = Scope::Tenant(id(self.base + 1));
        Budget {
            alert_at: vec!["0.5".parse().expect("a fraction"), "1".parse().expect("a fraction")],
            ..Budget::new(id(self.base + 4), scope, NanoUsd::new(1_000_000_000), Period::Month)
        }
    }

    fn key(self) -> KeyId {
        id(self.base + 3)
    }
}

/// The tokens, cost and time of a request.
#[derive(Clone, Copy)]
pub struct Used {
    pub model: &'static str,
    /// Which of the two providers.
    pub provider: usize,
    pub input: u64,
    pub output: u64,
    pub nanos: i64,
    pub latency_ms: u64,
}

pub const SMALL: Used = Used { model: "small", provider: 0, input: 1000, output: 200, nanos: 250_000, latency_ms: 400 };
pub const LARGE: Used =
    Used { model: "large", provider: 1, input: 8000, output: 1500, nanos: 42_500_000, latency_ms: 2500 };

impl World {
    /// A log of its own in which three customers exist, on 2026-11-20 at 08:00.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T08:00:00Z").expect("a time")));
        let log = Log::open(dir.path(), LogOptions::new(clock.clone())).expect("the log opens");
        Self { dir, log, clock, requests: 1000 }.inhabited().await
    }

    /// A node that shares an empty log with others.
    pub async fn node(database: &TestDatabase, name: &'static str) -> Self {
        let address: DatabaseAddress = database.url().parse().expect("an address");
        let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T08:00:00Z").expect("a time")));
        let options = LogOptions::new(clock.clone()).with_any_clock();
        let log = tokio::task::spawn_blocking(move || Log::open_shared(&address, name, options));
        let log = log.await.expect("no panic").expect("the log opens");
        Self { dir: tempfile::tempdir().expect("a folder"), log, clock, requests: 1000 }
    }

    /// With three customers.
    pub async fn inhabited(self) -> Self {
        let world = self;
        for (number, name) in [(1, "North America"), (2, "Europe")] {
            let partner = Partner::new(id(number), name);
            world.create(StreamKind::Partner, partner.partner_id, Chain::default(), Change::created(partner)).await;
        }
        for (number, name) in PROVIDERS {
            let provider = Provider::new(id(number), name, ProviderKindName::literal("simulator"));
            world.create(StreamKind::Provider, provider.provider_id, Chain::default(), Change::created(provider)).await;
            let price = world.price(20 + number, number, 2_500_000_000);
            world.create(StreamKind::Price, price.price_id, Chain::default(), Change::created(price)).await;
        }
        for (number, name, provider) in [(31, "small", 11), (32, "large", 12)] {
            let model = Model::new(id(number), name, vec![Target::new(id(provider), "echo")]);
            world.create(StreamKind::Model, model.model_id, Chain::default(), Change::created(model)).await;
        }
        for customer in CUSTOMERS {
            world.welcome(customer).await;
        }
        world
    }

    /// Three days of requests whose sums are known.
    pub async fn with_history() -> Self {
        let mut world = Self::new().await;
        for day in 0..3 {
            for _ in 0..3 {
                world.infers(ACME, SMALL).await;
                world.pass(Duration::from_secs(1200)).await;
            }
            world.infers(GLOBEX, LARGE).await;
            world.infers(INITECH, Used { latency_ms: 3000 + day * 1000, ..LARGE }).await;
            world.fails(ACME).await;
            world.refuses(GLOBEX).await;
            world.pass(Duration::from_secs(23 * 3600)).await;
        }
        world.pass(Duration::from_secs(60)).await;
        world
    }

    pub fn price(&self, price: u128, provider: u128, input: i64) -> Price {
        let rate = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("not negative");
        let given = GivenRates::new(rate(input), rate(input * 4));
        Price::new(id(price), id::<ProviderId>(provider), "echo", given, self.clock.now())
    }

    async fn welcome(&self, customer: Customer) {
        let Customer { base, partner, name } = customer;
        let chain = customer.chain();
        let of_tenant = Chain { user: None, key: None, ..chain };
        let handles = |slug: String| Handles { slug: Some(slug), external_id: Some(format!("crm-{base}")) };
        let tenant = Tenant { handles: handles(name.to_lowercase()), ..Tenant::new(id(base + 1), id(partner), name) };
        self.create(StreamKind::Tenant, tenant.tenant_id, of_tenant, Change::created(tenant)).await;
        let user = User { handles: handles(format!("user-{base}")), ..User::new(id(base + 2), id(base + 1), "digest") };
        self.create(StreamKind::User, user.user_id, Chain { key: None, ..chain }, Change::created(user)).await;
        let key = Key::new(customer.key(), id(base + 2), format!("{name} app"));
        self.create(StreamKind::Key, key.key_id, chain, Change::created(key)).await;
        let budget = customer.budget();
        self.create(StreamKind::Budget, budget.budget_id, of_tenant, Change::created(budget)).await;
    }

    pub async fn create<R: ResourceState>(
        &self,
        kind: StreamKind,
        of: impl std::fmt::Display,
        chain: Chain,
        change: Change<R>,
    ) where
        Event: From<Change<R>>,
    {
        self.append(kind, of, chain, 0, Event::from(change)).await;
    }

    /// Gives a tenant another name.
    pub async fn rename(&self, customer: Customer, name: &str) {
        let of_tenant = Chain { user: None, key: None, ..customer.chain() };
        let tenant = Tenant::new(id(customer.base + 1), id(customer.partner), name);
        let renamed = Event::from(Change::changed(tenant.clone()));
        self.append(StreamKind::Tenant, tenant.tenant_id, of_tenant, 1, renamed).await;
    }

    /// Lets a tenant spend more than its budget has.
    pub async fn only_observes(&self, customer: Customer) {
        let of_tenant = Chain { user: None, key: None, ..customer.chain() };
        let budget = Budget { enforcement: Enforcement::Observe, ..customer.budget() };
        let changed = Event::from(Change::changed(budget.clone()));
        self.append(StreamKind::Budget, budget.budget_id, of_tenant, 1, changed).await;
    }

    async fn append(&self, kind: StreamKind, of: impl std::fmt::Display, chain: Chain, sequence: u64, event: Event) {
        let append = Append {
            stream: Stream::new(kind, of),
            expected_sequence: sequence,
            events: vec![event],
            context: Context::about(Actor::Operator, chain),
            side: Vec::new(),
            idempotency: None,
            basis: Basis::default(),
        };
        self.log.append(append).await.expect("appended");
    }

    /// Lets time pass. The ledger's own thread notices it before anything else is recorded.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::task::yield_now().await;
    }

    /// A request that is admitted and runs. Its money is held.
    pub async fn admits(&mut self, customer: Customer, model: &str) -> OpenHold {
        let admission = self.admission(customer, model);
        match self.log.admit(admission, None).await.expect("the ledger answers") {
            Admitted::Hold(hold) => hold,
            other => panic!("no hold: {other:?}"),
        }
    }

    fn admission(&mut self, customer: Customer, model: &str) -> Admission {
        self.requests += 1;
        let request_id: RequestId = id(self.requests);
        let context = Context::about(Actor::Key(customer.key()), customer.chain()).in_request(request_id);
        let admitted = InferenceAdmitted {
            model: model.into(),
            dialect: "native".into(),
            streamed: false,
            max_output_tokens: 10,
            requested_max_output_tokens: None,
            output_tokens_beyond_cap: None,
            rate_limited_tokens: None,
            hedge_after_ms: None,
            route: None,
            shadow_of: None,
            hold_shares: Default::default(),
            input_tokens_bound: 20,
            body_sha256: "00".into(),
            prompt_digest: None,
            content_policy: events::content::ContentPolicy::default(),
            metadata: Default::default(),
            versions: Versions::default(),
            would_have_refused: Vec::new(),
        };
        Admission {
            request_id,
            context,
            planned_at: u64::MAX,
            held: NanoUsd::new(50_000_000),
            ttl: Duration::from_secs(60),
            if_short: IfShort::AskAgain,
            bounds: AdmissionBounds::NONE,
            admitted: Box::new(admitted),
            brokered: None,
        }
    }

    pub async fn infers(&mut self, customer: Customer, used: Used) -> RequestId {
        self.infers_by(customer, used, (used.model, Self::backend(used))).await
    }

    /// The same for a model and a backend by other names.
    pub async fn infers_by(&mut self, customer: Customer, used: Used, named: (&str, Backend)) -> RequestId {
        let (model, backend) = named;
        let hold = self.admits(customer, model).await;
        let tokens =
            TokenClasses { input_uncached_tokens: used.input, output_text_tokens: used.output, ..Default::default() };
        let cost = NanoUsd::new(used.nanos);
        let ended = InferenceEnded {
            usage: Some(Usage::new(tokens, UsageSource::Provider)),
            backend: Some(backend),
            ..self.ended(&hold, used, cost)
        };
        let ended = Outcome::Completed(Box::new(ended));
        hold.end(vec![], ended, Charge::Settle(cost)).await.expect("settled");
        id(self.requests)
    }

    /// Corrects what a request of the small model cost, by a version of its price.
    pub async fn corrects(&self, customer: Customer, request_id: RequestId, (version, nanos): (u64, i64)) {
        let context = Context::about(Actor::System("revaluation"), customer.chain()).in_request(request_id);
        let value = CorrectedValue { version, cost_usd: NanoUsd::new(nanos) };
        let request =
            CorrectedRequest { model: SMALL.model.to_owned(), backend: Some(Self::backend(SMALL)), payer: None };
        let corrected = self.log.revalue(vec![Revaluation { request_id, context, value, request }]).await;
        assert!(corrected.expect("recorded").last.is_some(), "it cost that already");
    }

    /// A request of the small model that fails and costs nothing.
    pub async fn fails(&mut self, customer: Customer) {
        let hold = self.admits(customer, SMALL.model).await;
        let ended = Outcome::Failed(Box::new(self.ended(&hold, SMALL, NanoUsd::ZERO)));
        hold.end(vec![], ended, Charge::Release { reason: "status".into() }).await.expect("released");
    }

    fn ended(&self, hold: &OpenHold, used: Used, cost: NanoUsd) -> InferenceEnded {
        InferenceEnded {
            backend: Some(Self::backend(used)),
            price_version: Some(1),
            finish_reason: Some(FinishReason::Stop),
            latency_ms: Some(used.latency_ms),
            attempts: Some(1),
            ..InferenceEnded::new(hold.model.clone(), hold.admitted_at, cost)
        }
    }

    fn backend(used: Used) -> Backend {
        let (provider, name) = PROVIDERS[used.provider];
        Backend { provider_id: id(provider), provider: name.into(), model: "echo".into(), provider_key_id: None }
    }

    pub async fn refuses(&mut self, customer: Customer) {
        self.refuses_model(customer, "large").await;
    }

    pub async fn refuses_model(&mut self, customer: Customer, model: &str) {
        let admission = self.admission(customer, model);
        let refused = RefusedRequest::of(&admission, Refusal::new(ErrorCode::ModelUnpriced, "no price"));
        self.log.refuse(refused).await.expect("refused");
    }

    /// Views whose changes are noted, and a copier of them.
    pub async fn copying(&self, database: &DatabaseAddress) -> Copying {
        let copied = CopiedPosition::default();
        let views = start_copied(&self.log, self.dir.path(), self.clock.clone(), copied.clone());
        self.copying_from(views.expect("the views start"), copied, database)
    }

    /// A copier of views whose changes nobody notes.
    pub async fn copying_without_notes(&self, database: &DatabaseAddress) -> Copying {
        let views = start(&self.log, self.dir.path(), self.clock.clone()).expect("the views start");
        self.copying_from(views, CopiedPosition::default(), database)
    }

    fn copying_from(
        &self,
        (views, thread): (ViewsHandle, ViewsThread),
        copied: CopiedPosition,
        database: &DatabaseAddress,
    ) -> Copying {
        let (mut running, status) = (JoinSet::new(), RoleStatus::new(Role::Analysts));
        let copier = Copier { views: views.clone(), copied, database: database.clone() };
        let clock = Arc::new(events::time::SystemClock::new());
        running.spawn(AnyOutlet::from(copier).run(self.log.clone(), status.clone(), clock));
        Copying { running, status, views, thread, log: self.log.clone() }
    }

    /// The views' file, as analysts open it.
    pub fn views_file(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        Connection::open_with_flags(self.dir.path().join(VIEWS_FILE), flags).expect("the file opens")
    }

    /// Runs the views without noting changes until they have the whole log.
    pub async fn follow_without_notes(&self) {
        let (views, thread) = start(&self.log, self.dir.path(), self.clock.clone()).expect("the views start");
        let head = self.log.head().position;
        for view in View::ALL {
            views.wait_for(*view, head).await.expect("the view gets there");
        }
        stop(thread).await;
    }

    /// Compares the copy in a database with the log, on a thread for blocking work.
    pub async fn compare(&self, database: &DatabaseAddress) -> Result<CopyComparison, CompareCopyError> {
        let (log, database) = (self.log.clone(), database.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let reader = log.reader().expect("a reader");
            compare(&database, &*reader, &mut |_, _| {})
        });
        compared.await.expect("no panic")
    }

    /// The copy is what the log says, all of it.
    pub async fn assert_same(&self, database: &DatabaseAddress) -> u64 {
        match self.compare(database).await.unwrap_or_else(|error| panic!("{error}")) {
            CopyComparison::Same { rows, position } => {
                assert_eq!(position, self.log.head().position);
                rows
            }
            other => panic!("{other:?}"),
        }
    }

    /// The first difference between the copy and the log.
    pub async fn difference(&self, database: &DatabaseAddress) -> String {
        match self.compare(database).await {
            Err(CompareCopyError::Different { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

/// A copier that runs. Dropping it kills it, wherever it is.
pub struct Copying {
    pub running: JoinSet<()>,
    pub status: RoleStatus,
    pub views: ViewsHandle,
    thread: ViewsThread,
    log: Log,
}

impl Copying {
    /// Waits until the copier has copied what is recorded by now.
    pub async fn caught_up(&self) {
        let head = self.log.head().position;
        eventually(|| {
            let report = self.status.read();
            if report.position >= head && report.state == RoleState::Working {
                Ok(())
            } else {
                Err(format!("{report:?}, not {head}"))
            }
        })
        .await;
    }

    /// Kills the copier and stops the views.
    pub async fn stop(mut self) {
        self.running.shutdown().await;
        stop(self.thread).await;
    }
}

async fn stop(thread: ViewsThread) {
    tokio::task::spawn_blocking(move || thread.stop()).await.expect("stopped");
}

/// Tries until it succeeds.
pub async fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let began = std::time::Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(why) if began.elapsed() > LONG => panic!("{why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A database with what analysts read, as `ledgerway migrate` makes it, and its address.
pub async fn database() -> (TestDatabase, DatabaseAddress) {
    tokio::task::spawn_blocking(|| {
        let database = TestDatabase::create();
        let address = database.url().parse().expect("an address");
        migrate(&address).expect("the schemas are made");
        (database, address)
    })
    .await
    .expect("no panic")
}

/// The same, with a ledger.
pub async fn shared_database() -> (TestDatabase, DatabaseAddress) {
    let (database, address) = database().await;
    migrate_ledger(&address).await;
    (database, address)
}

/// Does the same as `ledgerway migrate`.
pub async fn migrate_ledger(address: &DatabaseAddress) {
    let address = address.clone();
    let migrated = tokio::task::spawn_blocking(move || {
        Log::migrate_shared(&address).expect("the ledger is made");
        migrate(&address).expect("the schemas are made");
    });
    migrated.await.expect("no panic");
}
