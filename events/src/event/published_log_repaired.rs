//! Repairs of the published log. Stream `published_log-{origin}`.

use serde::{Deserialize, Serialize};

/// Files of the published log were damaged or missing, and were written again from the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedLogRepaired {
    /// The name of the log.
    pub origin: String,
    /// The events of the checkpoint that the files belong to.
    pub size: u64,
    /// At most [`FILES_MAX`](Self::FILES_MAX); `more` counts the rest.
    pub files: Vec<RepairedFile>,
    /// How many further files there were.
    pub more: u64,
}

/// A file that was written again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairedFile {
    /// Its name below the address of the object store.
    pub path: String,
    /// The digest of the bytes that were found; absent if it was missing, or longer than any file of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_sha256: Option<String>,
    /// The first position that it has, or that is under it.
    pub first: u64,
    pub last: u64,
}

impl PublishedLogRepaired {
    /// An event stays small, however much was lost.
    pub const FILES_MAX: usize = 100;
}
