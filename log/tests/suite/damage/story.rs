//! The log that a gateway writes in a day and a second.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::access::AccessDenied;
use events::event::admin::{Key, Model, Price, Scope, Target};
use events::event::hold::{CorrectedRequest, CorrectedValue};
use events::event::inference::{AttemptFailed, Backend, InferenceEnded, ReportedByFailedCall, Versions};
use events::event::price_revalued::PriceRevalued;
use events::event::{Access, Actor, Change, Context, Event, Resource, Stream, StreamKind};
use events::ids::{BudgetId, ProviderId, RequestId};
use events::ledger::{Admission, Charge, Outcome, RefusedRequest, Revaluation};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, Tariff};
use events::refusal::{ErrorCode, Refusal};
use events::time::{ManualClock, Period};
use events::usage::{TokenClasses, Usage, UsageSource};
use events_log::{Admitted, Log, LogOptions, Note, OpenHold, open_reader};
use tempfile::TempDir;

use crate::facts::{admission, append, budget, clock, context, ended, id, opened, start};

const TTL: Duration = Duration::from_secs(60);
/// The amount of every hold.
const HELD: i64 = 100;

/// A folder with the log, and the positions of its events.
pub struct SampleLog {
    pub folder: TempDir,
    pub head: u64,
    pub price: u64,
    pub other_price: u64,
    /// The opening of the tenant's budget.
    pub budget: u64,
    /// The key's budget, which is changed later.
    pub changed_budget: BudgetId,
    /// The first of two denials of access.
    pub access: u64,
    /// The four consecutive events of a request.
    pub admitted: u64,
    pub completed: u64,
    /// The outcome of a request, right after its only attempt, which failed.
    pub failed: u64,
    /// A failed call for which the provider reported usage, right before its request's outcome.
    pub reported: u64,
    pub corrections: Corrections,
    /// A settlement that exceeds its hold.
    pub overrun: u64,
    pub reserved_to_expire: u64,
    /// The end of the hold, right after its outcome.
    pub expired: u64,
    pub adjusted: u64,
    pub refused: u64,
    pub admitted_after_change: u64,
    pub open_request: RequestId,
    pub other_tenant: String,
    pub other_key: String,
}

/// Positions of two changes of the price, and of what followed.
pub struct Corrections {
    pub changed: u64,
    /// The corrections of one request: by the first change, and by the second.
    pub first: u64,
    pub second: u64,
    /// The correction of the request with a failed call.
    pub of_two_calls: u64,
    /// The end of the corrections by the first change.
    pub revalued: u64,
}

/// The log while it is written.
struct Gateway {
    log: Log,
    clock: Arc<ManualClock>,
    model: u64,
    key: u64,
    price: u64,
}

impl SampleLog {
    pub async fn whole() -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = clock();
        let log = Log::open(folder.path(), LogOptions::new(clock.clone())).expect("the log opens");
        let (price, other_price) = (create(&log, 1, priced("echo")).await, create(&log, 2, priced("dearer")).await);
        let (model, key) = (create(&log, 1, model()).await, create(&log, 1, a_key()).await);
        let tenants = opened(budget(1, Scope::Tenant(id(1)), 1000, Period::Day));
        let (budget_at, _) = (create(&log, 1, tenants).await, create(&log, 2, keys_budget(1000)).await);
        let gateway = Gateway { log, clock, model, key, price };
        let access = gateway.deny().await + 1;
        gateway.deny().await;
        let (admitted, completed) = gateway.completes(1, 70).await;
        let failed = gateway.fails(2).await;
        let overrun = gateway.completes(3, 130).await.1 + 1;
        gateway.gives_up(4, 5).await;
        let refused = gateway.is_refused(6).await;
        let (reserved_to_expire, expired, adjusted) = gateway.expires_and_is_corrected(7).await;
        gateway.budgets_come_and_go().await;
        let admitted_after_change = gateway.completes(8, 10).await.0;
        gateway.goes_past_midnight(9).await;
        std::mem::forget(gateway.admit(10).await);
        gateway.completes(11, 1).await;
        let reported = gateway.answers_after_a_failed_call(12).await;
        let corrections = gateway.corrects_its_price().await;
        gateway.deny().await;
        gateway.log.close();
        Self {
            head: gateway.log.head().position,
            folder,
            price,
            other_price,
            budget: budget_at,
            changed_budget: id(2),
            access,
            admitted,
            completed,
            failed,
            reported,
            corrections,
            overrun,
            reserved_to_expire,
            expired,
            adjusted,
            refused,
            admitted_after_change,
            open_request: id(10),
            other_tenant: id::<events::ids::TenantId>(99).to_string(),
            other_key: id::<events::ids::KeyId>(99).to_string(),
        }
    }

    /// The types of its events.
    pub fn types(&self) -> Vec<&'static str> {
        let reader = open_reader(&self.folder.path().join(events_log::LEDGER_FILE)).expect("the ledger opens");
        let events = reader.after(0, 1000).expect("the log reads");
        events.iter().map(|recorded| recorded.event.name()).collect()
    }
}

