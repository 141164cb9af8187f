//! A provider that fails whole: none of its last calls was served, whatever the model. It is said once when that begins, and once
//! when it ends, however many requests meet it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use events::time::from_micros;

/// After so many failed calls in a row, a provider counts as failing.
const FAILED_MIN: u64 = 5;

/// Atomics: every call that is served reads it, and changes nothing in the usual case.
#[derive(Debug, Default)]
pub struct Outage {
    failed_in_a_row: AtomicU64,
    /// When the first one of them failed.
    since_micros: AtomicI64,
}

/// Since when a provider fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    pub since: DateTime<Utc>,
    pub calls: u64,
}

/// A change of an outage by a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageChange {
    Began(Failing),
    Ended(Failing),
}

impl Outage {
    pub fn failed(&self, now: DateTime<Utc>) -> Option<OutageChange> {
        let before = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.since_micros.store(now.timestamp_micros(), Ordering::Relaxed);
        }
        // Of many at once, one sees this number.
        (before + 1 == FAILED_MIN).then(|| OutageChange::Began(self.failing(FAILED_MIN)))
    }

    pub fn served(&self) -> Option<OutageChange> {
        if self.failed_in_a_row.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let since = self.failing(0);
        let calls = self.failed_in_a_row.swap(0, Ordering::Relaxed);
        (calls >= FAILED_MIN).then_some(OutageChange::Ended(Failing { calls, ..since }))
    }

    /// `None` unless it fails now.
    pub fn current(&self) -> Option<Failing> {
        let calls = self.failed_in_a_row.load(Ordering::Relaxed);
        (calls >= FAILED_MIN).then(|| self.failing(calls))
    }

    fn failing(&self, calls: u64) -> Failing {
        Failing { since: from_micros(self.since_micros.load(Ordering::Relaxed)), calls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_when_it_begins_and_when_it_ends() {
        let outage = Outage::default();
        let fails = |at| outage.failed(from_micros(at));
        assert_eq!((fails(1), fails(2), fails(3), fails(4), outage.current()), (None, None, None, None, None));
        let failing = |calls| Failing { since: from_micros(1), calls };
        assert_eq!(fails(5), Some(OutageChange::Began(failing(5))));
        assert_eq!((fails(6), fails(7)), (None, None));
        assert_eq!(outage.current(), Some(failing(7)));
        assert_eq!(outage.served(), Some(OutageChange::Ended(failing(7))));
        assert_eq!((outage.served(), outage.current()), (None, None));
        assert_eq!(fails(9), None);
        assert_eq!((outage.served(), outage.current()), (None, None), "four of five are no outage");
    }

    #[test]
    fn of_many_calls_at_once_one_begins_it_and_one_ends_it() {
        let outage = Outage::default();
        let many = |change: &(dyn Fn() -> Option<OutageChange> + Sync)| {
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..8).map(|_| scope.spawn(|| (0..500).filter_map(|_| change()).count())).collect();
                threads.into_iter().map(|thread| thread.join().expect("a count")).sum::<usize>()
            })
        };
        assert_eq!(many(&|| outage.failed(from_micros(1))), 1);
        assert_eq!(many(&|| outage.served()), 1);
    }
}
