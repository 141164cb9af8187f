//! Requests that wait for a connection, each in the line of its party.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::Party;

/// Requests of one party, and of all. Who finds more waiting is refused.
const PARTY_MAX: usize = 16 * 1024;
const ALL_MAX: usize = 64 * 1024;

/// `T` is what they wait for.
pub struct Queue<T> {
    lines: BTreeMap<Party, VecDeque<Waiter<T>>>,
    length: usize,
    tickets: u64,
}

struct Waiter<T> {
    ticket: u64,
    sender: oneshot::Sender<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), length: 0, tickets: 0 }
    }
}

impl<T> Queue<T> {
    /// The ticket to leave with, and where what is waited for comes. `None` where too many wait.
    pub fn join(&mut self, party: Party) -> Option<(u64, oneshot::Receiver<T>)> {
        if self.length >= ALL_MAX || self.waiting(party) >= PARTY_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let ticket = self.tickets;
        self.tickets += 1;
        self.length += 1;
        self.lines.entry(party).or_default().push_back(Waiter { ticket, sender });
        Some((ticket, receiver))
    }

    /// Whoever is not in line any more has been served.
    pub fn leave(&mut self, party: Party, ticket: u64) {
        let Some(line) = self.lines.get_mut(&party) else { return };
        if let Ok(place) = line.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            line.remove(place);
            self.is_shorter(party);
        }
    }

    /// The first in the line of this party.
    pub fn next_of(&mut self, party: Party) -> Option<oneshot::Sender<T>> {
        let waiter = self.lines.get_mut(&party)?.pop_front()?;
        self.is_shorter(party);
        Some(waiter.sender)
    }

    /// Whoever has waited longest.
    pub fn next(&mut self) -> Option<oneshot::Sender<T>> {
        let party = self.parties().min_by_key(|(_, _, ticket)| *ticket).map(|(party, ..)| party)?;
        self.next_of(party)
    }

    /// Each party that waits, how many requests of it, and the ticket of its first.
    pub fn parties(&self) -> impl Iterator<Item = (Party, usize, u64)> {
        let first = |line: &VecDeque<Waiter<T>>| line.front().map_or(0, |waiter| waiter.ticket);
        self.lines.iter().map(move |(party, line)| (*party, line.len(), first(line)))
    }

    pub const fn len(&self) -> usize {
        self.length
    }

    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn waiting(&self, party: Party) -> usize {
        self.lines.get(&party).map_or(0, VecDeque::len)
    }

    fn is_shorter(&mut self, party: Party) {
        self.length -= 1;
        if self.waiting(party) == 0 {
            self.lines.remove(&party);
        }
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
        assert_eq!(queue.parties().collect::<Vec<_>>(), [(two, 1, 2), (one, 2, 0)]);
        queue.leave(one, second);
        queue.leave(one, second);
        queue.next().expect("somebody").send(1).expect("they wait");
        queue.leave(one, first);
        assert_eq!((of_first.try_recv(), queue.len()), (Ok(1), 1));
        assert!(of_second.try_recv().is_err() && queue.next_of(one).is_none());
        queue.next_of(two).expect("somebody").send(3).expect("they wait");
        assert_eq!((of_third.try_recv(), queue.is_empty(), queue.parties().count()), (Ok(3), true, 0));
    }

    #[test]
    fn one_party_cannot_fill_the_queue() {
        let mut queue: Queue<()> = Queue::default();
        let kept: Vec<_> = std::iter::from_fn(|| queue.join(None)).collect();
        assert_eq!((kept.len(), queue.len()), (PARTY_MAX, PARTY_MAX));
        assert!(queue.join(Some(TenantId::from(Uuid::from_u128(1)))).is_some());
    }
}
