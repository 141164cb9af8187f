//! A log for tests, of which there can be several histories.

use tlog::{AddCheckpoint, Checkpoint, Hash, SignedCheckpoint, Signer, Tiles, Tree, TreeHead, consistency_proof};

pub const ORIGIN: &str = "log.example/ledger";
/// How many leaves all histories have in common.
pub const SHARED: u64 = 3;

/// One of several keys of the log.
pub fn signer(number: u8) -> Signer {
    Signer::from_seed(ORIGIN.parse().expect("a name"), &[number; 32]).expect("a seed")
}

pub struct TestLog {
    pub signer: Signer,
    pub history: String,
}

impl TestLog {
    /// A history with this name: after the first leaves, which all have.
    pub fn new(history: &str) -> Self {
        Self { signer: signer(1), history: history.to_owned() }
    }

    /// The tree of this size, and its tiles.
    fn tree(&self, size: u64) -> (Tree, Tiles) {
        let (mut tree, mut tiles) = (Tree::new(), Vec::new());
        for index in 0..size {
            let leaf = if index < SHARED { format!("{index}") } else { format!("{index} of {}", self.history) };
            tree.append(Hash::of_leaf(leaf.as_bytes()), &mut tiles).expect("not full");
        }
        tiles.extend(tree.partial_tiles_since(0));
        (tree, tiles.into_iter().collect())
    }

    pub fn head(&self, size: u64) -> TreeHead {
        self.tree(size).0.head()
    }

    /// Asks for a cosignature of the tree of a size, with the proof that it continues another one of this history.
    pub fn request(&self, old: u64, new: u64) -> AddCheckpoint {
        let (tree, tiles) = self.tree(new);
        // There is no proof of what shrinks, and none is looked at.
        let consistency = consistency_proof(old, new, &tiles).unwrap_or_default();
        self.request_of(old, tree.head(), consistency)
    }

    pub fn request_of(&self, old_size: u64, head: TreeHead, consistency: Vec<Hash>) -> AddCheckpoint {
        let checkpoint = Checkpoint::new(ORIGIN, head).expect("a checkpoint");
        let checkpoint = SignedCheckpoint::sign(checkpoint, &self.signer).expect("a note");
        AddCheckpoint { old_size, consistency, checkpoint }
    }
}
