//! The positions whose views are asked for and not built yet, and which of them is built next: those of the platform first, then those
//! of the tenant whose last turn was the longest ago. Whoever has none here takes the place of somebody's second one if it is full.

use std::sync::Arc;
use std::time::Duration;

use events_log::concurrency::{Holder, QUERY_MAX};
use tokio::sync::watch;

use super::PastViews;
use super::holders::is_tenant;
use crate::views::past_error::PastError;

/// Positions that wait for their turn, or are being built.
const LEN_MAX: usize = 8;
/// Positions among them that tenants ask for.
const OF_TENANTS_MAX: usize = 6;
/// Positions among them that one holder asks for.
const OF_ONE_MAX: usize = 2;
/// A position is no longer built if nobody has asked for it for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Holders whose last turn is remembered. Others had theirs before all of these, or none.
const SERVED_MAX: usize = 64;

// Nobody waits for a position any more when it is forgotten.
const _: () = assert!(FORGOTTEN_AFTER.as_secs() > QUERY_MAX.as_secs());

/// The outcome of a position; `None` until it is known.
pub type BuildOutcome = Option<Result<Arc<PastViews>, PastError>>;

#[derive(Default)]
pub struct Queue {
    /// In the order in which they were asked for first.
    waiting: Vec<Queued>,
    building: Option<Queued>,
    /// Holders that had a turn, the last one last.
    served: Vec<Holder>,
}

/// A position that is asked for.
pub struct Queued {
    pub position: u64,
    /// Whose turn it takes: that of the first who asked, or of the first of the platform.
    pub holder: Holder,
    /// When it was asked for last.
    asked_at: Duration,
    pub outcome: watch::Sender<BuildOutcome>,
}

impl Queue {
    /// Queues a position unless it is there, and returns where its outcome will be; `None` if there is no room for one more. Who asks
    /// for a position that makes way for it is told so.
    pub fn ask(&mut self, position: u64, holder: Holder, now: Duration) -> Option<watch::Receiver<BuildOutcome>> {
        self.forget(now);
        let mut queued = self.waiting.iter_mut().chain(&mut self.building);
        if let Some(queued) = queued.find(|queued| queued.position == position) {
            queued.asked_at = now;
            if !is_tenant(holder) && is_tenant(queued.holder) {
                queued.holder = holder;
            }
            return Some(queued.outcome.subscribe());
        }
        if !self.has_room(holder) {
            let second = self.second_that_makes_way(holder)?;
            self.waiting.remove(second).outcome.send_replace(Some(Err(PastError::Busy)));
        }
        let (sender, outcome) = watch::channel(None);
        self.waiting.push(Queued { position, holder, asked_at: now, outcome: sender });
        Some(outcome)
    }

    /// True if no position waits for its turn.
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The position that is built next, until [`Self::end`].
    pub fn next(&mut self, now: Duration) -> Option<u64> {
        self.forget(now);
        let (index, _) = self.waiting.iter().enumerate().min_by_key(|(_, queued)| self.turn(queued.holder))?;
        let next = self.waiting.remove(index);
        self.served.retain(|served| *served != next.holder);
        self.served.push(next.holder);
        if self.served.len() > SERVED_MAX {
            self.served.remove(0);
        }
        Some(self.building.insert(next).position)
    }

    /// Takes out the position that was built.
    pub const fn end(&mut self) -> Option<Queued> {
        self.building.take()
    }