/// Records forty-five refusals in one second: twenty in that second, twenty in the next, and five as one event.
pub async fn a_flood_of_refusals(folder: &Path) {
    let log = Log::open(folder, LogOptions::new(clock())).expect("the log opens");
    let mut refused = tokio::task::JoinSet::new();
    for request in 0..45 {
        let (log, refusal) = (log.clone(), Refusal::new(ErrorCode::ModelNotFound, "no such model"));
        let (request_id, model) = (id(request), "m".to_owned());
        let context = context(1).in_request(request_id);
        refused.spawn(async move {
            log.refuse(RefusedRequest { request_id, context, model, scoped_by: None, refusal }).await
        });
    }
    refused.join_all().await;
    log.close();
}

impl Gateway {
    async fn admit(&self, request: u128) -> OpenHold {
        match self.log.admit(self.asked(request, HELD), None).await.expect("the ledger answers") {
            Admitted::Hold(hold) => hold,
            other => panic!("{other:?}"),
        }
    }

    fn asked(&self, request: u128, held: i64) -> Admission {
        let mut admission = admission(request, 1, held, TTL);
        admission.admitted.versions = Versions {
            model: self.model,
            key: Some(self.key),
            prices: [(format!("{}/echo", provider()), self.price)].into(),
            ..Versions::default()
        };
        admission
    }

    /// Returns the positions of its admission and its outcome.
    async fn completes(&self, request: u128, tokens: u64) -> (u64, u64) {
        let hold = self.admit(request).await;
        let admitted = hold.admitted_position;
        (admitted, self.answers(hold, tokens).await - 1)
    }

    /// Each token costs a nano-dollar.
    async fn answers(&self, hold: OpenHold, tokens: u64) -> u64 {
        let ended = self.used(&hold, tokens, UsageSource::Provider);
        let charge = Charge::Settle(ended.cost_usd);
        hold.end(Vec::new(), Outcome::Completed(ended), charge).await.expect("recorded").position
    }

    fn used(&self, hold: &OpenHold, tokens: u64, source: UsageSource) -> Box<InferenceEnded> {
        let classes = TokenClasses { output_text_tokens: tokens, ..TokenClasses::default() };
        Box::new(InferenceEnded {
            admitted_at: hold.admitted_at,
            backend: Some(backend()),
            usage: Some(Usage::new(classes, source)),
            price_version: Some(self.price),
            attempts: Some(1),
            ..*ended(i64::try_from(tokens).expect("few"))
        })
    }

    /// Returns the position of its outcome.
    async fn fails(&self, request: u128) -> u64 {
        let hold = self.admit(request).await;
        let attempt = AttemptFailed {
            backend: backend(),
            attempt: 1,
            reason: "status".to_owned(),
            status: Some(503),
            upstream_code: None,
            latency_ms: 1,
            reported: ReportedByFailedCall::default(),
        };
        let ended = Box::new(InferenceEnded { admitted_at: hold.admitted_at, attempts: Some(1), ..*ended(0) });
        let charge = Charge::Release { reason: "status".to_owned() };
        hold.end(vec![attempt], Outcome::Failed(ended), charge).await.expect("recorded").position - 1
    }

