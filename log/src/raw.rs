//! The log as it is stored, however damaged: the offline check reads this and trusts no writer.

use events::event::{Context, Event, Recorded, Stream, StreamKind};
use events::ids::RequestId;
use events::ledger::Hold;
use events::time::from_micros;

use super::LogError;
use super::interrupt::Interrupt;
use super::state::StoredWindow;
use super::stored::{read_context, stored};

/// The positions after `after`, up to `until`. A damaged log may have some below 1.
#[derive(Clone, Copy, Debug)]
pub struct StoredPositions {
    pub after: i64,
    pub until: u64,
}

/// A stored event, or why it cannot be read.
pub type ReadEvent<'a> = Result<RawEvent<&'a str>, String>;

/// The reads of the offline check, and the interruption of reads.
pub trait RawReader {
    /// Visits the rows of the ledger's state in one snapshot. A writer may go on; its later rows are not included. Blocks come
    /// in the order of owners, and of blocks within an owner.
    fn state_rows(&self, visit: &mut dyn FnMut(StateRow<'_>)) -> Result<SnapshotPositions, LogError>;

    /// Visits at most `rows_max` stored events at these positions; or why one cannot be read.
    fn raw_events(
        &self,
        positions: StoredPositions,
        rows_max: usize,
        take: &mut dyn FnMut(i64, ReadEvent<'_>),
    ) -> Result<(), LogError>;

    /// Visits the next entries of the unique index over streams, at most `entries_max`, and returns their number. `None` if
    /// the index is missing.
    fn stream_entries(
        &self,
        after: &StreamEntry,
        entries_max: usize,
        take: &mut dyn FnMut(&str, &str, i64, i64),
    ) -> Result<Option<usize>, LogError>;

    /// The sums of the entries up to a position, of each index over administrative events.
    fn indexes_of_administration(&self, until: u64) -> [(&'static str, Result<IndexEntries, LogError>); 2];

    /// The first side table that the database finds damaged, and why.
    fn damaged_table(&self) -> Option<(&'static str, String)>;

    /// Runs `work`, whose statements fail as interrupted once `interrupt` is due.
    fn run_interruptible(&self, interrupt: &Interrupt, work: &mut dyn FnMut());

    /// For interruptible work that computes for long between its statements.
    ///
    /// Errors: the interrupt is due.
    fn check_interrupt(&self) -> Result<(), LogError>;

    /// A statement that ends only when it is interrupted.
    #[cfg(test)]
    fn read_for_ever(&self) -> Result<u64, LogError>;
}

/// The positions of a snapshot of the ledger's state.
pub struct SnapshotPositions {
    /// The log's last position.
    pub head: u64,
    /// The position as of which the rows are.
    pub state_at: u64,
}

/// A row of the ledger's state.
pub enum StateRow<'a> {
    OwnerBlock { owner: &'a str, block: u64 },
    Balance(Result<StoredWindow, LogError>),
    OpenHold(Result<(RequestId, Hold), LogError>),
}

/// An event as it is stored. Each text is itself, or where it is.
pub struct RawEvent<T> {
    pub recorded_at_micros: i64,
    pub sequence: u64,
    pub stream_kind: T,
    pub stream_id: T,
    pub name: T,
    pub version: T,
    pub payload: T,
    pub context: T,
    /// True if the context was stored without the request, which is the stream.
    pub is_without_request: bool,
}

impl<T> RawEvent<T> {
    /// The event with each of its texts mapped.
    pub(crate) fn map<U>(&self, mut text: impl FnMut(&T) -> U) -> RawEvent<U> {
        RawEvent {
            recorded_at_micros: self.recorded_at_micros,
            sequence: self.sequence,
            stream_kind: text(&self.stream_kind),
            stream_id: text(&self.stream_id),
            name: text(&self.name),
            version: text(&self.version),
            payload: text(&self.payload),
            context: text(&self.context),
            is_without_request: self.is_without_request,
        }
    }
}

impl RawEvent<&str> {
    /// The event at this position, with the context that is stored for it.
    pub(crate) fn decode(&self, position: u64) -> Result<Recorded, LogError> {
        self.in_context(position, read_context(self.context)?)
    }

    /// The event at this position, whose stored context is this one.
    pub(crate) fn in_context(&self, position: u64, context: Context) -> Result<Recorded, LogError> {
        if !self.is_without_request {
            return self.in_whole_context(position, context);
        }
        self.in_whole_context(position, context.in_request(self.stream_id.parse().map_err(stored)?))
    }

    /// The event at this position in this context, which has its request.
    pub(crate) fn in_whole_context(&self, position: u64, context: Context) -> Result<Recorded, LogError> {
        let Self { stream_kind, stream_id, version, .. } = *self;
        let kind = StreamKind::parse(stream_kind).ok_or_else(|| stored(format!("stream kind {stream_kind}")))?;
        let version = version.parse().map_err(|_| stored(format!("event version {version:?}")))?;
        Ok(Recorded {
            position,
            recorded_at: from_micros(self.recorded_at_micros),
            stream: Stream { kind, id: stream_id.to_owned() },
            sequence: self.sequence,
            context,
            event: Event::decode(self.name, version, self.payload)?,
        })
    }
}

/// An entry of the unique index over streams.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    pub id: String,
    pub kind: String,
    pub sequence: i64,
    pub position: i64,
}

/// The number of an index's entries, and the sum of the positions that they point to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexEntries {
    pub count: u64,
    pub positions: u64,
}