    /// Takes out everything. Whoever waits is told so.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.building = None;
    }

    /// The least is first; of equals, whoever asked first.
    fn turn(&self, holder: Holder) -> (bool, Option<usize>) {
        (is_tenant(holder), self.served.iter().position(|served| *served == holder))
    }

    fn forget(&mut self, now: Duration) {
        self.waiting.retain(|queued| now.saturating_sub(queued.asked_at) < FORGOTTEN_AFTER);
    }

    /// Whether the holder may have one more position here.
    fn has_room(&self, holder: Holder) -> bool {
        let of_tenants = self.holders().filter(|holder| is_tenant(*holder)).count();
        self.holders().count() < LEN_MAX
            && self.count_of(holder) < OF_ONE_MAX
            && (!is_tenant(holder) || of_tenants < OF_TENANTS_MAX)
    }

    /// The index of the waiting position that is the last to be built of those whose holders have another one; `None` if the holder who
    /// asks has one already, or nobody has two. A tenant takes no place of the platform.
    fn second_that_makes_way(&self, asking: Holder) -> Option<usize> {
        if self.count_of(asking) > 0 {
            return None;
        }
        let makes_way =
            |queued: &Queued| self.count_of(queued.holder) > 1 && (is_tenant(queued.holder) || !is_tenant(asking));
        let seconds = self.waiting.iter().enumerate().filter(|(_, queued)| makes_way(queued));
        // Of equals, the last: the one that was asked for last.
        seconds.max_by_key(|(_, queued)| self.turn(queued.holder)).map(|(index, _)| index)
    }

    /// Whose positions are here.
    fn holders(&self) -> impl Iterator<Item = Holder> {
        self.waiting.iter().chain(&self.building).map(|queued| queued.holder)
    }

    fn count_of(&self, holder: Holder) -> usize {
        self.holders().filter(|other| *other == holder).count()
    }
}

#[cfg(test)]
mod tests {
    use events::ids::{KeyId, TenantId};
    use uuid::Uuid;

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn tenant(number: u128) -> Holder {
        Holder::Tenant(TenantId::from(Uuid::from_u128(number)))
    }

    fn platform_key(number: u128) -> Holder {
        Holder::Key(KeyId::from(Uuid::from_u128(number)))
    }

    fn must_have_asked(queue: &mut Queue, asked: &[(u64, Holder)]) {
        for (position, holder) in asked {
            assert!(queue.ask(*position, *holder, NOW).is_some(), "{position}");
        }
    }

    /// Builds everything that waits. Returns the positions in this order.
    fn built(queue: &mut Queue, now: Duration) -> Vec<u64> {
        std::iter::from_fn(|| queue.next(now).inspect(|_| drop(queue.end()))).collect()
    }

    #[test]
    fn the_platform_comes_first() {
        let mut queue = Queue::default();
        let asked = [(1, tenant(1)), (2, tenant(2)), (3, platform_key(1)), (4, platform_key(1)), (5, Holder::Operator)];
        must_have_asked(&mut queue, &asked);
        assert_eq!(built(&mut queue, NOW), [3, 5, 4, 1, 2]);
    }

    #[test]
    fn whoever_had_the_last_turn_waits_for_all_others() {
        let mut queue = Queue::default();
        must_have_asked(&mut queue, &[(1, tenant(1)), (2, tenant(1)), (3, tenant(2)), (4, tenant(2)), (5, tenant(3))]);
        assert_eq!(built(&mut queue, NOW), [1, 3, 5, 2, 4]);
        must_have_asked(&mut queue, &[(6, tenant(2)), (7, tenant(1)), (8, tenant(3)), (9, tenant(4))]);
        assert_eq!(built(&mut queue, NOW), [9, 8, 7, 6], "across the times at which nothing waited");
    }

    #[test]
    fn one_who_asks_for_ever_new_positions_gets_every_second_turn() {
        let mut queue = Queue::default();
        let mut turns = Vec::new();
        for round in 0..4 {
            for position in [2 * round, 2 * round + 1] {
                let _ = queue.ask(position, tenant(1), NOW);
            }
            let _ = queue.ask(100, tenant(2), NOW);
            turns.extend(queue.next(NOW));
            drop(queue.end());
        }
        assert_eq!(turns, [0, 100, 1, 100]);
    }

    #[test]
    fn turns_are_remembered_of_few_and_whoever_is_forgotten_had_none_lately() {
        let mut queue = Queue::default();
        let others = SERVED_MAX as u128;
        for number in 0..=others {
            must_have_asked(&mut queue, &[(1, tenant(number))]);
            assert_eq!(built(&mut queue, NOW), [1]);
        }
        assert_eq!(queue.served.len(), SERVED_MAX);
        must_have_asked(&mut queue, &[(2, tenant(others)), (3, tenant(1)), (4, tenant(0))]);
        assert_eq!(built(&mut queue, NOW), [4, 3, 2]);
    }

