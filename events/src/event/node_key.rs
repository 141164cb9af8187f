//! Facts about the node's key, which everything secret at rest hangs on. Stream: `node_key-{fingerprint}` of the key that
//! an event begins to count from. A fingerprint is derived from its key, and the key cannot be found by it.

use serde::{Deserialize, Serialize};

/// The node's key was replaced by another one, in the batch that sealed anew what hung on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeyReplaced {
    /// Fingerprint of the new key.
    pub node_key: String,
    /// Fingerprint of the key before; absent where that one was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// API keys of providers that were sealed anew.
    pub resealed: u64,
    /// API keys of providers that nobody could open any more, and that were deleted.
    pub discarded: u64,
}
