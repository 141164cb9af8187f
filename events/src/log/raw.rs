//! The log as it is stored, however broken: what an offline check reads instead of trusting those who wrote it.

use std::collections::BTreeSet;

use super::LogError;
use super::interrupt::Interrupt;
use crate::fraction::Fraction;

/// What an engine reads for the offline check, and how what it reads is ended.
pub trait RawReader {
    /// Reads the rows beside the log as of one moment; whoever writes goes on, and what it writes later is not among them.
    fn rows_beside(&self, rows: &mut dyn RowsBeside) -> Result<BesideAt, LogError>;

    /// At most so many events beyond a position, up to another, each as it is stored, or why it cannot be read.
    fn raw_events(
        &self,
        positions: (i64, u64),
        rows_max: usize,
        take: &mut dyn FnMut(i64, Result<RawEvent<'_>, String>),
    ) -> Result<(), LogError>;

    /// The next entries of the index that makes streams unique, at most so many; how many there were. `None` where the
    /// index is gone.
    fn stream_entries(
        &self,
        after: &StreamEntry,
        entries_max: usize,
        take: &mut dyn FnMut(&str, &str, i64, i64),
    ) -> Result<Option<usize>, LogError>;

    /// What an index leads to, up to a position.
    fn index_entries(&self, index: IndexOfAdministration, until: u64) -> Result<IndexEntries, LogError>;

    /// The first table beside the log that the database itself finds damaged, and why.
    fn damaged_table(&self) -> Option<(&'static str, String)>;

    /// What runs meanwhile fails as interrupted once that is due.
    fn interrupted(&self, interrupt: &Interrupt, work: &mut dyn FnMut());

    /// One statement that ends only where it is interrupted.
    #[cfg(test)]
    fn read_for_ever(&self) -> Result<u64, LogError>;
}

/// Takes the rows beside the log, as of one moment.
pub trait RowsBeside {
    fn balance(&mut self, row: BalanceRow);
    fn open_hold(&mut self, row: OpenHoldRow);
    /// By owner, and by block within an owner.
    fn owner_block(&mut self, owner: &str, block: u64);
}

/// Where the log ended, and as of which position the rows are.
pub struct BesideAt {
    pub head: u64,
    pub state_at: u64,
}

pub struct BalanceRow {
    pub budget_id: String,
    /// In microseconds; none for the window of a period without end.
    pub window_start: Option<i64>,
    pub settled_nanos: i64,
    pub held_nanos: i64,
    pub announced: Result<BTreeSet<Fraction>, LogError>,
}

pub struct OpenHoldRow {
    pub request_id: String,
    pub held_nanos: i64,
    pub expires_at_micros: i64,
    pub hold: String,
}

/// An event as it is stored.
pub struct RawEvent<'a> {
    pub recorded_at_micros: i64,
    pub sequence: u64,
    pub stream_kind: &'a str,
    pub stream_id: &'a str,
    pub name: &'a str,
    pub version: &'a str,
    pub payload: &'a str,
    pub metadata: &'a str,
}

/// An entry of the index that makes streams unique.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    pub id: String,
    pub kind: String,
    pub sequence: i64,
    pub position: i64,
}

/// Entries of an index of administration: how many, and the sum of the positions that they lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexEntries {
    pub count: u64,
    pub positions: u64,
}

/// By which events of administration are found.
#[derive(Clone, Copy, Debug)]
pub enum IndexOfAdministration {
    Position,
    TypeOnStream,
}
