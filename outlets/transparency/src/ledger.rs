//! Compares a ledger with the newest checkpoint: one that was restored from an older copy would give the positions that it has
//! lost to other events, and be published as another history.

use events::canonical::CanonicalError;
use events_log::{LogError, Reader};
use tlog::{Hash, TreeHead};

use crate::entry;

/// A ledger does not extend what was published of it.
#[derive(Debug, thiserror::Error)]
pub enum Differs {
    #[error("the checkpoint in {place} is of {published} events, and the ledger has {head}")]
    Behind { place: String, published: u64, head: u64 },
    #[error(
        "the log in {place} is of another ledger, or of another continuation of this one: it has another event at position {position}"
    )]
    OtherEvent { place: String, position: u64 },
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

/// A tree that was published, with its newest leaves: those of one tile.
#[derive(Clone, Debug)]
pub struct NewestLeaves {
    pub head: TreeHead,
    /// The position of the first of them.
    pub first: u64,
    pub leaves: Vec<Hash>,
}

/// Refuses a ledger that does not have the newest published events. A history that differs does so from some position on, so that
/// its last event is another one too. Blocking.
pub fn compare_with_ledger(place: &str, newest: &NewestLeaves, log: &dyn Reader) -> Result<(), Differs> {
    let (published, head) = (newest.head.size, log.head()?.position);
    if head < published {
        return Err(Differs::Behind { place: place.to_owned(), published, head });
    }
    let events = log.after(newest.first - 1, newest.leaves.len())?;
    for (recorded, leaf) in events.iter().zip(&newest.leaves) {
        if entry::leaf(recorded)? != *leaf {
            return Err(Differs::OtherEvent { place: place.to_owned(), position: recorded.position });
        }
    }
    Ok(())
}
