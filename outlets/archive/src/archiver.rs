//! Continues an archive: packs events into segments, and puts each with its manifest.
//!
//! A segment is put before its manifest, both only if there is none of their name, and both are read back. So an archiver can be
//! stopped anywhere: without a manifest, nobody looks at the segment, and the next archiver begins it again. Two archivers at a
//! time do no harm either: one of them puts the manifest, and the other one begins again after comparing that manifest with its
//! log, because it may be of a copy of the ledger that has gone another way.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::Recorded;
use object_storage::{Object, StoreError};

use crate::archive::Archive;
use crate::damage::Damage;
use crate::digest::Digest;
use crate::manifest::{Manifest, VERSION};
use crate::newest::Newest;
use crate::object_name;
use crate::read_error::ReadError;
use crate::segment::{OpenSegment, PackedSegment, SegmentError};
use crate::segments::{begins, continues};

/// A segment with so many bytes of events is sealed, however few events they are. The last event may be of any size.
const BYTES_SEALED: u64 = 32 * 1024 * 1024;

/// When a segment is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    pub events_max: u64,
    /// The longest that an event waits for others, from when it was recorded.
    pub age_max: Duration,
}

/// An archive cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The store lost, changed or mixed up what it was given.
    #[error("{object} in {archive} is not what was put there")]
    NotAsPut { object: String, archive: String },
    #[error("the first segment must begin with position 1")]
    NoBeginning,
    /// Nothing was put.
    #[error("the next events of the ledger do not continue {archive}: {damage}")]
    DoesNotContinue { archive: String, damage: Box<Damage> },
}

impl ArchiveError {
    /// True if the store did not answer as it should, and may do so later.
    pub const fn is_of_store(&self) -> bool {
        matches!(self, Self::Read(ReadError::Store(_)))
    }
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Whose manifest a segment got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    Own,
    /// Another archiver was first. The log must be compared with the newest manifest before the archive is continued, by a new
    /// [`Archiver`].
    ByOther,
}

pub struct Archiver {
    archive: Archive,
    newest: Option<Newest>,
    /// See [`Manifest::revaluation_begins_after`].
    revaluation_begins_after: u64,
    events_max: u64,
    open: Option<OpenSegment>,
}

impl Archiver {
    /// Continues after the newest manifest, as [`Archive::newest`] found it.
    pub const fn new(archive: Archive, newest: Option<Newest>, revaluation_begins_after: u64, events_max: u64) -> Self {
        Self { archive, newest, revaluation_begins_after, events_max, open: None }
    }

    /// The last position in the archive.
    pub fn position(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.manifest.last)
    }

    /// The newest manifest.
    pub const fn newest(&self) -> Option<&Newest> {
        self.newest.as_ref()
    }

    /// When the first event was recorded that is not sealed yet.
    pub fn pending_since(&self) -> Option<DateTime<Utc>> {
        self.open.as_ref().map(OpenSegment::first_recorded_at)
    }

    /// True if the segment is to be sealed before more events are added.
    pub fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.events() >= self.events_max || open.bytes() >= BYTES_SEALED)
    }

    /// Adds the next events until the segment is full, and returns how many it took. Blocking: it compresses them.
    pub fn add<'a>(&mut self, events: impl IntoIterator<Item = &'a Recorded>) -> Result<usize, SegmentError> {
        let mut taken = 0;
        for recorded in events {
            if self.is_full() {
                break;
            }
            match &mut self.open {
                Some(open) => open.add(recorded)?,
                None => self.open = Some(self.begin(recorded)?),
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn begin(&self, recorded: &Recorded) -> Result<OpenSegment, SegmentError> {
        let (before, found) = (self.position(), recorded.position);
        if found == before + 1 { OpenSegment::begin(recorded) } else { Err(SegmentError::NotNext { before, found }) }
    }

    /// Ends the segment; `None` if it has no events.
    pub fn pack(&mut self) -> Result<Option<PackedSegment>, SegmentError> {
        self.open.take().map(OpenSegment::pack).transpose()
    }

    /// Puts a segment and its manifest. It can be repeated after an error.
    pub async fn put(&mut self, packed: &PackedSegment) -> Result<Sealed, ArchiveError> {
        if self.newest_was_replaced().await? {
            return Ok(Sealed::ByOther);
        }
        let manifest = self.manifest_of(packed)?;
        self.must_continue(&manifest).map_err(|damage| ArchiveError::DoesNotContinue {
            archive: self.archive.to_string(),
            damage: Box::new(damage),
        })?;
        self.put_segment(&manifest, packed).await?;
        let name = object_name::manifest(manifest.first);
        self.archive.objects.put(&name, manifest.to_bytes().map_err(SegmentError::from)?.into()).await?;
        // Not every store puts an object only if there is none of its name: what is there now is what others continue.
        let Some(found) = self.archive.find_manifest(manifest.first).await? else {
            return Err(ArchiveError::NotAsPut { object: name, archive: self.archive.to_string() });
        };
        if found.manifest != manifest {
            self.must_continue(&found.manifest).map_err(ReadError::from)?;
            return Ok(Sealed::ByOther);
        }
        self.newest = Some(found);
        Ok(Sealed::Own)
    }

    fn must_continue(&self, manifest: &Manifest) -> Result<(), Damage> {
        match &self.newest {
            Some(before) => continues(before, manifest),
            None => begins(manifest),
        }
    }

    /// Looks at the newest manifest once more. Of two that were put at the same instant, a store whose conditional put is not one
    /// step keeps the last, and each archiver may have read back its own.
    async fn newest_was_replaced(&self) -> Result<bool, ArchiveError> {
        let Some(newest) = &self.newest else { return Ok(false) };
        let first = newest.manifest.first;
        match self.archive.find_manifest(first).await? {
            Some(found) => Ok(found.sha256 != newest.sha256),
            None => {
                let object = object_name::manifest(first);
                Err(ArchiveError::NotAsPut { object, archive: self.archive.to_string() })
            }
        }
    }

    fn manifest_of(&self, packed: &PackedSegment) -> Result<Manifest, ArchiveError> {
        let before = self.newest.as_ref();
        let log = before.map(|newest| newest.manifest.log).or(packed.log).ok_or(ArchiveError::NoBeginning)?;
        let object_sha256 = Digest::of(&packed.object);
        Ok(Manifest {
            version: VERSION,
            log,
            first: packed.first,
            last: packed.last,
            count: packed.last - packed.first + 1,
            first_recorded_at: packed.first_recorded_at,
            last_recorded_at: packed.last_recorded_at,
            last_event_sha256: packed.last_event_sha256,
            events_bytes: packed.events_bytes,
            events_sha256: packed.events_sha256,
            object: object_name::segment(packed.first, packed.last, &object_sha256),
            object_bytes: packed.object.len() as u64,
            object_sha256,
            previous: before.map(|newest| newest.sha256),
            revaluation_begins_after: self.revaluation_begins_after,
        })
    }

    /// A segment of that name can only be the same: its hash is in the name.
    async fn put_segment(&self, manifest: &Manifest, packed: &PackedSegment) -> Result<(), ArchiveError> {
        let name = &manifest.object;
        self.archive.objects.put(name, packed.object.clone()).await?;
        match self.archive.objects.get(name, manifest.object_bytes).await? {
            Some(Object::Whole(found)) if found == packed.object => Ok(()),
            _ => Err(ArchiveError::NotAsPut { object: name.clone(), archive: self.archive.to_string() }),
        }
    }
}
