//! The files of one tree, each checked against its root before anything is made of it: what is served or proven is of the
//! checkpoint, whatever somebody or a disk has done to the files.
//!
//! The partial tiles of a tree give its root together. A full tile has the root that the tile above has for it, and a bundle has
//! the leaves of its tile. So they are checked from the top, and the first file that is not right is the one that is damaged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use tlog::{
    EntryBundle, EntryBundleId, Hash, ProofError, TILE_WIDTH, Tile, TileId, TileInMemory, TileNodes, Tiles, Tree,
    TreeHead, consistency_proof, inclusion_proof, parse_entries, partial_tiles, root, tiles_of_consistency,
    tiles_of_inclusion, tiles_of_root,
};

use crate::damaged_file::{DamagedFile, FileFault, TreeFile};
use crate::files::{Files, FilesError};
use crate::ledger::NewestLeaves;
use crate::published_error::PublishedError;
use crate::repair_requests::{RepairRequest, RepairRequests};

/// How many full tiles above the leaves are kept in memory: 16 KiB each, 4 MiB in all.
const KEPT_MAX: usize = 256;
const WIDTH: u64 = TILE_WIDTH as u64;

/// Tiles that were found right, for whoever asks next. A file that was damaged is never among them.
#[derive(Default)]
pub struct KeptTiles {
    /// The partial tiles of the newest tree that somebody asked for.
    edge: Option<(TreeHead, Arc<[Tile]>)>,
    /// Full tiles above the leaves, each with its root: it is right wherever that is.
    full: BTreeMap<TileId, (Hash, TileNodes)>,
}

/// The files of a tree. Cheap to clone.
#[derive(Clone)]
pub struct CheckedTree {
    files: Arc<Files>,
    head: TreeHead,
    kept: Arc<Mutex<KeptTiles>>,
    /// Where it asks for the repair of what is damaged.
    repairs: Option<RepairRequests>,
}

impl CheckedTree {
    pub(crate) const fn new(files: Arc<Files>, head: TreeHead, kept: Arc<Mutex<KeptTiles>>) -> Self {
        Self { files, head, kept, repairs: None }
    }

    /// The same, and what is found damaged is repaired.
    pub(crate) fn repaired_by(self, repairs: RepairRequests) -> Self {
        Self { repairs: Some(repairs), ..self }
    }

