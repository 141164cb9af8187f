//! Whatever happens to prices and whenever the task is stopped, each request ends up with the value that a small model gives it.
//! The model values every request at once at every change of a price, and knows nothing of versions, pages and batches.

use std::collections::BTreeMap;

use events::event::admin::{Budget, Key, Model as FrontendModel, Origin, Price, Scope, Target};
use events::event::inference::{
    AttemptFailed, Backend, InferenceAdmitted, InferenceEnded, ReportedByFailedCall, Versions,
};
use events::event::{Actor, Chain, Change, Hold, Recorded};
use events::ids::{BudgetId, ModelId, PriceId, ProviderId, RequestId};
use events::ledger::{Admission, Charge, IfShort, Outcome};
use events::log::{Admitted, LogOptions, OpenHold};
use events::money::{GivenRates, NanoUsdPerMtok, PriceTier, Tiers, TokenRate, TokenRates};
use events::time::{ManualClock, Period, parse_rfc3339};
use events::usage::{ServiceTier, TokenClasses, Usage, UsageSource};
use events::verify::{Depth, verify};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

mod by_definition;

const BACKENDS: [&str; 2] = ["one", "two"];
const CHECK_OFTEN: Duration = Duration::from_millis(5);

fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

#[derive(Clone, Debug)]
enum Move {
    /// A price in nano-dollars a token that begins this many seconds ago.
    Create {
        backend: usize,
        nanos: i64,
        ago: i64,
        /// It is one that the gateway made itself.
        automatic: bool,
    },
    /// A change of one of the prices: of its rate, or of the time at which it begins.
    Change {
        price: usize,
        nanos: Option<i64>,
        ago: Option<i64>,
    },
    End {
        price: usize,
    },
    /// A request with tokens of this backend, and of a failed call to the other one before.
    Ask {
        backend: usize,
        tokens: u64,
        failed: Option<u64>,
    },
    /// A request that stays open until the end.
    Begin {
        backend: usize,
        tokens: u64,
    },
    Wait {
        seconds: u64,
    },
    /// The task runs for so long, and is dropped.
    Run {
        micros: u64,
    },
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let ago = || prop_oneof![Just(-40i64), Just(0), 2i64..100];
    let one = prop_oneof![
        2 => (0..2usize, 1i64..9, ago(), proptest::bool::weighted(0.3))
            .prop_map(|(backend, nanos, ago, automatic)| Move::Create { backend, nanos, ago, automatic }),
        3 => (0..9usize, proptest::option::of(1i64..9), proptest::option::of(ago()))
            .prop_map(|(price, nanos, ago)| Move::Change { price, nanos, ago }),
        1 => (0..9usize).prop_map(|price| Move::End { price }),
        6 => (0..2usize, 0u64..50, proptest::option::of(1u64..50))
            .prop_map(|(backend, tokens, failed)| Move::Ask { backend, tokens, failed }),
        1 => (0..2usize, 1u64..50).prop_map(|(backend, tokens)| Move::Begin { backend, tokens }),
        4 => (1u64..30).prop_map(|seconds| Move::Wait { seconds }),
        2 => (0u64..30_000).prop_map(|micros| Move::Run { micros }),
        1 => Just(Move::Restart),
    ];
    proptest::collection::vec(one, 5..50)
}

/// A price as the model knows it.
#[derive(Clone, Debug)]
struct ModelPrice {
    number: u128,
    backend: usize,
    nanos: i64,
    begins: DateTime<Utc>,
    automatic: bool,
    ended: Option<DateTime<Utc>>,
    /// When it was changed last, counted.
    changed: u64,
    events: u64,
}

#[derive(Clone, Debug)]
struct ModelRequest {
    number: u128,
    at: DateTime<Utc>,
    /// Backend and tokens of each call.
    calls: Vec<(usize, u64)>,
    value: i64,
}

