//! Counts of requests by caller, reason and window of time, and when each is due to be recorded. No clock and no I/O.

use std::collections::HashMap;

use chrono::DateTime;
use events::event::access::{AccessDenied, AccessRateLimited, AccessRead, AdminRejected, ChangeMethod, ReadKind};
use events::event::{Access, Actor, Context, Event, Stream, StreamKind};
use events::ids::KeyId;
use events::limit::{LimitName, LimitedMeasure};
use events::refusal::ErrorCode;
use events_log::Note;

use super::AccessRollup;

/// New callers beyond this number are counted as anonymous, so that a crowd cannot take all memory.
const ENTRIES_MAX: usize = 16_384;
/// Further entries allowed for anonymous callers: only a ledger that does not record for hours fills them.
const CROWD_ENTRIES_MAX: usize = 1_024;
const SECONDS_PER_MINUTE: i64 = 60;

/// Why a request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Denied(ErrorCode),
    RateLimited {
        limit_id: LimitName,
        measure: LimitedMeasure,
        limit: u64,
    },
    Rejected {
        code: ErrorCode,
        resource: StreamKind,
        method: ChangeMethod,
    },
    /// A read in the minute that begins at this second, so that minutes are never mixed.
    Read {
        kind: ReadKind,
        minute: i64,
    },
}

impl Reason {
    /// A read at this second.
    pub(super) const fn read(kind: ReadKind, second: i64) -> Self {
        Self::Read { kind, minute: second - second.rem_euclid(SECONDS_PER_MINUTE) }
    }

    /// When the window is over that this second belongs to.
    const fn window_end(self, second: i64) -> i64 {
        match self {
            Self::Denied(_) | Self::RateLimited { .. } | Self::Rejected { .. } => second.saturating_add(1),
            Self::Read { minute, .. } => minute.saturating_add(SECONDS_PER_MINUTE),
        }
    }

    fn event(self, resource_id: Option<String>, count: u64) -> Access {
        match self {
            Self::Denied(code) => Access::Denied(Box::new(AccessDenied { code, count })),
            Self::RateLimited { limit_id, measure, limit } => {
                Access::RateLimited(Box::new(AccessRateLimited { limit_id, measure, limit, count }))
            }
            Self::Rejected { code, resource, method } => {
                Access::Rejected(Box::new(AdminRejected { code, resource, resource_id, method, count }))
            }
            Self::Read { kind, minute } => {
                // Every second that a clock has is a time.
                let minute = DateTime::from_timestamp(minute, 0).unwrap_or_default();
                Access::Read(Box::new(AccessRead { kind, minute, count }))
            }
        }
    }
}

/// The owner of a stream of `access.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StreamOwner {
    Key(KeyId),
    Operator,
    Anonymous,
}

