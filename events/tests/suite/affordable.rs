//! The affordable output cap in a refusal: the highest that would be admitted, or none.

use std::time::Duration;

use events::event::Change;
use events::event::admin::{Budget, Enforcement, Scope, WhenShort};
use events::ledger::{Admission, AdmitDecision, Balances, IfShort, RefuseDecision};
use events::money::NanoUsd;
use events::refusal::Refusal;
use events::time::Period;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::facts::{CAP, CAP_MIN, admission, budget, id, start};

/// The request with another cap.
fn resent(asked: &Admission, cap: u64) -> Admission {
    let IfShort::Shrink(shrinking) = &asked.if_short else { panic!("it has a line") };
    let held = shrinking.resent.expect("it has a line").at(cap).expect("countable");
    let mut again = Admission { held, ..asked.clone() };
    again.admitted.max_output_tokens = cap;
    again
}

fn holding(budgets: Vec<Budget>, spent: i64) -> Balances {
    let mut balances = Balances::default();
    for (position, budget) in (1..).zip(budgets) {
        balances.fold_budget(&Change::created(budget), position, start());
    }
    let _ = balances.admit(&admission(1, 1, spent, Duration::from_secs(60)), start());
    balances
}

fn admits(balances: &Balances, asked: &Admission) -> bool {
    let decision = balances.clone().admit(asked, start());
    matches!(decision, AdmitDecision::Admitted { lowered_cap: None, .. })
}

fn refusal(balances: &Balances, asked: &Admission) -> Option<Refusal> {
    match balances.clone().admit(asked, start()) {
        AdmitDecision::Refused(RefuseDecision::Now(refused)) => Some(refused.refusal),
        _ => None,
    }
}

fn budgets() -> impl Strategy<Value = Vec<Budget>> {
    let one = (0i64..60, any::<bool>(), proptest::bool::weighted(0.2));
    proptest::collection::vec(one, 1..4).prop_map(|budgets| {
        let scopes = [Scope::Partner(id(1)), Scope::Tenant(id(1)), Scope::Key(id(1))];
        let budgets = (1..).zip(scopes).zip(budgets);
        budgets
            .map(|((number, scope), (limit, shrinks, observes))| Budget {
                when_short: if shrinks { WhenShort::Shrink } else { WhenShort::Refuse },
                enforcement: if observes { Enforcement::Observe } else { Enforcement::Hard },
                ..budget(number, scope, limit, Period::Day)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_cap_that_a_refusal_names_is_the_highest_that_is_admitted(
        budgets in budgets(), spent in 0i64..25, held in 0i64..60,
    ) {
        let balances = holding(budgets, spent);
        let asked = admission(2, 1, held, Duration::from_secs(60));
        let Some(refusal) = refusal(&balances, &asked) else { return Ok(()) };
        let named = refusal.details.get("affordable_max_output_tokens").map(|cap| cap.as_u64().expect("a number"));
        let highest = (CAP_MIN..CAP).rev().find(|cap| admits(&balances, &resent(&asked, *cap)));
        prop_assert_eq!(named, highest);
    }
}

#[test]
fn a_refusal_says_in_words_what_is_left_what_is_needed_and_until_when() {
    let daily = || budget(1, Scope::Tenant(id(1)), 10, Period::Day);
    let asked = admission(2, 1, 8, Duration::from_secs(60));
    let said = refusal(&holding(vec![daily()], 4), &asked).expect("8 do not fit into 6");
    assert_eq!(
        said.message,
        "this request could cost up to 0.000000008 US dollars, but the budget bud_00000000000000000000000000000001 of \
         ten_00000000000000000000000000000001 has only 0.000000006 left until 2020-11-21T00:00:00.000000Z"
    );
    assert_eq!(said.details["remaining_usd"], "0.000000006");
    assert_eq!(said.details["affordable_max_output_tokens"], json!(10));
    let total = Budget { period: Period::Total, ..daily() };
    let said = refusal(&holding(vec![total], 4), &asked).expect("8 do not fit into 6");
    assert!(said.message.ends_with(" left and never resets"), "{}", said.message);
    // After a limit is lowered, more may be used than it allows.
    let mut lowered = holding(vec![daily()], 10);
    let limit_usd = NanoUsd::new(3);
    lowered.fold_budget(&Change::created(Budget { limit_usd, ..daily() }), 9, start());
    let said = refusal(&lowered, &asked).expect("nothing is left");
    assert_eq!(said.details["remaining_usd"], "0.000000000");
    assert_eq!(said.details.get("affordable_max_output_tokens"), None::<&Value>);
}
