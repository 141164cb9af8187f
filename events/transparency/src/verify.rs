//! Derives the tree anew from a ledger, and compares it with a checkpoint: whoever changed, inserted, deleted or reordered an event
//! after it was published has another root.

use events::canonical::CanonicalError;
use events::log::{LogError, PAGE_EVENTS, Reader};
use tlog::{Hash, Tile, Tree, TreeFull, TreeHead, verify_consistency};

use crate::entry;

/// A ledger is not the one that was published.
#[derive(Debug, thiserror::Error)]
pub enum TreeDiffers {
    /// It has lost its newest events.
    #[error("the checkpoint is of {published} events, and the ledger has {found}")]
    Short { published: u64, found: u64 },
    #[error("position {position}: the event is not the one that was published")]
    OtherEvent { position: u64 },
    /// Without the published tiles, or with damaged ones, nobody knows which event differs.
    #[error(
        "the first {size} events are not those of the checkpoint; which one differs cannot be told without the published tiles"
    )]
    OtherRoot { size: u64 },
    #[error("the first {size} events are not those of the checkpoint that was kept")]
    OtherCheckpoint { size: u64 },
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error(transparent)]
    Full(#[from] TreeFull),
}

/// Compares the first events of a ledger with a checkpoint of them, and returns how many these are. Blocking.
///
/// `published` has the published hashes of the leaves in a tile of this index, if it is there: they tell which event differs. `proof`
/// is asked for the proof that the checkpoint continues a tree of this size if the ledger has fewer events, as one has that is built
/// from an archive; without a proof, the newest events are lost. `kept` are checkpoints from elsewhere, such as those that an auditor
/// has: the ledger must have their roots as well, whatever the newest one says.
pub fn verify(
    log: &dyn Reader,
    head: TreeHead,
    mut published: impl FnMut(u64) -> Option<Tile>,
    proof: impl FnOnce(u64) -> Option<Vec<Hash>>,
    kept: &[TreeHead],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, TreeDiffers> {
    let (mut tree, mut tiles, mut first_other) = (Tree::new(), Vec::new(), None);
    let (mut found, mut last) = (TreeHead::EMPTY, Vec::new());
    let mut entry = Vec::new();
    let until = kept.iter().map(|kept| kept.size).fold(head.size, u64::max);
    while tree.size() < until {
        let wanted = PAGE_EVENTS.min(usize::try_from(until - tree.size()).unwrap_or(PAGE_EVENTS));
        let page = log.after(tree.size(), wanted)?;
        if page.is_empty() {
            break;
        }
        for recorded in &page {
            entry.clear();
            entry::push(&mut entry, recorded)?;
            tree.append(Hash::of_leaf(&entry), &mut tiles)?;
            if kept.iter().any(|kept| kept.size == tree.size() && kept.root != tree.root()) {
                return Err(TreeDiffers::OtherCheckpoint { size: tree.size() });
            }
            if tree.size() == head.size {
                found = tree.head();
                last = tree.partial_tiles_since(0);
            }
        }
        first_other = first_other.or_else(|| tiles.iter().find_map(|tile| first_difference(tile, &mut published)));
        tiles.clear();
        progress(tree.size(), until);
    }
    if let Some(longest) = kept.iter().map(|kept| kept.size).max().filter(|longest| *longest > tree.size()) {
        return Err(TreeDiffers::Short { published: longest, found: tree.size() });
    }
    if tree.size() < head.size {
        found = tree.head();
        last = tree.partial_tiles_since(0);
    }
    if found == head {
        return Ok(found.size);
    }
    if found.size < head.size {
        let Some(proof) = proof(found.size) else {
            return Err(TreeDiffers::Short { published: head.size, found: found.size });
        };
        if verify_consistency(&found, &head, &proof).is_ok() {
            return Ok(found.size);
        }
    }
    match first_other.or_else(|| last.iter().find_map(|tile| first_difference(tile, &mut published))) {
        Some(position) => Err(TreeDiffers::OtherEvent { position }),
        None => Err(TreeDiffers::OtherRoot { size: found.size }),
    }
}

/// The position of the first leaf that is not the published one.
fn first_difference(tile: &Tile, published: &mut impl FnMut(u64) -> Option<Tile>) -> Option<u64> {
    if tile.id().level() != 0 {
        return None;
    }
    let published = published(tile.id().index())?;
    let at = tile.hashes().iter().zip(published.hashes()).position(|(found, published)| found != published)?;
    Some(tile.id().index() * u64::from(tlog::TILE_WIDTH) + at as u64 + 1)
}
