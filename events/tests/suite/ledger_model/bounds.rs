//! The bounds of admissions, and whether a decision by them follows from its events.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::admin::{Budget, NarrowedScope, Scope};
use events::event::inference::BudgetShortfall;
use events::event::{Change, Event, Inference};
use events::ledger::{
    Admission, AdmissionBounds, AdmitDecision, Balances, HoldShare, IfShort, RefuseDecision, SharedScopes,
};
use events::refusal::{ErrorCode, Refusal};
use events::time::Period;

use super::scopes::narrowing;
use super::{Ledger, fraction};
use crate::facts::{admission, budget, id, start};

/// The bounds of an admission, in the model's words.
#[derive(Clone, Copy, Debug)]
pub struct ModelBounds {
    /// The share that a key may hold, in thousandths.
    pub share: Option<i64>,
    /// Whether the share of the tenant bounds it too.
    pub with_tenants: bool,
    pub budgets_max: usize,
}

pub const BOUNDS: [ModelBounds; 4] = [
    ModelBounds { share: None, with_tenants: false, budgets_max: usize::MAX },
    ModelBounds { share: Some(500), with_tenants: true, budgets_max: usize::MAX },
    ModelBounds { share: Some(250), with_tenants: false, budgets_max: usize::MAX },
    ModelBounds { share: Some(1000), with_tenants: true, budgets_max: 3 },
];

impl ModelBounds {
    pub fn of_ledger(self) -> AdmissionBounds {
        let partner_tenants = self.with_tenants;
        let shared = SharedScopes { partner: true, partner_tenants, tenant: true, teams: true, user: true };
        let share = self.share.map(|thousandths| HoldShare::OfShared { fraction: fraction(thousandths), shared });
        AdmissionBounds { budgets_max: self.budgets_max, share }
    }
}

/// Decides an admission, and again by the shares that its events have, which must give the same. Nothing is left of it.
pub fn must_follow_from_its_events(balances: &mut Balances, asked: &Admission, now: DateTime<Utc>) {
    let mut decide = |asked: &Admission| {
        balances.begin();
        let decided = balances.admit(asked, now);
        balances.undo();
        decided
    };
    let decided = decide(asked);
    match &decided {
        AdmitDecision::Admitted { events, .. } => {
            let Event::Inference(Inference::Admitted(admitted)) = &events[0].event else { panic!("{events:?}") };
            let bounds = AdmissionBounds::of_recorded(admitted.hold_shares.clone());
            assert_eq!(decide(&Admission { bounds, ..asked.clone() }), decided);
        }
        AdmitDecision::Refused(refused) => {
            let (RefuseDecision::Now(refused) | RefuseDecision::NextSecond(refused)) = refused;
            let Some(short) = shortfall(&refused.refusal) else { return };
            let share = short.share.map(|share| (short.budget_id, share));
            let bounds = AdmissionBounds::of_recorded(share.into_iter().collect());
            let again = decide(&Admission { bounds, if_short: IfShort::Refuse, ..asked.clone() });
            let AdmitDecision::Refused(RefuseDecision::Now(again) | RefuseDecision::NextSecond(again)) = again else {
                panic!("{again:?} after {short:?}")
            };
            assert_eq!(shortfall(&again.refusal), Some(short));
        }
        AdmitDecision::AlreadyAdmitted | AdmitDecision::Short => {}
    }
}

fn shortfall(refusal: &Refusal) -> Option<BudgetShortfall> {
    let is_of_budget = refusal.code == ErrorCode::BudgetExceeded;
    is_of_budget.then(|| serde_json::from_value(refusal.details.clone().into()).expect("a shortfall"))
}

/// Holds: admin.binding-max
#[test]
fn budgets_that_ask_for_more_than_a_request_has_are_looked_at_up_to_a_number() {
    let (mut ledger, tenant) = (Ledger::default(), Scope::Tenant(id(1)));
    let open = |ledger: &mut Ledger, number, team, limit| {
        let scope = NarrowedScope::narrowed(tenant, narrowing([None, Some(0), team]));
        let narrowed = Budget { scope, ..budget(number, tenant, limit, Period::Total) };
        ledger.budget_event(Change::created(narrowed), start());
    };
    let asked = |request, bounds| {
        let mut asked = Admission { bounds, ..admission(request, 1, 1, Duration::from_secs(60)) };
        asked.admitted.metadata = narrowing([None, Some(0), None]).metadata.to_metadata();
        asked
    };
    let one = || AdmissionBounds { budgets_max: 1, ..AdmissionBounds::NONE };
    (0..16).for_each(|number| open(&mut ledger, number, Some(0), 0));
    must_be_admitted(&mut ledger, &asked(1, one()), true);
    open(&mut ledger, 16, None, 9);
    must_be_admitted(&mut ledger, &asked(2, one()), false);
    // It alone binds the request.
    must_be_admitted(&mut ledger, &asked(3, AdmissionBounds::NONE), true);
    ledger.must_fold_to_the_same();
}

fn must_be_admitted(ledger: &mut Ledger, asked: &Admission, is_admitted: bool) {
    let decision = ledger.admit(asked, start());
    match &decision {
        AdmitDecision::Admitted { .. } => assert!(is_admitted, "{decision:?}"),
        AdmitDecision::Refused(RefuseDecision::Now(refused)) => {
            assert!(!is_admitted && refused.refusal.code == ErrorCode::InvalidRequest, "{decision:?}");
        }
        other => panic!("{other:?}"),
    }
}
