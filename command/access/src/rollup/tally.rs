//! Counts of refusals by caller, reason and second, and when each is due to be recorded. No clock and no I/O.

use std::collections::HashMap;

use events::event::access::{AccessDenied, AccessRateLimited};
use events::event::{Access, Actor, Context, Event, Stream, StreamKind};
use events::ids::KeyId;
use events::limit::{LimitName, LimitedMeasure};
use events::log::Note;
use events::refusal::ErrorCode;

use super::AccessRollup;

/// New callers beyond this number are counted as anonymous, so that a crowd cannot take all memory.
const ENTRIES_MAX: usize = 16_384;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Denied(ErrorCode),
    RateLimited { limit_id: LimitName, measure: LimitedMeasure, limit: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RefusedCaller {
    Key(KeyId),
    Operator,
    Anonymous,
}

impl RefusedCaller {
    fn of(context: &Context) -> Self {
        match (context.key_id, &context.actor) {
            (Some(key), _) => Self::Key(key),
            (None, Actor::Key(key)) => Self::Key(*key),
            (None, Actor::Operator) => Self::Operator,
            (None, Actor::System(_) | Actor::Other(_)) => Self::Anonymous,
        }
    }

    fn stream(self) -> Stream {
        match self {
            Self::Key(key) => Stream::new(StreamKind::Access, key),
            Self::Operator => Stream::new(StreamKind::Access, "operator"),
            Self::Anonymous => Stream::new(StreamKind::Access, "anonymous"),
        }
    }
}

#[derive(Debug)]
struct Entry {
    context: Context,
    second: i64,
    /// The first refusal of `second` is not recorded yet; then `count` is at least 1.
    first: bool,
    /// Refusals that are not recorded yet, including the first.
    count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: HashMap<(RefusedCaller, Reason), Entry>,
}

/// Counts that are being recorded. If they certainly are not, they are put back into the tally.
pub(super) struct PendingCounts(Vec<((RefusedCaller, Reason), Context, u64)>);

impl PendingCounts {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many refusals they stand for.
    pub(super) fn refusals(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, _, count)| sum.saturating_add(*count))
    }

    pub(super) fn notes(&self) -> Vec<Note> {
        self.0.iter().map(|((caller, reason), context, count)| note(*caller, *reason, context, *count)).collect()
    }
}

