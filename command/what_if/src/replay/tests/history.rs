//! A log that the ledger writes, of requests, budgets and prices that a test wants.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::{Budget, Key, Price, Scope};
use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted, InferenceEnded, Versions};
use events::event::{
    Actor, Chain, Change, Context, Event, Hold, Inference, Recorded, Stream, StreamKind, TeamVersions,
};
use events::ids::{PriceId, ProviderId, RequestId, TenantId, UserId, target_key};
use events::ledger::{
    Admission, AdmissionBounds, AdmitDecision, Balances, Charge, Emitted, Ending, IfShort, Outcome, RefuseDecision,
    RefusedRequest, UnknownUsage,
};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use events::time::{Period as BudgetPeriod, from_micros};
use events::usage::{TokenClasses, Usage, UsageSource};
use serde_json::json;
use uuid::Uuid;

use super::super::Replay;
use crate::Period;
use crate::report::Report;
use crate::rules::Rules;

/// Friday, 2026-11-20T08:15:30Z.
pub(super) const START_S: i64 = 1_795_162_530;
/// The frontend model of all requests, and the backend model that serves them.
pub(super) const MODEL: &str = "m";
pub(super) const BACKEND: &str = "b";
pub(super) const SECOND_BACKEND: &str = "c";
pub(super) const INPUT_USD: i64 = 3_000_000_000;
pub(super) const OUTPUT_USD: i64 = 15_000_000_000;

pub(super) fn id<I: From<Uuid>>(number: u128) -> I {
    // As recorded ids are: those of added rules are smaller.
    I::from(Uuid::from_u128((1 << 90) + number))
}

/// Keys 1 and 2 belong to user 1, others to user 2, and all to tenant and partner 1.
pub(super) fn chain(key: u128) -> Chain {
    Chain {
        partner: Some(id(1)),
        tenant: Some(id::<TenantId>(1)),
        user: Some(id::<UserId>(if key <= 2 { 1 } else { 2 })),
        key: Some(id(key)),
    }
}

pub(super) fn context(key: u128) -> Context {
    Context::about(Actor::Key(id(key)), chain(key))
}

pub(super) fn usd_per_mtok(nanos: i64) -> NanoUsdPerMtok {
    NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("not negative")
}

/// The cost of tokens, computed by the rule and not by the ledger's code.
pub(super) fn cost(input: u64, output: u64, [input_usd, output_usd]: [i64; 2]) -> i64 {
    let millionths = i128::from(input) * i128::from(input_usd) + i128::from(output) * i128::from(output_usd);
    i64::try_from((millionths + 999_999) / 1_000_000).expect("small")
}

pub(super) fn backend(model: &str) -> Backend {
    Backend { provider_id: id(1), provider: "p".to_owned(), model: model.to_owned(), provider_key_id: None }
}

/// A log that the ledger writes.
pub(super) struct History {
    pub(super) ledger: Balances,
    pub(super) log: Vec<Recorded>,
    pub(super) now: DateTime<Utc>,
    waiting: VecDeque<RefusedRequest>,
    pub(super) price: u64,
    requests: u128,
    /// The open requests: number, key, input and output tokens.
    pub(super) open: Vec<(u128, u128, u64, u64)>,
    /// The teams of the users of the next requests.
    pub(super) teams: TeamVersions,
    /// The price of the second target, which may be called beside the first one.
    second_price: Option<u64>,
}

impl History {
    pub(super) fn new() -> Self {
        let mut history = Self {
            ledger: Balances::default(),
            log: Vec::new(),
            now: from_micros(START_S * 1_000_000),
            waiting: VecDeque::new(),
            price: 0,
            requests: 0,
            open: Vec::new(),
            teams: TeamVersions::new(),
            second_price: None,
        };
        // The limiter forgets what it has counted for keys that there are not.
        for key in 1..4 {
            history.administer(StreamKind::Key, Event::from(Change::created(Key::new(id(key), id(1), "app"))));
        }
        history.set_price(INPUT_USD, OUTPUT_USD);
        history
    }

    pub(super) fn record(&mut self, Emitted { stream, context, event }: Emitted) {
        let position = self.log.len() as u64 + 1;
        self.log.push(Recorded { position, recorded_at: self.now, stream, sequence: 1, context, event });
    }

