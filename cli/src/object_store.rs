//! Where a command finds an archive or a published log: at an address that it is given, in `LEDGERWAY_OBJECT_STORE_URL`, or beside the
//! ledger.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use archive::Archive;
use object_storage::{ObjectStoreAddress, Objects, OpenError};

use super::{Failure, variable};
use crate::settings::setting::{CONTENT_URL, DATA, OBJECT_STORE_URL};
use crate::settings::{OBJECTS_FOLDER, content_store, object_store};

/// The object store that an argument or the variable names, if one does. An argument without a value stands for the variable.
pub fn named_object_store(argument: Option<&str>) -> Result<Option<ObjectStoreAddress>, Failure> {
    match argument.filter(|argument| !argument.is_empty()) {
        // The address may have an access key in it: it is not repeated.
        Some(url) => url.parse().map(Some).map_err(|error| {
            let example = OBJECT_STORE_URL.example;
            Failure::NotBegun(format!("this is not the address of an object store: {error}, for example {example}"))
        }),
        None => Ok(object_store(variable)?),
    }
}

/// The archive that an argument or the variable names, for reading.
///
/// Errors: neither does.
pub fn named_archive(argument: Option<&str>) -> Result<Archive, Failure> {
    let Some(address) = named_object_store(argument)? else {
        let (variable, example) = (OBJECT_STORE_URL.variable, OBJECT_STORE_URL.example);
        return Err(Failure::NotBegun(format!(
            "there is no archive to read: give --archive {example}, or set {variable}"
        )));
    };
    Archive::open_existing(&address, variable, &provider_client::tls_config().map_err(no_tls)?).map_err(not_opened)
}

/// The store of sealed content that `--content` names, for reading. The argument without a value stands for the variable.
///
/// Errors: neither names one.
pub fn named_content_store(argument: &str) -> Result<Objects, Failure> {
    let address = match argument {
        "" => content_store(variable)?,
        // The address may have an access key in it: it is not repeated.
        url => Some(url.parse::<ObjectStoreAddress>().map_err(|error| {
            Failure::NotBegun(format!(
                "--content is not the address of an object store: {error}. Give file:///FOLDER, with an absolute path, or \
                 s3://BUCKET/PREFIX"
            ))
        })?),
    };
    let Some(address) = address else {
        let (variable, example) = (CONTENT_URL.variable, CONTENT_URL.example);
        return Err(Failure::NotBegun(format!(
            "there is no content store to read: give --content {example}, or set {variable}"
        )));
    };
    read_objects(&address)
}

/// An archive that is written.
pub fn open_archive(address: &ObjectStoreAddress) -> Result<Archive, Failure> {
    Archive::open(address, variable, &provider_client::tls_config().map_err(no_tls)?).map_err(Failure::not_begun)
}

/// An object store that is read.
pub fn read_objects(address: &ObjectStoreAddress) -> Result<Objects, Failure> {
    Objects::open_existing(address, variable, &provider_client::tls_config().map_err(no_tls)?).map_err(not_opened)
}

fn not_opened(error: OpenError) -> Failure {
    match error {
        OpenError::Folder { folder, .. } if matches!(Path::new(&folder).try_exists(), Ok(false)) => {
            Failure::NotBegun(format!("there is no folder {folder}: check the address"))
        }
        error => Failure::not_begun(error),
    }
}

/// Where the log of a ledger is published: in the object store that the variable names, or beside the ledger.
pub fn published_log_of(folder: Option<&Path>) -> Result<ObjectStoreAddress, Failure> {
    if let Some(address) = named_object_store(None)? {
        return Ok(address);
    }
    let Some(objects) = folder.map(objects_beside) else {
        let (variable, data) = (OBJECT_STORE_URL.variable, DATA.variable);
        return Err(Failure::NotBegun(format!("there is no published log to read: set {variable} or {data}")));
    };
    if objects.exists() { Ok(ObjectStoreAddress::of_folder(&objects)) } else { Err(not_published(&objects.display())) }
}

/// The log is not published there.
pub fn not_published(place: &dyn Display) -> Failure {
    Failure::NotBegun(format!("there is no published log in {place}: docs/transparency.md says how to publish one"))
}

/// The object store of a gateway that is given no address, beside its ledger.
pub fn objects_beside(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).join(OBJECTS_FOLDER)
}

fn no_tls(error: impl Display) -> Failure {
    Failure::NotBegun(format!("cannot prepare TLS: {error}"))
}
