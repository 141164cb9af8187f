//! Histories made by the ledger itself are replayed: without a rule everything comes out as recorded, and with one as a small
//! model says that uses neither the ledger nor the replay.

use std::collections::VecDeque;

use chrono::TimeDelta;
use events::event::admin::{Key, Price, RateLimit, Scope};
use events::event::inference::Backend;
use events::event::{Actor, Chain, Change, Stream, StreamKind};
use events::ids::{PriceId, ProviderId, TenantId, UserId};
use events::ledger::{Emitted, Ending, Outcome, RefusedRequest, Revaluation};
use events::limit::{Bounds, Measure};
use events::money::{GivenRates, NanoUsdPerMtok};
use events::time::{Period as BudgetPeriod, from_micros};
use events::usage::TokenClasses;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::report::{RefusedBy, RefusingRule};

/// Friday, 2026-11-20T08:15:30Z.
const START_S: i64 = 1_795_162_530;
/// The frontend model of all requests, and the backend model that serves them.
const MODEL: &str = "m";
const BACKEND: &str = "b";
const INPUT_USD: i64 = 3_000_000_000;
const OUTPUT_USD: i64 = 15_000_000_000;

fn id<I: From<Uuid>>(number: u128) -> I {
    // As recorded ids are: those of added rules are smaller.
    I::from(Uuid::from_u128((1 << 90) + number))
}

/// Keys 1 and 2 belong to user 1, others to user 2, and all to tenant and partner 1.
fn chain(key: u128) -> Chain {
    Chain {
        partner: Some(id(1)),
        tenant: Some(id::<TenantId>(1)),
        user: Some(id::<UserId>(if key <= 2 { 1 } else { 2 })),
        key: Some(id(key)),
    }
}

fn context(key: u128) -> Context {
    Context::about(Actor::Key(id(key)), chain(key))
}

fn usd_per_mtok(nanos: i64) -> NanoUsdPerMtok {
    NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("not negative")
}

/// The cost of tokens, computed by the rule and not by the ledger's code.
fn cost(input: u64, output: u64, [input_usd, output_usd]: [i64; 2]) -> i64 {
    let millionths = i128::from(input) * i128::from(input_usd) + i128::from(output) * i128::from(output_usd);
    i64::try_from((millionths + 999_999) / 1_000_000).expect("small")
}

