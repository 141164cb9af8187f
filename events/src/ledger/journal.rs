//! The undo journal: what decisions changed since a batch began. They are undone if the batch cannot be recorded, or if the
//! state that it was decided on has moved.

use std::collections::{BTreeSet, HashSet};

use super::refusals::SecondOfRefusals;
use super::{Amounts, Balances, BudgetInForce, Hold};
use crate::event::Actor;
use crate::event::hold::BudgetWindow;
use crate::fraction::Fraction;
use crate::ids::{BudgetId, RequestId};

/// The undo record of one change: the state before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Undo {
    Window {
        window: BudgetWindow,
        amounts: Option<Amounts>,
    },
    Announced {
        window: BudgetWindow,
        fractions: Option<BTreeSet<Fraction>>,
    },
    /// The window's row equalled the balances.
    WindowWritten(BudgetWindow),
    /// The request had no open hold.
    NotHeld(RequestId),
    Held {
        request: RequestId,
        hold: Hold,
        is_in_rows: bool,
    },
    /// `place` is its index among the budgets of its scope.
    Budget {
        budget_id: BudgetId,
        in_force: BudgetInForce,
        place: usize,
    },
    NoBudget(BudgetId),
    Refusals {
        actor: Actor,
        second: Option<SecondOfRefusals>,
    },
    WaitingRefusals(u32),
}

/// The journal. It is open only while a batch is decided: a fold of many events is never undone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Journal {
    is_open: bool,
    changes: Vec<Undo>,
    /// The actors whose refusals are among the changes: however many an actor has, they are copied once.
    actors: HashSet<Actor>,
}

impl Journal {
    pub(super) fn note(&mut self, before: impl FnOnce() -> Undo) {
        if self.is_open {
            self.changes.push(before());
        }
    }

    /// True if the actor's refusals are still to be noted.
    pub(super) fn wants_refusals_of(&mut self, actor: &Actor) -> bool {
        self.is_open && !self.actors.contains(actor) && self.actors.insert(actor.clone())
    }

    fn begin(&mut self, is_open: bool) {
        self.is_open = is_open;
        self.changes.clear();
        self.actors.clear();
    }
}

impl Balances {
    /// Begins a batch: decisions from here on can be undone.
    pub fn begin(&mut self) {
        self.journal.begin(true);
    }

    /// Keeps the decisions since [`Balances::begin`].
    pub fn keep(&mut self) {
        self.journal.begin(false);
    }

    /// Undoes the decisions since [`Balances::begin`], the last first.
    pub fn undo(&mut self) {
        for before in std::mem::take(&mut self.journal.changes).into_iter().rev() {
            self.restore(before);
        }
        self.journal.begin(false);
    }

    fn restore(&mut self, before: Undo) {
        match before {
            Undo::Window { window, amounts: Some(amounts) } => drop(self.windows.insert(window, amounts)),
            Undo::Window { window, amounts: None } => drop(self.windows.remove(&window)),
            Undo::Announced { window, fractions: Some(fractions) } => drop(self.announced.insert(window, fractions)),
            Undo::Announced { window, fractions: None } => drop(self.announced.remove(&window)),
            Undo::WindowWritten(window) => drop(self.changes.windows.remove(&window)),
            Undo::NotHeld(request) => {
                self.changes.opened.remove(&request);
                if let Some(hold) = self.open.remove(&request) {
                    self.count_closed(&hold);
                    self.by_expiry.remove(&(hold.expires_at, request));
                }
            }
            Undo::Held { request, hold, is_in_rows } => {
                if is_in_rows {
                    self.changes.closed.remove(&request);
                } else {
                    self.changes.opened.insert(request);
                }
                self.count_opened(&hold);
                self.by_expiry.insert((hold.expires_at, request));
                self.open.insert(request, hold);
            }
            Undo::Budget { budget_id, in_force, place } => {
                self.by_scope.insert(&in_force.budget.scope, budget_id, place);
                self.budgets.insert(budget_id, in_force);
            }
            Undo::NoBudget(budget_id) => {
                if let Some(opened) = self.budgets.remove(&budget_id) {
                    self.by_scope.remove(&opened.budget.scope, budget_id);
                }
            }
            Undo::Refusals { actor, second } => self.refusals.restore(actor, second),
            Undo::WaitingRefusals(waiting) => self.refusals.waiting = waiting,
        }
    }
}
