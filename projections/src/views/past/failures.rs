//! The positions whose views could not be built for a reason that stays: nothing is built for a query of them for a while.

use std::collections::VecDeque;
use std::time::Duration;

use crate::views::past_error::PastError;

/// How long a failure is remembered.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Failures that are remembered at most, the newest ones.
const LEN_MAX: usize = 16;

#[derive(Default)]
pub struct Failures {
    /// Each with the time at which it is forgotten. The oldest one first.
    remembered: VecDeque<(Duration, u64, PastError)>,
}

impl Failures {
    /// Remembers the error if it would be the same one next time.
    pub fn add(&mut self, position: u64, error: &PastError, now: Duration) {
        match error {
            PastError::Failed { .. } => {}
            PastError::Building { .. }
            | PastError::Busy
            | PastError::DiskNearlyFull { .. }
            | PastError::Unavailable { .. }
            | PastError::Stopping => return,
        }
        self.forget(now);
        if self.remembered.len() == LEN_MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back((now + KEPT_FOR, position, error.clone()));
    }

    pub fn find(&mut self, position: u64, now: Duration) -> Option<PastError> {
        self.forget(now);
        self.remembered.iter().find(|(_, of, _)| *of == position).map(|(_, _, error)| error.clone())
    }

    fn forget(&mut self, now: Duration) {
        while self.remembered.front().is_some_and(|(until, _, _)| *until <= now) {
            self.remembered.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn failed(position: u64) -> PastError {
        PastError::Failed { position, reason: "no".into() }
    }

    #[test]
    fn what_stays_is_remembered_for_a_minute_and_what_may_pass_is_not() {
        let mut failures = Failures::default();
        failures.add(1, &failed(1), NOW);
        for passing in [
            PastError::DiskNearlyFull { position: 2, reason: "full".into() },
            PastError::Unavailable { position: 2, reason: "away".into() },
            PastError::Stopping,
        ] {
            failures.add(2, &passing, NOW);
        }
        assert_eq!(failures.find(1, NOW + KEPT_FOR - Duration::from_millis(1)), Some(failed(1)));
        assert_eq!((failures.find(1, NOW + KEPT_FOR), failures.find(2, NOW)), (None, None));
    }

    #[test]
    fn few_are_remembered() {
        let mut failures = Failures::default();
        let more = LEN_MAX as u64 + 1;
        (1..=more).for_each(|position| failures.add(position, &failed(position), NOW));
        assert_eq!((failures.find(1, NOW), failures.remembered.len()), (None, LEN_MAX));
        assert_eq!((failures.find(2, NOW), failures.find(more, NOW)), (Some(failed(2)), Some(failed(more))));
    }
}
