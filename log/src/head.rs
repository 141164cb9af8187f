//! The end of the log, and what a process knows of positions beside it.

use chrono::{DateTime, Utc};

/// The last durable event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// 0 for an empty log.
    pub position: u64,
    pub recorded_at: Option<DateTime<Utc>>,
}

impl Head {
    /// The time of an event recorded `now`: never before the last one, even if the clock was set back.
    pub fn time_after(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.recorded_at.map_or(now, |last| last.max(now))
    }
}

/// The knowledge of a process about a position that another one may have appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionStatus {
    Recorded,
    /// The log ended before it after the question was asked.
    NotRecorded,
    /// The process could not find out in time where the log ends.
    Unknown,
}
