//! How long a node waits, when Redis is back, before it says that it is ready: longer each time after outages that follow each other, and
//! no longer than its calls take after an outage that stands alone.

use std::time::Duration;

/// Counts that were shared for so long are steady: earlier outages are forgotten.
const STEADY_AFTER: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct ReturnPause {
    pause: Duration,
    /// The last turn in which counts were shared.
    last_turn: Option<u64>,
    /// Since when they are, by the monotonic clock; `None` once their end was noted.
    shared_since: Option<Duration>,
}

impl ReturnPause {
    pub const fn get(&self) -> Duration {
        self.pause
    }

    /// Counts are shared. While the end of a turn cannot be recorded, it is the same turn again and again.
    pub fn begin_shared(&mut self, turn: u64, now: Duration) {
        if self.last_turn.replace(turn) != Some(turn) {
            self.shared_since = Some(now);
        }
    }

    /// This node has noticed an outage.
    pub fn note_outage(&mut self, now: Duration) {
        if self.end_shared(now) == Some(false) {
            self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
        }
    }

    /// Another node has noticed an outage first: whether outages follow each other is counted there.
    pub fn note_outage_of_another(&mut self, now: Duration) {
        self.end_shared(now);
    }

    /// Whether counts were steady, which ends the pause; `None` if their end was noted before.
    fn end_shared(&mut self, now: Duration) -> Option<bool> {
        let is_steady = now.saturating_sub(self.shared_since.take()?) >= STEADY_AFTER;
        if is_steady {
            self.pause = Duration::ZERO;
        }
        Some(is_steady)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// After outages that this node notices, each after counts were shared for so many seconds.
    fn after(shared_for: &[u64]) -> ReturnPause {
        let (mut pause, mut now) = (ReturnPause::default(), 0);
        for (turn, seconds) in (0..).zip(shared_for) {
            pause.begin_shared(turn, second(now));
            now += seconds;
            pause.note_outage(second(now));
        }
        pause
    }

    #[test]
    fn outages_that_follow_each_other_double_it_and_one_that_stands_alone_ends_it() {
        let seconds = |shared_for: &[u64]| after(shared_for).get().as_secs();
        assert_eq!((seconds(&[60]), seconds(&[59]), seconds(&[5, 5]), seconds(&[5, 5, 5])), (0, 1, 2, 4));
        assert_eq!((seconds(&[1; 20]), seconds(&[5, 5, 60])), (60, 0));
    }

    #[test]
    fn an_outage_that_another_node_notices_ends_it_as_well_and_does_not_double_it() {
        for (shared_for, expected) in [(60, 0), (59, 2)] {
            let mut pause = after(&[5, 5]);
            pause.begin_shared(9, second(100));
            pause.note_outage_of_another(second(100 + shared_for));
            assert_eq!(pause.get(), second(expected));
            // The event did not list this node, which records itself.
            pause.note_outage(second(100 + shared_for));
            assert_eq!(pause.get(), second(expected));
        }
    }

    #[test]
    fn an_outage_that_cannot_be_recorded_counts_once() {
        let mut pause = after(&[5]);
        for _ in 0..9 {
            pause.begin_shared(0, second(6));
            pause.note_outage(second(6));
        }
        assert_eq!(pause.get(), second(1));
    }
}
