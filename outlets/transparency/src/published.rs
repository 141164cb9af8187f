//! The published log, as it is in its object store.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use events_log::Log;
use tlog::{SignedCheckpoint, TILE_WIDTH, TreeHead};

use crate::checked::{CheckedTree, KeptTiles};
use crate::checkpoint::CheckpointError;
use crate::files::Files;
use crate::key_history::KeyHistory;
use crate::published_error::PublishedError;

/// The newest checkpoint, as it is published.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The name of the log.
    pub origin: String,
    pub head: TreeHead,
    pub bytes: Bytes,
}

/// The log as it is published. Cheap to clone.
#[derive(Clone)]
pub struct PublishedLog {
    files: Arc<Files>,
    kept: Arc<Mutex<KeptTiles>>,
    /// The newest checkpoint that was found to be this log's.
    newest: Arc<Mutex<Option<Checkpoint>>>,
}

impl PublishedLog {
    pub fn new(files: Files) -> Self {
        Self { files: Arc::new(files), kept: Arc::default(), newest: Arc::default() }
    }

    /// The newest checkpoint; `None` if nothing is published yet. Nobody has checked its signature.
    pub async fn unchecked_checkpoint(&self) -> Result<Option<Checkpoint>, PublishedError> {
        let Some(bytes) = self.files.checkpoint().await? else { return Ok(None) };
        let signed = SignedCheckpoint::parse(&bytes).map_err(CheckpointError::from)?;
        let (origin, head) = (signed.unverified().origin().to_owned(), *signed.unverified().head());
        Ok(Some(Checkpoint { origin, head, bytes }))
    }

    /// The newest checkpoint, if one of the ledger's keys has signed it while it was in force; `None` if nothing is published yet.
    ///
    /// Errors: among others, it is shorter than one that was here before: somebody has put an old one back.
    pub async fn checkpoint(&self, ledger: &Log) -> Result<Option<Checkpoint>, PublishedError> {
        // Seen before this one is read: what others see meanwhile may be newer.
        let seen = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(bytes) = self.files.checkpoint().await? else { return Ok(None) };
        if let Some(seen) = &seen
            && seen.bytes == bytes
        {
            return Ok(Some(seen.clone()));
        }
        let signed = SignedCheckpoint::parse(&bytes).map_err(CheckpointError::from)?;
        // Read afterwards: it has the key of whatever was published by then.
        let origin = signed.unverified().origin().to_owned();
        let of_log = origin.clone();
        let keys = ledger.read(move |reader| KeyHistory::read(&of_log, reader)).await?;
        keys.must_be_in_force(&keys.keys(), &signed)?;
        let head = *signed.unverified().head();
        if let Some(seen) = seen.filter(|seen| head.size < seen.head.size) {
            return Err(PublishedError::Older { place: self.place(), found: head.size, seen: seen.head.size });
        }
        let checkpoint = Checkpoint { origin, head, bytes };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|newest| newest.head.size <= head.size) {
            *newest = Some(checkpoint.clone());
        }
        Ok(Some(checkpoint))
    }

    /// The files of a tree whose checkpoint was found to be this log's. Each is checked against the root before it is used.
    pub fn tree(&self, head: TreeHead) -> CheckedTree {
        CheckedTree::new(Arc::clone(&self.files), head, Arc::clone(&self.kept))
    }

    /// Refuses a log that lacks a whole tile or bundle of a tree of this size. It lists all of them.
    pub(crate) async fn must_be_whole(&self, size: u64) -> Result<(), PublishedError> {
        let width = u64::from(TILE_WIDTH);
        let mut whole = size / width;
        let bundles = std::iter::once(("tile/entries".to_owned(), whole));
        let levels = (0_u8..).map_while(|level| {
            let wanted = (whole > 0).then(|| (format!("tile/{level}"), whole));
            whole /= width;
            wanted
        });
        for (folder, wanted) in bundles.chain(levels).collect::<Vec<_>>() {
            if self.files.count_whole(&folder).await? < wanted {
                return Err(PublishedError::Missing { path: format!("a file of {folder}"), place: self.place() });
            }
        }
        Ok(())
    }

    /// Where it is published, without a secret.
    pub fn place(&self) -> String {
        self.files.place()
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }
}
