//! Every stream counts 1, 2, 3 … along positions, and there is one of each. Streams are as many as requests ever were,
//! so they are not kept: the index that has them in their order is gone through beside the log.

use rusqlite::{Connection, params};

use super::VerifyError;
use crate::log::LogError;

const SELECT: &str = include_str!("select_streams.sql");
/// Entries looked at in one go once the log has been read.
const ENTRIES: usize = 8192;
/// A sequence cannot be below it.
const BELOW_ALL: i64 = i64::MIN;

/// How far the index was gone through, and the first position at which it is wrong.
pub(super) struct Streams {
    /// What was appended after the check began is left out.
    head: u64,
    id: String,
    kind: String,
    sequence: i64,
    position: i64,
    entries: u64,
    is_done: bool,
    broken: Option<(u64, String)>,
}

impl Streams {
    pub(super) const fn new(head: u64) -> Self {
        Self {
            head,
            id: String::new(),
            kind: String::new(),
            sequence: BELOW_ALL,
            position: 0,
            entries: 0,
            is_done: false,
            broken: None,
        }
    }

    /// Looks at the next entries, at most so many.
    pub(super) fn look(&mut self, connection: &Connection, entries_max: usize) -> Result<(), VerifyError> {
        if self.is_done {
            return Ok(());
        }
        let unreadable = |error| VerifyError::from(LogError::from(error));
        let mut statement = connection.prepare_cached(SELECT).map_err(|error| self.without_index(error))?;
        let mut rows = statement.query(params![self.id, self.kind, self.sequence, entries_max]).map_err(unreadable)?;
        let mut seen = 0;
        while let Some(row) = rows.next().map_err(unreadable)? {
            seen += 1;
            let text = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?));
            let (id, kind) = (text(0).map_err(unreadable)?, text(1).map_err(unreadable)?);
            let (sequence, position) = (row.get(2).map_err(unreadable)?, row.get(3).map_err(unreadable)?);
            self.take(id, kind, sequence, position);
        }
        self.is_done = seen < entries_max;
        Ok(())
    }

    fn take(&mut self, id: &str, kind: &str, sequence: i64, position: i64) {
        let is_of_this_check = u64::try_from(position).is_ok_and(|position| position <= self.head);
        let same = self.id == id && self.kind == kind;
        let (before, wanted) = if same { (self.position, self.sequence.saturating_add(1)) } else { (0, 1) };
        if !same {
            self.id.replace_range(.., id);
            self.kind.replace_range(.., kind);
        }
        // What is newer does not move the place in the stream: nothing older stands behind it.
        (self.sequence, self.position) = (sequence, position);
        if !is_of_this_check {
            return;
        }
        self.entries += 1;
        if sequence != wanted {
            self.broken_at(position, || format!("{kind}-{id} continues with {sequence}, not {wanted}"));
        } else if position <= before {
            self.broken_at(position, || format!("{kind}-{id} has {sequence} before {}", sequence - 1));
        }
    }

    fn broken_at(&mut self, position: i64, reason: impl FnOnce() -> String) {
        let position = u64::try_from(position).unwrap_or(0);
        if self.broken.as_ref().is_none_or(|(first, _)| position < *first) {
            self.broken = Some((position, reason()));
        }
    }

    /// Looks at the rest.
    pub(super) fn finish(mut self, connection: &Connection) -> Result<(), VerifyError> {
        while !self.is_done {
            self.look(connection, ENTRIES)?;
        }
        if let Some((position, reason)) = self.broken {
            return Err(VerifyError::Broken { position, reason });
        }
        if self.entries != self.head {
            let reason = format!("the index of streams has {} entries", self.entries);
            return Err(VerifyError::BesideTheLog { position: self.head, reason });
        }
        Ok(())
    }

    fn without_index(&self, error: rusqlite::Error) -> VerifyError {
        if error.to_string().contains("no such index") {
            let reason = "the index that makes streams unique is gone".to_owned();
            return VerifyError::BesideTheLog { position: self.head, reason };
        }
        LogError::from(error).into()
    }
}
