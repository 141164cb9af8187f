//! The independent checker of alerts: plain lists, and fractions read from their text.

use events::event::alert::BudgetThresholdReached;
use events::event::hold::BudgetWindow;

use super::books::{Checked, must};

/// Billionths of a limit, and how they are written.
pub type Mark = (i128, String);

#[derive(Default)]
pub struct Alerts {
    announced: Vec<(BudgetWindow, String)>,
    /// Window, fraction and what is settled: to be said before anything else is.
    due: Vec<(BudgetWindow, String, i64)>,
}

/// `0.5` in billionths.
pub fn mark(text: String) -> Mark {
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let billionths = format!("{whole}{fraction:0<9}").parse().expect("digits");
    (billionths, text)
}

fn is_reached(settled: i64, (billionths, _): &Mark, limit: i64) -> bool {
    i128::from(settled) * 1_000_000_000 >= billionths * i128::from(limit)
}

impl Alerts {
    /// After money was charged in a window, or given back.
    pub fn owe(&mut self, window: BudgetWindow, settled: i64, marks: &[Mark], limit: i64) {
        for mark in marks.iter().filter(|mark| is_reached(settled, mark, limit)) {
            let name = (window, mark.1.clone());
            if !self.announced.contains(&name) {
                self.announced.push(name);
                self.due.push((window, mark.1.clone(), settled));
            }
        }
    }

    pub fn take(&mut self, said: &BudgetThresholdReached) -> Checked {
        let said = (said.window(), said.fraction.to_string(), said.settled_usd.nanos());
        let at = self.due.iter().position(|due| *due == said);
        must(at.map(|at| self.due.remove(at)).is_some(), || format!("the alert {said:?}, of {:?}", self.due))
    }

    pub fn must_be_silent(&self) -> Checked {
        must(self.due.is_empty(), || format!("another event before {:?}", self.due))
    }

    /// A limit was raised.
    pub fn rearm(&mut self, window: BudgetWindow, settled: i64, limit: i64) {
        self.announced.retain(|(of, text)| *of != window || is_reached(settled, &mark(text.clone()), limit));
    }

    /// What was announced of a budget's window, in order.
    pub fn of(&self, window: &BudgetWindow) -> Vec<&str> {
        let mut fractions: Vec<_> =
            self.announced.iter().filter(|(of, _)| of == window).map(|(_, text)| text.as_str()).collect();
        fractions.sort_by_key(|text| mark((*text).to_owned()).0);
        fractions
    }
}
