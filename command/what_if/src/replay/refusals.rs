//! Requests that were refused, by a budget or by a rate limit.

use std::time::Duration;

use events::event::access::AccessRateLimited;
use events::event::admin::{Budget, Enforcement};
use events::event::hold::BudgetWindow;
use events::event::inference::{BudgetShare, BudgetShortfall, InferenceAdmitted, InferenceRefused};
use events::event::{Recorded, ScopeSubject};
use events::ledger::{AdmissionBounds, BrokeredBound, Charge, Holder};
use events::limit::{LimitName, LimitedMeasure};
use events::money::{CostLine, NanoUsd, NanoUsdSum};
use events::refusal::ErrorCode;
use serde_json::Value;

use super::Replay;
use super::decision::{Asked, Standing};
use crate::ending::ending;
use crate::limits::Fate;
use crate::pricing::Bound;
use crate::report::Party;

/// The refusals of one event that are decided again: more than a caller can send in the second that one event stands for.
const ROLLED_UP_MAX: u64 = 1_000_000;

impl Replay<'_> {
    /// Recorded refusals of the pipeline. Those of budgets are decided again, with their recorded bound.
    pub(super) fn refused(&mut self, recorded: &Recorded, refused: &InferenceRefused) {
        let now = recorded.recorded_at;
        if !self.period.includes(now) {
            return;
        }
        let party = Party::new(&recorded.context, Some(&refused.model));
        self.report.count(&party, |figures| figures.refused = figures.refused.saturating_add(refused.count));
        let mut shortfall = self.no_longer_short(recorded, refused);
        let counts = self.limits.counts(now);
        if shortfall.is_none() && !counts {
            return;
        }
        let (mut at_most, mut admitted) = (NanoUsdSum::ZERO, 0);
        let scope_subject = refused.scope_subject(&recorded.context);
        for _ in 0..refused.count.min(ROLLED_UP_MAX) {
            // A request counts against the limits before its budgets are asked. The others of this instant would be refused too.
            if counts && self.limits.count(&scope_subject, &self.tables, None).is_err() {
                break;
            }
            let Some(of) = &shortfall else { continue };
            match self.admit_refused(recorded, refused, of) {
                Some(held) => (at_most, admitted) = (at_most + held.into(), admitted + 1),
                None if counts => shortfall = None,
                None => break,
            }
        }
        self.report.count(&party, |figures| {
            figures.newly_admitted += admitted;
            figures.newly_admitted_at_most_usd = figures.newly_admitted_at_most_usd + at_most;
        });
    }

    /// The recorded shortfall of a refusal by a budget, if that budget, and the share of it that the requester may hold, have enough left
    /// under the rules. The recorded amounts are those of the decision, which may be a second old; what the rules have changed of them is
    /// added.
    fn no_longer_short(&self, recorded: &Recorded, refused: &InferenceRefused) -> Option<BudgetShortfall> {
        if refused.code != ErrorCode::BudgetExceeded {
            return None;
        }
        let shortfall: BudgetShortfall = serde_json::from_value(Value::Object(refused.details.clone())).ok()?;
        let id = shortfall.budget_id;
        if self.rules.budgets.removes(id) {
            return Some(shortfall);
        }
        let in_force = self.recorded.budget(id).map(|in_force| in_force.budget.clone());
        let period = in_force.as_ref().map_or(events::time::Period::Total, |budget| budget.period);
        let as_recorded = Budget {
            limit_usd: shortfall.limit_usd,
            ..in_force.unwrap_or_else(|| Budget {
                scope: shortfall.scope.clone(),
                ..Budget::new(id, shortfall.scope.owner, shortfall.limit_usd, period)
            })
        };
        let budget = self.rules.budgets.applied_to(as_recorded);
        let window = BudgetWindow { budget_id: id, window_start: period.window_start(recorded.recorded_at) };
        let ruled = self.ruled.as_ref()?;
        let (was, is) = (self.recorded.amounts(&window), ruled.amounts(&window));
        let unsettled = NanoUsdSum::from(budget.limit_usd) - shortfall.settled_usd + was.settled - is.settled;
        let of_budget = unsettled - shortfall.held_usd + was.held - is.held;
        let of_share = shortfall.share.and_then(|share| {
            let holder = Holder::of(share.of, &recorded.context)?;
            let (was, is) = (self.recorded.held_by(holder, &window), ruled.held_by(holder, &window));
            Some(BudgetShare { held_usd: share.held_usd - was + is, ..share }.left_of(unsettled))
        });
        let left = of_share.map_or(of_budget, |of_share| of_share.min(of_budget));
        let is_short = left < shortfall.requested_usd.into();
        (!is_short || budget.enforcement == Enforcement::Observe).then_some(shortfall)
    }

    /// Asks the ledger for a request that was refused. If it is admitted, its whole bound is charged, as for any request whose cost
    /// is unknown. Returns the bound.
    fn admit_refused(
        &mut self,
        recorded: &Recorded,
        refused: &InferenceRefused,
        shortfall: &BudgetShortfall,
    ) -> Option<NanoUsd> {
        let request_id = recorded.context.request_id?;
        let bound = Bound { held: shortfall.requested_usd, shrinking: None };
        let share = shortfall.share.map(|share| (shortfall.budget_id, share));
        let bounds = AdmissionBounds::of_recorded(share.into_iter().collect());
        let (ttl, admitted) = (Duration::ZERO, Box::new(InferenceAdmitted::of_refused(refused)));
        let is_guest = self.tables.is_guest(&recorded.context.chain());
        let brokered = shortfall.brokered_usd.map(|held| BrokeredBound { held, line: CostLine::ZERO, is_guest });
        let asked = Asked { request_id, context: &recorded.context, bound, brokered, ttl, bounds, admitted };
        let Ok(Standing::Held { held, .. }) = self.ask(asked, recorded.recorded_at) else { return None };
        let own = brokered.and_then(|bound| held.checked_sub(bound.held)).unwrap_or(NanoUsd::ZERO);
        let ending = ending(request_id, &recorded.context, Charge::Settle(held), own);
        self.ruled.as_mut()?.end(&ending).map(|_| held)
    }

    /// Recorded refusals of rate limits.
    pub(super) fn rate_limited(&mut self, recorded: &Recorded, limited: &AccessRateLimited) {
        let is_of_inference = matches!(limited.limit_id, LimitName::Configured(_) | LimitName::Default)
            && matches!(limited.measure, LimitedMeasure::Configured(_));
        if !is_of_inference || !self.period.includes(recorded.recorded_at) {
            return;
        }
        let party = Party::new(&recorded.context, None);
        let fate = self.limits.fate(limited);
        let admitted = match fate {
            Fate::StillRefused | Fate::Undecided => 0,
            Fate::Counted if !self.limits.counts(recorded.recorded_at) => limited.count,
            Fate::Counted => {
                let (chain, scope) = (recorded.context.chain(), self.limits.scope_of(limited));
                let teams = self.tables.teams_of(&chain);
                // No more is known of it than its parties and its teams, and that it met the conditions of the limit.
                let conditions = scope.and_then(|scope| scope.narrowing.as_deref());
                let model = conditions.and_then(|conditions| conditions.model.as_deref()).unwrap_or_default();
                let metadata = conditions.map(|conditions| conditions.metadata.to_metadata()).unwrap_or_default();
                let request = ScopeSubject { model, metadata: &metadata, teams, ..ScopeSubject::of_chain(chain) };
                let all = 0..limited.count.min(ROLLED_UP_MAX);
                all.take_while(|_| self.limits.count(&request, &self.tables, None).is_ok()).count() as u64
            }
        };
        let undecided = if fate == Fate::Undecided { limited.count } else { 0 };
        self.report.count(&party, |figures| {
            figures.refused = figures.refused.saturating_add(limited.count);
            figures.newly_admitted = figures.newly_admitted.saturating_add(admitted);
            figures.undecided = figures.undecided.saturating_add(undecided);
        });
    }
}