#[derive(Default)]
struct Model {
    prices: Vec<ModelPrice>,
    requests: Vec<ModelRequest>,
    changes: u64,
    /// The changes that concern the past.
    past_changes: u64,
}

impl Model {
    /// The rate that a call at this time has, and which price and change it is of.
    fn rate(&self, backend: usize, at: DateTime<Utc>) -> Option<(i64, (u128, u64))> {
        let mut prices: Vec<&ModelPrice> = self.prices.iter().filter(|price| price.backend == backend).collect();
        prices.retain(|price| price.begins <= at && price.ended.is_none_or(|ended| at < ended));
        prices.sort_by_key(|price| (!price.automatic, price.begins, price.changed));
        prices.last().map(|price| (price.nanos, (price.number, price.changed)))
    }

    fn cost(&self, at: DateTime<Utc>, calls: &[(usize, u64)]) -> Option<i64> {
        let cost = |nanos, tokens: u64| Some(nanos * times_rate(tokens) * i64::try_from(tokens).ok()?);
        calls.iter().map(|(backend, tokens)| cost(self.rate(*backend, at)?.0, *tokens)).sum()
    }

    /// Changes the prices, and values the requests for which another price is in force than before, if they are concerned.
    fn change(&mut self, concerns_past: bool, change: impl FnOnce(&mut Vec<ModelPrice>, u64)) {
        let in_force = |model: &Self| -> Vec<Vec<Option<(u128, u64)>>> {
            let of = |request: &ModelRequest| {
                request.calls.iter().map(|(backend, _)| model.rate(*backend, request.at).map(|rate| rate.1)).collect()
            };
            model.requests.iter().map(of).collect()
        };
        let before = in_force(self);
        self.changes += 1;
        let changed = self.changes;
        change(&mut self.prices, changed);
        if !concerns_past {
            return;
        }
        self.past_changes += 1;
        let after = in_force(self);
        for index in 0..self.requests.len() {
            let ModelRequest { at, calls, .. } = &self.requests[index];
            if before[index] != after[index]
                && let Some(cost) = self.cost(*at, calls)
            {
                self.requests[index].value = cost;
            }
        }
    }
}

/// A request that was admitted.
struct Asked {
    hold: OpenHold,
    /// The call that answers it, then the one that fails before, if any.
    calls: Vec<Call>,
}

struct Call {
    backend: usize,
    tokens: u64,
    version: u64,
    cost: i64,
}

impl Asked {
    async fn answer(self) {
        let Self { hold, calls } = self;
        let (own, failed) = calls.split_first().unwrap();
        let cost_usd = NanoUsd::new(calls.iter().map(|call| call.cost).sum());
        let ended = InferenceEnded {
            backend: Some(served_by(own.backend)),
            usage: Some(used(own.tokens)),
            price_version: Some(own.version),
            attempts: Some(2),
            ..InferenceEnded::new("m".to_owned(), hold.admitted_at, cost_usd)
        };
        let attempts = failed.iter().map(failed_call).collect();
        hold.end(attempts, Outcome::Completed(Box::new(ended)), Charge::Settle(cost_usd)).await.unwrap();
    }
}

struct Lab {
    folder: TempDir,
    manual: Arc<ManualClock>,
    clock: Arc<dyn Clock>,
    log: Log,
    /// The newest position of each price's state.
    versions: BTreeMap<u128, u64>,
    model_version: u64,
    key_version: u64,
    model: Model,
    open: Vec<Asked>,
}

