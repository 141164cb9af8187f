//! Derives the tree anew from a ledger, and compares it with a checkpoint: whoever changed, inserted, deleted or reordered an event
//! after it was published has another root.

use events::canonical::CanonicalError;
use events::log::{LogError, PAGE_EVENTS, Reader};
use tlog::{Hash, Tile, Tree, TreeFull, TreeHead, verify_consistency};

use crate::entry;

/// A ledger is not the one that was published.
#[derive(Debug, thiserror::Error)]
pub enum TreeDiffers {
    /// The ledger has lost its newest events.
    #[error("the checkpoint is of {published} events, and the ledger has {found}")]
    Short { published: u64, found: u64 },
    #[error("position {position}: the event is not the one that was published")]
    OtherEvent { position: u64 },
    /// Without the published tiles, or with damaged ones, nobody knows which event differs.
    #[error(
        "the {size} events of the checkpoint are others, from one after position {after} on; which one cannot be told without the \
         published tiles"
    )]
    OtherRoot { after: u64, size: u64 },
    #[error(
        "the {size} events of the checkpoint that was kept are others, or were lost, from one after position {after} on"
    )]
    OtherCheckpoint { after: u64, size: u64 },
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
/// is asked for the proof that a checkpoint of the second size continues a tree of the first one if the ledger has fewer events, as
/// one has that is built from an archive; without a proof, the newest events are lost. `kept` are checkpoints from elsewhere, such as
/// those that an auditor has: the ledger must have their roots as well, whatever the newest one says.
pub fn verify(
    log: &dyn Reader,
    head: TreeHead,
    mut published: impl FnMut(u64) -> Option<Tile>,
    mut proof: impl FnMut(u64, u64) -> Option<Vec<Hash>>,
    kept: &[TreeHead],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, TreeDiffers> {
    let checkpoints: Vec<TreeHead> = kept.iter().chain([&head]).copied().collect();
    let until = checkpoints.iter().map(|checkpoint| checkpoint.size).max().unwrap_or(0);
    let of_other_events = |tree: &Tree| {
        let of_size = checkpoints.iter().filter(|checkpoint| checkpoint.size == tree.size());
        of_size.filter(|checkpoint| checkpoint.root != tree.root()).copied().collect::<Vec<_>>()
    };
    let (mut tree, mut tiles, mut entry, mut first_other) = (Tree::new(), Vec::new(), Vec::new(), None);
    // Up to which position the events are those of a checkpoint that was kept, and the checkpoints that are of others.
    let (mut agreed, mut differing) = (0, of_other_events(&tree));
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
            differing.extend(of_other_events(&tree));
            if differing.is_empty() && kept.iter().any(|kept| kept.size == tree.size()) {
                agreed = tree.size();
            }
        }
        first_other = first_other.or_else(|| tiles.iter().find_map(|tile| first_difference(tile, &mut published)));
        tiles.clear();
        progress(tree.size(), until);
    }
    let (found, mut lost) = (tree.head(), None);
    for longer in checkpoints.iter().filter(|checkpoint| checkpoint.size > found.size) {
        match proof(found.size, longer.size) {
            Some(proof) if verify_consistency(&found, longer, &proof).is_ok() => {}
            Some(_) => differing.push(*longer),
            // Of the newest one, the published hashes tell whether its beginning is the same.
            None if longer.size <= head.size => lost = lost.max(Some(longer.size)),
            None => differing.push(*longer),
        }
    }
    if differing.is_empty() && lost.is_none() {
        return Ok(head.size.min(found.size));
    }
    let last = tree.partial_tiles_since(0);
    let position = first_other.or_else(|| last.iter().find_map(|tile| first_difference(tile, &mut published)));
    Err(match (position, differing.first(), lost) {
        (Some(position), ..) => TreeDiffers::OtherEvent { position },
        (None, Some(_), _) if differing.contains(&head) => TreeDiffers::OtherRoot { after: agreed, size: head.size },
        (None, Some(first), _) => TreeDiffers::OtherCheckpoint { after: agreed, size: first.size },
        (None, None, published) => TreeDiffers::Short { published: published.unwrap_or(head.size), found: found.size },
    })
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
