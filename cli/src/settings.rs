//! Settings by name, as variables and flags give them, and how the values are read that several commands have. What only `serve` reads
//! is in its configuration.

mod access_log_output;
pub mod environment;
mod label;
mod one_of;
mod secret_files;
mod serve_mode;
pub mod setting;

use std::path::Path;

use events_log::{DatabaseAddress, LEDGER_FILE};
use object_storage::ObjectStoreAddress;
use secrets::{NodeKey, Secret};

pub use access_log_output::AccessLogOutput;
pub use label::Label;
pub use one_of::OneOf;
pub use secret_files::{SecretFiles, is_plainly_path};
pub use serve_mode::ServeMode;
pub use setting::{Advice, Flags, Setting, WrongConfig};

/// The folder in the data folder that is the object store if no other one is given.
pub const OBJECTS_FOLDER: &str = "objects";

/// Reads a boolean flag.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("is {:?}, but must be true or false", truncated(text))),
    }
}

/// The beginning of a wrong value, enough to find it. Of an address that may have a password in it, only the scheme.
pub fn truncated(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.starts_with("postgres") || rest.contains('@') => format!("{scheme}://…"),
        _ => text.chars().take(64).collect(),
    }
}

/// The database in `LEDGERWAY_DATABASE_URL`; `None` if it is unset.
///
/// Errors: it is empty, or not such an address. An empty one is not as unset: a node would serve an empty ledger of its own.
pub fn database(variable: impl Fn(&str) -> Option<String>) -> Result<Option<DatabaseAddress>, WrongConfig> {
    setting::DATABASE_URL.address("a database", "to use the ledger in the data folder", variable, str::parse)
}

/// The object store in `LEDGERWAY_OBJECT_STORE_URL`; `None` if it is unset.
pub fn object_store(variable: impl Fn(&str) -> Option<String>) -> Result<Option<ObjectStoreAddress>, WrongConfig> {
    setting::OBJECT_STORE_URL.address("an object store", "to have no archive", variable, str::parse)
}

/// The object store in `LEDGERWAY_CONTENT_URL`, which has sealed content; `None` if it is unset.
pub fn content_store(variable: impl Fn(&str) -> Option<String>) -> Result<Option<ObjectStoreAddress>, WrongConfig> {
    setting::CONTENT_URL.address("an object store", "to keep no content", variable, str::parse)
}

/// The node key in a variable, if it is set.
pub fn node_key(setting: Setting, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(setting.variable) {
        Some(text) if NodeKey::from_variable(&text).is_ok() => Ok(Some(Secret::new(text))),
        Some(_) => Err(setting.wrong_as_secret("must be 64 hexadecimal digits", variable)),
        None => Ok(None),
    }
}

/// The error for a folder with a ledger of its own beside a database: one of them would silently be left out.
pub fn two_ledgers(data: &Path, database: &DatabaseAddress, flags: &Flags) -> WrongConfig {
    let ledger = data.join(LEDGER_FILE);
    let variable = setting::DATABASE_URL.variable;
    let problem = format!(
        "is a folder with a ledger of its own ({}), and not that of a node of {database}: give another folder, or no database \
         ({variable}) to use that ledger",
        ledger.display()
    );
    flags.wrong_with(setting::DATA, problem, "./ledgerway-node")
}