impl Lab {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manual = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T08:00:00Z").unwrap()));
        let clock: Arc<dyn Clock> = manual.clone();
        let log = Log::open(folder.path(), options(&clock)).unwrap();
        let targets = BACKENDS.iter().map(|model| Target::new(id(1), *model)).collect();
        let frontend = Event::from(Change::created(FrontendModel::new(id(1), "m", targets)));
        let model_version = append(&log, Stream::new(StreamKind::Model, id::<ModelId>(1)), 0, frontend).await;
        let key = Event::from(Change::created(Key::new(id(1), id(1), "app")));
        let key_version = append(&log, Stream::new(StreamKind::Key, id::<events::ids::KeyId>(1)), 0, key).await;
        let budget = Budget::new(id(1), Scope::Tenant(id(1)), NanoUsd::new(1_000_000_000), Period::Day);
        let stream = Stream::new(StreamKind::Budget, id::<BudgetId>(1));
        append(&log, stream, 0, Event::from(Change::created(budget))).await;
        let (versions, model) = (BTreeMap::new(), Model::default());
        Self { folder, manual, clock, log, versions, model_version, key_version, model, open: Vec::new() }
    }

    async fn make(&mut self, one: &Move) {
        let now = self.clock.now();
        match *one {
            Move::Create { backend, nanos, ago, automatic } => {
                self.create(backend, nanos, now - TimeDelta::seconds(ago), automatic).await;
            }
            Move::Change { price, nanos, ago } => {
                self.change(price, nanos, ago.map(|ago| now - TimeDelta::seconds(ago))).await;
            }
            Move::End { price } => self.end_price(price).await,
            Move::Ask { backend, tokens, failed } => {
                if let Some(asked) = self.ask(backend, tokens, failed).await {
                    asked.answer().await;
                }
            }
            Move::Begin { backend, tokens } => {
                let asked = self.ask(backend, tokens, None).await;
                self.open.extend(asked);
            }
            Move::Wait { seconds } => self.manual.advance(Duration::from_secs(seconds)),
            Move::Run { micros } => {
                let run = follow(self.log.clone(), Arc::clone(&self.clock));
                let _ = tokio::time::timeout(Duration::from_micros(micros), run).await;
            }
            // The holds that are open belong to the log that is closed.
            Move::Restart if self.open.is_empty() => self.restart(),
            Move::Restart => {}
        }
    }

    fn restart(&mut self) {
        self.log.close();
        self.log = Log::open(self.folder.path(), options(&self.clock)).unwrap();
    }

    async fn create(&mut self, backend: usize, nanos: i64, begins: DateTime<Utc>, automatic: bool) {
        let number = self.model.prices.len() as u128 + 1;
        let price = ModelPrice { number, backend, nanos, begins, automatic, ended: None, changed: 0, events: 1 };
        self.record_price(&price, 0, Change::created).await;
        let had_one = self.model.prices.iter().any(|other| other.backend == backend);
        let is_past = had_one && !automatic && begins + TimeDelta::seconds(1) < self.clock.now();
        self.model.change(is_past, |prices, changed| prices.push(ModelPrice { changed, ..price }));
    }

    async fn change(&mut self, number: usize, nanos: Option<i64>, begins: Option<DateTime<Utc>>) {
        let Some((index, before)) = self.live(number) else { return };
        let now = self.clock.now();
        let mut price = before.clone();
        price.nanos = nanos.unwrap_or(price.nanos);
        price.begins = begins.unwrap_or(price.begins);
        price.events += 1;
        self.record_price(&price, before.events, Change::changed).await;
        let is_another = (price.nanos, price.begins) != (before.nanos, before.begins);
        let is_past = is_another && !price.automatic && price.begins.min(before.begins) < now;
        let replace = |prices: &mut Vec<ModelPrice>, changed| prices[index] = ModelPrice { changed, ..price };
        self.model.change(is_past, replace);
    }

    async fn end_price(&mut self, number: usize) {
        let Some((index, price)) = self.live(number) else { return };
        let price_id: PriceId = id(price.number);
        let event = Event::Resource(Resource::Price(Change::Ended(price_id)));
        append(&self.log, Stream::new(StreamKind::Price, price_id), price.events, event).await;
        let now = self.clock.now();
        self.model.change(false, |prices, _| prices[index].ended = Some(now));
    }

    /// A price that has not ended, by any number.
    fn live(&self, number: usize) -> Option<(usize, ModelPrice)> {
        let index = number.checked_rem(self.model.prices.len())?;
        self.model.prices.get(index).filter(|price| price.ended.is_none()).map(|price| (index, price.clone()))
    }

    async fn record_price(&mut self, price: &ModelPrice, before: u64, change: impl FnOnce(Price) -> Change<Price>) {
        let price_id: PriceId = id(price.number);
        let state = Price::new((price_id, id(1)), BACKENDS[price.backend], rates(price.nanos), price.begins);
        let state = Price { origin: price.automatic.then_some(Origin::Catalogue), ..state };
        let stream = Stream::new(StreamKind::Price, price_id);
        let version = append(&self.log, stream, before, Event::from(change(state))).await;
        self.versions.insert(price.number, version);
    }

    /// The versions of the prices in force, by backend.
    fn prices(&self) -> [Option<u64>; 2] {
        [0, 1].map(|backend| {
            let (_, (number, _)) = self.model.rate(backend, self.clock.now())?;
            self.versions.get(&number).copied()
        })
    }

    /// Admits a request, which enters the model at the prices that are in force. `None` if its backend has none.
    async fn ask(&mut self, backend: usize, tokens: u64, failed: Option<u64>) -> Option<Asked> {
        self.ask_at(self.prices(), backend, tokens, failed).await
    }

    async fn ask_at(
        &mut self,
        prices: [Option<u64>; 2],
        backend: usize,
        tokens: u64,
        failed: Option<u64>,
    ) -> Option<Asked> {
        let calls: Vec<Call> = [(Some(tokens), backend), (failed, 1 - backend)]
            .into_iter()
            .filter_map(|(tokens, backend)| {
                let (tokens, version) = (tokens?, prices[backend]?);
                Some(Call { backend, tokens, version, cost: self.charged(version, tokens) })
            })
            .collect();
        if calls.first()?.backend != backend {
            return None;
        }
        let hold = self.admit(prices).await;
        let value = calls.iter().map(|call| call.cost).sum();
        let of_model = calls.iter().map(|call| (call.backend, call.tokens)).collect();
        let number = self.model.requests.len() as u128 + 1;
        self.model.requests.push(ModelRequest { number, at: hold.admitted_at, calls: of_model, value });
        Some(Asked { hold, calls })
    }

    async fn admit(&self, prices: [Option<u64>; 2]) -> OpenHold {
        let request_id: RequestId = id(self.model.requests.len() as u128 + 1);
        let named = |(name, version): (&&str, Option<u64>)| Some((format!("{}/{name}", id::<ProviderId>(1)), version?));
        let versions = Versions {
            model: self.model_version,
            key: Some(self.key_version),
            prices: BACKENDS.iter().zip(prices).filter_map(named).collect(),
            ..Versions::default()
        };
        let admitted = InferenceAdmitted {
            model: "m".to_owned(),
            dialect: "native".to_owned(),
            streamed: false,
            max_output_tokens: 100,
            requested_max_output_tokens: None,
            input_tokens_bound: 100,
            body_sha256: "00".to_owned(),
            metadata: BTreeMap::new(),
            versions,
            would_have_refused: Vec::new(),
        };
        let chain = Chain { partner: Some(id(1)), tenant: Some(id(1)), user: Some(id(1)), key: Some(id(1)) };
        let admission = Admission {
            request_id,
            context: Context::about(Actor::Key(id(1)), chain).in_request(request_id),
            planned_at: u64::MAX,
            held: NanoUsd::new(1_000),
            ttl: Duration::from_secs(100_000),
            if_short: IfShort::Refuse,
            admitted: Box::new(admitted),
        };
        match self.log.admit(admission, None).await.unwrap() {
            Admitted::Hold(hold) => hold,
            other => panic!("there is money: {other:?}"),
        }
    }

    /// The cost by a version, as its event has it.
    fn charged(&self, version: u64, tokens: u64) -> i64 {
        let price = self.log.reader().unwrap().at(&[version]).unwrap().remove(&version).unwrap();
        let Event::Resource(Resource::Price(change)) = price.event else { panic!("a price") };
        change.state().unwrap().tariff.cost(&used(tokens).tokens, used(tokens).service_tier).unwrap().nanos()
    }

    fn events(&self) -> Vec<Recorded> {
        self.log.reader().unwrap().after(0, 100_000).unwrap()
    }

    /// Runs the task until every change that concerns the past is complete.
    async fn finish(&mut self) {
        self.complete(self.model.past_changes).await;
    }

    /// Runs the task until so many changes are complete.
    async fn complete(&mut self, changes: u64) {
        let revalued = |log: &Log| {
            let events = log.reader().unwrap().after(0, 100_000).unwrap();
            events.iter().filter(|recorded| recorded.event.name() == "price.revalued").count() as u64
        };
        let mut revaluer = Revaluer::new(&self.log, &self.clock, CHECK_OFTEN);
        let wait = async {
            while revalued(&self.log) < changes {
                self.manual.advance(Duration::from_secs(20));
                tokio::time::sleep(CHECK_OFTEN).await;
            }
        };
        tokio::select! {
            ended = revaluer.run() => panic!("{ended:?}"),
            done = tokio::time::timeout(Duration::from_secs(20), wait) => done.expect("in time"),
        }
        assert_eq!(revalued(&self.log), changes, "once for each change");
    }

    /// What each request was charged, and the versions that corrected it.
    fn charges(&self) -> BTreeMap<RequestId, (i64, Vec<u64>)> {
        let mut charges: BTreeMap<RequestId, (i64, Vec<u64>)> = BTreeMap::new();
        for recorded in self.events() {
            let Some(request) = recorded.context.request_id else { continue };
            match &recorded.event {
                Event::Hold(Hold::Settled(settled)) => {
                    charges.insert(request, (settled.charged_usd.nanos(), Vec::new()));
                }
                Event::Hold(Hold::Adjusted(adjusted)) => {
                    let (charged, versions) = charges.get_mut(&request).unwrap();
                    *charged += adjusted.delta_usd.nanos();
                    let price = adjusted.price.unwrap();
                    assert_eq!(price.cost_usd.nanos(), *charged);
                    versions.push(price.version);
                }
                _ => {}
            }
        }
        charges
    }

    fn check(&self) {
        let charges = self.charges();
        let mut sum = 0;
        for ModelRequest { number, value, at, .. } in &self.model.requests {
            let (charged, versions) = &charges[&id::<RequestId>(*number)];
            assert_eq!(charged, value, "request {number}, admitted at {at}, corrected by {versions:?}");
            assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
            sum += value;
        }
        let (_, balances) = self.log.reader().unwrap().balances(self.clock.now()).unwrap();
        let settled: i128 = balances.windows().map(|(_, amounts)| amounts.settled.nanos()).sum();
        assert_eq!(settled, i128::from(sum), "the budget has what was charged");
        let sound = verify(&*self.log.reader().unwrap(), Depth::Gateway, &mut |_, _| {});
        sound.unwrap_or_else(|error| panic!("{error}"));
    }
}

