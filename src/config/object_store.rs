//! The object store, in which the archive and the published log are.

use cli::settings::setting::{DATABASE_URL, OBJECT_STORE_URL};
use cli::settings::{OBJECTS_FOLDER, Setting, WrongConfig};
use object_storage::ObjectStoreAddress;

use super::Given;

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
