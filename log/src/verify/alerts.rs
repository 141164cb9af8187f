//! The check of alerts: each fraction of a limit that settled money reaches is announced right after it, once, with the right
//! amount.

use events::event::alert::BudgetThresholdReached;
use events::event::{Alert, Event, Recorded};
use events::ledger::Balances;
use events::money::NanoUsd;

/// The alerts that must come next.
#[derive(Default)]
pub(super) struct Alerts {
    due: Vec<BudgetThresholdReached>,
}

impl Alerts {
    /// Called before the fold: an alert must be one of those that are due, and no other event may come before them all.
    pub(super) fn check(&mut self, recorded: &Recorded) -> Result<(), String> {
        let Event::Alert(Alert::BudgetThresholdReached(alert)) = &recorded.event else {
            return self.must_be_announced();
        };
        match self.due.iter().position(|due| *due == **alert) {
            Some(at) => {
                self.due.swap_remove(at);
                Ok(())
            }
            None => Err(format!("{} is not due now, or was announced before", described(alert))),
        }
    }

    /// Called after the fold: adds the alerts that the event makes due.
    pub(super) fn expect(&mut self, event: &Event, balances: &Balances) {
        let Event::Hold(hold) = event else { return };
        let charged = hold.movements().filter(|movement| movement.settled != NanoUsd::ZERO);
        for window in charged.flat_map(|movement| movement.windows) {
            let settled_usd = balances.amounts(window).settled;
            self.due.extend(balances.unannounced(window).map(|fraction| BudgetThresholdReached {
                budget_id: window.budget_id,
                window_start: window.window_start,
                fraction,
                settled_usd,
            }));
        }
    }

    pub(super) fn must_be_announced(&self) -> Result<(), String> {
        self.due.first().map_or(Ok(()), |due| Err(format!("{} was not announced", described(due))))
    }
}

/// An alert as the messages describe it.
fn described(alert: &BudgetThresholdReached) -> String {
    let BudgetThresholdReached { budget_id, fraction, settled_usd, .. } = alert;
    format!("the alert that {budget_id} has reached {fraction} of its limit with {settled_usd} USD")
}
