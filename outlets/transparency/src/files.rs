//! The files of the published log, below the address of the object store: `tlog/checkpoint`, `tlog/tile/…`, as C2SP `tlog-tiles`
//! lays them out.
//!
//! A tile and a bundle are written once and never changed: of two processes that would publish different logs, one meets the
//! other's tiles. The checkpoint is replaced.

use bytes::Bytes;
use events::hex;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_storage::{Enough, Listed, Object, Objects, Put, StoreError};
use ring::digest::{SHA256, digest};
use tlog::{EntryBundleId, TileId};

/// The folder of the published log in an object store.
pub const FOLDER: &str = "tlog";
/// The name of the newest checkpoint in an object store.
pub const CHECKPOINT: &str = "tlog/checkpoint";
/// The longest checkpoint that is read: a few signatures, of witnesses too.
pub const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024;
/// The longest bundle: 256 entries of 64 KiB.
const BUNDLE_BYTES_MAX: u64 = 256 * (64 * 1024 + 2);
const TILE_BYTES_MAX: u64 = 256 * 32;
/// How many files are put at a time.
pub const PUTS_AT_A_TIME: usize = 8;

/// The published log's files. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    objects: Objects,
}

/// A tile or a bundle, which never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path as in the specification: `tile/0/000.p/3`.
    pub path: String,
    pub bytes: Bytes,
}

/// A file that was replaced.
pub struct Replaced {
    /// The digest of the bytes that were found; `None` if it was missing, or longer than any file.
    pub found_sha256: Option<String>,
}

/// The files cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another log has been published here, or another continuation of this one.
    #[error("{path} in {store} is of another log: it has other bytes than this ledger's")]
    OtherLog { path: String, store: String },
    #[error("{path} in {store} is {bytes} bytes long, more than it may be")]
    TooLong { path: String, store: String, bytes: u64 },
}

impl Files {
    pub const fn new(objects: Objects) -> Self {
        Self { objects }
    }

    /// Where they are, without a secret.
    pub fn place(&self) -> String {
        self.objects.to_string()
    }

    /// The newest checkpoint; `None` if there is none yet.
    pub async fn checkpoint(&self) -> Result<Option<Bytes>, FilesError> {
        self.get("checkpoint", CHECKPOINT_BYTES_MAX).await
    }

    pub async fn replace_checkpoint(&self, checkpoint: Bytes) -> Result<(), FilesError> {
        Ok(self.objects.replace(&name("checkpoint"), checkpoint).await?)
    }

    /// A tile, as it is there: nobody has checked it.
    pub async fn unchecked_tile(&self, id: TileId) -> Result<Option<Bytes>, FilesError> {
        self.get(&id.to_string(), TILE_BYTES_MAX).await
    }

    /// A bundle, as it is there: nobody has checked it.
    pub async fn unchecked_bundle(&self, id: EntryBundleId) -> Result<Option<Bytes>, FilesError> {
        self.get(&id.to_string(), BUNDLE_BYTES_MAX).await
    }

    /// The paths of all files, in no particular order, as in the specification: without the folder of the log.
    pub async fn paths(&self) -> Result<Vec<String>, FilesError> {
        let mut paths = Vec::new();
        let found = |Listed { name, .. }: Listed| {
            paths.push(name.strip_prefix(FOLDER).unwrap_or(&name).trim_start_matches('/').to_owned());
            Enough::No
        };
        self.objects.list(FOLDER, None, found).await?;
        Ok(paths)
    }

    /// Puts files, several at a time. All of them are durable when this returns, and are what was given.
    pub async fn put_all(&self, files: Vec<File>) -> Result<(), FilesError> {
        let puts = stream::iter(files.into_iter().map(|file| self.put(file)));
        puts.buffer_unordered(PUTS_AT_A_TIME).try_collect().await
    }

    async fn put(&self, File { path, bytes }: File) -> Result<(), FilesError> {
        match self.objects.put(&name(&path), bytes.clone()).await? {
            Put::Created => Ok(()),
            Put::Existed => match self.get(&path, bytes.len() as u64).await {
                Ok(Some(found)) if found == bytes => Ok(()),
                Ok(_) | Err(FilesError::TooLong { .. }) => Err(FilesError::OtherLog { path, store: self.place() }),
                Err(error) => Err(error),
            },
        }
    }

    /// Puts a file, also in place of one that has other bytes; `None` if it is there with these. The caller has compared the bytes with a
    /// signed root.
    pub async fn mend(&self, File { path, bytes }: File) -> Result<Option<Replaced>, FilesError> {
        let found = match self.get(&path, BUNDLE_BYTES_MAX).await {
            Ok(Some(found)) if found == bytes => return Ok(None),
            Ok(None) if self.objects.put(&name(&path), bytes.clone()).await? == Put::Created => {
                return Ok(Some(Replaced { found_sha256: None }));
            }
            Ok(found) => found,
            Err(FilesError::TooLong { .. }) => None,
            Err(error) => return Err(error),
        };
        self.objects.replace(&name(&path), bytes).await?;
        let found_sha256 = found.map(|found| hex::lower(digest(&SHA256, &found).as_ref()));
        Ok(Some(Replaced { found_sha256 }))
    }

    /// Deletes partial files that a wider one has replaced. It does no harm if some stay.
    pub async fn delete_all(&self, paths: Vec<String>) -> Result<(), FilesError> {
        let deletions =
            stream::iter(paths.into_iter().map(|path| async move { self.objects.delete(&name(&path)).await }));
        Ok(deletions.buffer_unordered(PUTS_AT_A_TIME).try_collect().await?)
    }

    /// How many whole files there are below a folder of the log: tiles of a level, or bundles.
    pub async fn count_whole(&self, folder: &str) -> Result<u64, FilesError> {
        let mut whole = 0;
        let count = |listed: Listed| {
            whole += u64::from(!listed.name.contains(".p/"));
            Enough::No
        };
        self.objects.list(&name(folder), None, count).await?;
        Ok(whole)
    }

    async fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Bytes>, FilesError> {
        match self.objects.get(&name(path), bytes_max).await? {
            Some(Object::Whole(bytes)) => Ok(Some(bytes)),
            Some(Object::TooLong { bytes }) => {
                Err(FilesError::TooLong { path: path.to_owned(), store: self.place(), bytes })
            }
            None => Ok(None),
        }
    }
}

/// The name of a file of the log in its object store.
pub fn name(path: &str) -> String {
    format!("{FOLDER}/{path}")
}
