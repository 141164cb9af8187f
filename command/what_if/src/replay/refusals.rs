//! Requests that were refused, by a budget or by a rate limit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::access::AccessRateLimited;
use events::event::admin::{Budget, Enforcement};
use events::event::hold::BudgetWindow;
use events::event::inference::{BudgetShortfall, InferenceAdmitted, InferenceRefused};
use events::event::{Recorded, ScopeSubject};
use events::ledger::Charge;
use events::limit::{LimitName, LimitedMeasure};
use events::money::{NanoUsd, NanoUsdSum};
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
        let mut shortfall = self.no_longer_short(refused, now);
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
            let Some(requested) = shortfall.as_ref().map(|shortfall| shortfall.requested_usd) else { continue };
            match self.admit_refused(recorded, refused, requested) {
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

    /// The recorded shortfall of a refusal by a budget, if that budget has enough left under the rules. The recorded amounts are
    /// those of the decision, which may be a second old; what the rules have changed of them is added.
    fn no_longer_short(&self, refused: &InferenceRefused, now: DateTime<Utc>) -> Option<BudgetShortfall> {
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
        let recorded = Budget {
            limit_usd: shortfall.limit_usd,
            ..in_force.unwrap_or_else(|| Budget {
                scope: shortfall.scope.clone(),
                ..Budget::new(id, shortfall.scope.owner, shortfall.limit_usd, period)
            })
        };
        let budget = self.rules.budgets.applied_to(recorded);
        let window = BudgetWindow { budget_id: id, window_start: period.window_start(now) };
        let saved = self.recorded.amounts(&window).used() - self.ruled.as_ref()?.amounts(&window).used();
        let used = shortfall.settled_usd + shortfall.held_usd - saved;
        let is_short = used + shortfall.requested_usd.into() > budget.limit_usd.into();
        (!is_short || budget.enforcement == Enforcement::Observe).then_some(shortfall)
    }

    /// Asks the ledger for a request that was refused. If it is admitted, its whole bound is charged, as for any request whose cost
    /// is unknown. Returns the bound.
    fn admit_refused(
        &mut self,
        recorded: &Recorded,
        refused: &InferenceRefused,
        requested: NanoUsd,
    ) -> Option<NanoUsd> {
        let request_id = recorded.context.request_id?;
        let bound = Bound { held: requested, shrinking: None };
        let (ttl, admitted) = (Duration::ZERO, Box::new(InferenceAdmitted::of_refused(refused)));
        let asked = Asked { request_id, context: &recorded.context, bound, ttl, admitted };
        let Ok(Standing::Held { held, .. }) = self.ask(asked, recorded.recorded_at) else { return None };
        let ending = ending(request_id, &recorded.context, Charge::Settle(held));
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
                let unknown = ScopeSubject { teams, ..ScopeSubject::of_chain(chain) };
                let request = scope.map_or(unknown, |of| of.request_of(chain, teams));
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
