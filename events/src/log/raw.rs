//! The log as it is stored, however broken: what an offline check reads instead of trusting those who wrote it.

use std::collections::BTreeSet;

use super::LogError;
use crate::fraction::Fraction;

/// Takes the rows beside the log, as of one moment.
pub(crate) trait RowsBeside {
    fn balance(&mut self, row: BalanceRow);
    fn open_hold(&mut self, row: OpenHoldRow);
    /// By owner, and by block within an owner.
    fn owner_block(&mut self, owner: &str, block: u64);
}

/// Where the log ended, and as of which position the rows are.
pub(crate) struct BesideAt {
    pub(crate) head: u64,
    pub(crate) state_at: u64,
}

pub(crate) struct BalanceRow {
    pub(crate) budget_id: String,
    /// In microseconds; none for the window of a period without end.
    pub(crate) window_start: Option<i64>,
    pub(crate) settled_nanos: i64,
    pub(crate) held_nanos: i64,
    pub(crate) announced: Result<BTreeSet<Fraction>, LogError>,
}

pub(crate) struct OpenHoldRow {
    pub(crate) request_id: String,
    pub(crate) held_nanos: i64,
    pub(crate) expires_at_micros: i64,
    pub(crate) hold: String,
}

/// An event as it is stored.
pub(crate) struct RawEvent<'a> {
    pub(crate) recorded_at_micros: i64,
    pub(crate) sequence: u64,
    pub(crate) stream_kind: &'a str,
    pub(crate) stream_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) metadata: &'a str,
}

/// An entry of the index that makes streams unique.
#[derive(Clone, Debug)]
pub(crate) struct StreamEntry {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) sequence: i64,
    pub(crate) position: i64,
}

/// Entries of an index of administration: how many, and the sum of the positions that they lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexEntries {
    pub(crate) count: u64,
    pub(crate) positions: u64,
}

/// By which events of administration are found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IndexOfAdministration {
    Position,
    TypeOnStream,
}