fn options(clock: &Arc<dyn Clock>) -> LogOptions {
    LogOptions::new(Arc::clone(clock))
}

async fn append(log: &Log, stream: Stream, expected_sequence: u64, event: Event) -> u64 {
    let append = Append {
        stream,
        expected_sequence,
        events: vec![event],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.unwrap().last
}

fn served_by(backend: usize) -> Backend {
    let (provider, model) = ("p".to_owned(), BACKENDS[backend].to_owned());
    Backend { provider_id: id(1), provider, model, provider_key_id: None }
}

/// Of every five numbers of tokens, one is of a request that the flex tier served.
fn used(tokens: u64) -> Usage {
    let service_tier = is_flex(tokens).then_some(ServiceTier::Flex);
    let tokens = TokenClasses { input_uncached_tokens: tokens, ..TokenClasses::default() };
    Usage { service_tier, ..Usage::new(tokens, UsageSource::Provider) }
}

const LONG: u64 = 25;

const fn is_flex(tokens: u64) -> bool {
    tokens % 5 == 3
}

/// How many times its rate a price has for a request.
const fn times_rate(tokens: u64) -> i64 {
    match (tokens > LONG, is_flex(tokens)) {
        (false, false) => 1,
        (true, false) => 2,
        (false, true) => 3,
        (true, true) => 4,
    }
}

/// Prices of this many nano-dollars a token, with tiers.
fn rates(nanos: i64) -> GivenRates {
    let rate = |times: i64| NanoUsdPerMtok::new(NanoUsd::new(times * nanos * 1_000_000)).unwrap();
    let tier = |above_input_tokens, service_tier, times| {
        let rates = TokenRates::default().with(TokenRate::Input, rate(times));
        PriceTier { above_input_tokens, service_tier, rates }
    };
    let flex = Some(ServiceTier::Flex);
    let tiers = vec![tier(Some(LONG), None, 2), tier(None, flex, 3), tier(Some(LONG), flex, 4)];
    GivenRates { tiers: Tiers::new(tiers).unwrap(), ..GivenRates::new(rate(1), rate(9)) }
}

fn failed_call(call: &Call) -> AttemptFailed {
    AttemptFailed {
        backend: served_by(call.backend),
        attempt: 1,
        reason: "in_band_error".to_owned(),
        status: None,
        upstream_code: None,
        latency_ms: 1,
        reported: ReportedByFailedCall {
            usage: Some(used(call.tokens)),
            provider_usage: None,
            cost_usd: Some(NanoUsd::new(call.cost)),
            price_version: Some(call.version),
        },
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Makes the moves, and checks that each request has the value of the model in the end. Returns the values.
fn play(moves: &[Move]) -> Vec<i64> {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        for one in moves {
            lab.make(one).await;
        }
        for asked in std::mem::take(&mut lab.open) {
            asked.answer().await;
        }
        lab.finish().await;
        lab.check();
        lab.log.close();
        lab.model.requests.iter().map(|request| request.value).collect()
    })
}

/// Holds: event.revaluation
#[test]
fn after_any_changes_and_stops_each_request_has_the_value_of_the_model() {
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&moves(), |moves| {
        play(&moves);
        Ok(())
    });
    ran.unwrap();
}

