//! Opens the object stores of a gateway, again if they are not there yet.

use std::fmt::Display;
use std::sync::Arc;

use archive::Archive;
use cli::variable;
use object_storage::{ObjectStoreAddress, Objects, Open};

use super::ServeError;
use crate::config::Archiving;

/// Opens the archive, to write it or only to compare the ledger with it.
pub fn archive_opener(archiving: &Archiving) -> Result<Open<Archive>, ServeError> {
    let Archiving { address, limits } = archiving;
    let (address, is_written, tls) =
        (address.clone(), limits.is_some(), provider_client::tls_config().map_err(no_tls)?);
    Ok(Arc::new(move || match is_written {
        true => Archive::open(&address, variable, &tls),
        false => Archive::open_existing(&address, variable, &tls),
    }))
}

/// Opens an object store, to write into these folders of it.
pub fn objects_opener(
    address: &ObjectStoreAddress,
    folders: &'static [&'static str],
) -> Result<Open<Objects>, ServeError> {
    let (address, tls) = (address.clone(), provider_client::tls_config().map_err(no_tls)?);
    Ok(Arc::new(move || Objects::open(&address, folders, variable, &tls)))
}

fn no_tls(error: impl Display) -> ServeError {
    format!("cannot prepare TLS: {error}").into()
}
