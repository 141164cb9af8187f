//! Events of the node's key, which protects all secrets at rest. Stream `node_key-{fingerprint}`, of the key that is used
//! from the event on. A fingerprint is derived from its key and does not reveal it.

use serde::{Deserialize, Serialize};

/// The node's key was replaced, in the batch that sealed everything again under the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeyReplaced {
    /// The fingerprint of the new key.
    pub node_key: String,
    /// The fingerprint of the previous key; absent if that key was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The number of providers and provider keys whose secrets were sealed again.
    pub resealed: u64,
    /// The number of those whose secrets could no longer be opened, and were deleted.
    pub discarded: u64,
}
