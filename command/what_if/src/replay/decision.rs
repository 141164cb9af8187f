//! The ledger's decisions about a request under the rules.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::Context;
use events::event::admin::WhenShort;
use events::event::inference::InferenceAdmitted;
use events::ids::{BudgetId, RequestId};
use events::ledger::{Admission, AdmissionBounds, AdmitDecision, Balances, BrokeredBound, IfShort, RefuseDecision};
use events::money::NanoUsd;
use serde_json::Value;

use super::Replay;
use crate::pricing::Bound;
use crate::report::Refuser;

/// The outcome of a request under the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Held { held: NanoUsd, is_shortened: bool },
    Refused,
}

/// A request that the balances are asked to hold money for.
pub(super) struct Asked<'a> {
    pub request_id: RequestId,
    pub context: &'a Context,
    pub bound: Bound,
    /// `None` if as much is held above its tenant.
    pub brokered: Option<BrokeredBound>,
    pub ttl: Duration,
    pub bounds: AdmissionBounds,
    pub admitted: Box<InferenceAdmitted>,
}

impl Replay<'_> {
    /// Asks the ledger, as the gateway does: a budget that shrinks is asked to lower the output cap.
    ///
    /// Errors: the budget that refuses.
    pub(super) fn ask(&mut self, asked: Asked<'_>, now: DateTime<Utc>) -> Result<Standing, Option<Refuser>> {
        let Asked { request_id, context, bound, brokered, ttl, bounds, admitted } = asked;
        let Some(ruled) = &mut self.ruled else { return Ok(Standing::Refused) };
        let mut admission = Admission {
            request_id,
            context: context.clone(),
            planned_at: u64::MAX,
            held: bound.held,
            brokered,
            ttl,
            if_short: IfShort::Refuse,
            bounds,
            admitted,
        };
        let mut refused_by = match admit(ruled, &admission, now) {
            Ok(standing) => return Ok(standing),
            Err(budget) => budget,
        };
        let shrinks = |id: BudgetId| ruled.budget(id).is_some_and(|of| of.budget.when_short == WhenShort::Shrink);
        if let Some(shrinking) = bound.shrinking.filter(|_| refused_by.is_some_and(shrinks)) {
            admission.if_short = IfShort::Shrink(shrinking);
            refused_by = match admit(ruled, &admission, now) {
                Ok(standing) => return Ok(standing),
                Err(budget) => budget,
            };
        }
        Err(refused_by.map(|id| Refuser {
            rule: self.rules.budgets.rule(id),
            scope: ruled.budget(id).map(|in_force| in_force.budget.scope.clone()),
        }))
    }
}

/// Returns the ledger's decision. Errors: the request is refused, by this budget if one refuses it.
fn admit(balances: &mut Balances, admission: &Admission, now: DateTime<Utc>) -> Result<Standing, Option<BudgetId>> {
    match balances.admit(admission, now) {
        AdmitDecision::Admitted { held, lowered_cap, .. } => {
            Ok(Standing::Held { held, is_shortened: lowered_cap.is_some() })
        }
        AdmitDecision::Refused(RefuseDecision::Now(decided) | RefuseDecision::NextSecond(decided)) => {
            let id = decided.refusal.details.get("budget_id").and_then(Value::as_str);
            Err(id.and_then(|id| id.parse().ok()))
        }
        // The first is of a request that has a hold, and the second of one that asks again: neither is asked here.
        AdmitDecision::AlreadyAdmitted | AdmitDecision::Short => Err(None),
    }
}
