//! The check of streams: each counts 1, 2, 3 … along positions. There are as many streams as there were requests, too many to
//! keep, so the check follows the unique index, which has them in order, while the log is read.

use super::VerifyError;
use crate::Reader;
use crate::raw::StreamEntry;

/// Entries per read once the log has been read.
const ENTRIES: usize = 8192;
/// A sequence before all others.
const BELOW_ALL: i64 = i64::MIN;

/// The progress along the index, and the first position at which it is wrong.
pub(super) struct Streams {
    /// Events appended after the check began are ignored.
    head: u64,
    last: StreamEntry,
    entries: u64,
    is_done: bool,
    broken: Option<(u64, String)>,
}

impl Streams {
    pub(super) const fn new(head: u64) -> Self {
        Self {
            head,
            last: StreamEntry { id: String::new(), kind: String::new(), sequence: BELOW_ALL, position: 0 },
            entries: 0,
            is_done: false,
            broken: None,
        }
    }

    /// Checks the next entries, at most `entries_max`.
    pub(super) fn read_entries(&mut self, reader: &dyn Reader, entries_max: usize) -> Result<(), VerifyError> {
        if self.is_done {
            return Ok(());
        }
        let after = self.last.clone();
        let mut check = |id: &str, kind: &str, sequence, position| self.check_entry(id, kind, sequence, position);
        let Some(seen) = reader.stream_entries(&after, entries_max, &mut check)? else {
            let reason = "the index that makes streams unique is gone".to_owned();
            return Err(VerifyError::StoredState { position: self.head, reason });
        };
        self.is_done = seen < entries_max;
        Ok(())
    }

    fn check_entry(&mut self, id: &str, kind: &str, sequence: i64, position: i64) {
        let is_of_this_check = u64::try_from(position).is_ok_and(|position| position <= self.head);
        let last = &mut self.last;
        let same = last.id == id && last.kind == kind;
        let (before, wanted) = if same { (last.position, last.sequence.saturating_add(1)) } else { (0, 1) };
        if !same {
            last.id.replace_range(.., id);
            last.kind.replace_range(.., kind);
        }
        // A newer entry is skipped after this update: no older one follows it in its stream.
        (last.sequence, last.position) = (sequence, position);
        if !is_of_this_check {
            return;
        }
        self.entries += 1;
        if sequence > wanted {
            self.broken_at(position, || format!("event {wanted} of {kind}-{id} is missing: {sequence} comes next"));
        } else if sequence < wanted {
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

    /// Checks the remaining entries.
    pub(super) fn finish(mut self, reader: &dyn Reader) -> Result<(), VerifyError> {
        while !self.is_done {
            self.read_entries(reader, ENTRIES)?;
        }
        if let Some((position, reason)) = self.broken {
            return Err(VerifyError::Broken { position, reason });
        }
        if self.entries != self.head {
            let reason = format!("the index of streams has {} entries", self.entries);
            return Err(VerifyError::StoredState { position: self.head, reason });
        }
        Ok(())
    }
}
