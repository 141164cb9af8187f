//! Alerts: each fraction of a limit that settled money comes to is announced behind it, once, with the right figure.

use std::fmt;

use crate::event::alert::BudgetThresholdReached;
use crate::event::hold::BudgetWindow;
use crate::event::{Alert, Event, Recorded};
use crate::ledger::Balances;
use crate::money::NanoUsd;

/// What has to be said next.
#[derive(Default)]
pub(super) struct Alerts {
    due: Vec<BudgetThresholdReached>,
}

impl Alerts {
    /// In front of the fold: an alert is one of those that are due, and nothing else comes before they are all said.
    pub(super) fn take(&mut self, recorded: &Recorded) -> Result<(), String> {
        let Event::Alert(Alert::BudgetThresholdReached(said)) = &recorded.event else { return self.must_be_said() };
        match self.due.iter().position(|due| *due == **said) {
            Some(at) => {
                self.due.swap_remove(at);
                Ok(())
            }
            None => Err(format!("{} is not due now, or was said before", Said(said))),
        }
    }

    /// Behind the fold of what moved settled money.
    pub(super) fn owe(&mut self, event: &Event, balances: &Balances) {
        for window in charged_windows(event) {
            let settled_usd = balances.amounts(window).settled;
            self.due.extend(balances.unannounced(window).map(|fraction| BudgetThresholdReached {
                budget_id: window.budget_id,
                window_start: window.window_start,
                fraction,
                settled_usd,
            }));
        }
    }

    pub(super) fn must_be_said(&self) -> Result<(), String> {
        self.due.first().map_or(Ok(()), |due| Err(format!("{} was not said", Said(due))))
    }
}

/// Where settled money moved, up or down.
fn charged_windows(event: &Event) -> &[BudgetWindow] {
    let Event::Hold(hold) = event else { return &[] };
    let movement = hold.movement();
    if movement.settled == NanoUsd::ZERO { &[] } else { movement.windows }
}

struct Said<'a>(&'a BudgetThresholdReached);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BudgetThresholdReached { budget_id, fraction, settled_usd, .. } = self.0;
        write!(f, "that {budget_id} has come to {fraction} of its limit with {settled_usd} USD")
    }
}
