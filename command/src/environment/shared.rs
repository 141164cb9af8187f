//! The work of nodes that share a ledger: one of them records what the environment, the catalogue and local servers
//! offer, and all of them use the catalogue that was imported last.
//!
//! The one is the node that has run longest. If each node recorded its own view, nodes with other variables or of another version
//! would take back what the others recorded, at every look. This way a rolling change takes effect once, when the last of the
//! earlier nodes leaves.
//!
//! A node that says that it ends is followed at once. One that does not show itself any more, or that it can append, is followed
//! after the next one has seen the database without a gap for a while, and not that node (`succession.rs`): after an outage of the database, all nodes are
//! unseen until they connect again, each at a moment of its own.
//!
//! Rejected: a lock in the database that one node holds. A node that is cut off would keep it until the database noticed, which may
//! take hours; the register of running nodes says for ten seconds only that a node is there.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use blocking_work::CONFIGURATION;
use built_in_catalogue::{Catalogue, InForce};
use events_log::Log;
use tokio::time::Instant;

use super::check_times::{CHECK_EVERY, CheckTimes};
use super::recording_state::RecordingState;
use super::succession::SUCCEEDED_WITHIN;
use super::{ASK_EVERY, Environment};
use crate::admin::CommandError;
use crate::admin::import_error::ImportError;
use crate::admin::recording::Author;

/// How long an import waits for the node that records: until another one has taken its place if it has just died, and has looked at
/// local servers.
const RECORDED_WITHIN: Duration = SUCCEEDED_WITHIN.saturating_add(Duration::from_secs(5));
/// The pause before it is looked again whether it has recorded everything.
const RECORDED_CHECK: Duration = Duration::from_millis(200);

impl Environment {
    /// Asks which nodes are before this one. True if it is the one that records what is offered now, and looks at the sources; so is
    /// the only node of an embedded ledger. `None` if nobody knows, because this node cannot append.
    pub(super) async fn check_succession(&self) -> Result<Option<bool>, CommandError> {
        let earlier = self.parts.log.earlier_nodes().await;
        let found = earlier.as_ref().ok().and_then(Option::as_deref);
        let is_recorder = self.recording().check_succession(found, Instant::now());
        Ok(earlier?.map(|_| is_recorder))
    }

    /// Uses the catalogue that was imported last. Returns true if it is another one than before.
    pub(super) async fn take_imported_catalogue(&self) -> Result<bool, CommandError> {
        let log = &self.parts.log;
        if !log.is_shared() {
            return Ok(false);
        }
        let known = self.catalogue_revision.load(Ordering::Relaxed);
        let Some(imported) = log.read(move |reader| reader.imported_catalogue(known)).await? else { return Ok(false) };
        let in_force = parsed(imported.document).await?;
        if let Some(warning) = in_force.warning() {
            tracing::warn!("{warning}");
        }
        if let Some(named) = &self.named {
            named.take(Arc::new(in_force.catalogue));
        }
        self.catalogue_revision.store(imported.revision, Ordering::Relaxed);
        Ok(true)
    }

    /// When to check next.
    pub(super) fn next_check(&self, looks: &CheckTimes) -> Instant {
        let is_soon = self.parts.log.is_shared() || self.recording().is_due() || !self.kept_imports.is_empty();
        looks.checked_at() + if is_soon { CHECK_EVERY } else { ASK_EVERY }
    }

    /// Records the imports that are kept; then looks at the sources if that is due, or if something else than the time makes it
    /// necessary.
    pub(super) async fn look_if_due(&self, looks: &mut CheckTimes) -> Result<(), CommandError> {
        looks.note_check();
        self.record_kept_imports().await?;
        if self.take_imported_catalogue().await? {
            self.recording().note_unfinished();
        }
        // Last, because what is found holds for a moment only.
        match self.check_succession().await? {
            Some(true) => {}
            Some(false) => {
                looks.note_other_recorder();
                return Ok(());
            }
            None => return Ok(()),
        }
        let is_early = self.recording().is_due() && looks.may_look_early();
        if !is_early && !looks.must_look() {
            return Ok(());
        }
        let recorded = self.record_all().await;
        looks.note_look(&recorded);
        recorded
    }

    /// Records what follows from the catalogue in force, by the right of the author, if this node is the one that records; otherwise
    /// waits until that one has. A node with other variables does not know what the other one has to record, and waits for nothing.
    /// Returns the position that has it.
    pub(super) async fn record_or_await(&self, catalogue: &Catalogue, author: &Author) -> Result<u64, CommandError> {
        let began = Instant::now();
        loop {
            let plan = self.plan(catalogue).await?;
            if self.check_succession().await? == Some(true) {
                return self.record(plan, author).await;
            }
            if plan.is_empty() || !plan.providers.is_empty() {
                return Ok(self.parts.log.head().position);
            }
            if began.elapsed() >= RECORDED_WITHIN {
                let why = "the node that records what the environment offers has not recorded it yet".to_owned();
                return Err(ImportError::Unfinished(why).into());
            }
            tokio::time::sleep(RECORDED_CHECK).await;
        }
    }

    pub(super) fn recording(&self) -> MutexGuard<'_, RecordingState> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalogue that is used: of the database if nodes share a ledger, and otherwise of the data folder.
pub async fn catalogue_in_force(log: &Log, folder: PathBuf) -> Result<InForce, CommandError> {
    catalogue_and_revision(log, folder).await.map(|(in_force, _)| in_force)
}

/// The same, with the revision of the catalogue that the database has; 0 if it has none.
pub async fn catalogue_and_revision(log: &Log, folder: PathBuf) -> Result<(InForce, u64), CommandError> {
    if log.is_shared() {
        return match log.read(|reader| reader.imported_catalogue(0)).await? {
            Some(imported) => Ok((parsed(imported.document).await?, imported.revision)),
            None => Ok((InForce::shipped(), 0)),
        };
    }
    let read = CONFIGURATION.run(None, move || built_in_catalogue::in_force(&folder)).await;
    read.map(|in_force| (in_force, 0)).map_err(|error| CommandError::Defect(error.to_string()))
}

async fn parsed(document: String) -> Result<InForce, CommandError> {
    let parsed = CONFIGURATION.run(None, move || built_in_catalogue::in_force_of_document(&document)).await;
    parsed.map_err(|error| CommandError::Defect(error.to_string()))
}
