//! The queue of requests that wait for a connection, with one line per owner.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::Owner;

/// The most waiting requests of one owner, and of all. Further requests are refused.
const OWNER_MAX: usize = 16 * 1024;
const ALL_MAX: usize = 64 * 1024;

/// A queue of waiters for a `T`.
pub struct Queue<T> {
    /// All waiters by ticket: the one that has waited longest is first.
    waiting: BTreeMap<u64, (Owner, oneshot::Sender<T>)>,
    /// The tickets of each waiting owner, in order.
    lines: BTreeMap<Owner, VecDeque<u64>>,
    next_ticket: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), lines: BTreeMap::new(), next_ticket: 0 }
    }
}

impl<T> Queue<T> {
    /// Joins the line of an owner: the ticket to leave with, and the receiver of the result. `None` if the queue is full.
    pub fn join(&mut self, owner: Owner) -> Option<(u64, oneshot::Receiver<T>)> {
        let of_owner = self.lines.get(&owner).map_or(0, VecDeque::len);
        if self.len() >= ALL_MAX || of_owner >= OWNER_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, (owner, sender));
        self.lines.entry(owner).or_default().push_back(ticket);
        Some((ticket, receiver))
    }

    /// Leaves the queue; does nothing for a waiter that was served.
    pub fn leave(&mut self, ticket: u64) {
        let _ = self.take(ticket);
    }

    /// Takes the first waiter of this owner.
    pub fn next_of(&mut self, owner: Owner) -> Option<oneshot::Sender<T>> {
        let ticket = *self.lines.get(&owner)?.front()?;
        self.take(ticket)
    }

    /// Takes the waiter that has waited longest.
    pub fn next(&mut self) -> Option<oneshot::Sender<T>> {
        let ticket = *self.waiting.first_key_value()?.0;
        self.take(ticket)
    }

    /// The waiting owners, each with the ticket of its first waiter.
    pub fn owners(&self) -> impl Iterator<Item = (Owner, u64)> {
        self.lines.iter().filter_map(|(owner, line)| Some((*owner, *line.front()?)))
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn take(&mut self, ticket: u64) -> Option<oneshot::Sender<T>> {
        let (owner, sender) = self.waiting.remove(&ticket)?;
        if let Some(line) = self.lines.get_mut(&owner) {
            if let Ok(index) = line.binary_search(&ticket) {
                line.remove(index);
            }
            if line.is_empty() {
                self.lines.remove(&owner);
            }
        }
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    use events::ids::TenantId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn lines_are_served_in_their_order_and_can_be_left() {
        let (one, two) = (Some(TenantId::from(Uuid::from_u128(1))), None);
        let mut queue: Queue<u32> = Queue::default();
        let (first, mut of_first) = queue.join(one).expect("room");
        let (second, mut of_second) = queue.join(one).expect("room");
        let (_, mut of_third) = queue.join(two).expect("room");
        assert_eq!(queue.owners().collect::<Vec<_>>(), [(two, 2), (one, 0)]);
        queue.leave(second);
        queue.leave(second);
        queue.next().expect("somebody").send(1).expect("they wait");
        queue.leave(first);
        assert_eq!((of_first.try_recv(), queue.len()), (Ok(1), 1));
        assert!(of_second.try_recv().is_err() && queue.next_of(one).is_none());
        queue.next_of(two).expect("somebody").send(3).expect("they wait");
        assert_eq!((of_third.try_recv(), queue.is_empty(), queue.owners().count()), (Ok(3), true, 0));
    }

    #[test]
    fn one_owner_cannot_fill_the_queue() {
        let mut queue: Queue<()> = Queue::default();
        let kept: Vec<_> = std::iter::from_fn(|| queue.join(None)).collect();
        assert_eq!((kept.len(), queue.len()), (OWNER_MAX, OWNER_MAX));
        assert!(queue.join(Some(TenantId::from(Uuid::from_u128(1)))).is_some());
    }
}
