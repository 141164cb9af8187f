//! Answers from the published files. A partial tile or bundle that was deleted, because there is a wider one, is the beginning of
//! that one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use object_storage::NotOpened;
use tlog::{
    EntryBundle, EntryBundleId, Hash, MalformedBundle, MalformedTile, ProofError, SignedCheckpoint, TILE_WIDTH, Tile,
    TileId, TileInMemory, TileNodes, Tiles, TreeHead, consistency_proof, inclusion_proof, parse_entries, root,
    tiles_of_consistency, tiles_of_inclusion, tiles_of_root, verify_inclusion,
};

use crate::checkpoint::{CheckpointError, LogKeys};
use crate::files::{Files, FilesError};
use crate::ledger::NewestLeaves;

/// The published log cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    #[error(transparent)]
    Open(#[from] NotOpened),
    #[error("too many are reading it at the same time")]
    Busy,
    #[error("the object store did not answer in {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{path} is missing in {place}")]
    Missing { path: String, place: String },
    #[error("a tile in the published log is damaged: {0}")]
    Tile(#[from] MalformedTile),
    #[error("an entry bundle in the published log is damaged: {0}")]
    Bundle(#[from] MalformedBundle),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("{path} in {place} is damaged: it is not of the newest checkpoint; delete it, and it is written again")]
    OtherTile { path: String, place: String },
}

/// The newest checkpoint, as it is published.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub head: TreeHead,
    pub bytes: Bytes,
}

/// The log as it is published. Cheap to clone.
#[derive(Clone)]
pub struct PublishedLog {
    files: Arc<Files>,
    /// Tiles that many proofs need. No tile ever changes.
    shared_tiles: Arc<Mutex<BTreeMap<TileId, TileInMemory>>>,
}

/// How many tiles are kept in memory: 8 KiB each, and 16 KiB if they are full, 4 MiB in all.
const SHARED_TILES_MAX: usize = 256;

/// Whether a tile is one of the few that proofs of many events need: those above the leaves, and the newest.
fn is_shared(id: TileId) -> bool {
    id.level() > 0 || id.is_partial()
}

impl PublishedLog {
    pub fn new(files: Files) -> Self {
        Self { files: Arc::new(files), shared_tiles: Arc::default() }
    }

    /// The newest checkpoint; `None` if nothing is published yet. Who reads it checks its signature.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, PublishedError> {
        let Some(bytes) = self.files.checkpoint().await? else { return Ok(None) };
        let signed = SignedCheckpoint::parse(&bytes).map_err(CheckpointError::from)?;
        Ok(Some(Checkpoint { head: *signed.unverified().head(), bytes }))
    }

    /// A tile of hashes; `None` if the published tree does not have it.
    pub async fn tile(&self, id: TileId) -> Result<Option<Bytes>, PublishedError> {
        if let Some(bytes) = self.files.tile(id).await? {
            return Ok(Some(bytes));
        }
        let Some(wider) = self.wider(id).await? else { return Ok(None) };
        let bytes = self.files.tile(wider).await?.ok_or_else(|| self.missing(&wider))?;
        let narrow = Tile::parse(wider, &bytes)?;
        let hashes = narrow.hashes().iter().take(usize::from(id.width()));
        Ok(Some(hashes.flat_map(|hash| *hash.as_bytes()).collect()))
    }

    /// A bundle of entries; `None` if the published tree does not have it.
    pub async fn bundle(&self, id: EntryBundleId) -> Result<Option<Bytes>, PublishedError> {
        if let Some(bytes) = self.files.bundle(id).await? {
            return Ok(Some(bytes));
        }
        let Some(leaves) = TileId::new(0, id.index(), id.width()) else { return Ok(None) };
        let Some(wider) = self.wider(leaves).await?.and_then(|wider| EntryBundleId::new(wider.index(), wider.width()))
        else {
            return Ok(None);
        };
        let bytes = self.files.bundle(wider).await?.ok_or_else(|| self.missing(&wider))?;
        let mut narrow = EntryBundle::new();
        for entry in parse_entries(wider, &bytes)?.into_iter().take(usize::from(id.width())) {
            // It was in a bundle, and there are no more of them.
            let _ = narrow.push(entry);
        }
        Ok(Some(narrow.into_bytes().into()))
    }

    /// The widest tile at the place of a partial one that the newest checkpoint has, if it has that one's hashes as well.
    async fn wider(&self, id: TileId) -> Result<Option<TileId>, PublishedError> {
        let Some(Checkpoint { head, .. }) = self.checkpoint().await? else { return Ok(None) };
        Ok(TileId::in_tree(head.size, id.level(), id.index()).filter(|widest| widest.width() > id.width()))
    }

    /// The root of a tree of this size.
    pub async fn root(&self, size: u64) -> Result<Hash, PublishedError> {
        Ok(root(size, &self.tiles_of_root(size).await?)?)
    }

    /// The proof that a tree has a leaf.
    pub async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, PublishedError> {
        let tiles = self.tiles(tiles_of_inclusion(index, size)?).await?;
        Ok(inclusion_proof(index, size, &tiles)?)
    }

    /// The proof that a tree continues a smaller one.
    pub async fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, PublishedError> {
        let tiles = self.tiles(tiles_of_consistency(old, new)?).await?;
        Ok(consistency_proof(old, new, &tiles)?)
    }

    /// The tiles from which the root of a tree follows.
    pub(crate) async fn tiles_of_root(&self, size: u64) -> Result<Tiles, PublishedError> {
        self.tiles(tiles_of_root(size)?).await
    }

    async fn tiles(&self, ids: Vec<TileId>) -> Result<Tiles, PublishedError> {
        Ok(try_join_all(ids.into_iter().map(|id| self.parsed_tile(id))).await?.into_iter().collect())
    }

    async fn parsed_tile(&self, id: TileId) -> Result<TileInMemory, PublishedError> {
        if let Some(tile) = self.shared_tiles().get(&id) {
            return Ok(tile.clone());
        }
        let bytes = self.tile(id).await?.ok_or_else(|| self.missing(&id))?;
        let tile = Tile::parse(id, &bytes)?;
        if !is_shared(id) {
            return Ok(TileInMemory::Hashes(tile));
        }
        // A full one stays, and each proof would hash about half of it. A partial one is soon replaced by a wider one.
        let nodes = TileNodes::of(&tile);
        let tile = nodes.map_or_else(|| TileInMemory::Hashes(tile), TileInMemory::Nodes);
        let mut shared = self.shared_tiles();
        if shared.len() == SHARED_TILES_MAX {
            shared.clear();
        }
        shared.insert(id, tile.clone());
        Ok(tile)
    }

    fn shared_tiles(&self) -> MutexGuard<'_, BTreeMap<TileId, TileInMemory>> {
        self.shared_tiles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A checkpoint, if it is of these keys, with the leaves of its last tile; `None` if it has none.
    pub async fn newest_leaves(
        &self,
        checkpoint: &Checkpoint,
        keys: &LogKeys,
    ) -> Result<Option<NewestLeaves>, PublishedError> {
        self.leaves_of(keys.read(&checkpoint.bytes)?).await
    }

    pub(crate) async fn leaves_of(&self, head: TreeHead) -> Result<Option<NewestLeaves>, PublishedError> {
        let Some(last) = head.size.checked_sub(1) else { return Ok(None) };
        let index = last / u64::from(TILE_WIDTH);
        let Some(id) = TileId::in_tree(head.size, 0, index) else { return Ok(None) };
        let bytes = self.tile(id).await?.ok_or_else(|| self.missing(&id))?;
        let leaves = Tile::parse(id, &bytes)?.hashes().to_vec();
        // The proof of the last leaf has all others of its tile in it: a damaged one is not taken for another event.
        let proof = self.inclusion_proof(last, head.size).await?;
        let is_of_head = leaves.last().is_some_and(|leaf| verify_inclusion(last, leaf, &head, &proof).is_ok());
        if !is_of_head {
            return Err(PublishedError::OtherTile { path: id.to_string(), place: self.place() });
        }
        Ok(Some(NewestLeaves { head, first: index * u64::from(TILE_WIDTH) + 1, leaves }))
    }

    /// The entries of the bundle that the next leaf belongs to, and their leaves.
    pub(crate) async fn open_bundle(&self, size: u64) -> Result<(EntryBundle, Vec<Hash>), PublishedError> {
        let id = EntryBundleId::in_tree(size, size / u64::from(TILE_WIDTH)).filter(EntryBundleId::is_partial);
        let Some(id) = id else { return Ok((EntryBundle::new(), Vec::new())) };
        let bytes = self.bundle(id).await?.ok_or_else(|| self.missing(&id))?;
        let leaves = parse_entries(id, &bytes)?.into_iter().map(Hash::of_leaf).collect();
        Ok((EntryBundle::parse(id, &bytes)?, leaves))
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

    fn missing(&self, path: &impl ToString) -> PublishedError {
        PublishedError::Missing { path: path.to_string(), place: self.files.place() }
    }
}
