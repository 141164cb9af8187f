//! A filtered read: which positions it examines, and how. The same for both engines, because it decides which events a tenant
//! sees. An engine looks up what the plan needs, and runs its ranges.

use events::event::Recorded;

use super::owners::{BLOCK_POSITIONS, Owner, block_of};
use super::{EventFilter, Part, READ_POSITIONS_MAX};

/// The state of the log when the read begins.
#[derive(Clone, Copy)]
pub(super) struct LogAtRead {
    /// The last position, read before everything else: events appended meanwhile have later positions.
    pub(super) head: u64,
    /// The position up to which the blocks of owners are written.
    pub(super) blocks_until: u64,
    /// The first position at the filter's `from` or later; `None` if it has no `from`.
    pub(super) from: Option<u64>,
    /// The first position at the filter's `to` or later; `None` if it has no `to`.
    pub(super) to: Option<u64>,
}

/// The plan of a filtered read.
#[derive(Clone, Copy)]
pub(super) struct FilteredRead {
    log: LogAtRead,
    /// The read begins after this position.
    after: u64,
    /// The last position that the filter's times allow.
    end: u64,
    /// Administration, which has an index of its own, is read to the end.
    is_of_administration: bool,
    owner: Option<Owner>,
}

/// Positions to look for matching events in, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// Those in the blocks of this owner.
    Blocks(Owner, Positions),
    All(Positions),
}

/// The positions after `after`, up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Positions {
    pub(super) after: u64,
    pub(super) until: u64,
}

/// The block with which a read of an owner's blocks ends: the one with this number among the owner's blocks from `from` on, with
/// 0 for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastBlock {
    pub(super) owner: Owner,
    pub(super) from: u64,
    pub(super) nth: u64,
}

impl FilteredRead {
    /// A read of the events after this position.
    pub(super) fn new(filter: &EventFilter, after: u64, log: LogAtRead) -> Self {
        Self {
            log,
            after: log.from.map_or(after, |from| after.max(from - 1)),
            end: log.to.map_or(log.head, |to| to - 1),
            is_of_administration: filter.is_of_administration(),
            owner: Owner::of_filter(filter),
        }
    }

    /// The block that the engine must look up; `None` if the read needs none.
    pub(super) fn last_block(&self) -> Option<LastBlock> {
        let owner = self.owner.filter(|_| !self.is_of_administration)?;
        Some(LastBlock { owner, from: block_of(self.after), nth: READ_POSITIONS_MAX / BLOCK_POSITIONS - 1 })
    }

    /// The last position that is examined. `last_block` is the block that was looked up; `None` if the owner has fewer.
    pub(super) fn until(&self, last_block: Option<u64>) -> u64 {
        let until = match self.owner {
            _ if self.is_of_administration => self.end,
            None => self.after.saturating_add(READ_POSITIONS_MAX),
            Some(_) => last_block.map_or(self.end, |block| block * BLOCK_POSITIONS + BLOCK_POSITIONS - 1),
        };
        until.min(self.end)
    }

    /// The ranges up to this position, in order. Blocks of owners are written with the ledger's state, so what came after it is
    /// in none.
    pub(super) fn ranges(&self, until: u64) -> impl Iterator<Item = Range> {
        let (blocks, all) = match self.last_block() {
            Some(LastBlock { owner, .. }) => {
                let blocks = Positions { after: self.after, until: self.log.blocks_until.min(until) };
                (Some((owner, blocks)), Positions { after: self.after.max(self.log.blocks_until), until })
            }
            None => (None, Positions { after: self.after, until }),
        };
        let blocks = blocks.map(|(owner, positions)| Range::Blocks(owner, positions));
        blocks.into_iter().chain([Range::All(all)]).filter(|range| !range.is_empty())
    }

    /// The part that was examined, with the events that were found: all, or the first `limit`.
    pub(super) fn part(&self, events: Vec<Recorded>, until: u64, limit: usize) -> Part {
        let last = events.last().map(|last| last.position).filter(|_| events.len() == limit);
        Part { events, until: last.unwrap_or(until).max(self.after), head: self.log.head, end: self.end }
    }
}

impl Range {
    const fn is_empty(&self) -> bool {
        let (Self::Blocks(_, positions) | Self::All(positions)) = self;
        positions.after >= positions.until
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use events::ids::TenantId;

    use super::*;

    const LOG: LogAtRead = LogAtRead { head: 1_000_000, blocks_until: 900_000, from: None, to: None };

    fn of_tenant() -> EventFilter {
        EventFilter { tenant: Some(TenantId::from(Uuid::from_u128(1))), ..EventFilter::default() }
    }

    fn all(after: u64, until: u64) -> Range {
        Range::All(Positions { after, until })
    }

    fn ranges(read: &FilteredRead, last_block: Option<u64>) -> Vec<Range> {
        read.ranges(read.until(last_block)).collect()
    }

    #[test]
    fn what_is_of_nobody_is_read_a_bounded_number_of_positions_at_a_time() {
        let read = FilteredRead::new(&EventFilter::default(), 10, LOG);
        assert_eq!(read.last_block(), None);
        assert_eq!(ranges(&read, None), [all(10, 10 + READ_POSITIONS_MAX)]);
        let read = FilteredRead::new(&EventFilter::default(), 999_990, LOG);
        assert_eq!(ranges(&read, None), [all(999_990, 1_000_000)]);
        assert_eq!(ranges(&FilteredRead::new(&EventFilter::default(), 1_000_000, LOG), None), []);
    }

    #[test]
    fn administration_is_read_to_the_end() {
        let types = Some(vec![("price.created".to_owned(), 1)]);
        let read = FilteredRead::new(&EventFilter { types, ..of_tenant() }, 10, LOG);
        assert_eq!(read.last_block(), None);
        assert_eq!(ranges(&read, None), [all(10, 1_000_000)]);
    }

    #[test]
    fn an_owner_is_read_by_its_blocks_and_whole_after_the_state() {
        let read = FilteredRead::new(&of_tenant(), 640, LOG);
        let LastBlock { owner, from, nth } = read.last_block().expect("it is of a tenant");
        assert_eq!((from, nth), (10, 1023));
        assert_eq!(ranges(&read, Some(20)), [Range::Blocks(owner, Positions { after: 640, until: 20 * 64 + 63 })]);
        let rest = [Range::Blocks(owner, Positions { after: 640, until: 900_000 }), all(900_000, 1_000_000)];
        assert_eq!(ranges(&read, None), rest);
        let later = FilteredRead::new(&of_tenant(), 950_000, LOG);
        assert_eq!(ranges(&later, None), [all(950_000, 1_000_000)]);
    }

    #[test]
    fn times_bound_the_positions() {
        let log = LogAtRead { from: Some(101), to: Some(201), ..LOG };
        let read = FilteredRead::new(&EventFilter::default(), 10, log);
        assert_eq!(ranges(&read, None), [all(100, 200)]);
        let part = read.part(Vec::new(), read.until(None), 5);
        assert_eq!((part.until, part.head, part.end), (200, 1_000_000, 200));
        let behind = FilteredRead::new(&EventFilter::default(), 300, log);
        assert_eq!((ranges(&behind, None), behind.part(Vec::new(), 200, 5).until), (Vec::new(), 300));
    }
}
