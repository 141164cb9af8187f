//! Another catalogue was taken while the gateway ran. Stream `import-{request_id}`, of the request that brought it: an import is
//! recorded once, also if it changes nothing.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::ids::RequestId;

/// The catalogue is in force. What follows from it is recorded after it.
///
/// - `document_sha256`: of the document as it was received.
/// - `prices`, `models`: what followed for the resources that the gateway made from its environment, as the node that took the import expected it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueImported {
    pub import: RequestId,
    /// The day of the catalogue that was in force before.
    pub from_version: NaiveDate,
    pub to_version: NaiveDate,
    pub document_sha256: String,
    pub prices: ImportedResources,
    pub models: ImportedResources,
}

/// How many resources of one kind an import created, changed and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedResources {
    pub created: u64,
    pub changed: u64,
    pub ended: u64,
}
