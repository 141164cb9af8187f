//! Every stream counts 1, 2, 3 … along positions, and there is one of each. Streams are as many as requests ever were,
//! so they are not kept: the index that has them in their order is gone through beside the log.

use super::VerifyError;
use crate::log::Reader;
use crate::log::raw::StreamEntry;

/// Entries looked at in one go once the log has been read.
const ENTRIES: usize = 8192;
/// A sequence cannot be below it.
const BELOW_ALL: i64 = i64::MIN;

/// How far the index was gone through, and the first position at which it is wrong.
pub(super) struct Streams {
    /// What was appended after the check began is left out.
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

    /// Looks at the next entries, at most so many.
    pub(super) fn look(&mut self, reader: &dyn Reader, entries_max: usize) -> Result<(), VerifyError> {
        if self.is_done {
            return Ok(());
        }
        let after = self.last.clone();
        let mut take = |id: &str, kind: &str, sequence, position| self.take(id, kind, sequence, position);
        let Some(seen) = reader.stream_entries(&after, entries_max, &mut take)? else {
            let reason = "the index that makes streams unique is gone".to_owned();
            return Err(VerifyError::BesideTheLog { position: self.head, reason });
        };
        self.is_done = seen < entries_max;
        Ok(())
    }

    fn take(&mut self, id: &str, kind: &str, sequence: i64, position: i64) {
        let is_of_this_check = u64::try_from(position).is_ok_and(|position| position <= self.head);
        let last = &mut self.last;
        let same = last.id == id && last.kind == kind;
        let (before, wanted) = if same { (last.position, last.sequence.saturating_add(1)) } else { (0, 1) };
        if !same {
            last.id.replace_range(.., id);
            last.kind.replace_range(.., kind);
        }
        // What is newer does not move the place in the stream: nothing older stands behind it.
        (last.sequence, last.position) = (sequence, position);
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
    pub(super) fn finish(mut self, reader: &dyn Reader) -> Result<(), VerifyError> {
        while !self.is_done {
            self.look(reader, ENTRIES)?;
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
}