const CREATE: Move = Move::Create { backend: 0, nanos: 2, ago: 0, automatic: false };
const ASK: Move = Move::Ask { backend: 0, tokens: 10, failed: None };
const WAIT: Move = Move::Wait { seconds: 5 };
const RUN: Move = Move::Run { micros: 200_000 };

const fn change_rate(nanos: i64) -> Move {
    Move::Change { price: 0, nanos: Some(nanos), ago: None }
}

#[test]
fn without_a_price_it_keeps_the_value_that_it_had_whenever_the_task_ran() {
    let begins_later = Move::Change { price: 0, nanos: None, ago: Some(-40) };
    assert_eq!(play(&[CREATE, ASK, WAIT, change_rate(3), begins_later.clone()]), [30]);
    assert_eq!(play(&[CREATE, ASK, WAIT, change_rate(3), RUN, begins_later]), [30]);
}

/// Holds: admin.price-corrections
#[test]
fn what_a_price_was_in_force_for_stays_at_it_when_it_ends() {
    let dearer = Move::Create { backend: 0, nanos: 7, ago: 0, automatic: false };
    assert_eq!(play(&[CREATE, WAIT, dearer, WAIT, ASK, WAIT, Move::End { price: 1 }, ASK, change_rate(3)]), [70, 30]);
}