    pub(super) fn record_all(&mut self, events: impl IntoIterator<Item = Emitted>) {
        events.into_iter().for_each(|event| self.record(event));
    }

    pub(super) fn administer(&mut self, kind: StreamKind, event: Event) {
        self.record(Emitted { stream: Stream::new(kind, "x"), context: Context::of(Actor::Operator), event });
    }

    pub(super) fn set_price(&mut self, input: i64, output: i64) {
        self.price = self.set_price_of(BACKEND, [input, output]);
    }

    /// From now on, the first target is on a provider of its tenant's own, at the first price.
    pub(super) fn set_own_price(&mut self) {
        self.set_price(INPUT_USD, OUTPUT_USD);
        self.log.last_mut().expect("the price").context.tenant_id = Some(id(1));
    }

    /// Returns the version of the price.
    fn set_price_of(&mut self, backend: &str, [input, output]: [i64; 2]) -> u64 {
        let given = GivenRates::new(usd_per_mtok(input), usd_per_mtok(output));
        let price_id = id::<PriceId>(self.log.len() as u128);
        let price = Price::new(price_id, id(1), backend, given, self.now);
        self.administer(StreamKind::Price, Event::from(Change::created(price)));
        self.log.len() as u64
    }

    /// From now on, requests have a second target at the same price, which may be called beside the first one.
    pub(super) fn hedge(&mut self) {
        self.second_price = Some(self.set_price_of(SECOND_BACKEND, [INPUT_USD, OUTPUT_USD]));
    }

    pub(super) fn set_budget(&mut self, budget: Budget) {
        let change = match self.ledger.budget(budget.budget_id) {
            Some(_) => Change::changed(budget),
            None => Change::created(budget),
        };
        self.change_budget(change);
    }

    pub(super) fn change_budget(&mut self, change: Change<Budget>) {
        self.ledger.fold_budget(&change, self.log.len() as u64 + 1, self.now);
        self.administer(StreamKind::Budget, Event::from(change));
    }

    /// Asks for a request with a cap of 20 tokens. It will take the tokens that are given. True if it is admitted.
    pub(super) fn ask(&mut self, key: u128, bound: u64, input: u64, output: u64) -> bool {
        const CAP: u64 = 20;
        self.requests += 1;
        let request_id: RequestId = id(self.requests);
        let named = |backend: &str| target_key(id(1), backend);
        let second = self.second_price.map(|version| (named(SECOND_BACKEND), version));
        let prices: BTreeMap<_, _> = [(named(BACKEND), self.price)].into_iter().chain(second).collect();
        let held = cost(bound, CAP, [INPUT_USD, OUTPUT_USD]) * i64::try_from(prices.len()).expect("few");
        let mut admitted = InferenceAdmitted::of_model(MODEL);
        (admitted.input_tokens_bound, admitted.max_output_tokens) = (bound, CAP);
        admitted.hedge_after_ms = self.second_price.map(|_| 200);
        admitted.versions = Versions { prices, teams: self.teams.clone(), ..Versions::default() };
        let admission = Admission {
            request_id,
            context: context(key).in_request(request_id),
            planned_at: u64::MAX,
            held: NanoUsd::new(held),
            ttl: Duration::from_secs(900),
            if_short: IfShort::Refuse,
            bounds: AdmissionBounds::NONE,
            admitted: Box::new(admitted),
            brokered: None,
        };
        match self.ledger.admit(&admission, self.now) {
            AdmitDecision::Admitted { events, .. } => {
                self.record_all(events);
                self.open.push((self.requests, key, input, output));
                true
            }
            AdmitDecision::Refused(RefuseDecision::Now(decided)) => {
                self.record_all(decided.events);
                false
            }
            AdmitDecision::Refused(RefuseDecision::NextSecond(decided)) => {
                self.record_all(decided.events);
                self.waiting.push_back(RefusedRequest::of(&admission, decided.refusal));
                false
            }
            other => panic!("{other:?}"),
        }
    }

    /// Ends an open request; returns what it cost.
    pub(super) fn end(&mut self, which: usize, is_released: bool) -> i64 {
        self.end_after(Vec::new(), which, is_released)
    }

