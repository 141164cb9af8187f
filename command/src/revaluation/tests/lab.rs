//! A log with prices and requests, the task that re-values them, and the model that says what should become of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::{Budget, Key, Model, Origin, Price, Scope, Target};
use events::event::inference::{InferenceEnded, Versions};
use events::event::{Actor, Chain, Change, Context, Event, Hold, Recorded, Resource, Stream, StreamKind};
use events::ids::{BudgetId, KeyId, ModelId, PriceId, ProviderId, RequestId};
use events::ledger::{Admission, AdmissionBounds, Charge, IfShort, Outcome};
use events::money::NanoUsd;
use events::time::{Clock, ManualClock, Period, parse_rfc3339};
use events_log::verify::{Depth, verify};
use events_log::{Admitted, Append, Basis, Log, LogOptions, OpenHold};
use tempfile::TempDir;

use super::Move;
use super::reference_model::{ModelPrice, ModelRequest, ReferenceModel};
use super::samples::{BACKENDS, Call, admitted, failed_call, id, rates, served_by, used};
use crate::revaluation::{Revaluer, follow};

const CHECK_OFTEN: Duration = Duration::from_millis(5);

/// A request that was admitted.
pub(super) struct AdmittedRequest {
    hold: OpenHold,
    /// The call that answers it, then the one that fails before, if any.
    calls: Vec<Call>,
}

impl AdmittedRequest {
    pub(super) async fn answer(self) {
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

pub(super) struct Lab {
    folder: TempDir,
    manual: Arc<ManualClock>,
    clock: Arc<dyn Clock>,
    pub(super) log: Log,
    /// The newest position of each price's state.
    versions: BTreeMap<u128, u64>,
    model_version: u64,
    key_version: u64,
    pub(super) model: ReferenceModel,
    pub(super) open: Vec<AdmittedRequest>,
}

impl Lab {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manual = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T08:00:00Z").unwrap()));
        let clock: Arc<dyn Clock> = manual.clone();
        let log = Log::open(folder.path(), options(&clock)).unwrap();
        let targets = BACKENDS.iter().map(|model| Target::new(id(1), *model)).collect();
        let frontend = Event::from(Change::created(Model::new(id(1), "m", targets)));
        let model_version = append(&log, Stream::new(StreamKind::Model, id::<ModelId>(1)), 0, frontend).await;
        let key = Event::from(Change::created(Key::new(id(1), id(1), "app")));
        let key_version = append(&log, Stream::new(StreamKind::Key, id::<KeyId>(1)), 0, key).await;
        let budget = Budget::new(id(1), Scope::Tenant(id(1)), NanoUsd::new(1_000_000_000), Period::Day);
        let stream = Stream::new(StreamKind::Budget, id::<BudgetId>(1));
        append(&log, stream, 0, Event::from(Change::created(budget))).await;
        let (versions, model) = (BTreeMap::new(), ReferenceModel::default());
        Self { folder, manual, clock, log, versions, model_version, key_version, model, open: Vec::new() }
    }

    pub(super) async fn make(&mut self, one: &Move) {
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
        let state = Price::new(price_id, id(1), BACKENDS[price.backend], rates(price.nanos), price.begins);
        let state = Price { origin: price.automatic.then_some(Origin::Catalogue), ..state };
        let stream = Stream::new(StreamKind::Price, price_id);
        let version = append(&self.log, stream, before, Event::from(change(state))).await;
        self.versions.insert(price.number, version);
    }

    /// The versions of the prices in force, by backend.
    pub(super) fn prices(&self) -> [Option<u64>; 2] {
        [0, 1].map(|backend| {
            let (_, (number, _)) = self.model.rate(backend, self.clock.now())?;
            self.versions.get(&number).copied()
        })
    }

    /// Admits a request, which enters the model at the prices that are in force. `None` if its backend has none.
    async fn ask(&mut self, backend: usize, tokens: u64, failed: Option<u64>) -> Option<AdmittedRequest> {
        self.ask_at(self.prices(), backend, tokens, failed).await
    }

    pub(super) async fn ask_at(
        &mut self,
        prices: [Option<u64>; 2],
        backend: usize,
        tokens: u64,
        failed: Option<u64>,
    ) -> Option<AdmittedRequest> {
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
        Some(AdmittedRequest { hold, calls })
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
        let chain = Chain { partner: Some(id(1)), tenant: Some(id(1)), user: Some(id(1)), key: Some(id(1)) };
        let admission = Admission {
            request_id,
            context: Context::about(Actor::Key(id(1)), chain).in_request(request_id),
            planned_at: u64::MAX,
            held: NanoUsd::new(1_000),
            ttl: Duration::from_secs(100_000),
            if_short: IfShort::Refuse,
            bounds: AdmissionBounds::NONE,
            admitted: admitted(versions),
            brokered: None,
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

    pub(super) fn events(&self) -> Vec<Recorded> {
        self.log.reader().unwrap().after(0, 100_000).unwrap()
    }

    /// Runs the task until every change that concerns the past is complete.
    pub(super) async fn finish(&mut self) {
        self.complete(self.model.past_changes).await;
    }

    /// Runs the task until so many changes are complete.
    pub(super) async fn complete(&mut self, changes: u64) {
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

    /// Returns the charge of each request, and the versions that corrected it.
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

    pub(super) fn check(&self) {
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
