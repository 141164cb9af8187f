//! The head of a tree, as in a checkpoint: the number of its leaves, and its root.

use crate::hash::Hash;

/// The most leaves of a tree. Implementations in Go count them in an `int64`, and a proof of 63 hashes reaches no further.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// The size and the root of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeHead {
    /// How many leaves it has.
    pub size: u64,
    pub root: Hash,
}

impl TreeHead {
    pub const EMPTY: Self = Self { size: 0, root: Hash::EMPTY_ROOT };
}
