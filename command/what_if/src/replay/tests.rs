//! Histories made by the ledger itself are replayed: without a rule everything comes out as recorded, and with one as a small
//! model says that uses neither the ledger nor the replay.

mod failed_calls;
mod history;
mod own_providers;
mod random;
mod teams;

use chrono::TimeDelta;
use events::event::access::AccessRateLimited;
use events::event::admin::{RateLimit, Scope};
use events::event::hold::{BrokeredCorrection, BudgetAdjusted, BudgetWindow};
use events::event::{Access, Change, Event, Hold, Stream, StreamKind};
use events::ids::{BudgetId, PartnerId, ProviderId, TenantId, UserId};
use events::ledger::Emitted;
use events::limit::{Bounds, LimitName, Measure};
use events::money::{NanoUsd, NanoUsdSum};
use serde_json::json;

use super::Replay;
use crate::Period;
use crate::report::{Figures, RefusingRule};
use crate::rules::Rules;
use history::{
    BACKEND, History, INPUT_USD, MODEL, OUTPUT_USD, context, cost, counted, id, restated, rules, tenant_budget,
};

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

/// Holds: bin.what-if, admin.narrowed
#[test]
fn added_rules_that_are_narrowed_bind_the_requests_that_they_include() {
    let mut history = History::new();
    for _ in 0..3 {
        assert!(history.ask(3, 100, 100, 20));
        history.end(0, false);
    }
    let scope = |model: &str| json!({ "user_id": id::<UserId>(2), "model": model });
    let budget = |scope| json!({ "budgets": { "add": [{ "scope": scope, "limit_usd": "0", "period": "day" }] } });
    let limit = |scope| json!({ "rate_limits": { "add": [{ "scope": scope, "requests_per_hour": 1 }] } });
    let refused = |given| history.replay(&rules(given), Period::default()).total.newly_refused;
    assert_eq!((refused(budget(scope(MODEL))), refused(budget(scope("another")))), (3, 0));
    assert_eq!((refused(limit(scope(MODEL))), refused(limit(scope("another")))), (2, 0));
    let of_project = json!({ "user_id": id::<UserId>(2), "metadata.project": "apollo" });
    assert_eq!((refused(budget(of_project.clone())), refused(limit(of_project))), (0, 0));
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
        brokered: None,
    };
    let (stream, context) = (Stream::hold(adjusted.of), context(1).in_request(adjusted.of));
    history.record(Emitted { stream, context, event: Hold::Adjusted(Box::new(adjusted)).into() });
    for (usd, factor) in [(["6", "30"], 4), (["3", "15"], 2), (["1.5", "7.5"], 1)] {
        let total = history.replay(&rules(prices(usd)), Period::default()).total;
        let wanted = (i128::from(actual), i128::from(actual) * factor / 2);
        assert_eq!((total.recorded_cost_usd.nanos(), total.cost_usd.nanos()), wanted, "{usd:?}");
    }
    // A budget that shortens it changes what it holds, not what its tokens cost.
    let shrinking = json!({ "budgets": { "add": [{ "scope": { "user_id": id::<UserId>(1) }, "period": "day", "when_short": "shrink",
                                                   "limit_usd": NanoUsd::new(cost(100, 19, [INPUT_USD, OUTPUT_USD])) }] } });
    let total = history.replay(&rules(shrinking), Period::default()).total;
    assert_eq!((total.newly_shortened, total.cost_usd.nanos()), (1, i128::from(actual)));
}

/// Holds: bin.what-if, admin.own-charges
#[test]
fn a_late_correction_of_an_own_provider_counts_in_no_added_budget_of_the_partner() {
    let mut history = History::new();
    assert!(history.ask(1, 100, 0, 0));
    history.wait(TimeDelta::hours(1));
    assert!(history.open.is_empty(), "it has expired");
    let (of, bound) = (id(1), cost(100, 20, [INPUT_USD, OUTPUT_USD]));
    let adjusted = BudgetAdjusted {
        delta_usd: NanoUsd::new(700),
        budgets: Vec::new(),
        reason: "settled_after_expiry".to_owned(),
        of,
        price: None,
        request: None,
        brokered: Some(Box::new(BrokeredCorrection { delta_usd: NanoUsd::ZERO, budgets: Vec::new() })),
    };
    let (stream, context) = (Stream::hold(of), context(1).in_request(of));
    history.record(Emitted { stream, context, event: Hold::Adjusted(Box::new(adjusted)).into() });
    assert!(history.ask(1, 100, 10, 1));
    let newly_refused = |scope: serde_json::Value, limit: i64| {
        let budget = json!({ "scope": scope, "period": "total", "limit_usd": NanoUsd::new(limit) });
        let rules = rules(json!({ "budgets": { "add": [budget] } }));
        history.replay(&rules, Period::default()).total.newly_refused
    };
    let partner = || json!({ "partner_id": id::<PartnerId>(1) });
    assert_eq!((newly_refused(partner(), 2 * bound), newly_refused(partner(), 2 * bound - 1)), (0, 1));
    let tenant = || json!({ "tenant_id": id::<TenantId>(1) });
    assert_eq!((newly_refused(tenant(), 2 * bound + 700), newly_refused(tenant(), 2 * bound + 699)), (0, 1));
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
        brokered: None,
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
