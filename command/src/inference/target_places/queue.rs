//! The queue for one target: interactive requests before batch, and among each the tenants in turn.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;
use upstream::Owner;

use super::Priority;

/// The most waiting requests of one owner, and of all. Further requests are refused.
const OWNER_MAX: usize = 100;
const ALL_MAX: usize = 1000;
/// After so many interactive requests in a row, a batch request that waits is next: however many interactive ones there are, batch gets
/// a fifth.
const IN_A_ROW_MAX: u32 = 4;

/// What to leave the queue with.
#[derive(Clone, Copy)]
pub struct Ticket {
    priority: Priority,
    owner: Owner,
    number: u64,
}

#[derive(Default)]
pub struct Queue {
    interactive: Lines,
    batch: Lines,
    /// How many interactive requests were served in a row while a batch request waited.
    in_a_row: u32,
    last_number: u64,
}

/// The lines of one priority, one per owner.
#[derive(Default)]
struct Lines {
    by_owner: BTreeMap<Owner, VecDeque<Waiter>>,
    /// The owners that wait, the one whose turn it is first.
    turns: VecDeque<Owner>,
    len: usize,
}

struct Waiter {
    number: u64,
    /// It is served while fewer calls are under way.
    limit: u32,
    served: oneshot::Sender<()>,
}

impl Queue {
    /// Joins an owner's line. `None` if the queue is full.
    pub fn join(&mut self, priority: Priority, owner: Owner, limit: u32) -> Option<(Ticket, oneshot::Receiver<()>)> {
        let of_owner = self.interactive.len_of(owner) + self.batch.len_of(owner);
        if of_owner >= OWNER_MAX || self.interactive.len + self.batch.len >= ALL_MAX {
            return None;
        }
        self.last_number += 1;
        let (number, (served, receiver)) = (self.last_number, oneshot::channel());
        self.lines(priority).join(owner, Waiter { number, limit, served });
        Some((Ticket { priority, owner, number }, receiver))
    }

    /// Leaves the queue. False if it was served already.
    pub fn leave(&mut self, Ticket { priority, owner, number }: Ticket) -> bool {
        self.lines(priority).leave(owner, number)
    }

    /// Takes out the one that is served next, if its limit allows one more than these calls.
    pub fn next(&mut self, calls: u32) -> Option<oneshot::Sender<()>> {
        let is_batch = self.interactive.len == 0 || self.batch.len > 0 && self.in_a_row >= IN_A_ROW_MAX;
        let lines = if is_batch { &mut self.batch } else { &mut self.interactive };
        let served = lines.next(calls)?;
        self.in_a_row = if is_batch || self.batch.len == 0 { 0 } else { self.in_a_row + 1 };
        Some(served)
    }

    pub const fn is_empty(&self) -> bool {
        self.interactive.len + self.batch.len == 0
    }

    const fn lines(&mut self, priority: Priority) -> &mut Lines {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }
}

impl Lines {
    fn len_of(&self, owner: Owner) -> usize {
        self.by_owner.get(&owner).map_or(0, VecDeque::len)
    }

    fn join(&mut self, owner: Owner, waiter: Waiter) {
        let line = self.by_owner.entry(owner).or_default();
        if line.is_empty() {
            self.turns.push_back(owner);
        }
        line.push_back(waiter);
        self.len += 1;
    }

    fn leave(&mut self, owner: Owner, number: u64) -> bool {
        let Some(line) = self.by_owner.get_mut(&owner) else { return false };
        let Ok(at) = line.binary_search_by_key(&number, |waiter| waiter.number) else { return false };
        line.remove(at);
        self.len -= 1;
        if line.is_empty() {
            self.by_owner.remove(&owner);
            self.turns.retain(|other| *other != owner);
        }
        true
    }

    fn next(&mut self, calls: u32) -> Option<oneshot::Sender<()>> {
        let owner = *self.turns.front()?;
        let line = self.by_owner.get_mut(&owner)?;
        let waiter = line.pop_front_if(|waiter| calls < waiter.limit)?;
        self.len -= 1;
        self.turns.pop_front();
        if line.is_empty() {
            self.by_owner.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        Some(waiter.served)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LIMIT: u32 = 1;

    fn owner(number: u128) -> Owner {
        Some(Uuid::from_u128(number).into())
    }

    /// The order in which these are served: each with its priority and its owner.
    fn served(queue: &mut Queue, waiting: &[(Priority, u128)]) -> Vec<usize> {
        let joined = waiting.iter().map(|(priority, of)| queue.join(*priority, owner(*of), LIMIT).expect("room").1);
        let mut receivers: Vec<_> = joined.enumerate().collect();
        let mut order = Vec::new();
        while let Some(next) = queue.next(0) {
            next.send(()).expect("it waits");
            let at = receivers.iter_mut().position(|(_, receiver)| receiver.try_recv().is_ok()).expect("one is served");
            order.push(receivers.remove(at).0);
        }
        assert!(queue.is_empty() && receivers.is_empty());
        order
    }

    use Priority::{Batch, Interactive};

    #[test]
    fn tenants_are_served_in_turn_whoever_came_first() {
        let waiting = [(Interactive, 1), (Interactive, 1), (Interactive, 1), (Interactive, 2), (Interactive, 3)];
        assert_eq!(served(&mut Queue::default(), &waiting), [0, 3, 4, 1, 2]);
    }

    #[test]
    fn interactive_requests_are_served_before_batch_which_gets_a_fifth_of_the_places() {
        let waiting: Vec<_> = [(Batch, 1); 3].into_iter().chain([(Interactive, 2); 10]).collect();
        let mut queue = Queue::default();
        assert_eq!(served(&mut queue, &waiting), [3, 4, 5, 6, 0, 7, 8, 9, 10, 1, 11, 12, 2]);
        // Who comes later finds nothing of that.
        assert_eq!(served(&mut queue, &[(Batch, 1), (Interactive, 2)]), [1, 0]);
    }

    #[test]
    fn one_tenant_cannot_fill_the_queue_and_it_is_bounded() {
        let mut queue = Queue::default();
        let mut kept = Vec::new();
        for number in 0..20 {
            for priority in [Interactive, Batch] {
                kept.extend(std::iter::from_fn(|| queue.join(priority, owner(number), LIMIT)).take(OWNER_MAX / 2));
            }
            assert_eq!(kept.len(), ALL_MAX.min(OWNER_MAX * (usize::try_from(number).expect("small") + 1)));
        }
        assert!(queue.join(Interactive, owner(30), LIMIT).is_none());
        let first = kept[0].0;
        assert!(queue.leave(first) && !queue.leave(first));
        assert!(queue.join(Batch, owner(0), LIMIT).is_some() && queue.join(Batch, owner(0), LIMIT).is_none());
    }

    #[test]
    fn nobody_is_served_beyond_its_limit_and_who_has_left_is_not_served() {
        let mut queue = Queue::default();
        let (first, _receiver) = queue.join(Interactive, owner(1), 2).expect("room");
        let (_, mut second) = queue.join(Interactive, owner(1), 3).expect("room");
        assert!(queue.next(2).is_none());
        assert!(queue.leave(first));
        queue.next(2).expect("the other one").send(()).expect("it waits");
        assert!(second.try_recv().is_ok() && !queue.leave(first) && queue.is_empty());
    }
}
