//! The independent checker of alerts, made of plain lists. It parses fractions from their text.

use events::event::alert::BudgetThresholdReached;
use events::event::hold::BudgetWindow;

use super::books::{Checked, must};

/// A fraction of a limit in billionths, and its text.
pub type Threshold = (i128, String);

#[derive(Default)]
pub struct Alerts {
    announced: Vec<(BudgetWindow, String)>,
    /// Window, fraction and settled amount of alerts that must be the next events.
    due: Vec<(BudgetWindow, String, i128)>,
}

/// Parses a fraction like `0.5`.
pub fn threshold(text: String) -> Threshold {
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let billionths = format!("{whole}{fraction:0<9}").parse().expect("digits");
    (billionths, text)
}

fn is_reached(settled: i64, (billionths, _): &Threshold, limit: i64) -> bool {
    i128::from(settled) * 1_000_000_000 >= billionths * i128::from(limit)
}

impl Alerts {
    /// Records that the settled amount of a window changed: thresholds that are now reached must be announced next.
    pub fn settled_changed(&mut self, window: BudgetWindow, settled: i64, thresholds: &[Threshold], limit: i64) {
        for threshold in thresholds.iter().filter(|threshold| is_reached(settled, threshold, limit)) {
            let name = (window, threshold.1.clone());
            if !self.announced.contains(&name) {
                self.announced.push(name);
                self.due.push((window, threshold.1.clone(), settled.into()));
            }
        }
    }

    /// Checks an alert: it must be due.
    pub fn take(&mut self, alert: &BudgetThresholdReached) -> Checked {
        let alert = (alert.window(), alert.fraction.to_string(), alert.settled_usd.nanos());
        let at = self.due.iter().position(|due| *due == alert);
        must(at.map(|at| self.due.remove(at)).is_some(), || format!("the alert {alert:?}, but {:?} are due", self.due))
    }

    /// Checks that no alert is due.
    pub fn must_be_done(&self) -> Checked {
        must(self.due.is_empty(), || format!("another event before the alerts {:?}", self.due))
    }

    /// Records that a limit was raised: thresholds that are no longer reached may be announced again.
    pub fn rearm(&mut self, window: BudgetWindow, settled: i64, limit: i64) {
        self.announced.retain(|(of, text)| *of != window || is_reached(settled, &threshold(text.clone()), limit));
    }

    /// The announced fractions of a window, in ascending order.
    pub fn announced(&self, window: &BudgetWindow) -> Vec<&str> {
        let mut fractions: Vec<_> =
            self.announced.iter().filter(|(of, _)| of == window).map(|(_, text)| text.as_str()).collect();
        fractions.sort_by_key(|text| threshold((*text).to_owned()).0);
        fractions
    }
}