    /// Returns the position of the failed call. It reported 20 tokens, and the answer 10.
    async fn answers_after_a_failed_call(&self, request: u128) -> u64 {
        let hold = self.admit(request).await;
        let used = self.used(&hold, 20, UsageSource::Provider);
        let reported = ReportedByFailedCall {
            usage: used.usage,
            provider_usage: None,
            cost_usd: Some(used.cost_usd),
            price_version: used.price_version,
        };
        let attempt = AttemptFailed {
            backend: backend(),
            attempt: 1,
            reason: "in_band_error".to_owned(),
            status: None,
            upstream_code: None,
            latency_ms: 1,
            reported,
        };
        let cost_usd = NanoUsd::new(30);
        let ended = self.used(&hold, 10, UsageSource::Provider);
        let ended = Box::new(InferenceEnded { cost_usd, attempts: Some(2), ..*ended });
        let ended = hold.end(vec![attempt], Outcome::Completed(ended), Charge::Settle(cost_usd)).await;
        ended.expect("recorded").position - 2
    }

    /// A token costs two nano-dollars from the beginning, then three.
    async fn corrects_its_price(&self) -> Corrections {
        let changed = self.changes_its_price(1, 2).await;
        let first = self.is_corrected(8, changed, 20).await;
        let of_two_calls = self.is_corrected(12, changed, 60).await;
        let revalued =
            PriceRevalued { price_id: id(1), version: changed, requests: 2, delta_usd: Some(NanoUsd::new(40)) };
        let stream = Stream::new(StreamKind::Revaluation, revalued.price_id);
        let event = Event::Resource(Resource::PriceRevalued(Box::new(revalued)));
        self.log.note(vec![Note { stream, context: context(1), event }]).await.expect("noted");
        let revalued = self.log.head().position;
        let again = self.changes_its_price(2, 3).await;
        let second = self.is_corrected(8, again, 30).await;
        Corrections { changed, first, second, of_two_calls, revalued }
    }

    /// Returns the position of the change, before which the price had this many events.
    async fn changes_its_price(&self, before: u64, nanos: i64) -> u64 {
        let Event::Resource(Resource::Price(Change::Created(mut price))) = priced("echo") else { panic!("a price") };
        let per_token = NanoUsdPerMtok::new(NanoUsd::new(nanos * 1_000_000)).expect("not negative");
        price.tariff = Tariff::new(GivenRates::new(per_token, per_token));
        let stream = Stream::new(StreamKind::Price, price.price_id);
        let changed = append(StreamKind::Budget, id(1), before, Event::from(Change::Changed(price)));
        self.log.append(events_log::Append { stream, ..changed }).await.expect("changed").last
    }

    async fn is_corrected(&self, request: u128, version: u64, cost: i64) -> u64 {
        let request_id = id(request);
        let context = Context { actor: Actor::System("revaluation"), ..context(1).in_request(request_id) };
        let value = CorrectedValue { version, cost_usd: NanoUsd::new(cost) };
        let request = CorrectedRequest { model: "m".to_owned(), backend: None, payer: None };
        let revalued =
            self.log.revalue(vec![Revaluation { request_id, context, value, request }]).await.expect("recorded");
        revalued.last.expect("a correction")
    }

    /// One request cancelled before it was sent, and one in the middle of its answer.
    async fn gives_up(&self, unsent: u128, half: u128) {
        let before = self.log.head().position;
        drop(self.admit(unsent).await);
        self.reaches(before + 4).await;
        let hold = self.admit(half).await;
        let ended = self.used(&hold, 30, UsageSource::Counted);
        let charge = Charge::Settle(ended.cost_usd);
        hold.end(Vec::new(), Outcome::Aborted(ended), charge).await.expect("recorded");
    }

    /// Returns the position of the refusal.
    async fn is_refused(&self, request: u128) -> u64 {
        match self.log.admit(self.asked(request, 5000), None).await.expect("the ledger answers") {
            Admitted::Refused(refusal) => refusal.position.expect("a position"),
            other => panic!("there is no such money: {other:?}"),
        }
    }

