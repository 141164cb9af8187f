//! The next publication: the tree, and the tiles and bundles that its new leaves have made.

use bytes::Bytes;
use events::canonical::CanonicalError;
use events::event::Recorded;
use tlog::{EntryBundle, EntryBundleId, Hash, RefusedEntry, TILE_WIDTH, Tile, Tree, TreeFull, TreeHead};

use crate::entry;
use crate::files::File;

/// An event cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("the next entry is of position {expected}, not of {found}")]
    OutOfOrder { expected: u64, found: u64 },
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error(transparent)]
    Entry(#[from] RefusedEntry),
    #[error(transparent)]
    Full(#[from] TreeFull),
}

/// The tree of the log, and what of it is not published yet.
pub struct Publication {
    tree: Tree,
    /// The entries that no whole bundle has yet.
    open: EntryBundle,
    /// The leaves of the newest checkpoint.
    published: u64,
    tiles: Vec<Tile>,
    bundles: Vec<File>,
    bundle_bytes: usize,
    entry: Vec<u8>,
}

impl Publication {
    /// Continues a published tree. `open` has the entries of its partial bundle.
    pub fn new(tree: Tree, open: EntryBundle) -> Self {
        let published = tree.size();
        Self { tree, open, published, tiles: Vec::new(), bundles: Vec::new(), bundle_bytes: 0, entry: Vec::new() }
    }

    /// The position of the last event that was added.
    pub const fn position(&self) -> u64 {
        self.tree.size()
    }

    pub const fn has_news(&self) -> bool {
        self.tree.size() > self.published
    }

    /// The bytes of whole bundles that are not published yet.
    pub const fn bundle_bytes(&self) -> usize {
        self.bundle_bytes
    }

    /// Adds the next event.
    pub fn add(&mut self, recorded: &Recorded) -> Result<(), AddError> {
        let expected = self.position() + 1;
        if recorded.position != expected {
            return Err(AddError::OutOfOrder { expected, found: recorded.position });
        }
        self.entry.clear();
        entry::push(&mut self.entry, recorded)?;
        self.open.push(&self.entry)?;
        self.tree.append(Hash::of_leaf(&self.entry), &mut self.tiles)?;
        if self.open.width() == TILE_WIDTH {
            let whole = self.open_bundle();
            self.bundle_bytes += whole.bytes.len();
            self.bundles.push(whole);
            self.open = EntryBundle::new();
        }
        Ok(())
    }

    /// Takes the files that a checkpoint of the tree as it is needs and that are not published yet: whoever cannot publish them begins anew.
    pub fn take_files(&mut self) -> (TreeHead, Vec<File>) {
        let mut files = std::mem::take(&mut self.bundles);
        if self.open.width() > 0 {
            files.push(self.open_bundle());
        }
        let mut tiles = std::mem::take(&mut self.tiles);
        tiles.extend(self.tree.partial_tiles_since(self.published));
        files.extend(tiles.iter().map(|tile| File { path: tile.id().to_string(), bytes: tile.to_bytes().into() }));
        (self.tree.head(), files)
    }

    /// A checkpoint of the tree as it is was published, with the files that were taken.
    pub const fn published(&mut self) {
        self.published = self.tree.size();
        self.bundle_bytes = 0;
    }

    /// The bundle that has the last entry.
    fn open_bundle(&self) -> File {
        let last = (self.tree.size() - 1) / u64::from(TILE_WIDTH);
        let id = EntryBundleId::new(last, self.open.width()).expect("its width is that of an open bundle, 1 to 256");
        File { path: id.to_string(), bytes: Bytes::copy_from_slice(self.open.as_bytes()) }
    }
}
