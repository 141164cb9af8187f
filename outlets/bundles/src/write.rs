//! Writes a bundle.

use std::collections::BTreeMap;
use std::io::{self, Write};

use events::canonical::{self, CanonicalError, ReadError};
use events::event::Recorded;
use events_log::{LogError, Reader};
use tlog::{Hash, Misplaced, PrunedTree, Tile, TileId, TreeHead, subtrees_between};
use transparency::leaf_of_envelope;

use crate::file::{Header, subtree_line};
use crate::selection::Selection;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error("an event cannot be read as it is written: {0}")]
    Read(#[from] ReadError),
    #[error("cannot write the bundle: {0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Tile(String),
    #[error("the header has no JSON form: {0}")]
    Header(#[from] serde_json::Error),
    #[error(
        "the published log is not that of this ledger, or is damaged: `ledgerway verify --checkpoint-key` says where"
    )]
    OtherLog,
}

impl From<Misplaced> for WriteError {
    /// Unreachable unless the tiles are wrong: subtrees are added in order.
    fn from(_: Misplaced) -> Self {
        Self::OtherLog
    }
}

/// The counts of a written bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub events: u64,
    /// The hashes of subtrees.
    pub hashes: u64,
}

/// Writes the selected events of a ledger, and what is between them in the tree of the header's checkpoint. `tile` has the tiles
/// of the published log. Blocking.
pub fn write(
    out: &mut impl Write,
    header: &Header,
    head: &TreeHead,
    log: &dyn Reader,
    selection: &Selection,
    tile: &mut dyn FnMut(TileId) -> Result<Tile, String>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Written, WriteError> {
    serde_json::to_writer(&mut *out, header)?;
    out.write_all(b"\n")?;
    let mut tree = TreeOut { out, size: head.size, tree: PrunedTree::new(), tile, newest: BTreeMap::new() };
    let mut written = Written::default();
    selection.each(log, &mut |recorded| {
        written.hashes += tree.hide_until(recorded.position - 1)?;
        tree.show(recorded)?;
        written.events += 1;
        progress(recorded.position, head.size);
        Ok::<_, WriteError>(())
    })?;
    written.hashes += tree.hide_until(head.size)?;
    if tree.tree.head() != *head {
        return Err(WriteError::OtherLog);
    }
    tree.out.flush()?;
    Ok(written)
}

/// The lines after the header.
struct TreeOut<'a, W> {
    out: &'a mut W,
    /// The number of leaves in the end.
    size: u64,
    tree: PrunedTree,
    tile: &'a mut dyn FnMut(TileId) -> Result<Tile, String>,
    /// The tile of each level that was read last: the next hash is mostly in the same.
    newest: BTreeMap<u8, Tile>,
}

impl<W: Write> TreeOut<'_, W> {
    fn line(&mut self, line: &str, height: u32, hash: Hash) -> Result<(), WriteError> {
        self.tree.add(height, hash)?;
        self.out.write_all(line.as_bytes())?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn show(&mut self, recorded: &Recorded) -> Result<(), WriteError> {
        let envelope = canonical::envelope(recorded)?;
        self.line(&envelope, 0, leaf_of_envelope(&envelope)?)
    }

    /// Writes the hashes of the subtrees up to a leaf, and returns how many these are.
    fn hide_until(&mut self, end: u64) -> Result<u64, WriteError> {
        let mut hashes = 0;
        for subtree in subtrees_between(self.tree.size(), end) {
            let id = subtree.tile(self.size).ok_or(WriteError::OtherLog)?;
            let hash = subtree.hash_among(self.tile_of(id)?.hashes()).ok_or(WriteError::OtherLog)?;
            self.line(&subtree_line(subtree.height(), hash), subtree.height(), hash)?;
            hashes += 1;
        }
        Ok(hashes)
    }

    fn tile_of(&mut self, id: TileId) -> Result<&Tile, WriteError> {
        if self.newest.get(&id.level()).is_none_or(|newest| newest.id() != id) {
            let tile = (self.tile)(id).map_err(WriteError::Tile)?;
            self.newest.insert(id.level(), tile);
        }
        self.newest.get(&id.level()).ok_or(WriteError::OtherLog)
    }
}
