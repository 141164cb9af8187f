//! The counts of one limit: one window per measure, and the running requests.

use std::time::Duration;

use events::limit::Measure;

use super::window::{BucketNumber, Fits, Keeping, Window};

/// Counts of one limit. A window is created when its measure first counts.
#[derive(Debug, Default)]
pub struct Slot {
    windows: Vec<(Measure, Window)>,
    running: u64,
    keeping: Keeping,
}

/// Why a request does not fit now. Ordered by the wait; an unknown wait comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// A running request must end first; nobody knows when.
    Concurrency,
    Window(Fits),
}

impl Slot {
    /// Counts that nodes share.
    pub(super) fn shared() -> Self {
        Self { keeping: Keeping::Longer, ..Self::default() }
    }

    /// Moves every window on to `now`.
    pub fn advance(&mut self, now_micros: i64) {
        for (_, window) in &mut self.windows {
            window.advance(now_micros);
        }
    }

    /// Why `amount` does not fit below the limit; `None` if it does.
    pub fn shortage(&self, measure: Measure, limit: u64, amount: u64) -> Option<Shortage> {
        if measure == Measure::ConcurrentRequests {
            return (self.running >= limit).then_some(Shortage::Concurrency);
        }
        match self.window(measure) {
            Some(window) => window.wait(amount, limit).map(Shortage::Window),
            None => (amount > limit).then_some(Shortage::Window(Fits::Never)),
        }
    }

    /// Counts in the window of a measure; `None` if the measure has no window.
    pub fn count(&mut self, measure: Measure, amount: u64, now_micros: i64) -> Option<BucketNumber> {
        let span = measure.window()?;
        let at = self.windows.iter().position(|(known, _)| *known == measure).unwrap_or_else(|| {
            self.windows.push((measure, Window::new(span, self.keeping)));
            self.windows.len() - 1
        });
        let (_, window) = self.windows.get_mut(at)?;
        window.advance(now_micros);
        Some(window.count(amount))
    }

    /// Replaces an amount that was counted in `bucket`.
    pub fn correct(&mut self, measure: Measure, bucket: BucketNumber, was: u64, is: u64) {
        if let Some((_, window)) = self.windows.iter_mut().find(|(known, _)| *known == measure) {
            window.correct(bucket, was, is);
        }
    }

    pub const fn begin_request(&mut self) {
        self.running = self.running.saturating_add(1);
    }

    pub const fn end_request(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// The rest of a limit, and how long until it grows; `None` if nobody knows.
    pub fn remaining(&self, measure: Measure, limit: u64) -> (u64, Option<Duration>) {
        if measure == Measure::ConcurrentRequests {
            return (limit.saturating_sub(self.running), None);
        }
        match self.window(measure) {
            Some(window) => (limit.saturating_sub(window.counted()), Some(window.until_more(limit))),
            None => (limit, Some(Duration::ZERO)),
        }
    }

    /// Returns whether it counts nothing at `now`.
    pub fn is_idle(&self, now_micros: i64) -> bool {
        self.running == 0 && self.windows.iter().all(|(_, window)| window.is_empty(now_micros))
    }

    /// The amount that a measure has in its window now.
    pub(super) fn counted(&self, measure: Measure) -> u64 {
        self.window(measure).map_or(0, Window::counted)
    }

    pub(super) const fn running(&self) -> u64 {
        self.running
    }

    pub(super) fn windows(&self) -> &[(Measure, Window)] {
        &self.windows
    }

    fn window(&self, measure: Measure) -> Option<&Window> {
        self.windows.iter().find(|(known, _)| *known == measure).map(|(_, window)| window)
    }
}
