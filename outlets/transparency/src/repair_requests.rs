//! Requests for the repair of files that somebody found damaged. A file is asked for once until its repair has ended, and not again for some
//! minutes if it could not be repaired: whoever reads it asks each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::damaged_file::TreeFile;
use crate::files::Files;

/// How many files wait for their repair. Whoever reads one of the others asks again.
const WAITING_MAX: usize = 64;
/// How long a file is not asked for that could not be repaired.
const REFUSED_FOR: Duration = Duration::from_secs(300);

/// A file that is damaged, or missing.
pub struct RepairRequest {
    pub files: Arc<Files>,
    pub file: TreeFile,
}

/// The outcome of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairEnd {
    /// The file is right, or is one of no tree any more; or nobody knows yet, because a store did not answer.
    MayBeAskedFor,
    /// Another try would fail like this one.
    Failed,
}

/// The files that were asked for, by their paths.
#[derive(Default)]
struct AskedFiles {
    /// Until when a file is refused; `None` while it waits.
    refused: BTreeMap<String, Option<Instant>>,
}

impl AskedFiles {
    fn is_refused(&self, path: &str, now: Instant) -> bool {
        self.refused.get(path).is_some_and(|until| until.is_none_or(|until| until > now))
    }

    fn waits(&mut self, path: String) {
        self.refused.insert(path, None);
    }

    fn ended(&mut self, path: String, end: RepairEnd, now: Instant) {
        self.refused.retain(|_, until| until.is_none_or(|until| until > now));
        self.refused.remove(&path);
        if end == RepairEnd::Failed {
            self.refused.insert(path, Some(now + REFUSED_FOR));
        }
    }
}

/// The way to the task that repairs files. Cheap to clone.
#[derive(Clone)]
pub struct RepairRequests {
    sender: mpsc::Sender<RepairRequest>,
    asked: Arc<Mutex<AskedFiles>>,
}

/// The requests, for the task that repairs files.
pub(crate) struct RepairQueue {
    receiver: mpsc::Receiver<RepairRequest>,
    asked: Arc<Mutex<AskedFiles>>,
}

impl RepairRequests {
    pub(crate) fn channel() -> (Self, RepairQueue) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let asked = Arc::default();
        (Self { sender, asked: Arc::clone(&asked) }, RepairQueue { receiver, asked })
    }

    /// Asks without waiting.
    pub(crate) fn ask(&self, request: RepairRequest) {
        let path = request.file.path();
        let mut asked = locked(&self.asked);
        // If it is full, the next reader asks.
        if !asked.is_refused(&path, Instant::now()) && self.sender.try_send(request).is_ok() {
            asked.waits(path);
        }
    }
}

impl RepairQueue {
    /// The next one; `None` once nobody can ask any more.
    pub async fn next(&mut self) -> Option<RepairRequest> {
        self.receiver.recv().await
    }

    pub fn ended(&self, file: TreeFile, end: RepairEnd) {
        locked(&self.asked).ended(file.path(), end, Instant::now());
    }
}

fn locked(asked: &Mutex<AskedFiles>) -> MutexGuard<'_, AskedFiles> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_asked_for_once_and_after_a_failure_not_for_minutes() {
        let (mut asked, now) = (AskedFiles::default(), Instant::now());
        let mut end = |end, now| {
            assert!(!asked.is_refused("tile/0/000", now));
            asked.waits("tile/0/000".to_owned());
            assert!(asked.is_refused("tile/0/000", now) && !asked.is_refused("tile/0/001", now));
            asked.ended("tile/0/000".to_owned(), end, now);
            asked.is_refused("tile/0/000", now)
        };
        assert!(!end(RepairEnd::MayBeAskedFor, now));
        assert!(end(RepairEnd::Failed, now));
        assert!(!end(RepairEnd::MayBeAskedFor, now + REFUSED_FOR));
        assert!(asked.refused.is_empty());
    }
}
