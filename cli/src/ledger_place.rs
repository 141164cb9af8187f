//! Where a command finds the ledger: in a data folder, or in a PostgreSQL database.

use std::fmt;
use std::path::{Path, PathBuf};

use events_log::{
    DatabaseAddress, LEDGER_FILE, LogError, Reader, open_reader, open_reader_offline, open_shared_reader,
};

use super::{Failure, variable};
use crate::arguments::{DataArgs, LedgerArgs};
use crate::settings::setting::{DATA, DATABASE_URL};
use crate::settings::{Flags, database, two_ledgers};

pub enum LedgerPlace {
    /// The file in a data folder.
    File(PathBuf),
    Database(Box<DatabaseAddress>),
}

impl LedgerPlace {
    /// The ledger that the arguments name, or the variable. A folder's ledger must be there.
    ///
    /// Errors: there is none, or it is not clear which one is meant.
    pub fn find(args: &LedgerArgs, flags: &Flags) -> Result<Self, Failure> {
        Self::find_with(args.address(), &args.data, flags)
    }

    /// The ledger that the variable names, or the one in the folder.
    pub fn find_with_folder(data: &DataArgs, flags: &Flags) -> Result<Self, Failure> {
        Self::find_with(data.address(), data, flags)
    }

    fn find_with(address: Option<&str>, data: &DataArgs, flags: &Flags) -> Result<Self, Failure> {
        let found = Self::named(address, data, flags)?;
        if let (Self::Database(database), Some(folder)) = (&found, data.folder())
            && folder.join(LEDGER_FILE).exists()
        {
            return Err(two_ledgers(folder, database, flags).into());
        }
        Ok(found)
    }

    /// Likewise, for a command that can do without the folder beside a database: if nobody named that folder, it may be the
    /// one of another ledger.
    pub fn find_alone(args: &LedgerArgs, flags: &Flags) -> Result<Self, Failure> {
        let is_folder_named = flags.has(DATA) || variable(DATA.variable).is_some();
        if is_folder_named { Self::find(args, flags) } else { Self::named(args.address(), &args.data, flags) }
    }

    fn named(address: Option<&str>, data: &DataArgs, flags: &Flags) -> Result<Self, Failure> {
        Ok(match named_database(address)? {
            Some(database) => Self::Database(Box::new(database)),
            None => Self::File(find_ledger(data, flags)?),
        })
    }

    /// Opens it for reading, whether or not a process serves it.
    pub fn open_reader(&self) -> Result<Box<dyn Reader>, LogError> {
        match self {
            Self::File(path) => open_reader_offline(path),
            Self::Database(database) => open_shared_reader(database),
        }
    }

    /// The same of a folder that somebody may begin to serve meanwhile.
    pub fn open_shared_with_a_gateway(&self) -> Result<Box<dyn Reader>, LogError> {
        match self {
            Self::File(file) => open_reader(file),
            Self::Database(_) => self.open_reader(),
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

/// The database that an argument or the variable names, if one does.
pub fn named_database(argument: Option<&str>) -> Result<Option<DatabaseAddress>, Failure> {
    match argument {
        Some(url) => database_at(url).map(Some),
        None => Ok(database(variable)?),
    }
}

/// The database at an address that was given as an argument.
pub fn database_at(url: &str) -> Result<DatabaseAddress, Failure> {
    // The address may have a password in it: it is not repeated.
    url.parse().map_err(|error| {
        let example = DATABASE_URL.example;
        Failure::NotBegun(format!(
            "this is not the address of a PostgreSQL database: {error}, for example {example}; give a data folder with --data DIR"
        ))
    })
}

/// The path of the ledger in a data folder.
///
/// Errors: there is none.
fn find_ledger(data: &DataArgs, flags: &Flags) -> Result<PathBuf, Failure> {
    let ledger = data.dir.join(LEDGER_FILE);
    if ledger.is_file() {
        return Ok(ledger);
    }
    if !flags.has(DATA) && variable(DATA.variable).is_none() {
        return Err(Failure::NotBegun(no_ledger_here(&ledger)));
    }
    let name = flags.name_of(DATA);
    Err(Failure::NotBegun(format!("there is no {}: {name} must be the data folder of a gateway", ledger.display())))
}

/// The sentence for a default folder that is not there: most likely the current folder is the wrong one.
fn no_ledger_here(ledger: &Path) -> String {
    let ledger = ledger.strip_prefix(".").unwrap_or(ledger).display();
    let here =
        std::env::current_dir().map_or_else(|_| "the current folder".to_owned(), |dir| dir.display().to_string());
    format!(
        "there is no {ledger} in {here}: run this where you started `ledgerway serve`, or give the data folder with --data DIR"
    )
}
