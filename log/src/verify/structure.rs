//! The check of side tables, which only the database itself can judge, and of the indexes over administrative events. Without
//! it, a damaged page would be noticed only when one of its rows is needed.

use events::event::Recorded;

use super::VerifyError;
use crate::raw::IndexEntries;
use crate::{LogError, Reader};

/// The expected entries of the indexes.
#[derive(Default)]
pub(super) struct Structure {
    of_administration: IndexEntries,
}

impl Structure {
    pub(super) fn count(&mut self, recorded: &Recorded) {
        if recorded.stream.kind.is_administration() {
            self.of_administration.count += 1;
            self.of_administration.positions += recorded.position;
        }
    }

    /// Called after all events up to `head`.
    pub(super) fn must_be_sound(&self, reader: &dyn Reader, head: u64) -> Result<(), VerifyError> {
        let broken = |reason| VerifyError::StoredState { position: head, reason };
        for (named, entries) in reader.indexes_of_administration(head) {
            self.must_match(entries).map_err(|why| broken(format!("the index of {named} {why}")))?;
        }
        match reader.damaged_table() {
            None => Ok(()),
            Some((table, why)) => Err(broken(format!("the table {table} is damaged: {why}"))),
        }
    }

    fn must_match(&self, entries: Result<IndexEntries, LogError>) -> Result<(), String> {
        match entries {
            Ok(found) if found == self.of_administration => Ok(()),
            Ok(found) => Err(format!(
                "leads to {} events, not to the {} that it should",
                found.count, self.of_administration.count
            )),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }
}