/// One that the gateway made itself, which says what requests cost from its event on.
#[test]
fn a_price_of_the_catalogue_corrects_nothing_and_yields_to_one_with_a_date_in_the_past() {
    let listed = |nanos, ago| Move::Create { backend: 0, nanos, ago, automatic: true };
    let own = Move::Create { backend: 0, nanos: 5, ago: 20, automatic: false };
    assert_eq!(play(&[listed(2, 0), ASK, WAIT, listed(3, 20), change_rate(4), WAIT, ASK]), [20, 40]);
    assert_eq!(play(&[listed(2, 0), ASK, WAIT, own, ASK]), [50, 50]);
}

#[test]
fn a_request_is_corrected_in_the_tier_that_priced_it() {
    let long_flex = Move::Ask { backend: 0, tokens: 28, failed: None };
    assert_eq!(play(&[CREATE, ASK, long_flex, WAIT, change_rate(3)]), [30, 28 * 12]);
}

#[test]
fn a_failed_call_is_valued_with_its_request_and_by_its_own_backend() {
    let other = Move::Create { backend: 1, nanos: 5, ago: 0, automatic: false };
    let asked = Move::Ask { backend: 0, tokens: 10, failed: Some(4) };
    assert_eq!(play(&[CREATE, other, asked, WAIT, Move::Change { price: 1, nanos: Some(6), ago: None }]), [44]);
}

