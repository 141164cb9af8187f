//! Files of the published log that were repaired, and the event that records them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use events::event::published_log_repaired::{PublishedLogRepaired, RepairedFile};
use events::event::{Actor, Context, Event, Resource, Stream, StreamKind};
use events_log::{Log, LogError, Note};

/// The files that an event has, and the number of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairedFiles {
    pub listed: Vec<RepairedFile>,
    more: u64,
}

impl RepairedFiles {
    pub const fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    pub fn add(&mut self, file: RepairedFile) {
        if self.listed.len() < PublishedLogRepaired::FILES_MAX {
            self.listed.push(file);
        } else {
            self.more += 1;
        }
    }

    fn append(&mut self, later: Self) {
        self.more += later.more;
        later.listed.into_iter().for_each(|file| self.add(file));
    }

    /// Records that they were repaired, of the checkpoint of so many events.
    pub async fn record(self, ledger: &Log, origin: &str, size: u64) -> Result<(), LogError> {
        let Self { listed: files, more } = self;
        let repaired = PublishedLogRepaired { origin: origin.to_owned(), size, files, more };
        let event = Event::Resource(Resource::PublishedLogRepaired(Box::new(repaired)));
        let stream = Stream::new(StreamKind::PublishedLog, origin);
        ledger.note(vec![Note { stream, context: Context::of(Actor::System("gateway")), event }]).await
    }
}

/// The repairs that are not recorded yet.
pub struct PendingRepairs {
    ledger: Log,
    pending: Mutex<Option<Pending>>,
}

/// Files of the newest tree.
#[derive(Clone)]
struct Pending {
    origin: String,
    size: u64,
    files: RepairedFiles,
}

impl PendingRepairs {
    pub const fn new(ledger: Log) -> Self {
        Self { ledger, pending: Mutex::new(None) }
    }

    pub const fn ledger(&self) -> &Log {
        &self.ledger
    }

    pub fn are_there(&self) -> bool {
        self.pending().is_some()
    }

    /// Adds a file of the tree of this size.
    pub fn add(&self, origin: &str, size: u64, file: RepairedFile) {
        let begin = || Pending { origin: origin.to_owned(), size, files: RepairedFiles::default() };
        let mut pending = self.pending();
        let pending = pending.get_or_insert_with(begin);
        pending.size = size;
        pending.files.add(file);
    }

    /// Records what there is: also the last of it, before the process stops.
    pub async fn record(&self) {
        let Some(repaired) = self.pending().take() else { return };
        let Pending { origin, size, files } = repaired.clone();
        if let Err(error) = files.record(&self.ledger, &origin, size).await {
            tracing::warn!(%error, "the repair of the published log is not recorded yet");
            let mut pending = self.pending();
            let later = pending.take();
            let all = pending.insert(repaired);
            if let Some(later) = later {
                all.size = later.size;
                all.files.append(later.files);
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_few_in_memory_and_counted() {
        let mut files = RepairedFiles::default();
        let file = |first| RepairedFile { path: "tlog/tile/0/000".to_owned(), found_sha256: None, first, last: first };
        (1..=150).for_each(|first| files.add(file(first)));
        assert_eq!((files.listed.len(), files.more), (PublishedLogRepaired::FILES_MAX, 50));
        files.append(files.clone());
        assert_eq!((files.listed.len(), files.more), (PublishedLogRepaired::FILES_MAX, 200));
    }
}