    /// The same after calls that have failed.
    pub(super) fn end_after(&mut self, attempts: Vec<AttemptFailed>, which: usize, is_released: bool) -> i64 {
        let (number, key, input, output) = self.open.remove(which);
        let request_id: RequestId = id(number);
        let tokens =
            TokenClasses { input_uncached_tokens: input, output_text_tokens: output, ..TokenClasses::default() };
        let of_attempts = attempts.iter().filter_map(|attempt| attempt.reported.cost_usd).map(NanoUsd::nanos);
        let own = if is_released { 0 } else { cost(input, output, [INPUT_USD, OUTPUT_USD]) };
        let charged = NanoUsd::new(own + of_attempts.sum::<i64>());
        let mut ended = InferenceEnded::new(MODEL.to_owned(), self.now, charged);
        ended.backend = Some(backend(BACKEND));
        if !is_released {
            ended.usage = Some(Usage::new(tokens, UsageSource::Provider));
            ended.price_version = Some(self.price);
        }
        let charge = if is_released { Charge::Release { reason: "test".to_owned() } } else { Charge::Settle(charged) };
        let outcome = Outcome::Completed(Box::new(ended));
        let context = context(key).in_request(request_id);
        let ending = Ending { request_id, context, attempts, outcome, charge, own: NanoUsd::ZERO };
        let decided = self.ledger.end(&ending).expect("an open hold");
        self.record_all(decided.events);
        self.record_all(decided.alerts);
        charged.nanos()
    }

    pub(super) fn wait(&mut self, by: TimeDelta) {
        let second = self.now.timestamp();
        self.now += by;
        let swept = self.ledger.sweep(UnknownUsage::ChargeHold, 100, self.now);
        for event in &swept {
            if matches!(event.event, Event::Hold(Hold::Expired(_))) {
                let request = event.context.request_id.expect("its request");
                self.open.retain(|(number, ..)| id::<RequestId>(*number) != request);
            }
        }
        self.record_all(swept);
        if self.now.timestamp() > second {
            while let Some(refused) = self.waiting.pop_front() {
                let decided = self.ledger.refuse_waiting(&refused, self.now);
                self.record_all(decided.events);
            }
        }
    }

    pub(super) fn replay(&self, rules: &Rules, period: Period) -> Report {
        let mut replay = Replay::new(rules, period);
        let mut life = |request: RequestId| {
            let stream = Stream::inference(request);
            Ok(self.log.iter().filter(|recorded| recorded.stream == stream).cloned().collect())
        };
        for page in self.log.chunks(7) {
            for recorded in page {
                replay.apply(recorded, &mut life).expect("a sound log");
            }
            replay.end_page();
        }
        replay.finish()
    }
}

pub(super) fn rules(json: serde_json::Value) -> Rules {
    Rules::parse(json.to_string().as_bytes()).expect("rules")
}

pub(super) fn tenant_budget(limit: i64) -> Budget {
    Budget::new(id(1), Scope::Tenant(id(1)), NanoUsd::new(limit), BudgetPeriod::Total)
}

/// Rules that say what is recorded: a price that all requests were charged by, and the route that they took.
pub(super) fn restated() -> Rules {
    rules(json!({
        "prices": [{ "provider_id": id::<ProviderId>(1), "model": BACKEND, "input_usd_per_mtok": "3",
                     "output_usd_per_mtok": "15" }],
        "routes": [{ "model": MODEL, "target": { "provider_id": id::<ProviderId>(1), "model": BACKEND } }],
    }))
}

/// Counts what a period has by its events alone: admitted, refused, and what the admitted ones cost.
pub(super) fn counted(history: &History, period: Period) -> (u64, u64, i128) {
    let (mut admitted, mut refused, mut cost) = (std::collections::HashSet::new(), 0, 0);
    for recorded in &history.log {
        let request = recorded.context.request_id;
        match &recorded.event {
            Event::Hold(Hold::Reserved(_)) if period.includes(recorded.recorded_at) => {
                assert!(admitted.insert(request), "admitted once")
            }
            Event::Inference(Inference::Refused(one)) if period.includes(recorded.recorded_at) => refused += one.count,
            Event::Hold(fact) if admitted.contains(&request) => {
                cost += i128::from(fact.movement().settled.nanos());
            }
            _ => {}
        }
    }
    (admitted.len() as u64, refused, cost)
}
