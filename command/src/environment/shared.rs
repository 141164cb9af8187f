//! What nodes that share a ledger do together: one of them records what the environment, the catalogue and local servers offer, and
//! all of them use the catalogue that was imported last.
//!
//! The one is the node that has run longest. If each node recorded its own view, nodes with other variables or of another version
//! would take back what the others recorded, at every look. This way a rolling change takes effect once, when the last of the
//! earlier nodes leaves.
//!
//! A node that says that it ends is followed at once. One that does not show itself any more is followed after the next one has
//! seen the database without a gap for a while, and not that node (`succession.rs`): after an outage of the database, all nodes are
//! unseen until they connect again, each at a moment of its own.
//!
//! Rejected: a lock in the database that one node holds. A node that is cut off would keep it until the database noticed, which may
//! take hours; the register of running nodes says for ten seconds only that a node is there.

use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use catalogue::{Catalogue, InForce};
use events::log::Log;
use tokio::time::Instant;

use super::succession::Succession;
use super::{ASK_EVERY, Environment};
use crate::admin::CommandError;
use crate::admin::import_error::ImportError;
use crate::admin::recording::Author;

/// How often a node looks whether another catalogue was imported, and whether it has become the one that records.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How long an import waits for the node that records: for its next check, and for its look at local servers.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);
/// The pause before it is looked again whether it has recorded everything.
const RECORDED_CHECK: Duration = Duration::from_millis(200);

/// What a node knows of the others.
#[derive(Debug, Default)]
pub struct SharedState {
    /// The revision of the imported catalogue that this node uses; 0 if none was imported.
    revision: u64,
    succession: Succession,
    /// The sources must be looked at whatever the time is, once this node is the one that records: somebody else may have recorded
    /// something since it last did, or it could not record everything.
    pub is_due: bool,
}

/// When the sources were last looked at, and when it was last asked whether they must be.
pub struct CheckTimes {
    looked_at: Instant,
    checked_at: Instant,
    /// The looks since the last one that recorded everything.
    failed_looks: u32,
}

impl CheckTimes {
    pub fn since_now() -> Self {
        Self { looked_at: Instant::now(), checked_at: Instant::now(), failed_looks: 0 }
    }

    /// The time between the last look and one that is due: longer after each that fails.
    fn pause(&self) -> Duration {
        (CHECK_EVERY * (2_u32.pow(self.failed_looks.min(5)) - 1)).min(ASK_EVERY)
    }
}

impl Environment {
    /// True if this node is the one that records what is offered now, and looks at the sources. An embedded ledger has only one.
    pub(super) async fn is_recorder(&self) -> Result<bool, CommandError> {
        let earlier = self.parts.log.earlier_nodes().await;
        let mut shared = self.shared();
        let is_recorder = shared.succession.is_first(earlier.as_ref().ok().and_then(Option::as_deref), Instant::now());
        shared.is_due |= !is_recorder;
        earlier?;
        Ok(is_recorder)
    }

    /// Uses the catalogue that was imported last. Returns true if it is another one than before.
    pub(super) async fn take_imported_catalogue(&self) -> Result<bool, CommandError> {
        let log = &self.parts.log;
        if !log.is_shared() {
            return Ok(false);
        }
        let known = self.shared().revision;
        let Some(imported) = log.read(move |reader| reader.imported_catalogue(known)).await? else { return Ok(false) };
        let in_force = parsed(imported.document).await?;
        if let Some(warning) = in_force.warning() {
            tracing::warn!("{warning}");
        }
        if let Some(named) = &self.named {
            named.take(Arc::new(in_force.catalogue));
        }
        self.shared().revision = imported.revision;
        Ok(true)
    }

    /// When to check next.
    pub(super) fn next_check(&self, looks: &CheckTimes) -> Instant {
        let is_soon = self.parts.log.is_shared() || self.shared().is_due;
        looks.checked_at + if is_soon { CHECK_EVERY } else { ASK_EVERY }
    }

    /// Looks at the sources if that is due, or if something else than the time makes it necessary.
    pub(super) async fn look_if_due(&self, looks: &mut CheckTimes) -> Result<(), CommandError> {
        looks.checked_at = Instant::now();
        let is_recorder = self.is_recorder().await?;
        let has_other_catalogue = self.take_imported_catalogue().await?;
        let is_due = {
            let mut shared = self.shared();
            shared.is_due |= has_other_catalogue;
            shared.is_due
        };
        if !is_recorder || looks.looked_at.elapsed() < if is_due { looks.pause() } else { ASK_EVERY } {
            return Ok(());
        }
        let recorded = self.record_all().await;
        looks.looked_at = Instant::now();
        looks.failed_looks = if recorded.is_ok() { 0 } else { looks.failed_looks.saturating_add(1) };
        recorded
    }

    /// Has it recorded what follows from the catalogue in force: by this node for the author, if it is the one that records.
    /// Otherwise waits until that one has done so. A node with other variables does not know what the other one has to record, and
    /// waits for nothing. Returns the position that has it.
    pub(super) async fn have_recorded(&self, catalogue: &Catalogue, author: &Author) -> Result<u64, CommandError> {
        let began = Instant::now();
        loop {
            let plan = self.plan(catalogue).await?;
            if self.is_recorder().await? {
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

    pub(super) fn shared(&self) -> MutexGuard<'_, SharedState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalogue that is used: of the database if nodes share a ledger, and otherwise of the data folder.
pub async fn catalogue_in_force(log: &Log, folder: PathBuf) -> Result<InForce, CommandError> {
    with_revision(log, folder).await.map(|(in_force, _)| in_force)
}

/// The same, with the revision of the catalogue in the database; 0 if it has none.
pub async fn with_revision(log: &Log, folder: PathBuf) -> Result<(InForce, u64), CommandError> {
    if log.is_shared() {
        return match log.read(|reader| reader.imported_catalogue(0)).await? {
            Some(imported) => Ok((parsed(imported.document).await?, imported.revision)),
            None => Ok((InForce::shipped(), 0)),
        };
    }
    let read = tokio::task::spawn_blocking(move || catalogue::in_force(&folder)).await;
    read.map(|in_force| (in_force, 0)).map_err(|error| CommandError::Defect(error.to_string()))
}

async fn parsed(document: String) -> Result<InForce, CommandError> {
    let parsed = tokio::task::spawn_blocking(move || catalogue::in_force_of_document(&document)).await;
    parsed.map_err(|error| CommandError::Defect(error.to_string()))
}