#[test]
fn a_price_that_begins_now_or_later_and_a_change_of_nothing_concern_nothing() {
    let later = Move::Create { backend: 0, nanos: 9, ago: -40, automatic: false };
    let now = Move::Create { backend: 0, nanos: 8, ago: 0, automatic: false };
    let same = Move::Change { price: 0, nanos: Some(2), ago: None };
    assert_eq!(play(&[CREATE, ASK, WAIT, later, now, same]), [20]);
}

#[test]
fn a_request_that_was_planned_before_the_change_and_admitted_after_it_is_corrected() {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        for one in [CREATE, WAIT] {
            lab.make(&one).await;
        }
        let planned = lab.prices();
        for one in [change_rate(3), WAIT] {
            lab.make(&one).await;
        }
        let asked = lab.ask_at(planned, 0, 10, None).await.unwrap();
        assert_eq!(lab.model.requests[0].value, 20, "it is charged as it was planned");
        lab.model.requests[0].value = 30;
        lab.make(&ASK).await;
        lab.make(&RUN).await;
        asked.answer().await;
        lab.finish().await;
        lab.check();
    });
}

/// The later of two changes is complete, and has found a request at its value, before the earlier one is.
#[test]
fn an_earlier_change_does_not_undo_a_later_one_that_had_nothing_to_correct() {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        let runs = Move::Begin { backend: 0, tokens: 10 };
        let as_at_first = Move::Create { backend: 0, nanos: 2, ago: 7, automatic: false };
        for one in [CREATE, runs, WAIT, WAIT, ASK, WAIT, change_rate(3), as_at_first] {
            lab.make(&one).await;
        }
        lab.complete(1).await;
        lab.open.pop().unwrap().answer().await;
        lab.finish().await;
        lab.check();
        let values: Vec<i64> = lab.model.requests.iter().map(|request| request.value).collect();
        assert_eq!(values, [30, 20]);
    });
}

/// An earlier version promised that a change of a price concerns later requests alone.
#[test]
fn changes_up_to_the_position_where_re_valuing_begins_concern_nothing_before_them() {
    runtime().block_on(async {
        let mut lab = Lab::new().await;
        for one in [CREATE, ASK, WAIT, change_rate(3)] {
            lab.make(&one).await;
        }
        let events = lab.events();
        let pending_after = |begins_after| {
            let mut prices = PriceHistory::new(begins_after);
            events.iter().for_each(|recorded| prices.fold(recorded));
            prices.pending().count()
        };
        let change = events.last().unwrap().position;
        assert_eq!((pending_after(0), pending_after(change - 1), pending_after(change)), (1, 1, 0));
    });
}