impl StreamOwner {
    fn of(context: &Context) -> Self {
        match &context.actor {
            // A context about another key names that one.
            Actor::Key(key) => Self::Key(*key),
            Actor::Operator => Self::Operator,
            Actor::System(_) | Actor::Other(_) => context.key_id.map_or(Self::Anonymous, Self::Key),
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

type Key = (StreamOwner, Reason);

/// One request that is counted.
#[derive(Clone, Debug)]
pub(super) struct TalliedRequest {
    pub(super) context: Context,
    /// The resource that a rejected change names. Like the request, only the event of the first one names it.
    pub(super) resource_id: Option<String>,
}

#[derive(Debug)]
struct Entry {
    /// The second at which its window is over.
    until: i64,
    /// The first request of the window, until it is recorded.
    first: Option<TalliedRequest>,
    /// The other requests that are not recorded yet, with what their contexts have in common.
    rest: Option<(Context, u64)>,
}

impl Entry {
    /// Without a window: what is counted in it is overdue.
    const fn overdue() -> Self {
        Self { until: i64::MIN, first: None, rest: None }
    }

    fn add_to_rest(&mut self, mut context: Context, count: u64) {
        context.request_id = None;
        self.rest = Some(match self.rest.take() {
            None => (context, count),
            // A key that chooses another tenant with each request acts for none of them alone.
            Some((common, so_far)) => (common.common_with(&context), so_far.saturating_add(count)),
        });
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: HashMap<Key, Entry>,
    /// Requests for which there was no entry left.
    given_up: u64,
}

/// Counts that are being recorded. If they certainly are not, they are put back into the tally.
pub(super) struct PendingCounts(Vec<PendingCount>);

struct PendingCount {
    key: Key,
    counted: TalliedRequest,
    count: u64,
    is_first: bool,
}

impl PendingCounts {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many requests they stand for.
    pub(super) fn requests(&self) -> u64 {
        self.0.iter().fold(0, |sum, pending| sum.saturating_add(pending.count))
    }

    pub(super) fn notes(&self) -> Vec<Note> {
        self.0.iter().map(PendingCount::note).collect()
    }
}

impl PendingCount {
    fn note(&self) -> Note {
        let ((owner, reason), TalliedRequest { context, resource_id }) = (self.key, self.counted.clone());
        Note { stream: owner.stream(), context, event: Event::Access(reason.event(resource_id, self.count)) }
    }
}

impl Tally {
    /// Counts one request. Returns whether something is to be recorded at once.
    pub(super) fn count(&mut self, counted: TalliedRequest, reason: Reason, second: i64) -> bool {
        let (mut key, mut counted) = ((StreamOwner::of(&counted.context), reason), counted);
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            key.0 = StreamOwner::Anonymous;
            counted = TalliedRequest { context: AccessRollup::anonymous(), resource_id: None };
            if self.entries.len() >= ENTRIES_MAX + CROWD_ENTRIES_MAX && !self.entries.contains_key(&key) {
                self.given_up = self.given_up.saturating_add(1);
                return false;
            }
        }
        let entry = self.entries.entry(key).or_insert_with(Entry::overdue);
        // The rest of an older window is recorded with the rest of this one.
        let begins = entry.until <= second;
        if begins {
            entry.until = reason.window_end(second);
        }
        if begins && entry.first.is_none() {
            entry.first = Some(counted);
        } else {
            entry.add_to_rest(counted.context, 1);
        }
        entry.first.is_some()
    }

    /// Takes the counts that are due at `now`: first requests, and the rest of windows that are over. At most `max` events.
    pub(super) fn take(&mut self, now: i64, max: usize) -> PendingCounts {
        let mut counts = Vec::new();
        self.entries.retain(|key, entry| {
            if counts.len() < max
                && let Some(counted) = entry.first.take()
            {
                counts.push(PendingCount { key: *key, counted, count: 1, is_first: true });
            }
            if counts.len() < max
                && entry.until <= now
                && let Some((context, count)) = entry.rest.take()
            {
                let counted = TalliedRequest { context, resource_id: None };
                counts.push(PendingCount { key: *key, counted, count, is_first: false });
            }
            entry.first.is_some() || entry.rest.is_some() || entry.until > now
        });
        PendingCounts(counts)
    }

    /// Counts again what could not be recorded. The first request of a window that is not over is still the first one;
    /// everything else is recorded with the rest.
    pub(super) fn put_back(&mut self, taken: PendingCounts) {
        for PendingCount { key, counted, count, is_first } in taken.0 {
            let entry = self.entries.entry(key).or_insert_with(Entry::overdue);
            if is_first && entry.first.is_none() && entry.until > i64::MIN {
                entry.first = Some(counted);
            } else {
                entry.add_to_rest(counted.context, count);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many requests were not counted since the last call, because too many callers were waiting to be recorded.
    pub(super) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }
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

    /// A request of this caller, which names nothing.
    fn by(context: Context) -> TalliedRequest {
        TalliedRequest { context, resource_id: None }
    }

    fn counts(taken: &PendingCounts) -> Vec<u64> {
        taken.0.iter().map(|pending| pending.count).collect()
    }

    /// Kind, minute and count of each read.
    fn reads(taken: &PendingCounts) -> Vec<(ReadKind, i64, u64)> {
        let read = |note: Note| match note.event {
            Event::Access(Access::Read(read)) => Some((read.kind, read.minute.timestamp(), read.count)),
            _ => None,
        };
        taken.notes().into_iter().filter_map(read).collect()
    }

    #[test]
    fn the_first_of_a_second_goes_at_once_and_the_rest_when_it_is_over() {
        let mut tally = Tally::default();
        assert!(tally.count(by(key(1)), REASON, 10));
        assert_eq!(counts(&tally.take(10, 100)), [1]);
        for _ in 0..41 {
            assert!(!tally.count(by(key(1)), REASON, 10));
        }
        assert!(tally.take(10, 100).is_empty());
        assert_eq!(counts(&tally.take(11, 100)), [41]);
        assert!(tally.is_empty());
        assert!(tally.count(by(key(1)), REASON, 12));
    }

    #[test]
    fn the_first_is_alone_even_where_more_came_before_it_was_taken() {
        let mut tally = Tally::default();
        for _ in 0..5 {
            tally.count(by(key(1)), REASON, 10);
        }
        assert_eq!(counts(&tally.take(10, 100)), [1]);
        assert_eq!(counts(&tally.take(11, 100)), [4]);
    }

    /// Holds: event.access
    #[test]
    fn callers_and_reasons_are_told_apart() {
        let mut tally = Tally::default();
        tally.count(by(key(1)), REASON, 10);
        tally.count(by(key(2)), REASON, 10);
        tally.count(by(key(2)), Reason::Denied(ErrorCode::Forbidden), 10);
        tally.count(by(AccessRollup::anonymous()), REASON, 10);
        let streams: std::collections::BTreeSet<String> =
            tally.take(10, 100).notes().iter().map(|note| note.stream.to_string()).collect();
        assert_eq!(streams.len(), 3);
        assert!(streams.contains("access-anonymous"));
    }

    #[test]
    fn counts_that_could_not_be_recorded_are_not_lost() {
        let mut tally = Tally::default();
        tally.count(by(key(1)), REASON, 10);
        tally.count(by(key(1)), REASON, 10);
        let (first, rest) = (tally.take(10, 100), tally.take(11, 100));
        tally.put_back(first);
        tally.put_back(rest);
        assert_eq!(counts(&tally.take(11, 100)), [2]);
    }

    #[test]
    fn an_append_is_bounded_and_leaves_the_rest_for_the_next() {
        let mut tally = Tally::default();
        for number in 0..10 {
            tally.count(by(key(number)), REASON, 10);
        }
        let sizes: Vec<usize> = (0..4).map(|_| tally.take(11, 4).0.len()).collect();
        assert_eq!(sizes, [4, 4, 2, 0]);
    }

    #[test]
    fn a_crowd_is_counted_as_anonymous_and_nobody_is_forgotten() {
        let mut tally = Tally::default();
        let crowd = ENTRIES_MAX as u128 + 1000;
        for number in 0..crowd {
            tally.count(by(key(number)), REASON, 10);
        }
        assert_eq!(tally.entries.len(), ENTRIES_MAX + 1);
        let total: u64 = counts(&tally.take(11, usize::MAX)).iter().sum();
        assert_eq!(u128::from(total), crowd);
    }

    /// Holds: event.reads
    #[test]
    fn a_minute_of_reads_is_two_events_whose_counts_are_exact() {
        let mut tally = Tally::default();
        let mut read = |kind, second| tally.count(by(key(1)), Reason::read(kind, second), second);
        assert!(read(ReadKind::Audit, 1_200));
        for second in 1_200..1_260 {
            read(ReadKind::Audit, second);
        }
        assert!(read(ReadKind::Usage, 1_259), "another kind");
        // The next minute begins before the one before it was recorded.
        assert!(read(ReadKind::Audit, 1_260));
        let mut taken = reads(&tally.take(1_259, 100));
        taken.sort_by_key(|(kind, minute, _)| (kind.as_str(), *minute));
        assert_eq!(
            taken,
            [(ReadKind::Audit, 1_200, 1), (ReadKind::Audit, 1_260, 1), (ReadKind::Usage, 1_200, 1)],
            "the first ones at once"
        );
        assert!(tally.take(1_259, 100).is_empty());
        assert_eq!(reads(&tally.take(1_260, 100)), [(ReadKind::Audit, 1_200, 60)]);
        assert!(tally.take(1_320, 100).is_empty() && tally.is_empty());
    }

    /// Holds: event.reads
    #[test]
    fn a_first_read_that_was_not_recorded_is_still_the_first() {
        let mut tally = Tally::default();
        let mut read = |second| tally.count(by(key(1)), Reason::read(ReadKind::Events, second), second);
        read(1_200);
        read(1_201);
        let first = tally.take(1_201, 100);
        tally.put_back(first);
        assert_eq!(counts(&tally.take(1_202, 100)), [1], "again at once, and not at the end of the minute");
        let mut rest = tally.take(1_260, 100);
        for _ in 0..3 {
            tally.put_back(rest);
            rest = tally.take(1_500, 100);
            assert_eq!(reads(&rest), [(ReadKind::Events, 1_200, 1)], "of its minute, however late");
        }
    }

    #[test]
    fn what_is_the_rest_is_about_whom_all_of_it_is_about() {
        let of = |tenant: u128| Context { tenant_id: Some(Uuid::from_u128(tenant).into()), ..key(1) };
        let mut tally = Tally::default();
        for (tenant, reason) in [(7, REASON), (8, REASON), (8, REASON)] {
            tally.count(by(of(tenant)), reason, 10);
        }
        let tenants = |taken: &PendingCounts| -> Vec<Option<String>> {
            taken.notes().iter().map(|note| note.context.tenant_id.map(|id| id.to_string())).collect()
        };
        let [seven, eight] = [of(7), of(8)].map(|context| context.tenant_id.map(|id| id.to_string()));
        assert_eq!(tenants(&tally.take(11, 100)), [seven, eight], "the first one is about its own tenant");
        for tenant in [7, 7, 8] {
            tally.count(by(of(tenant)), REASON, 20);
        }
        let taken = tally.take(21, 100);
        assert_eq!(tenants(&taken).last(), Some(&None), "of two tenants");
        assert!(taken.notes().iter().all(|note| note.context.key_id.is_some()));
    }

    /// Holds: event.rejected
    #[test]
    fn a_rejected_change_names_its_resource_unless_it_stands_for_several() {
        let reason = |resource| Reason::Rejected { code: ErrorCode::Conflict, resource, method: ChangeMethod::Delete };
        let mut tally = Tally::default();
        for number in 0..3 {
            let mut counted = by(key(1));
            counted.resource_id = Some(format!("bud_{number}"));
            tally.count(counted, reason(StreamKind::Budget), 10);
        }
        tally.count(by(key(1)), reason(StreamKind::Key), 10);
        let mut rejected: Vec<AdminRejected> = Vec::new();
        for note in tally.take(11, 100).notes() {
            assert_eq!(note.stream.to_string(), format!("access-{}", key(1).actor));
            let Event::Access(Access::Rejected(one)) = note.event else { panic!("{note:?}") };
            rejected.push(*one);
        }
        rejected.sort_by_key(|one| (one.resource.as_str(), one.count));
        let shown = rejected.iter().map(|one| (one.resource, one.resource_id.as_deref(), one.count));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [(StreamKind::Budget, Some("bud_0"), 1), (StreamKind::Budget, None, 2), (StreamKind::Key, None, 1)]
        );
    }

    /// Holds: event.reads
    #[test]
    fn the_memory_of_reads_that_are_not_recorded_is_bounded() {
        let mut tally = Tally::default();
        for minute in 0..20 {
            for number in 0..1_000 {
                tally.count(by(key(number)), Reason::read(ReadKind::Usage, minute * 60), minute * 60);
            }
        }
        assert!(tally.entries.len() <= ENTRIES_MAX + CROWD_ENTRIES_MAX);
        let counted: u64 = counts(&tally.take(i64::MAX, usize::MAX)).iter().sum();
        assert_eq!((counted, tally.take_given_up()), (20_000, 0), "as anonymous reads of their minutes");
        for minute in 0..20_000 {
            tally.count(by(key(1)), Reason::read(ReadKind::Usage, minute * 60), minute * 60);
        }
        assert_eq!(tally.entries.len(), ENTRIES_MAX + CROWD_ENTRIES_MAX);
        let given_up = 20_000 - (ENTRIES_MAX + CROWD_ENTRIES_MAX) as u64;
        assert_eq!((tally.take_given_up(), tally.take_given_up()), (given_up, 0), "told once");
    }
}
