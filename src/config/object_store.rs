//! The object store, in which the archive and the published log are.

use cli::settings::setting::{CONTENT_URL, DATABASE_URL, OBJECT_STORE_URL};
use cli::settings::{OBJECTS_FOLDER, Setting, WrongConfig};
use object_storage::ObjectStoreAddress;

use super::Given;

/// The object store in `LEDGERWAY_CONTENT_URL`, which has sealed content; `None` if it is unset.
pub fn content_store(variable: impl Fn(&str) -> Option<String>) -> Result<Option<ObjectStoreAddress>, WrongConfig> {
    CONTENT_URL.address("an object store", "to keep no content", variable, str::parse)
}

/// The object store of a data folder for which none was given.
///
/// Errors: the ledger is in a database. Its nodes have a folder each, so `needed_by`, which is on, needs one that they share.
pub(super) fn own_object_store(needed_by: Setting, given: &Given<'_>) -> Result<ObjectStoreAddress, WrongConfig> {
    if given.database.is_some() {
        let (database, store) = (DATABASE_URL.variable, OBJECT_STORE_URL.variable);
        let problem = format!("is on, but there is no object store: with {database}, give one in {store}");
        return Err(given.flags.wrong_with(needed_by, problem, "false"));
    }
    Ok(ObjectStoreAddress::of_folder(&given.args.data.dir.join(OBJECTS_FOLDER)))
}
