//! The archiver of a running gateway: follows the log, and seals a segment when it is full or old enough.
//!
//! Of several nodes, the one with the lease archives. Without a lease two would put the same events twice and keep one of the
//! manifests, which costs transfers and nothing else: whoever finds a manifest of another archiver compares it with the log again.

use std::sync::Arc;
use std::time::Duration;

use blocking_work::OUTLETS;
use chrono::{DateTime, Utc};
use events::event::Recorded;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use events_log::{Follower, LogError, PAGE_EVENTS};
use object_storage::{NotOpened, Open, Opening};
use outlets::{AnyOutlet, LeasedRole, Outlet, until};
use tokio::time::Instant;

use crate::archive::Archive;
use crate::archiver::{ArchiveError, Archiver, Sealed, SegmentLimits};
use crate::newest::{LogDiffers, Newest, compare_with_log};
use crate::segment::PackedSegment;

/// The outlet that archives the log. Events that are not sealed when it is dropped are read again by the next archiver.
pub struct ArchiveOutlet {
    opening: Opening<Archive>,
    limits: SegmentLimits,
}

impl ArchiveOutlet {
    pub const fn new(open: Open<Archive>, limits: SegmentLimits) -> Self {
        Self { opening: Opening::new(open), limits }
    }
}

/// The log cannot be archived now.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Differs(#[from] LogDiffers),
    #[error("cannot read the log: {0}")]
    Log(#[from] LogError),
    #[error("the archiver's thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<ArchiveOutlet> for AnyOutlet {
    fn from(outlet: ArchiveOutlet) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for ArchiveOutlet {
    const ROLE: Role = Role::Archive;
    /// They begin anew once a segment was sealed.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    type Error = RoleError;

    async fn open(&mut self) -> Result<(), RoleError> {
        Ok(self.opening.before_role().await?)
    }

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), RoleError> {
        let archive = self.opening.for_role().await?;
        Work { archive, limits: self.limits, role }.run().await
    }
}

/// The work under one lease.
struct Work<'a, 'r> {
    archive: Archive,
    limits: SegmentLimits,
    role: &'a mut LeasedRole<'r>,
}

impl Work<'_, '_> {
    async fn run(mut self) -> Result<(), RoleError> {
        let mut archiver = self.begin().await?;
        self.role.status.working();
        self.role.status.reached(archiver.position());
        let mut follower = self.role.log.follow(archiver.position(), PAGE_EVENTS);
        let mut sealed_by = None;
        loop {
            // Events that are read from before are old, and fill whole segments.
            let is_behind = follower.is_behind();
            let events = tokio::select! {
                () = until(sealed_by), if !is_behind => Vec::new(),
                followed = follower.next() => match followed? {
                    None => return Ok(()),
                    Some(followed) => followed.events().to_vec(),
                },
            };
            let is_due = events.is_empty() && sealed_by.is_some_and(|due| due <= Instant::now());
            let before = archiver.position();
            archiver = self.take(archiver, &mut follower, events, is_due).await?;
            // The first event of a segment decides when it is sealed.
            let of_same_segment = sealed_by.filter(|_| archiver.position() == before);
            sealed_by = archiver.pending_since().map(|since| of_same_segment.unwrap_or_else(|| self.due(since)));
        }
    }

    /// When a segment is sealed whose first event was recorded then: at once, if that is long ago.
    fn due(&self, recorded_at: DateTime<Utc>) -> Instant {
        let age = (self.role.clock.now() - recorded_at).to_std().unwrap_or_default();
        Instant::now() + self.limits.age_max.saturating_sub(age)
    }

    /// Continues the archive, if it is of this log.
    async fn begin(&self) -> Result<Archiver, RoleError> {
        let (log, archive) = (self.role.log, &self.archive);
        let newest = archive.newest(log.head().position).await.map_err(ArchiveError::from)?;
        self.notice_losses(newest.as_ref()).await?;
        let (compared, found) = (archive.clone(), newest.clone());
        let read = log.read(move |reader| {
            let same = found.as_ref().map_or(Ok(()), |newest| compare_with_log(&compared, newest, reader));
            Ok((same, reader.revaluation_begins_after()?))
        });
        let (same, begins_after) = read.await?;
        same?;
        Ok(Archiver::new(archive.clone(), newest, begins_after, self.limits.events_max))
    }

    /// Says when an archive ends earlier than it did. What is missing is archived again.
    async fn notice_losses(&self, newest: Option<&Newest>) -> Result<(), RoleError> {
        let (archive, ends) = (&self.archive, newest.map_or(0, |newest| newest.manifest.last));
        if let Some(remembered) = self.role.lease.memory().await?
            && remembered.detail == archive.to_string()
            && remembered.position > ends
        {
            let ended = remembered.position;
            tracing::error!(%archive, ends, ended, "the archive has lost its newest objects: archiving these events again");
        }
        Ok(())
    }

    /// Adds events, and seals the segments that become full, or the one that is due.
    async fn take(
        &mut self,
        mut archiver: Archiver,
        follower: &mut Follower,
        mut events: Vec<Arc<Recorded>>,
        is_due: bool,
    ) -> Result<Archiver, RoleError> {
        while !events.is_empty() {
            (archiver, events) = add(archiver, events).await?;
            if archiver.is_full() && self.seal(&mut archiver).await? == Sealed::ByOther {
                return self.begin_again(follower).await;
            }
        }
        if is_due && self.seal(&mut archiver).await? == Sealed::ByOther {
            return self.begin_again(follower).await;
        }
        Ok(archiver)
    }

    /// Goes on after what another archiver has put, if that is of this log too. It need not be: the other one's database may be a
    /// copy of this one that was served.
    async fn begin_again(&self, follower: &mut Follower) -> Result<Archiver, RoleError> {
        let archiver = self.begin().await?;
        self.role.status.reached(archiver.position());
        follower.go_to(archiver.position());
        Ok(archiver)
    }

    async fn seal(&mut self, archiver: &mut Archiver) -> Result<Sealed, RoleError> {
        let Some(packed) = archiver.pack().map_err(ArchiveError::from)? else { return Ok(Sealed::Own) };
        if self.put(archiver, &packed).await? == Sealed::ByOther {
            return Ok(Sealed::ByOther);
        }
        let position = archiver.position();
        self.role.succeeded(position);
        let detail = self.archive.to_string();
        if let Err(error) = self.role.lease.remember(RoleMemory { position, detail }).await {
            tracing::warn!(%error, "cannot remember where the archive ends: a loss of its newest objects could go unnoticed");
        }
        Ok(Sealed::Own)
    }

    /// Puts a segment, again and again while the store does not answer: to pack it anew would cost more.
    async fn put(&mut self, archiver: &mut Archiver, packed: &PackedSegment) -> Result<Sealed, RoleError> {
        loop {
            match archiver.put(packed).await {
                Err(error) if error.is_of_store() => {
                    self.role.status.failing(&error, self.role.clock.now());
                    self.role.backoff.wait().await;
                }
                put => return Ok(put?),
            }
        }
    }
}

/// Adds events off the async threads, and returns those that are left over because the segment is full.
async fn add(
    mut archiver: Archiver,
    mut events: Vec<Arc<Recorded>>,
) -> Result<(Archiver, Vec<Arc<Recorded>>), RoleError> {
    let added = OUTLETS.run(None, move || {
        let taken = archiver.add(events.iter().map(AsRef::as_ref))?;
        events.drain(..taken);
        Ok::<_, ArchiveError>((archiver, events))
    });
    Ok(added.await??)
}