    #[test]
    fn what_the_platform_asks_for_as_well_is_built_in_its_turn() {
        let mut queue = Queue::default();
        must_have_asked(&mut queue, &[(1, tenant(1)), (2, tenant(2)), (2, Holder::Operator), (2, tenant(3))]);
        assert_eq!(queue.next(NOW), Some(2));
        assert_eq!(queue.end().map(|queued| queued.holder), Some(Holder::Operator));
    }

    #[test]
    fn whoever_has_none_here_takes_the_place_of_a_second_one_and_its_clients_are_told() {
        let mut queue = Queue::default();
        must_have_asked(&mut queue, &[(1, tenant(1)), (2, tenant(1)), (3, tenant(2)), (4, tenant(2)), (5, tenant(3))]);
        let made_way = queue.ask(6, tenant(3), NOW).expect("room");
        assert!(queue.ask(7, tenant(3), NOW).is_none(), "it has two");
        must_have_asked(&mut queue, &[(7, tenant(4))]);
        assert!(matches!(*made_way.borrow(), Some(Err(PastError::Busy))));
        assert!(queue.ask(8, tenant(4), NOW).is_none(), "it has one");
        must_have_asked(&mut queue, &[(8, tenant(5)), (9, tenant(6))]);
        assert!(queue.ask(10, tenant(7), NOW).is_none(), "six have one each");
        assert_eq!(built(&mut queue, NOW), [1, 3, 5, 7, 8, 9]);
    }

    #[test]
    fn a_tenant_takes_no_place_of_the_platform_and_the_platform_takes_one_of_a_tenant() {
        let mut queue = Queue::default();
        must_have_asked(
            &mut queue,
            &[(1, platform_key(1)), (2, platform_key(1)), (3, platform_key(2)), (4, platform_key(2))],
        );
        must_have_asked(&mut queue, &[(5, platform_key(3)), (6, platform_key(4)), (7, tenant(1)), (8, tenant(1))]);
        assert!(queue.ask(9, tenant(1), NOW).is_none());
        must_have_asked(&mut queue, &[(9, tenant(2)), (10, Holder::Operator)]);
        assert!(queue.ask(11, tenant(3), NOW).is_none(), "the second ones are the platform's");
        assert_eq!(built(&mut queue, NOW), [1, 3, 5, 6, 10, 2, 7, 9]);
    }

    #[test]
    fn what_nobody_has_asked_for_lately_is_not_built() {
        let mut queue = Queue::default();
        must_have_asked(&mut queue, &[(1, tenant(1)), (2, tenant(1))]);
        let nearly = NOW + FORGOTTEN_AFTER - Duration::from_millis(1);
        assert!(queue.ask(2, tenant(2), nearly).is_some());
        assert!(queue.ask(3, tenant(1), nearly).is_none(), "both are there");
        assert!(queue.ask(3, tenant(1), NOW + FORGOTTEN_AFTER).is_some(), "one was forgotten");
        assert_eq!(built(&mut queue, NOW + FORGOTTEN_AFTER), [2, 3]);
        must_have_asked(&mut queue, &[(4, tenant(1))]);
        assert_eq!(queue.next(NOW + FORGOTTEN_AFTER), None);
    }

    #[test]
    fn what_is_being_built_is_not_forgotten() {
        let mut queue = Queue::default();
        must_have_asked(&mut queue, &[(1, tenant(1))]);
        assert_eq!(queue.next(NOW), Some(1));
        assert!(queue.ask(1, tenant(2), NOW + 2 * FORGOTTEN_AFTER).is_some());
        assert_eq!(queue.next(NOW + 2 * FORGOTTEN_AFTER), None, "it is not queued again");
        assert_eq!(queue.end().map(|queued| queued.position), Some(1));
    }
}
