//! The queue for one target: interactive requests before batch, and among each the tenants in turn.

use std::collections::{BTreeMap, HashMap, VecDeque};

use provider_client::Owner;
use tokio::sync::oneshot;

use super::Priority;

/// The most waiting requests of one owner, and of all. Further requests are refused, except if all is full and an owner has more requests
/// here than the one that comes.
const OWNER_MAX: usize = 100;
const ALL_MAX: usize = 1000;
/// After so many interactive requests in a row, a batch request that waits is next: however many interactive ones there are, batch gets
/// a fifth.
const IN_A_ROW_MAX: u32 = 4;

/// The key with which to leave the queue.
#[derive(Clone, Copy)]
pub struct Ticket {
    priority: Priority,
    owner: Owner,
    number: u64,
}

#[derive(Default)]
pub struct PlaceQueue {
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
    /// Served while fewer calls than this are under way.
    limit: u32,
    served: oneshot::Sender<()>,
}

impl PlaceQueue {
    /// Joins an owner's line. `None` if the queue is full. What is waiting for a place that is never served is told so: its sender is dropped.
    pub fn join(&mut self, priority: Priority, owner: Owner, limit: u32) -> Option<(Ticket, oneshot::Receiver<()>)> {
        let of_owner = self.interactive.len_of(owner) + self.batch.len_of(owner);
        if of_owner >= OWNER_MAX {
            return None;
        }
        if self.interactive.len + self.batch.len >= ALL_MAX {
            self.make_room_for(of_owner)?;
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

    /// The owner that has most requests here loses its newest one, a batch request if it has one; `None` if it would then have fewer than
    /// the one that comes, which has so many.
    fn make_room_for(&mut self, of_owner: usize) -> Option<()> {
        let mut by_owner: HashMap<Owner, usize> = HashMap::new();
        for (owner, line) in self.interactive.by_owner.iter().chain(&self.batch.by_owner) {
            *by_owner.entry(*owner).or_default() += line.len();
        }
        let (owner, most) = by_owner.into_iter().max_by_key(|(owner, len)| (*len, *owner))?;
        if most <= of_owner + 1 {
            return None;
        }
        self.batch.drop_newest(owner).or_else(|| self.interactive.drop_newest(owner))
    }

    /// The limit in force for one that waits, if it still does.
    pub fn set_limit(&mut self, Ticket { priority, owner, number }: Ticket, limit: u32) {
        if let Some(waiter) = self.lines(priority).waiter(owner, number) {
            waiter.limit = limit;
        }
    }

    /// Takes out the one that is served next: its owner may have one more call under its limit.
    pub fn next(&mut self, may_call: impl Fn(Owner, u32) -> bool) -> Option<(Owner, oneshot::Sender<()>)> {
        let is_batch_first = self.interactive.len == 0 || self.batch.len > 0 && self.in_a_row >= IN_A_ROW_MAX;
        let order = if is_batch_first {
            [Priority::Batch, Priority::Interactive]
        } else {
            [Priority::Interactive, Priority::Batch]
        };
        for priority in order {
            if let Some(served) = self.lines(priority).next(&may_call) {
                let is_batch = priority == Priority::Batch;
                self.in_a_row = if is_batch || self.batch.len == 0 { 0 } else { self.in_a_row + 1 };
                return Some(served);
            }
        }
        None
    }

    pub const fn is_empty(&self) -> bool {
        self.interactive.len + self.batch.len == 0
    }

    /// Whether requests of this owner wait.
    pub fn has_any_of(&self, owner: Owner) -> bool {
        self.interactive.len_of(owner) + self.batch.len_of(owner) > 0
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

    fn waiter(&mut self, owner: Owner, number: u64) -> Option<&mut Waiter> {
        let line = self.by_owner.get_mut(&owner)?;
        let at = line.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        line.get_mut(at)
    }

    fn drop_newest(&mut self, owner: Owner) -> Option<()> {
        let number = self.by_owner.get(&owner)?.back()?.number;
        self.leave(owner, number).then_some(())
    }

    /// The first owner in turn that may have one more call. One that may not keeps its turn.
    fn next(&mut self, may_call: impl Fn(Owner, u32) -> bool) -> Option<(Owner, oneshot::Sender<()>)> {
        let may = |owner: &Owner| {
            let first = self.by_owner.get(owner).and_then(VecDeque::front);
            first.is_some_and(|waiter| may_call(*owner, waiter.limit))
        };
        let at = self.turns.iter().position(may)?;
        let owner = self.turns.remove(at)?;
        let line = self.by_owner.get_mut(&owner)?;
        let waiter = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.by_owner.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        Some((owner, waiter.served))
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
    fn served(queue: &mut PlaceQueue, waiting: &[(Priority, u128)]) -> Vec<usize> {
        let joined = waiting.iter().map(|(priority, of)| queue.join(*priority, owner(*of), LIMIT).expect("room").1);
        let mut receivers: Vec<_> = joined.enumerate().collect();
        let mut order = Vec::new();
        while let Some((_, next)) = queue.next(|_, limit| limit > 0) {
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
        assert_eq!(served(&mut PlaceQueue::default(), &waiting), [0, 3, 4, 1, 2]);
    }

    #[test]
    fn interactive_requests_are_served_before_batch_which_gets_a_fifth_of_the_places() {
        let waiting: Vec<_> = [(Batch, 1); 3].into_iter().chain([(Interactive, 2); 10]).collect();
        let mut queue = PlaceQueue::default();
        assert_eq!(served(&mut queue, &waiting), [3, 4, 5, 6, 0, 7, 8, 9, 10, 1, 11, 12, 2]);
        // Who comes later finds nothing of that.
        assert_eq!(served(&mut queue, &[(Batch, 1), (Interactive, 2)]), [1, 0]);
    }

    #[test]
    fn one_tenant_cannot_fill_the_queue_and_it_is_bounded() {
        let mut queue = PlaceQueue::default();
        let mut kept = Vec::new();
        for number in 0..10 {
            for priority in [Interactive, Batch] {
                kept.extend(std::iter::from_fn(|| queue.join(priority, owner(number), LIMIT)).take(OWNER_MAX / 2));
            }
            assert_eq!(kept.len(), ALL_MAX.min(OWNER_MAX * (usize::try_from(number).expect("small") + 1)));
        }
        // Who has none finds room: the newest request of one that has most goes, and no more of them than is fair.
        let mut newcomers = Vec::new();
        newcomers.extend(std::iter::from_fn(|| queue.join(Interactive, owner(30), LIMIT)).take(OWNER_MAX));
        assert!((90..=OWNER_MAX).contains(&newcomers.len()), "{}", newcomers.len());
        let lost: Vec<_> = kept
            .iter_mut()
            .filter_map(|(ticket, waits)| {
                let is_lost = waits.try_recv() == Err(oneshot::error::TryRecvError::Closed);
                is_lost.then_some(ticket.priority)
            })
            .collect();
        assert_eq!((lost.len(), lost.contains(&Interactive)), (newcomers.len(), false));
        for (ticket, _) in newcomers {
            assert!(queue.leave(ticket));
        }
        let first = kept[0].0;
        assert!(queue.leave(first) && !queue.leave(first));
        assert!(queue.join(Batch, owner(0), LIMIT).is_some());
    }

    #[test]
    fn nobody_is_served_beyond_its_limit_and_who_has_left_is_not_served() {
        let mut queue = PlaceQueue::default();
        let (first, _receiver) = queue.join(Interactive, owner(1), 2).expect("room");
        let (_, mut second) = queue.join(Interactive, owner(1), 3).expect("room");
        let at_two = |_, limit| 2 < limit;
        assert!(queue.next(at_two).is_none());
        assert!(queue.leave(first));
        queue.next(at_two).expect("the other one").1.send(()).expect("it waits");
        assert!(second.try_recv().is_ok() && !queue.leave(first) && queue.is_empty());
        let (raised, _receiver) = queue.join(Interactive, owner(1), 2).expect("room");
        assert!(queue.next(at_two).is_none());
        queue.set_limit(raised, 3);
        assert!(queue.next(at_two).is_some());
    }

    #[test]
    fn an_owner_that_may_not_have_more_calls_holds_up_nobody() {
        let mut queue = PlaceQueue::default();
        let waiting = [(Interactive, 1), (Batch, 2), (Interactive, 1)];
        let _receivers = waiting.map(|(priority, of)| queue.join(priority, owner(of), LIMIT).expect("room"));
        let not_the_first = |of, _| of != owner(1);
        assert_eq!(queue.next(not_the_first).map(|(of, _)| of), Some(owner(2)));
        assert!(queue.next(not_the_first).is_none() && queue.has_any_of(owner(1)) && !queue.has_any_of(owner(2)));
        assert_eq!(queue.next(|_, _| true).map(|(of, _)| of), Some(owner(1)));
    }
}