    /// Returns the positions of the hold, of its end and of the adjustment.
    async fn expires_and_is_corrected(&self, request: u128) -> (u64, u64, u64) {
        let hold = self.admit(request).await;
        let admitted = hold.admitted_position;
        self.clock.advance(TTL + Duration::from_secs(1));
        self.reaches(admitted + 3).await;
        let adjusted = self.answers(hold, 40).await;
        (admitted + 1, admitted + 3, adjusted)
    }

    async fn budgets_come_and_go(&self) {
        let changed = Event::from(Change::changed(budget(2, Scope::Key(id(1)), 2000, Period::Week)));
        let append_to = |number, before, event| append(StreamKind::Budget, id(number), before, event);
        self.log.append(append_to(2, 1, changed)).await.expect("changed");
        create(&self.log, 3, opened(budget(3, Scope::User(id(1)), 5000, Period::Total))).await;
        self.completes(20, 5).await;
        let closed = Event::Resource(Resource::Budget(Change::Ended(id(3))));
        self.log.append(append_to(3, 1, closed)).await.expect("closed");
    }

    /// Held on one day, charged to it on the next.
    async fn goes_past_midnight(&self, request: u128) {
        self.clock.advance(Duration::from_secs(57_500));
        let hold = self.admit(request).await;
        self.clock.advance(Duration::from_secs(50));
        self.completes(21, 5).await;
        self.answers(hold, 50).await;
        self.clock.advance(Duration::from_secs(86_400));
        self.completes(22, 5).await;
    }

    /// Returns the position before it.
    async fn deny(&self) -> u64 {
        let before = self.log.head().position;
        let denied = AccessDenied { code: ErrorCode::Unauthenticated, count: 3 };
        let stream = Stream::new(StreamKind::Access, "anonymous");
        let event = Event::Access(Access::Denied(Box::new(denied)));
        self.log.note(vec![Note { stream, context: context(1), event }]).await.expect("noted");
        before
    }

    async fn reaches(&self, position: u64) {
        let mut head = self.log.watch_head();
        let reached = head.wait_for(|head| head.position >= position);
        tokio::time::timeout(Duration::from_secs(10), reached).await.expect("in time").expect("a head");
    }
}

/// Records the first event of a resource, and returns its position.
async fn create(log: &Log, number: u128, event: Event) -> u64 {
    let kind = match &event {
        Event::Resource(Resource::Price(Change::Created(_))) => {
            Stream::new(StreamKind::Price, id::<events::ids::PriceId>(number))
        }
        Event::Resource(Resource::Model(Change::Created(_))) => {
            Stream::new(StreamKind::Model, id::<events::ids::ModelId>(number))
        }
        Event::Resource(Resource::Key(Change::Created(_))) => {
            Stream::new(StreamKind::Key, id::<events::ids::KeyId>(number))
        }
        _ => Stream::new(StreamKind::Budget, id::<BudgetId>(number)),
    };
    let append = events_log::Append { stream: kind, ..append(StreamKind::Budget, id(number), 0, event) };
    log.append(append).await.expect("a resource is created").last
}

fn provider() -> ProviderId {
    id(1)
}

fn backend() -> Backend {
    Backend { provider_id: provider(), provider: "sim".to_owned(), model: "echo".to_owned(), provider_key_id: None }
}

/// One nano-dollar per token.
fn priced(model: &str) -> Event {
    let per_mtok = NanoUsdPerMtok::new(NanoUsd::new(1_000_000)).expect("not negative");
    let effective_from: DateTime<Utc> = start();
    let price_id = id(if model == "echo" { 1 } else { 2 });
    let price = Price::new(price_id, provider(), model, GivenRates::new(per_mtok, per_mtok), effective_from);
    Event::from(Change::created(Price { tariff: price.tariff.clone().as_first_recorded(), ..price }))
}

fn model() -> Event {
    let target = Target::new(provider(), "echo");
    Event::from(Change::created(Model::new(id(1), "m", vec![target])))
}

fn a_key() -> Event {
    Event::from(Change::created(Key::new(id(1), id(1), "app")))
}

fn keys_budget(limit: i64) -> Event {
    opened(budget(2, Scope::Key(id(1)), limit, Period::Day))
}