/// A log that the ledger writes.
struct History {
    ledger: Balances,
    log: Vec<Recorded>,
    now: DateTime<Utc>,
    waiting: VecDeque<RefusedRequest>,
    price: u64,
    requests: u128,
    /// The open requests: number, key, input and output tokens.
    open: Vec<(u128, u128, u64, u64)>,
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            ledger: Balances::default(),
            log: Vec::new(),
            now: from_micros(START_S * 1_000_000),
            waiting: VecDeque::new(),
            price: 0,
            requests: 0,
            open: Vec::new(),
        };
        // The limiter forgets what it has counted for keys that there are not.
        for key in 1..4 {
            history.administer(StreamKind::Key, Event::from(Change::created(Key::new(id(key), id(1), "app"))));
        }
        history.set_price(INPUT_USD, OUTPUT_USD);
        history
    }

    fn record(&mut self, Emitted { stream, context, event }: Emitted) {
        let position = self.log.len() as u64 + 1;
        self.log.push(Recorded { position, recorded_at: self.now, stream, sequence: 1, context, event });
    }

    fn record_all(&mut self, events: impl IntoIterator<Item = Emitted>) {
        events.into_iter().for_each(|event| self.record(event));
    }

    fn administer(&mut self, kind: StreamKind, event: Event) {
        self.record(Emitted { stream: Stream::new(kind, "x"), context: Context::of(Actor::Operator), event });
    }

    fn set_price(&mut self, input: i64, output: i64) {
        let given = GivenRates::new(usd_per_mtok(input), usd_per_mtok(output));
        let ids = (id::<PriceId>(self.log.len() as u128), id::<ProviderId>(1));
        let price = Price::new(ids, BACKEND, given, self.now);
        self.administer(StreamKind::Price, Event::from(Change::created(price)));
        self.price = self.log.len() as u64;
    }

    fn set_budget(&mut self, budget: Budget) {
        let change = match self.ledger.budget(budget.budget_id) {
            Some(_) => Change::changed(budget),
            None => Change::created(budget),
        };
        self.change_budget(change);
    }

    fn change_budget(&mut self, change: Change<Budget>) {
        self.ledger.fold_budget(&change, self.log.len() as u64 + 1, self.now);
        self.administer(StreamKind::Budget, Event::from(change));
    }

    /// Asks for a request with a cap of 20 tokens. It will take the tokens that are given. True if it is admitted.
    fn ask(&mut self, key: u128, bound: u64, input: u64, output: u64) -> bool {
        const CAP: u64 = 20;
        self.requests += 1;
        let request_id: RequestId = id(self.requests);
        let prices = [(format!("{}/{BACKEND}", id::<ProviderId>(1)), self.price)].into_iter().collect();
        let mut admitted = refused_admission(MODEL);
        (admitted.input_tokens_bound, admitted.max_output_tokens) = (bound, CAP);
        admitted.versions = Versions { prices, ..Versions::default() };
        let admission = Admission {
            request_id,
            context: context(key).in_request(request_id),
            planned_at: u64::MAX,
            limits_known_at: u64::MAX,
            held: NanoUsd::new(cost(bound, CAP, [INPUT_USD, OUTPUT_USD])),
            ttl: Duration::from_secs(900),
            if_short: IfShort::Refuse,
            admitted: Box::new(admitted),
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
    fn end(&mut self, which: usize, is_released: bool) -> i64 {
        let (number, key, input, output) = self.open.remove(which);
        let request_id: RequestId = id(number);
        let tokens =
            TokenClasses { input_uncached_tokens: input, output_text_tokens: output, ..TokenClasses::default() };
        let charged = NanoUsd::new(if is_released { 0 } else { cost(input, output, [INPUT_USD, OUTPUT_USD]) });
        let mut ended = InferenceEnded::new(MODEL.to_owned(), self.now, charged);
        ended.backend = Some(Backend {
            provider_id: id(1),
            provider: "p".to_owned(),
            model: BACKEND.to_owned(),
            provider_key_id: None,
        });
        if !is_released {
            ended.usage = Some(Usage::new(tokens, UsageSource::Provider));
            ended.price_version = Some(self.price);
        }
        let charge = if is_released { Charge::Release { reason: "test".to_owned() } } else { Charge::Settle(charged) };
        let outcome = Outcome::Completed(Box::new(ended));
        let context = context(key).in_request(request_id);
        let ending = Ending { request_id, context, attempts: Vec::new(), outcome, charge };
        let decided = self.ledger.end(&ending).expect("an open hold");
        self.record_all(decided.events);
        self.record_all(decided.alerts);
        charged.nanos()
    }

    fn wait(&mut self, by: TimeDelta) {
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

    fn replay(&self, rules: &Rules, period: Period) -> Report {
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

fn rules(json: serde_json::Value) -> Rules {
    Rules::parse(json.to_string().as_bytes()).expect("rules")
}

fn tenant_budget(limit: i64) -> Budget {
    Budget::new(id(1), Scope::Tenant(id(1)), NanoUsd::new(limit), BudgetPeriod::Total)
}

#[derive(Clone, Debug)]
enum Step {
    Budget { number: u128, level: u8, limit: i64, period: BudgetPeriod, observes: bool, shrinks: bool },
    Close { number: u128 },
    Price { input: i64 },
    Ask { key: u128, bound: u64, input: u64, output: u64 },
    End { which: prop::sample::Index, is_released: bool },
    Wait { millis: i64 },
    Correct { which: prop::sample::Index, by: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let period = prop_oneof![Just(BudgetPeriod::Total), Just(BudgetPeriod::Day), Just(BudgetPeriod::Month)];
    let limit = 0_i64..3_000_000;
    let step = prop_oneof![
        3 => (0_u128..4, 0_u8..4, limit, period, proptest::bool::weighted(0.2), any::<bool>()).prop_map(
            |(number, level, limit, period, observes, shrinks)| Step::Budget { number, level, limit, period, observes, shrinks }
        ),
        1 => (0_u128..4).prop_map(|number| Step::Close { number }),
        1 => Just(INPUT_USD).prop_map(|input| Step::Price { input }),
        20 => (1_u128..4, 0_u64..200, 0_u64..200, 0_u64..25)
            .prop_map(|(key, bound, input, output)| Step::Ask { key, bound, input, output }),
        14 => (any::<prop::sample::Index>(), proptest::bool::weighted(0.1))
            .prop_map(|(which, is_released)| Step::End { which, is_released }),
        4 => prop_oneof![0_i64..1_500, 0_i64..90_000_000].prop_map(|millis| Step::Wait { millis }),
        1 => (any::<prop::sample::Index>(), -50_i64..50).prop_map(|(which, by)| Step::Correct { which, by }),
    ];
    prop::collection::vec(step, 1..120)
}

fn history_of(steps: Vec<Step>) -> History {
    let mut history = History::new();
    for step in steps {
        match step {
            Step::Budget { number, level, limit, period, observes, shrinks } => {
                let scope = match level {
                    0 => Scope::Partner(id(1)),
                    1 => Scope::Tenant(id(1)),
                    2 => Scope::User(id(1)),
                    _ => Scope::Key(id(number)),
                };
                let before = history.ledger.budget(id(number)).map(|in_force| in_force.budget.scope);
                let mut budget = Budget::new(id(number), before.unwrap_or(scope), NanoUsd::new(limit), period);
                budget.enforcement = if observes { Enforcement::Observe } else { Enforcement::Hard };
                budget.when_short = if shrinks { WhenShort::Shrink } else { WhenShort::Refuse };
                history.set_budget(budget);
            }
            Step::Close { number } if history.ledger.budget(id(number)).is_some() => {
                history.change_budget(Change::Ended(id(number)));
            }
            Step::Price { input } => history.set_price(input, OUTPUT_USD),
            Step::Ask { key, bound, input, output } => drop(history.ask(key, bound, input, output)),
            Step::End { which, is_released } if !history.open.is_empty() => {
                let which = which.index(history.open.len());
                history.end(which, is_released);
            }
            Step::Wait { millis } => history.wait(TimeDelta::milliseconds(millis)),
            Step::Correct { which, by } => correct(&mut history, which, by),
            Step::Close { .. } | Step::End { .. } => {}
        }
    }
    history
}

/// Corrects the charge of a settled request by the price that was corrected.
fn correct(history: &mut History, which: prop::sample::Index, by: i64) {
    let settled = history.log.iter().filter_map(|recorded| match &recorded.event {
        Event::Hold(Hold::Settled(settled)) => Some((recorded.context.clone(), settled.clone())),
        _ => None,
    });
    let settled: Vec<_> = settled.collect();
    if settled.is_empty() {
        return;
    }
    let (context, settled) = settled[which.index(settled.len())].clone();
    let request_id = context.request_id.expect("its request");
    let charged = events::ledger::EndedHold { windows: settled.budgets, charged: NanoUsd::new(0) };
    let revaluation = Revaluation {
        request_id,
        context,
        value: events::event::hold::CorrectedValue { version: history.price, cost_usd: NanoUsd::new(by) },
        request: events::event::hold::CorrectedRequest { model: MODEL.to_owned(), backend: None, payer: None },
    };
    if let Ok(Some(decided)) = history.ledger.revalue(&revaluation, &charged) {
        history.record_all(decided.events);
        history.record_all(decided.alerts);
    }
}

/// The parts of a history that begin and end at any event.
fn any_period(history: &History, [from, to]: [Option<prop::sample::Index>; 2]) -> Period {
    let at = |index: prop::sample::Index| history.log[index.index(history.log.len())].recorded_at;
    Period { from: from.map(at), to: to.map(at) }
}

/// Rules that say what is recorded: a price that all requests were charged by, and the route that they took.
fn restated() -> Rules {
    rules(json!({
        "prices": [{ "provider_id": id::<ProviderId>(1), "model": BACKEND, "input_usd_per_mtok": "3",
                     "output_usd_per_mtok": "15" }],
        "routes": [{ "model": MODEL, "target": { "provider_id": id::<ProviderId>(1), "model": BACKEND } }],
    }))
}

/// Counts what a period has by its events alone: admitted, refused, and what the admitted ones cost.
fn counted(history: &History, period: Period) -> (u64, u64, i128) {
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

proptest! {
    /// Holds: bin.what-if-as-recorded
    #[test]
    fn without_a_change_every_decision_and_every_cost_is_as_recorded(
        steps in steps(), period in any::<[Option<prop::sample::Index>; 2]>(), restates in any::<bool>(),
    ) {
        // What a price corrected is void under a price of the rules.
        let is_kept = |step: &Step| !restates || !matches!(step, Step::Correct { .. });
        let history = history_of(steps.into_iter().filter(is_kept).collect());
        let period = any_period(&history, period);
        let rules = if restates { restated() } else { Rules::default() };
        let report = history.replay(&rules, period);
        let total = report.total;
        prop_assert!(total.is_as_recorded() && report.refused_by.is_empty(), "{report:?}");
        let (admitted, refused, cost) = counted(&history, period);
        prop_assert_eq!((total.admitted, total.refused), (admitted, refused));
        prop_assert_eq!(total.recorded_cost_usd.nanos(), cost);
        let rows = report.tenants.values().chain(report.users.values()).chain(report.models.values());
        prop_assert!(rows.clone().all(Figures::is_as_recorded));
        for rows in [report.tenants.values().collect::<Vec<_>>(), report.users.values().collect(), report.models.values().collect()] {
            prop_assert_eq!(rows.iter().map(|row| row.admitted).sum::<u64>(), admitted);
            prop_assert_eq!(rows.iter().map(|row| row.cost_usd.nanos()).sum::<i128>(), cost);
        }
    }

    /// A limit that is lowered refuses what a list of charges says, and the money of refused requests is free for later ones.
    /// Holds: bin.what-if
    #[test]
    fn a_lowered_budget_refuses_what_plain_sums_say(
        limit in 0_i64..4_000_000,
        requests in prop::collection::vec((0_u64..200, 0_u64..200, 0_u64..25, any::<bool>()), 1..60),
    ) {
        let mut history = History::new();
        history.set_budget(tenant_budget(i64::MAX / 2));
        // The model: what is charged and what is held under the lower limit.
        let (mut charged, mut held, mut open) = (0, Vec::new(), Vec::<bool>::new());
        let (mut refused, mut spent, mut recorded) = (0, 0, 0);
        for (bound, input, output, ends_at_once) in requests {
            prop_assert!(history.ask(1, bound, input, output));
            let most = cost(bound, 20, [INPUT_USD, OUTPUT_USD]);
            let fits = charged + held.iter().sum::<i64>() + most <= limit;
            if fits { held.push(most) } else { refused += 1 }
            open.push(fits);
            if ends_at_once {
                let fits = open.remove(0);
                let cost = history.end(0, false);
                recorded += cost;
                if fits {
                    held.remove(0);
                    charged += cost;
                    spent += cost;
                }
            }
        }
        let change = json!({ "budget_id": id::<BudgetId>(1), "limit_usd": NanoUsd::new(limit) });
        let report = history.replay(&rules(json!({ "budgets": { "change": [change] } })), Period::default());
        prop_assert_eq!((report.total.newly_refused, report.total.newly_admitted), (refused, 0));
        prop_assert_eq!(report.total.recorded_cost_usd.nanos(), i128::from(recorded));
        prop_assert_eq!(report.total.cost_usd.nanos(), i128::from(spent));
        let by = RefusedBy { scope: Some(Scope::Tenant(id(1))), requests: refused };
        let expected = (refused > 0).then_some((RefusingRule::Budget(id(1)), by));
        prop_assert_eq!(report.refused_by.into_iter().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(report.models[MODEL].newly_refused, refused);
    }

    /// Holds: bin.what-if
    #[test]
    fn a_price_charges_the_recorded_tokens_and_bounds_in_proportion(
        prices in [0_i64..40_000_000_000, 0_i64..40_000_000_000],
        requests in prop::collection::vec((0_u64..200, 0_u64..200, 0_u64..25), 1..40),
        is_by_route in any::<bool>(),
    ) {
        let mut history = History::new();
        let (mut recorded, mut ruled) = (0, 0);
        for (bound, input, output) in requests {
            history.ask(1, bound, input, output);
            recorded += history.end(0, false);
            ruled += cost(input, output, prices);
        }
        let [input, output] = prices.map(NanoUsd::new);
        let provider: ProviderId = if is_by_route { id(2) } else { id(1) };
        let model = if is_by_route { "other" } else { BACKEND };
        let mut json = json!({ "prices": [{ "provider_id": provider, "model": model, "input_usd_per_mtok": input,
                                            "output_usd_per_mtok": output }] });
        if is_by_route {
            json["routes"] = json!([{ "model": MODEL, "target": { "provider_id": provider, "model": model } }]);
        }
        let total = history.replay(&rules(json), Period::default()).total;
        prop_assert_eq!(total.recorded_cost_usd.nanos(), i128::from(recorded));
        prop_assert_eq!(total.cost_usd.nanos(), i128::from(ruled));
        prop_assert_eq!(total.newly_refused, 0);
    }

    /// At whole seconds the buckets of a minute are exact.
    /// Holds: bin.what-if
    #[test]
    fn an_added_rate_limit_refuses_what_a_list_of_times_says(
        limit in 1_u64..6, gaps in prop::collection::vec(0_i64..40, 1..60), from in prop::option::of(0_usize..60),
    ) {
        let mut history = History::new();
        let (mut times, mut admitted, mut refused) = (Vec::new(), Vec::<i64>::new(), 0);
        for gap in &gaps {
            history.wait(TimeDelta::seconds(*gap));
            history.ask(1, 1, 1, 1);
            history.end(0, false);
            times.push(history.now);
        }
        let from = from.and_then(|from| times.get(from)).copied();
        for at in times.iter().filter(|at| from.is_none_or(|from| **at >= from)) {
            let second = at.timestamp();
            let last_minute = admitted.iter().filter(|then| **then > second - 60).count() as u64;
            if last_minute < limit { admitted.push(second) } else { refused += 1 }
        }
        let added = json!({ "scope": { "key_id": id::<events::ids::KeyId>(1) }, "requests_per_minute": limit });
        let period = Period { from, to: None };
        let report = history.replay(&rules(json!({ "rate_limits": { "add": [added] } })), period);
        prop_assert_eq!(report.total.newly_refused, refused);
        prop_assert_eq!(report.total.admitted, admitted.len() as u64 + refused);
        let by = report.refused_by.get(&RefusingRule::AddedRateLimit(0, Measure::RequestsPerMinute));
        prop_assert_eq!(by.map_or(0, |by| by.requests), refused);
    }
}

/// Holds: bin.what-if
#[test]
fn a_removed_budget_admits_what_it_refused_and_a_raised_one_as_much_as_fits() {
    let mut history = History::new();
    let bound = cost(100, 20, [INPUT_USD, OUTPUT_USD]);
    history.set_budget(tenant_budget(bound));
    assert!(history.ask(1, 100, 10, 1));
    // Of these, 20 are recorded at once, 20 in the next second, and the others as one.
    (0..50).for_each(|_| assert!(!history.ask(1, 100, 10, 1)));
    history.end(0, false);
    history.wait(TimeDelta::seconds(2));
    assert_eq!(counted(&history, Period::default()).1, 50);
    let removed = json!({ "budgets": { "remove": [id::<BudgetId>(1)] } });
    let total = history.replay(&rules(removed), Period::default()).total;
    assert_eq!((total.newly_admitted, total.newly_refused), (50, 0));
    assert_eq!(total.newly_admitted_at_most_usd.nanos(), 50 * i128::from(bound));
    assert_eq!(total.difference(), NanoUsdSum::ZERO);
    // Each is charged its bound, so that four more fit beside the first.
    let raised =
        json!({ "budgets": { "change": [{ "budget_id": id::<BudgetId>(1), "limit_usd": NanoUsd::new(5 * bound) }] } });
    assert_eq!(history.replay(&rules(raised), Period::default()).total.newly_admitted, 4);
    let observed = json!({ "budgets": { "change": [{ "budget_id": id::<BudgetId>(1), "enforcement": "observe" }] } });
    assert_eq!(history.replay(&rules(observed), Period::default()).total.newly_admitted, 50);
}

/// Holds: bin.what-if
#[test]
fn rules_are_in_force_in_the_period_alone_and_a_request_is_reported_where_it_was_admitted() {
    let mut history = History::new();
    history.set_budget(tenant_budget(i64::MAX / 2));
    let begin = history.now;
    for _ in 0..3 {
        history.ask(1, 100, 10, 1);
        history.wait(TimeDelta::seconds(10));
    }
    let costs: Vec<i64> = (0..3).map(|_| history.end(0, false)).collect();
    let none = json!({ "budgets": { "change": [{ "budget_id": id::<BudgetId>(1), "limit_usd": "0" }] } });
    let [from, to] = [10, 20].map(|seconds| Some(begin + TimeDelta::seconds(seconds)));
    let report = history.replay(&rules(none), Period { from, to });
    let Figures { admitted, newly_refused, recorded_cost_usd, cost_usd, .. } = report.total;
    assert_eq!((admitted, newly_refused), (1, 1));
    assert_eq!((recorded_cost_usd.nanos(), cost_usd.nanos()), (i128::from(costs[1]), 0));
}

/// Holds: bin.what-if
#[test]
fn an_added_budget_counts_from_the_beginning_of_the_period_and_one_that_shrinks_shortens() {
    let mut history = History::new();
    let bound = cost(100, 20, [INPUT_USD, OUTPUT_USD]);
    for _ in 0..3 {
        assert!(history.ask(3, 100, 100, 20));
        assert_eq!(history.end(0, false), bound);
        history.wait(TimeDelta::seconds(10));
    }
    let added = |when_short: &str| {
        let limit = NanoUsd::new(bound * 2 - 1);
        json!({ "budgets": { "add": [{ "scope": { "user_id": id::<UserId>(2) }, "limit_usd": limit, "period": "day",
                                       "when_short": when_short }] } })
    };
    let refusing = history.replay(&rules(added("refuse")), Period::default());
    assert_eq!((refusing.total.newly_refused, refusing.total.newly_shortened), (2, 0));
    assert_eq!(refusing.refused_by.keys().collect::<Vec<_>>(), [&RefusingRule::AddedBudget(0)]);
    let shrinking = history.replay(&rules(added("shrink")), Period::default()).total;
    assert_eq!((shrinking.newly_refused, shrinking.newly_shortened), (1, 1));
    assert!(shrinking.cost_usd.nanos() < 2 * i128::from(bound) && shrinking.cost_usd.nanos() > i128::from(bound));
}

/// Holds: bin.what-if
#[test]
fn a_limit_that_is_changed_counts_what_came_before_the_period() {
    let mut history = History::new();
    let limit = |number| RateLimit::new(id(1), Scope::Tenant(id(1)), Bounds::of(Measure::RequestsPerHour, number));
    history.administer(StreamKind::RateLimit, Event::from(Change::created(limit(10))));
    for _ in 0..4 {
        history.ask(1, 1, 1, 1);
        history.end(0, false);
        history.wait(TimeDelta::minutes(1));
    }
    let from = Some(history.now - TimeDelta::minutes(2));
    let change = |number: Option<u64>| json!({ "rate_limits": { "change": [{ "limit_id": id::<events::ids::LimitId>(1), "requests_per_hour": number }] } });
    let replayed = |number| history.replay(&rules(change(number)), Period { from, to: None }).total;
    assert_eq!((replayed(Some(3)).admitted, replayed(Some(3)).newly_refused), (2, 1));
    assert_eq!(replayed(Some(2)).newly_refused, 2);
    assert!(
        replayed(Some(10)).is_as_recorded() && replayed(Some(11)).is_as_recorded() && replayed(None).is_as_recorded()
    );
}

/// Holds: bin.what-if
#[test]
fn what_a_rate_limit_refused_is_admitted_as_far_as_another_number_allows() {
    let mut history = History::new();
    let mut bounds = Bounds::of(Measure::RequestsPerMinute, 2);
    bounds.set(Measure::TokensPerDay, Some(100));
    let limit = RateLimit::new(id(1), Scope::Tenant(id(1)), bounds);
    history.administer(StreamKind::RateLimit, Event::from(Change::created(limit)));
    for _ in 0..2 {
        history.ask(1, 1, 1, 1);
        history.end(0, false);
    }
    for (measure, limit, count) in [(Measure::RequestsPerMinute, 2, 7), (Measure::TokensPerDay, 100, 3)] {
        let limited =
            AccessRateLimited { limit_id: LimitName::Configured(id(1)), measure: measure.into(), limit, count };
        let event = Event::Access(Access::RateLimited(Box::new(limited)));
        history.record(Emitted { stream: Stream::new(StreamKind::Access, "x"), context: context(1), event });
    }
    let limit_id: events::ids::LimitId = id(1);
    let replayed =
        |limits: serde_json::Value| history.replay(&rules(json!({ "rate_limits": limits })), Period::default()).total;
    let total = replayed(json!({ "change": [{ "limit_id": limit_id, "requests_per_minute": 5 }] }));
    assert_eq!((total.refused, total.newly_admitted, total.undecided), (10, 3, 0));
    let total = replayed(json!({ "change": [{ "limit_id": limit_id, "tokens_per_day": 101 }] }));
    assert_eq!((total.newly_admitted, total.undecided), (0, 3));
    assert_eq!(replayed(json!({ "remove": [limit_id] })).newly_admitted, 10);
    assert!(replayed(json!({})).is_as_recorded());
}

/// Holds: bin.what-if
#[test]
fn a_request_whose_usage_is_unknown_is_charged_its_bound_under_the_rules() {
    let mut history = History::new();
    assert!(history.ask(1, 100, 0, 0));
    history.wait(TimeDelta::hours(1));
    assert!(history.open.is_empty(), "it has expired");
    let prices = |[input, output]: [&str; 2]| {
        json!({ "prices": [{ "provider_id": id::<ProviderId>(1), "model": BACKEND, "input_usd_per_mtok": input,
                             "output_usd_per_mtok": output }] })
    };
    let total = history.replay(&rules(prices(["6", "30"])), Period::default()).total;
    let bound = i128::from(cost(100, 20, [INPUT_USD, OUTPUT_USD]));
    assert_eq!((total.recorded_cost_usd.nanos(), total.cost_usd.nanos()), (bound, 2 * bound));
    // It ends after all, and what it cost is known.
    let actual = cost(10, 1, [INPUT_USD, OUTPUT_USD]);
    let adjusted = BudgetAdjusted {
        delta_usd: NanoUsd::new(actual)
            .checked_sub(NanoUsd::new(cost(100, 20, [INPUT_USD, OUTPUT_USD])))
            .expect("small"),
        budgets: Vec::new(),
        reason: "settled_after_expiry".to_owned(),
        of: id(1),
        price: None,
        request: None,
    };
    let (stream, context) = (Stream::hold(adjusted.of), context(1).in_request(adjusted.of));
    history.record(Emitted { stream, context, event: Hold::Adjusted(Box::new(adjusted)).into() });
    for (usd, factor) in [(["6", "30"], 4), (["3", "15"], 2), (["1.5", "7.5"], 1)] {
        let total = history.replay(&rules(prices(usd)), Period::default()).total;
        let wanted = (i128::from(actual), i128::from(actual) * factor / 2);
        assert_eq!((total.recorded_cost_usd.nanos(), total.cost_usd.nanos()), wanted, "{usd:?}");
    }
}

#[test]
fn a_route_to_a_backend_without_a_price_is_an_error_that_says_what_to_do() {
    let mut history = History::new();
    history.ask(1, 1, 1, 1);
    let route = rules(
        json!({ "routes": [{ "model": MODEL, "target": { "provider_id": id::<ProviderId>(9), "model": "x" } }] }),
    );
    let mut replay = Replay::new(&route, Period::default());
    let mut life = |_| Ok(Vec::new());
    let error = history.log.iter().find_map(|recorded| replay.apply(recorded, &mut life).err()).expect("an error");
    assert!(error.to_string().ends_with("/x has no price at that time: give it one under \"prices\""), "{error}");
}

/// Holds: bin.what-if-as-recorded
#[test]
fn a_refusal_that_was_recorded_a_second_later_is_as_recorded_although_there_is_room_by_then() {
    let mut history = History::new();
    let bound = cost(100, 20, [INPUT_USD, OUTPUT_USD]);
    history.set_budget(tenant_budget(2 * bound - 1));
    assert!(history.ask(1, 100, 10, 1));
    (0..50).for_each(|_| assert!(!history.ask(1, 100, 10, 1)));
    history.end(0, false);
    history.wait(TimeDelta::seconds(2));
    assert!(history.ask(1, 100, 10, 1), "there is room");
    let total = history.replay(&Rules::default(), Period::default()).total;
    assert!(total.is_as_recorded() && total.refused == 50, "{total:?}");
}

/// Holds: bin.what-if
#[test]
fn a_later_correction_is_void_for_a_request_that_the_rules_refuse_or_price() {
    let mut history = History::new();
    history.set_budget(tenant_budget(i64::MAX / 2));
    history.ask(1, 100, 10, 1);
    let charged = i128::from(history.end(0, false));
    let settled = history.log.iter().rev().find(|recorded| matches!(recorded.event, Event::Hold(Hold::Settled(_))));
    let (context, by) = (settled.expect("a charge").context.clone(), NanoUsd::new(700));
    let adjusted = BudgetAdjusted {
        delta_usd: by,
        budgets: vec![BudgetWindow { budget_id: id(1), window_start: None }],
        reason: BudgetAdjusted::PRICE_CORRECTED.to_owned(),
        of: context.request_id.expect("its request"),
        price: Some(events::event::hold::CorrectedValue { version: history.price, cost_usd: by }),
        request: None,
    };
    let stream = Stream::hold(adjusted.of);
    history.record(Emitted { stream, context, event: Hold::Adjusted(Box::new(adjusted)).into() });
    let costs = |rules: &Rules| {
        let total = history.replay(rules, Period::default()).total;
        (total.recorded_cost_usd.nanos(), total.cost_usd.nanos())
    };
    let refusing = json!({ "budgets": { "change": [{ "budget_id": id::<BudgetId>(1), "limit_usd": "0" }] } });
    assert_eq!(costs(&Rules::default()), (charged + 700, charged + 700));
    assert_eq!(costs(&rules(refusing)), (charged + 700, 0));
    assert_eq!(costs(&restated()), (charged + 700, charged));
}
