//! What one limit has counted: a window a measure, and what is being answered.

use std::time::Duration;

use events::limit::Measure;

use super::window::{Fits, Place, Window};

/// Windows are made when they first count.
#[derive(Debug, Default)]
pub(super) struct Slot {
    windows: Vec<(Measure, Window)>,
    in_flight: u64,
}

/// Why a request does not fit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Short {
    /// Until another one has ended, which nobody can know.
    UntilOneEnds,
    Window(Fits),
}

impl Slot {
    /// Moves every window to `now`.
    pub(super) fn advance(&mut self, now_micros: i64) {
        for (_, window) in &mut self.windows {
            window.advance(now_micros);
        }
    }

    /// `None` where so much more fits.
    pub(super) fn short(&self, measure: Measure, limit: u64, amount: u64) -> Option<Short> {
        if measure == Measure::ConcurrentRequests {
            return (self.in_flight >= limit).then_some(Short::UntilOneEnds);
        }
        match self.window(measure) {
            Some(window) => window.wait(amount, limit).map(Short::Window),
            None => (amount > limit).then_some(Short::Window(Fits::Never)),
        }
    }

    /// Counts in the window of a measure; `None` where it has none.
    pub(super) fn count(&mut self, measure: Measure, amount: u64, now_micros: i64) -> Option<Place> {
        let span = measure.window()?;
        let at = self.windows.iter().position(|(known, _)| *known == measure).unwrap_or_else(|| {
            self.windows.push((measure, Window::new(span)));
            self.windows.len() - 1
        });
        let (_, window) = self.windows.get_mut(at)?;
        window.advance(now_micros);
        Some(window.count(amount))
    }

    /// What was counted there as `was` turned out to be `is`.
    pub(super) fn correct(&mut self, measure: Measure, place: Place, was: u64, is: u64) {
        if let Some((_, window)) = self.windows.iter_mut().find(|(known, _)| *known == measure) {
            window.correct(place, was, is);
        }
    }

    pub(super) const fn begin(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    pub(super) const fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// What is left of a limit, and how long until there is more: `None` where nobody can know.
    pub(super) fn left(&self, measure: Measure, limit: u64) -> (u64, Option<Duration>) {
        if measure == Measure::ConcurrentRequests {
            return (limit.saturating_sub(self.in_flight), None);
        }
        match self.window(measure) {
            Some(window) => (limit.saturating_sub(window.counted()), Some(window.until_more(limit))),
            None => (limit, Some(Duration::ZERO)),
        }
    }

    /// Whether it counts nothing at `now`.
    pub(super) fn is_idle(&self, now_micros: i64) -> bool {
        self.in_flight == 0 && self.windows.iter().all(|(_, window)| window.is_empty(now_micros))
    }

    fn window(&self, measure: Measure) -> Option<&Window> {
        self.windows.iter().find(|(known, _)| *known == measure).map(|(_, window)| window)
    }
}
