//! How far the stream has come: what was written, since when, and what of it counts as delivered.

use std::collections::VecDeque;
use std::time::Duration;

/// The age at which bytes written on a sound connection count as delivered: longer than the kernel waits for a receiver that takes nothing.
pub const DELIVERED_AFTER: Duration = Duration::from_secs(30);
/// Writes within this time are remembered as one.
const GROUP: Duration = Duration::from_secs(1);

/// Positions that one connection has dealt with.
#[derive(Debug)]
pub struct Progress {
    delivered: u64,
    /// Groups of positions: when each began, and its last one. Some thirty at most.
    written: VecDeque<(Duration, u64)>,
}

impl Progress {
    /// All up to a position was delivered before.
    pub const fn after(delivered: u64) -> Self {
        Self { delivered, written: VecDeque::new() }
    }

    /// All up to a position was written. Times are those of a clock that never goes back.
    pub fn wrote(&mut self, position: u64, now: Duration) {
        match self.written.back_mut() {
            Some((began, last)) if now.saturating_sub(*began) < GROUP => *last = position,
            _ => self.written.push_back((now, position)),
        }
    }

    /// Nobody has looked for a while whether the connection is sound, because the process stood still: what was not delivered before
    /// counts as written now.
    pub fn begin_again(&mut self, now: Duration) {
        if let Some((_, last)) = self.written.pop_back() {
            self.written.clear();
            self.written.push_back((now, last));
        }
    }

    /// The position up to which all is delivered by now.
    pub fn delivered(&mut self, now: Duration) -> u64 {
        // A group has ended a moment after it began.
        while let Some((began, last)) = self.written.front()
            && now.saturating_sub(*began) >= GROUP + DELIVERED_AFTER
        {
            self.delivered = *last;
            self.written.pop_front();
        }
        self.delivered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_before_a_standstill_is_not_delivered_by_its_length() {
        let (mut progress, at) = (Progress::after(3), Duration::from_secs);
        progress.wrote(4, at(100));
        progress.wrote(5, at(110));
        progress.begin_again(at(500));
        progress.wrote(6, at(501));
        assert_eq!(progress.delivered(at(501)), 3);
        assert_eq!(progress.delivered(at(531)), 5);
        assert_eq!(progress.delivered(at(532)), 6);
    }

    proptest! {
        /// Against a list of all that was written.
        #[test]
        fn nothing_counts_as_delivered_too_early_nor_much_too_late(steps in prop::collection::vec((0..4_000_u64, 1..5_u64), 1..200)) {
            let (mut progress, mut all) = (Progress::after(3), vec![(Duration::ZERO, 3)]);
            let (mut now, mut position) = (Duration::from_secs(100), 3);
            for (millis, positions) in steps {
                now += Duration::from_millis(millis);
                position += positions;
                progress.wrote(position, now);
                all.push((now, position));
                let by = |age: Duration| all.iter().rev().find(|(at, _)| now - *at >= age).map_or(3, |(_, position)| *position);
                let delivered = progress.delivered(now);
                prop_assert!(delivered <= by(DELIVERED_AFTER), "{delivered} is too early");
                prop_assert!(delivered >= by(DELIVERED_AFTER + GROUP), "{delivered} is late");
                prop_assert!(progress.written.len() <= 32, "{}", progress.written.len());
            }
            prop_assert_eq!(progress.delivered(now + DELIVERED_AFTER + GROUP), position);
        }
    }
}
