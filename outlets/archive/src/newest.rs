//! The newest manifest of an archive, without reading all: for whoever continues an archive, and for a gateway that compares its
//! log with it.

use events::canonical;
use events_log::{LogError, Reader};

use object_storage::{Enough, Object, StoreError};

use crate::archive::Archive;
use crate::damage::DamageKind;
use crate::digest::Digest;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::object_name;
use crate::read_error::ReadError;

/// The positions before the hint that are looked at first. Each later step goes four times as far back.
const FIRST_STEP: u64 = 1024;

/// The newest manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    pub manifest: Manifest,
    /// SHA-256 of the manifest as it is stored.
    pub sha256: Digest,
}

/// A log is not the one that is in the archive, or has lost some of it.
#[derive(Debug, thiserror::Error)]
pub enum LogDiffers {
    #[error("the archive {archive} has events up to position {archived}, and the ledger ends at position {head}")]
    Behind { archive: String, archived: u64, head: u64 },
    #[error("the archive {archive} is of another ledger: it has another event at position {position}")]
    OtherEvent { archive: String, position: u64 },
    #[error(transparent)]
    Archive(#[from] ReadError),
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
}

impl Archive {
    /// The newest manifest; `None` if the archive is empty. `hint` is a position that it is likely near to: the end of the log.
    pub async fn newest(&self, hint: u64) -> Result<Option<Newest>, ReadError> {
        match self.newest_first(hint).await? {
            Some(first) => self.manifest_at(first).await.map(Some),
            None => Ok(None),
        }
    }

    /// The manifest that begins with this position.
    pub(crate) async fn manifest_at(&self, first: u64) -> Result<Newest, ReadError> {
        let name = object_name::manifest(first);
        let found = self.find_manifest(first).await?;
        found.ok_or_else(|| DamageKind::ManifestMissing.of(name, first).into())
    }

    /// The manifest that begins with this position; `None` if there is none.
    pub(crate) async fn find_manifest(&self, first: u64) -> Result<Option<Newest>, ReadError> {
        let name = object_name::manifest(first);
        let damaged = |kind: DamageKind| kind.of(name.clone(), first);
        let bytes = match self.objects.get(&name, MANIFEST_BYTES_MAX).await? {
            Some(Object::Whole(bytes)) => bytes,
            Some(Object::TooLong { bytes }) => return Err(damaged(DamageKind::ManifestTooLong { bytes }).into()),
            None => return Ok(None),
        };
        let manifest = Manifest::read(&name, &bytes).map_err(damaged)?;
        Ok(Some(Newest { manifest, sha256: Digest::of(&bytes) }))
    }

    async fn newest_first(&self, hint: u64) -> Result<Option<u64>, StoreError> {
        let (mut after, mut step) = (hint, FIRST_STEP);
        loop {
            if let Some(found) = self.last_manifest_after(after).await? {
                return Ok(Some(found));
            }
            if after == 0 {
                return Ok(None);
            }
            (after, step) = (after.saturating_sub(step), step.saturating_mul(4));
        }
    }

    /// The first position of the last manifest that begins after this one.
    async fn last_manifest_after(&self, after: u64) -> Result<Option<u64>, StoreError> {
        let mut last = None;
        let after = object_name::manifest(after);
        self.objects
            .list(object_name::MANIFESTS, Some(&after), |listed| {
                last = last.max(object_name::first_of_manifest(&listed.name));
                Enough::No
            })
            .await?;
        Ok(last)
    }
}

/// Refuses a log that is not the one in the archive, as far as the archive goes. Blocking reads are made where this is called.
pub fn compare_with_log(archive: &Archive, newest: &Newest, log: &dyn Reader) -> Result<(), LogDiffers> {
    let Manifest { last: archived, last_event_sha256, .. } = newest.manifest;
    let (archive, head) = (archive.to_string(), log.head()?.position);
    if head < archived {
        return Err(LogDiffers::Behind { archive, archived, head });
    }
    let event = log.at(&[archived])?.remove(&archived);
    let line = event.and_then(|recorded| canonical::envelope(&recorded).ok());
    match line.is_some_and(|line| Digest::of(line.as_bytes()) == last_event_sha256) {
        true => Ok(()),
        false => Err(LogDiffers::OtherEvent { archive, position: archived }),
    }
}
