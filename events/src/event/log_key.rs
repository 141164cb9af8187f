//! Events of the keys that sign the log's checkpoints. Stream `log_key-{origin}`. A key's number on the stream is its generation.

use serde::{Deserialize, Serialize};

/// Checkpoints of the log are signed with this key from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogKeyCreated {
    /// The name of the log, in its checkpoints and for verifiers. It never changes.
    pub origin: String,
    /// 1 for the first key.
    pub generation: u32,
    /// The public key as verifiers take it (C2SP `signed-note`): `ORIGIN+HASH+BASE64`.
    pub verifier_key: String,
}

impl LogKeyCreated {
    /// Whether the key is of a log that has these: the first one names the log. Of two nodes that record a first key at the same
    /// time under different names, the later one's has signed nothing.
    pub fn is_of_log(&self, earlier: &[Self]) -> bool {
        earlier.first().is_none_or(|first| first.origin == self.origin)
    }
}
