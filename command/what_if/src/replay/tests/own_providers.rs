//! Requests to providers of their tenant's own, under budgets that are added to a partner that had none.

use chrono::TimeDelta;
use events::event::hold::BudgetAdjusted;
use events::event::{Hold, Stream};
use events::ids::{PartnerId, TenantId};
use events::ledger::Emitted;
use events::money::NanoUsd;
use serde_json::{Value, json};

use super::history::{History, INPUT_USD, OUTPUT_USD, context, cost, id, rules};
use crate::Period;

/// The input of a request for 999.99 USD.
const DEAR: u64 = 333_330_000;
/// 100 USD.
const LIMIT: i64 = 100_000_000_000;

fn newly_refused(history: &History, scope: &Value, limit: i64) -> u64 {
    let budget = json!({ "scope": scope, "period": "total", "limit_usd": NanoUsd::new(limit) });
    history.replay(&rules(json!({ "budgets": { "add": [budget] } })), Period::default()).total.newly_refused
}

fn of_partner() -> Value {
    json!({ "partner_id": id::<PartnerId>(1) })
}

/// Holds: bin.what-if, admin.own-charges
#[test]
fn an_added_budget_of_the_partner_counts_nothing_of_what_own_providers_cost() {
    let mut history = History::new();
    history.set_own_price();
    for _ in 0..2 {
        assert!(history.ask(1, DEAR, DEAR, 0));
        assert_eq!(history.end(0, false), 999_990_000_000);
    }
    assert!(history.ask(1, DEAR, 0, 0));
    history.wait(TimeDelta::hours(1));
    assert!(history.open.is_empty(), "it has expired");
    // Its cost becomes known.
    let adjusted = BudgetAdjusted {
        delta_usd: NanoUsd::new(700),
        budgets: Vec::new(),
        reason: "settled_after_expiry".to_owned(),
        of: id(3),
        price: None,
        request: None,
        brokered: None,
    };
    let (stream, context) = (Stream::hold(adjusted.of), context(1).in_request(adjusted.of));
    history.record(Emitted { stream, context, event: Hold::Adjusted(Box::new(adjusted)).into() });
    assert_eq!(newly_refused(&history, &of_partner(), LIMIT), 0);
    assert_eq!(newly_refused(&history, &json!({ "tenant_id": id::<TenantId>(1) }), LIMIT), 3);
    // All of the budget is left for another provider.
    history.set_price(INPUT_USD, OUTPUT_USD);
    assert!(history.ask(1, 100, 10, 1));
    let bound = cost(100, 20, [INPUT_USD, OUTPUT_USD]);
    assert_eq!([bound, bound - 1].map(|limit| newly_refused(&history, &of_partner(), limit)), [0, 1]);
}

/// Holds: bin.what-if, admin.own-charges
#[test]
fn an_added_budget_of_the_partner_counts_what_the_other_targets_of_such_a_request_may_cost() {
    let mut history = History::new();
    history.set_own_price();
    history.hedge();
    for _ in 0..2 {
        assert!(history.ask(1, 100, 10, 1));
        // By its own provider.
        history.end(0, false);
    }
    let bound = cost(100, 20, [INPUT_USD, OUTPUT_USD]);
    assert_eq!([bound, bound - 1].map(|limit| newly_refused(&history, &of_partner(), limit)), [0, 2]);
}
