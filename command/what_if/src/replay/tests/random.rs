//! Random histories, with and without rules.

use chrono::TimeDelta;
use events::event::admin::{Budget, Enforcement, Scope, WhenShort};
use events::event::{Change, Event, Hold};
use events::ids::{BudgetId, ProviderId};
use events::ledger::Revaluation;
use events::limit::Measure;
use events::money::NanoUsd;
use events::time::Period as BudgetPeriod;
use proptest::prelude::*;
use serde_json::json;

use super::history::{
    BACKEND, History, INPUT_USD, MODEL, OUTPUT_USD, cost, counted, id, restated, rules, tenant_budget,
};
use crate::Period;
use crate::report::{Figures, RefusedBy, RefusingRule};
use crate::rules::Rules;

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
                let before = history.ledger.budget(id(number)).map(|in_force| in_force.budget.scope.owner);
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
    let charged = events::ledger::EndedHold { windows: settled.budgets, charged: NanoUsd::new(0), brokered: None };
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
        let by = RefusedBy { scope: Some(Scope::Tenant(id(1)).into()), requests: refused };
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
