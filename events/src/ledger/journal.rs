//! What decisions changed since a batch began, so that they can be taken back: the batch that was decided may not be
//! recorded, or what it was decided on may have moved.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};

use super::refusals::SecondOfRefusals;
use super::{Amounts, Balances, BudgetInForce, Hold};
use crate::event::Actor;
use crate::event::hold::BudgetWindow;
use crate::fraction::Fraction;
use crate::ids::{BudgetId, RequestId};

/// One change, as what was there before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Before {
    Window {
        window: BudgetWindow,
        amounts: Option<Amounts>,
    },
    Announced {
        window: BudgetWindow,
        fractions: Option<BTreeSet<Fraction>>,
    },
    /// The window's row was as the balances had it.
    WindowWritten(BudgetWindow),
    /// The request had no open hold.
    NotHeld(RequestId),
    Held {
        request: RequestId,
        hold: Hold,
        put_off_until: Option<DateTime<Utc>>,
        is_in_rows: bool,
    },
    /// The hold was to be swept when it expired.
    NotPutOff(RequestId),
    PutOffUntil(RequestId, DateTime<Utc>),
    /// Where it stood among those of its scope.
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

/// Kept while a batch is decided, and at no other time: a fold of many events is not taken back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Journal {
    is_open: bool,
    changes: Vec<Before>,
    /// Whose refusals are among them: a flood of one actor's copies them once.
    actors: HashSet<Actor>,
}

impl Journal {
    pub(super) fn note(&mut self, before: impl FnOnce() -> Before) {
        if self.is_open {
            self.changes.push(before());
        }
    }

    /// Whether an actor's refusals are still to be noted.
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
    /// From here on what is decided can be undone.
    pub fn begin(&mut self) {
        self.journal.begin(true);
    }

    /// What was decided since [`Balances::begin`] stands.
    pub fn keep(&mut self) {
        self.journal.begin(false);
    }

    /// Takes back what was decided since [`Balances::begin`], the last first.
    pub fn undo(&mut self) {
        for before in std::mem::take(&mut self.journal.changes).into_iter().rev() {
            self.restore(before);
        }
        self.journal.begin(false);
    }

    fn restore(&mut self, before: Before) {
        match before {
            Before::Window { window, amounts: Some(amounts) } => drop(self.windows.insert(window, amounts)),
            Before::Window { window, amounts: None } => drop(self.windows.remove(&window)),
            Before::Announced { window, fractions: Some(fractions) } => drop(self.announced.insert(window, fractions)),
            Before::Announced { window, fractions: None } => drop(self.announced.remove(&window)),
            Before::WindowWritten(window) => drop(self.changes.windows.remove(&window)),
            Before::NotHeld(request) => {
                self.changes.opened.remove(&request);
                if let Some(hold) = self.open.remove(&request) {
                    self.by_expiry.remove(&(hold.expires_at, request));
                }
            }
            Before::Held { request, hold, put_off_until, is_in_rows } => {
                if is_in_rows {
                    self.changes.closed.remove(&request);
                } else {
                    self.changes.opened.insert(request);
                }
                match put_off_until {
                    None => drop(self.by_expiry.insert((hold.expires_at, request))),
                    Some(until) => self.put_off.put(request, until),
                }
                self.open.insert(request, hold);
            }
            Before::NotPutOff(request) => {
                self.put_off.remove(request);
                if let Some(hold) = self.open.get(&request) {
                    self.by_expiry.insert((hold.expires_at, request));
                }
            }
            Before::PutOffUntil(request, until) => self.put_off.put(request, until),
            Before::Budget { budget_id, in_force, place } => {
                let ids = self.by_scope.entry(in_force.scope).or_default();
                ids.insert(place.min(ids.len()), budget_id);
                self.budgets.insert(budget_id, in_force);
            }
            Before::NoBudget(budget_id) => {
                if let Some(opened) = self.budgets.remove(&budget_id) {
                    self.without_id(opened.scope, budget_id);
                }
            }
            Before::Refusals { actor, second } => self.refusals.restore(actor, second),
            Before::WaitingRefusals(waiting) => self.refusals.waiting = waiting,
        }
    }
}
