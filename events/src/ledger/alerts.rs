//! Alerts: the fractions of a budget's limit that the settled amount of a window has reached, each announced once. Raising
//! the limit arms those again that are no longer reached.

use std::collections::BTreeSet;

use super::brokered::Moved;
use super::journal::Undo;
use super::{Balances, Emitted};
use crate::event::admin::Scope;
use crate::event::alert::BudgetThresholdReached;
use crate::event::hold::BudgetWindow;
use crate::event::{Actor, Alert, Context, Event, Stream};
use crate::fraction::Fraction;
use crate::money::NanoUsd;

impl Balances {
    /// The fractions announced for a window, in ascending order.
    pub fn announced(&self, window: &BudgetWindow) -> impl Iterator<Item = Fraction> {
        self.announced.get(window).into_iter().flatten().copied()
    }

    /// The fractions of a window that are reached and not announced, in ascending order.
    pub fn unannounced(&self, window: &BudgetWindow) -> impl Iterator<Item = Fraction> {
        // Most budgets have no alerts: they cost one look-up.
        let budget = self.budgets.get(&window.budget_id).map(|in_force| &in_force.budget);
        budget.filter(|budget| !budget.alert_at.is_empty()).into_iter().flat_map(move |budget| {
            let (settled, announced) = (self.amounts(window).settled, self.announced.get(window));
            let is_due = move |fraction: &Fraction| {
                fraction.is_reached(settled, budget.limit_usd)
                    && announced.is_none_or(|announced| !announced.contains(fraction))
            };
            budget.alert_at.iter().copied().filter(is_due)
        })
    }

    /// Announces the fractions that windows have reached after these moves.
    pub(super) fn announce_each<'a>(
        &mut self,
        moves: impl Iterator<Item = Moved<'a>>,
        cause: &Context,
    ) -> Vec<Emitted> {
        moves.flat_map(|moved| self.announce(moved.windows, moved.settled, cause)).collect()
    }

    /// Announces the fractions that these windows have reached, after their settled amounts were changed by `settled`.
    fn announce(&mut self, windows: &[BudgetWindow], settled: NanoUsd, cause: &Context) -> Vec<Emitted> {
        let mut events = Vec::new();
        if settled == NanoUsd::ZERO {
            return events;
        }
        for window in windows {
            let Some(scope) = self.budgets.get(&window.budget_id).map(|in_force| in_force.budget.scope.owner) else {
                continue;
            };
            for fraction in self.unannounced(window).collect::<Vec<_>>() {
                self.note_announced(*window, fraction);
                let reached = BudgetThresholdReached {
                    budget_id: window.budget_id,
                    window_start: window.window_start,
                    fraction,
                    settled_usd: self.amounts(window).settled,
                };
                events.push(Emitted {
                    stream: Stream::alert(window.budget_id),
                    context: alert_context(scope, cause),
                    event: Event::Alert(Alert::BudgetThresholdReached(Box::new(reached))),
                });
            }
        }
        events
    }

    pub(super) fn note_announced(&mut self, window: BudgetWindow, fraction: Fraction) {
        self.journal.note(|| Undo::Announced { window, fractions: self.announced.get(&window).cloned() });
        self.announced.entry(window).or_default().insert(fraction);
        self.mark_changed(window);
    }

    /// Arms fractions again after a change of the budget's limit, in the window of that instant.
    pub(super) fn rearm(&mut self, window: BudgetWindow, before: NanoUsd, limit: NanoUsd) {
        if limit <= before {
            return;
        }
        let settled = self.amounts(&window).settled;
        let Some(announced) = self.announced.get(&window) else { return };
        let reached = |fraction: &&Fraction| fraction.is_reached(settled, limit);
        let still: BTreeSet<Fraction> = announced.iter().filter(reached).copied().collect();
        if still.len() == announced.len() {
            return;
        }
        let fractions =
            if still.is_empty() { self.announced.remove(&window) } else { self.announced.insert(window, still) };
        self.journal.note(|| Undo::Announced { window, fractions });
        self.mark_changed(window);
    }
}

/// The context of an alert: the budget's owner, and the request that moved the money. Levels below the budget's own are
/// left out: whoever watches the budget must not learn who spent it, and the spender must not see the alert.
fn alert_context(scope: Scope, cause: &Context) -> Context {
    let mut context = Context { actor: Actor::System("ledger"), ..cause.clone() };
    let depth = match scope {
        Scope::Partner(_) => 0,
        Scope::Tenant(_) | Scope::Team(_) => 1,
        Scope::User(_) => 2,
        Scope::Key(_) => 3,
    };
    context.tenant_id = context.tenant_id.filter(|_| depth >= 1);
    context.user_id = context.user_id.filter(|_| depth >= 2);
    context.key_id = context.key_id.filter(|_| depth >= 3);
    context
}