impl Tally {
    /// Counts one refusal. Returns whether it is to be recorded at once.
    pub(super) fn count(&mut self, context: Context, reason: Reason, second: i64) -> bool {
        let mut key = (RefusedCaller::of(&context), reason);
        let mut context = context;
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            key.0 = RefusedCaller::Anonymous;
            context = AccessRollup::anonymous();
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry { context, second, first: true, count: 0 });
        entry.count = entry.count.saturating_add(1);
        // The rest of an older second is recorded with the rest of this one, at most a second late.
        let begins = entry.second < second;
        if begins {
            entry.second = second;
            entry.first = true;
        }
        entry.first
    }

    /// Takes the counts that are due at `now`: first refusals, and the rest of seconds that are over. At most `max` events.
    pub(super) fn take(&mut self, now: i64, max: usize) -> PendingCounts {
        let mut counts = Vec::new();
        self.entries.retain(|key, entry| {
            if entry.first && counts.len() < max {
                counts.push((*key, entry.context.clone(), 1));
                entry.count = entry.count.saturating_sub(1);
                entry.first = false;
                // Only the event of the first refusal names its request.
                entry.context.request_id = None;
            }
            if entry.second < now && entry.count > 0 && counts.len() < max {
                counts.push((*key, entry.context.clone(), std::mem::take(&mut entry.count)));
            }
            entry.count > 0 || entry.second >= now
        });
        PendingCounts(counts)
    }

    /// Counts again what could not be recorded, as overdue.
    pub(super) fn put_back(&mut self, taken: PendingCounts) {
        for (key, context, count) in taken.0 {
            let entry = self.entries.entry(key).or_insert(Entry { context, second: i64::MIN, first: false, count: 0 });
            entry.count = entry.count.saturating_add(count);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn note(caller: RefusedCaller, reason: Reason, context: &Context, count: u64) -> Note {
    let event = match reason {
        Reason::Denied(code) => Event::Access(Access::Denied(Box::new(AccessDenied { code, count }))),
        Reason::RateLimited { limit_id, measure, limit } => {
            Event::Access(Access::RateLimited(Box::new(AccessRateLimited { limit_id, measure, limit, count })))
        }
    };
    Note { stream: caller.stream(), context: context.clone(), event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const REASON: Reason = Reason::Denied(ErrorCode::Unauthenticated);

    fn key(number: u128) -> Context {
        let key = KeyId::from(Uuid::from_u128(number));
        let mut context = Context::of(Actor::Key(key));
        context.key_id = Some(key);
        context
    }

    fn counts(taken: &PendingCounts) -> Vec<u64> {
        taken.0.iter().map(|(_, _, count)| *count).collect()
    }

    #[test]
    fn the_first_of_a_second_goes_at_once_and_the_rest_when_it_is_over() {
        let mut tally = Tally::default();
        assert!(tally.count(key(1), REASON, 10));
        assert_eq!(counts(&tally.take(10, 100)), [1]);
        for _ in 0..41 {
            assert!(!tally.count(key(1), REASON, 10));
        }
        assert!(tally.take(10, 100).is_empty());
        assert_eq!(counts(&tally.take(11, 100)), [41]);
        assert!(tally.is_empty());
        assert!(tally.count(key(1), REASON, 12));
    }

    #[test]
    fn the_first_is_alone_even_where_more_came_before_it_was_taken() {
        let mut tally = Tally::default();
        for _ in 0..5 {
            tally.count(key(1), REASON, 10);
        }
        assert_eq!(counts(&tally.take(10, 100)), [1]);
        assert_eq!(counts(&tally.take(11, 100)), [4]);
    }

    /// Holds: event.access
    #[test]
    fn callers_and_reasons_are_told_apart() {
        let mut tally = Tally::default();
        tally.count(key(1), REASON, 10);
        tally.count(key(2), REASON, 10);
        tally.count(key(2), Reason::Denied(ErrorCode::Forbidden), 10);
        tally.count(AccessRollup::anonymous(), REASON, 10);
        let streams: std::collections::BTreeSet<String> =
            tally.take(10, 100).notes().iter().map(|note| note.stream.to_string()).collect();
        assert_eq!(streams.len(), 3);
        assert!(streams.contains("access-anonymous"));
    }

    #[test]
    fn counts_that_could_not_be_recorded_are_not_lost() {
        let mut tally = Tally::default();
        tally.count(key(1), REASON, 10);
        tally.count(key(1), REASON, 10);
        let (first, rest) = (tally.take(10, 100), tally.take(11, 100));
        tally.put_back(first);
        tally.put_back(rest);
        assert_eq!(counts(&tally.take(11, 100)), [2]);
    }

    #[test]
    fn an_append_is_bounded_and_leaves_the_rest_for_the_next() {
        let mut tally = Tally::default();
        for number in 0..10 {
            tally.count(key(number), REASON, 10);
        }
        let sizes: Vec<usize> = (0..4).map(|_| tally.take(11, 4).0.len()).collect();
        assert_eq!(sizes, [4, 4, 2, 0]);
    }

    #[test]
    fn a_crowd_is_counted_as_anonymous_and_nobody_is_forgotten() {
        let mut tally = Tally::default();
        let crowd = ENTRIES_MAX as u128 + 1000;
        for number in 0..crowd {
            tally.count(key(number), REASON, 10);
        }
        assert_eq!(tally.entries.len(), ENTRIES_MAX + 1);
        let total: u64 = counts(&tally.take(11, usize::MAX)).iter().sum();
        assert_eq!(u128::from(total), crowd);
    }
}