    pub(crate) const fn head(&self) -> TreeHead {
        self.head
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Where it is published, without a secret.
    pub fn place(&self) -> String {
        self.files.place()
    }

    /// A tile of hashes; `None` if the tree does not have it. One that is narrower than the tree's is the beginning of that one.
    pub async fn tile(&self, id: TileId) -> Result<Option<Bytes>, PublishedError> {
        let Some(widest) = self.widest(id) else { return Ok(None) };
        let tile = self.checked(widest).await?;
        let hashes = tile.hashes().iter().take(usize::from(id.width()));
        Ok(Some(hashes.flat_map(|hash| *hash.as_bytes()).collect()))
    }

    /// A bundle of entries; `None` if the tree does not have it. One that is narrower than the tree's is the beginning of that one.
    pub async fn bundle(&self, id: EntryBundleId) -> Result<Option<Bytes>, PublishedError> {
        let widest = EntryBundleId::in_tree(self.head.size, id.index()).filter(|widest| widest.width() >= id.width());
        let Some(widest) = widest else { return Ok(None) };
        let bytes = self.checked_bundle(widest).await?;
        if widest == id {
            return Ok(Some(bytes));
        }
        let mut narrow = EntryBundle::new();
        for entry in self.entries(widest, &bytes)?.into_iter().take(usize::from(id.width())) {
            // It was in a bundle, and there are no more of them.
            let _ = narrow.push(entry);
        }
        Ok(Some(narrow.into_bytes().into()))
    }

    /// The root of a tree of this size, which is not larger than this one.
    pub async fn root(&self, size: u64) -> Result<Hash, PublishedError> {
        Ok(root(size, &self.tiles(tiles_of_root(size)?).await?)?)
    }

    /// The proof that a tree, not larger than this one, has a leaf.
    pub async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, PublishedError> {
        Ok(inclusion_proof(index, size, &self.tiles(tiles_of_inclusion(index, size)?).await?)?)
    }

    /// The proof that a tree, not larger than this one, continues a smaller one.
    pub async fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, PublishedError> {
        Ok(consistency_proof(old, new, &self.tiles(tiles_of_consistency(old, new)?).await?)?)
    }

    /// The tree itself, to which leaves can be appended.
    pub(crate) async fn restored(&self) -> Result<Tree, PublishedError> {
        let edge = self.edge().await?;
        Tree::restore(&self.head, &edge.iter().cloned().collect()).map_err(|_| self.other_hashes(&edge))
    }

    /// The leaves of its last tile; `None` if it has none.
    pub async fn newest_leaves(&self) -> Result<Option<NewestLeaves>, PublishedError> {
        let Some(last) = self.head.size.checked_sub(1) else { return Ok(None) };
        let Some(id) = TileId::in_tree(self.head.size, 0, last / WIDTH) else { return Ok(None) };
        let leaves = self.checked(id).await?.hashes().to_vec();
        Ok(Some(NewestLeaves { head: self.head, first: id.index() * WIDTH + 1, leaves }))
    }

    /// The entries of the bundle that the next leaf belongs to.
    pub(crate) async fn open_bundle(&self) -> Result<EntryBundle, PublishedError> {
        let id = EntryBundleId::in_tree(self.head.size, self.head.size / WIDTH);
        let Some(id) = id else { return Ok(EntryBundle::new()) };
        let bytes = self.checked_bundle(id).await?;
        EntryBundle::parse(id, &bytes).map_err(|fault| self.damaged(TreeFile::Bundle(id), fault.into()).into())
    }

    /// Checks all files of the tree, and those that are listed beside them: narrower ones must be the beginning of what has replaced
    /// them, and every name must be that of a file. Files of later trees are left out, since nothing here says what they have to be.
    /// Returns how many were checked.
    ///
    /// The partial ones come first: a gateway that goes on publishing deletes them after a while.
    pub async fn check_all(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, PublishedError> {
        let (edge, size) = (self.edge().await?, self.head.size);
        let mut checked = edge.len() as u64;
        if !size.is_multiple_of(WIDTH) {
            self.open_bundle().await?;
            checked += 1;
        }
        for path in self.files.paths().await? {
            checked += u64::from(self.check_listed(&path).await?);
        }
        // Each full tile above the leaves is the parent of one that is read here.
        for index in 0..size / WIDTH {
            if let Some(id) = EntryBundleId::new(index, TILE_WIDTH) {
                self.checked_bundle(id).await?;
            }
            progress((index + 1) * WIDTH, size);
        }
        let levels = std::iter::successors(Some(size / WIDTH), |tiles| Some(tiles / WIDTH));
        let full: u64 = levels.take_while(|tiles| *tiles > 0).sum();
        Ok(checked + full + size / WIDTH)
    }

    /// Checks a file that was listed, unless it is checked as one of the tree's. Returns whether it was compared.
    async fn check_listed(&self, path: &str) -> Result<bool, PublishedError> {
        if path == "checkpoint" {
            return Ok(false);
        }
        let Some(file) = TreeFile::parse(path) else {
            let (path, place) = (crate::files::name(path), self.files.place());
            return Err(DamagedFile { path, place, position: 1, fault: FileFault::UnknownName }.into());
        };
        let (expected, found) = match file {
            TreeFile::Tile(id) if self.widest(id).is_some_and(|widest| widest != id) => {
                (self.tile(id).await?, self.files.unchecked_tile(id).await)
            }
            TreeFile::Bundle(id)
                if EntryBundleId::in_tree(self.head.size, id.index()).is_some_and(|own| own.width() > id.width()) =>
            {
                (self.bundle(id).await?, self.files.unchecked_bundle(id).await)
            }
            TreeFile::Tile(_) | TreeFile::Bundle(_) => return Ok(false),
        };
        match found {
            // It was deleted meanwhile.
            Ok(None) => Ok(false),
            Ok(found) if found == expected => Ok(true),
            Ok(_) => Err(self.damaged(file, FileFault::OtherBytes).into()),
            Err(error) => Err(self.unreadable(file, error)),
        }
    }

    /// The tree's tile at the place of this one, if it has all hashes of this one.
    fn widest(&self, id: TileId) -> Option<TileId> {
        let widest = TileId::in_tree(self.head.size, id.level(), id.index());
        widest.filter(|widest| widest.width() >= id.width())
    }

    async fn tiles(&self, ids: Vec<TileId>) -> Result<Tiles, PublishedError> {
        // Once for all of them.
        self.edge().await?;
        let tiles = ids.into_iter().map(|id| async move {
            let widest = self.widest(id).ok_or(ProofError::MissingTile(id))?;
            self.checked(widest).await
        });
        Ok(try_join_all(tiles).await?.into_iter().collect())
    }

    /// The first file that is damaged from the root down to this one, which is of the tree; `None` if this one is right.
    pub(crate) async fn first_damaged(&self, file: TreeFile) -> Result<Option<TreeFile>, PublishedError> {
        let found = match file {
            TreeFile::Tile(id) => self.checked(id).await.map(|_| ()),
            TreeFile::Bundle(id) => self.checked_bundle(id).await.map(|_| ()),
        };
        match found {
            Ok(()) => Ok(None),
            Err(PublishedError::Damaged(damaged)) => match damaged.file() {
                Some(file) => Ok(Some(file)),
                None => Err(damaged.into()),
            },
            Err(error) => Err(error),
        }
    }

    /// Whether a full tile has the root that the tile above has for it.
    pub(crate) async fn is_right(&self, tile: &Tile) -> Result<bool, PublishedError> {
        let (id, index) = (tile.id(), tile.id().index());
        let above = id.level().checked_add(1).and_then(|level| TileId::in_tree(self.head.size, level, index / WIDTH));
        let above = self.checked(above.ok_or(ProofError::MissingTile(id))?).await?;
        let expected = usize::try_from(index % WIDTH).ok().and_then(|at| above.hashes().get(at).copied());
        Ok(expected.is_some() && TileNodes::of(tile).map(|nodes| nodes.root()) == expected)
    }

    /// Whether these are the leaves of a bundle of the tree.
    pub(crate) async fn has_leaves(&self, id: EntryBundleId, leaves: &[Hash]) -> Result<bool, PublishedError> {
        let tile = TileId::new(0, id.index(), id.width()).and_then(|id| self.widest(id));
        let Some(tile) = tile.filter(|tile| tile.width() == id.width()) else { return Ok(false) };
        Ok(self.checked(tile).await?.hashes() == leaves)
    }

    /// A tile of the tree.
    pub(crate) async fn checked(&self, id: TileId) -> Result<TileInMemory, PublishedError> {
        let mut path = Vec::new();
        let mut top = id;
        while !top.is_partial() {
            path.push(top);
            let above = top.level().checked_add(1).and_then(|level| {
                let index = top.index() / WIDTH;
                TileId::in_tree(self.head.size, level, index)
            });
            top = above.ok_or(ProofError::MissingTile(top))?;
        }
        let edge = self.edge().await?;
        let partial = edge.iter().find(|tile| tile.id() == top).cloned();
        let mut tile = TileInMemory::Hashes(partial.ok_or(ProofError::MissingTile(top))?);
        for id in path.into_iter().rev() {
            let at = usize::try_from(id.index() % WIDTH).ok();
            let expected = at.and_then(|at| tile.hashes().get(at).copied()).ok_or(ProofError::MissingTile(id))?;
            tile = TileInMemory::Nodes(self.full(id, expected).await?);
        }
        Ok(tile)
    }

    /// A full tile, if it has this root.
    async fn full(&self, id: TileId, expected: Hash) -> Result<TileNodes, PublishedError> {
        let kept = self.kept().full.get(&id).filter(|(root, _)| *root == expected).map(|(_, nodes)| nodes.clone());
        if let Some(nodes) = kept {
            return Ok(nodes);
        }
        let nodes = TileNodes::of(&self.unchecked(id).await?).filter(|nodes| nodes.root() == expected);
        let nodes = nodes.ok_or_else(|| self.damaged(TreeFile::Tile(id), FileFault::OtherHashes))?;
        if id.level() > 0 {
            let mut kept = self.kept();
            if kept.full.len() >= KEPT_MAX {
                kept.full.clear();
            }
            kept.full.insert(id, (expected, nodes.clone()));
        }
        Ok(nodes)
    }

    /// The partial tiles of the tree, from the leaves upwards.
    pub(crate) async fn edge(&self) -> Result<Arc<[Tile]>, PublishedError> {
        let kept = self.kept().edge.as_ref().filter(|(head, _)| *head == self.head).map(|(_, edge)| Arc::clone(edge));
        if let Some(edge) = kept {
            return Ok(edge);
        }
        let edge = try_join_all(partial_tiles(self.head.size).into_iter().map(|id| self.unchecked(id))).await?;
        if !self.is_edge(&edge) {
            return Err(self.damaged_edge(&edge).await);
        }
        let edge: Arc<[Tile]> = edge.into();
        self.kept().edge = Some((self.head, Arc::clone(&edge)));
        Ok(edge)
    }

    /// Whether these partial tiles give the root.
    pub(crate) fn is_edge(&self, tiles: &[Tile]) -> bool {
        Tree::restore(&self.head, &tiles.iter().cloned().collect()).is_ok()
    }

    /// The partial tile that is damaged, if what is below it gives the root in its place; otherwise the first one that is not what is
    /// below it.
    async fn damaged_edge(&self, edge: &[Tile]) -> PublishedError {
        let mut others = Vec::new();
        for (at, tile) in edge.iter().enumerate() {
            let below = match self.derived_from_below(tile.id()).await {
                Some(below) if below != *tile => below,
                Some(_) | None => continue,
            };
            let mut mended = edge.to_vec();
            if let Some(tile) = mended.get_mut(at) {
                *tile = below;
            }
            if self.is_edge(&mended) {
                return self.damaged(TreeFile::Tile(tile.id()), FileFault::OtherHashes).into();
            }
            others.push(tile.clone());
        }
        self.other_hashes(if others.is_empty() { edge } else { &others })
    }

    fn other_hashes(&self, edge: &[Tile]) -> PublishedError {
        match edge.first() {
            Some(tile) => self.damaged(TreeFile::Tile(tile.id()), FileFault::OtherHashes).into(),
            None => ProofError::NoSuchLeaf { index: 0, size: self.head.size }.into(),
        }
    }

    /// A tile as it follows from the files below it, which are not checked; `None` if one cannot be read.
    async fn derived_from_below(&self, id: TileId) -> Option<Tile> {
        let hashes: Vec<Hash> = match id.level().checked_sub(1) {
            None => {
                let bundle = EntryBundleId::new(id.index(), id.width())?;
                let bytes = self.files.unchecked_bundle(bundle).await.ok()??;
                parse_entries(bundle, &bytes).ok()?.into_iter().map(Hash::of_leaf).collect()
            }
            Some(level) => {
                let first = id.index() * WIDTH;
                let below = (first..first + u64::from(id.width())).map(|index| async move {
                    Some(TileNodes::of(&self.unchecked(TileId::new(level, index, TILE_WIDTH)?).await.ok()?)?.root())
                });
                join_all(below).await.into_iter().collect::<Option<_>>()?
            }
        };
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        Tile::parse(id, &bytes).ok()
    }

    /// A bundle of the tree.
    async fn checked_bundle(&self, id: EntryBundleId) -> Result<Bytes, PublishedError> {
        let file = TreeFile::Bundle(id);
        let tile = TileId::new(0, id.index(), id.width()).ok_or_else(|| self.damaged(file, FileFault::UnknownName))?;
        let tile = self.checked(tile).await?;
        let bytes = self.files.unchecked_bundle(id).await.map_err(|error| self.unreadable(file, error))?;
        let bytes = bytes.ok_or_else(|| self.damaged(file, FileFault::Missing))?;
        let leaves = self.entries(id, &bytes)?.into_iter().map(Hash::of_leaf);
        let other = leaves.zip(tile.hashes()).position(|(found, leaf)| found != *leaf);
        match other {
            Some(at) => {
                let position = file.positions().0 + at as u64;
                Err(self.damaged(file, FileFault::OtherEntry { position }).into())
            }
            None => Ok(bytes),
        }
    }

    fn entries<'a>(&self, id: EntryBundleId, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, DamagedFile> {
        parse_entries(id, bytes).map_err(|fault| self.damaged(TreeFile::Bundle(id), fault.into()))
    }

    /// A tile as it is there.
    pub(crate) async fn unchecked(&self, id: TileId) -> Result<Tile, PublishedError> {
        let file = TreeFile::Tile(id);
        let bytes = self.files.unchecked_tile(id).await.map_err(|error| self.unreadable(file, error))?;
        let bytes = bytes.ok_or_else(|| self.damaged(file, FileFault::Missing))?;
        Tile::parse(id, &bytes).map_err(|fault| self.damaged(file, fault.into()).into())
    }

    /// A file that is too long is damaged; any other reason is the store's.
    fn unreadable(&self, file: TreeFile, error: FilesError) -> PublishedError {
        match error {
            FilesError::TooLong { bytes, .. } => self.damaged(file, FileFault::TooLong { bytes }).into(),
            FilesError::Store(_) | FilesError::OtherLog { .. } => error.into(),
        }
    }

    /// The fault of a file, for whose repair it asks.
    fn damaged(&self, file: TreeFile, fault: FileFault) -> DamagedFile {
        if let Some(repairs) = &self.repairs {
            repairs.ask(RepairRequest { files: Arc::clone(&self.files), file });
        }
        file.damaged(self.files.place(), fault)
    }

    fn kept(&self) -> MutexGuard<'_, KeptTiles> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
