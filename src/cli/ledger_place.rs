//! Where a command finds the ledger: in a data folder, or in a PostgreSQL database.

use std::fmt;
use std::path::{Path, PathBuf};

use events::log::{Database, LEDGER_FILE, LogError, Reader, open_reader_offline, open_shared_reader};

use super::{Failure, find_ledger, variable};
use crate::config::arguments::{DataArgs, DatabaseArg};
use crate::config::setting::DATABASE_URL;
use crate::config::{Flags, database, two_ledgers};

/// What addresses of databases begin with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

pub enum LedgerPlace {
    /// The file in a data folder.
    File(PathBuf),
    Database(Box<Database>),
}

impl LedgerPlace {
    /// The ledger that the arguments name, or the variable. A folder's ledger must be there.
    ///
    /// Errors: there is none, or it is not clear which one is meant.
    pub fn find(named: &DatabaseArg, data: &DataArgs, flags: &Flags) -> Result<Self, Failure> {
        match named_database(named.url.as_deref(), data)? {
            Some(database) => {
                check_folder(&data.dir, &database, flags)?;
                Ok(Self::Database(Box::new(database)))
            }
            None => Ok(Self::File(find_ledger(data, flags)?)),
        }
    }

    /// Opens it for reading, whether or not a process serves it.
    pub fn open_reader(&self) -> Result<Box<dyn Reader>, LogError> {
        match self {
            Self::File(path) => open_reader_offline(path),
            Self::Database(database) => open_shared_reader(database),
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Database(_) => None,
        }
    }
}

impl fmt::Display for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Database(database) => database.fmt(f),
        }
    }
}

/// The database that the argument, `--data` or the variable names; `None` if it is a folder.
pub fn named_database(named: Option<&str>, data: &DataArgs) -> Result<Option<Database>, Failure> {
    let folder = data.dir.to_str().filter(|dir| SCHEMES.iter().any(|scheme| dir.starts_with(scheme)));
    match named.or(folder) {
        // The address may have a password in it: it is not repeated.
        Some(url) => url.parse().map(Some).map_err(|error| {
            let example = DATABASE_URL.example;
            Failure::NotBegun(format!(
                "the address of the database is not one: {error}, for example {example}; a data folder is given with --data DIR"
            ))
        }),
        None => Ok(database(variable)?),
    }
}

/// Checks that a folder beside a database has no ledger of its own.
pub fn check_folder(dir: &Path, database: &Database, flags: &Flags) -> Result<(), Failure> {
    if dir.join(LEDGER_FILE).exists() { Err(two_ledgers(dir, database, flags).into()) } else { Ok(()) }
}
