//! `ledgerway migrate`: upgrades the ledger to this version and exits. Views need no migration: they are rebuilt. It is the
//! only command that changes the schema of PostgreSQL: nodes of several versions use it at the same time.

use std::path::Path;

use events_log::{DatabaseAddress, Log, Migrated};

use super::ledger_place::named_database;
use super::progress::{Progress, WithoutTerminal};
use super::{Failure, print_line};
use crate::arguments::LedgerArgs;

pub fn run(args: &LedgerArgs) -> Result<(), Failure> {
    let database = named_database(args.address())?;
    bring_up_to_date(database.as_ref(), &args.data.dir)
}

/// Upgrades the ledger in a database, or else in a folder, and says what was done.
pub fn bring_up_to_date(database: Option<&DatabaseAddress>, dir: &Path) -> Result<(), Failure> {
    let progress = Progress::new("upgrading the ledger", WithoutTerminal::Silent);
    progress.spin();
    let migrated = match database {
        Some(database) => {
            let migrated = Log::migrate_shared(database).map_err(Failure::failed)?;
            analysts::migrate(database).map_err(Failure::failed)?;
            Ok(migrated)
        }
        None => Log::migrate(dir),
    };
    drop(progress);
    let (migrated, dir) = (migrated.map_err(Failure::failed)?, dir.display());
    print_line(&match (migrated, database) {
        (Migrated::Existing, Some(database)) => format!("the ledger in {database} is up to date"),
        (Migrated::Existing, None) => format!("the ledger in {dir} is up to date"),
        (Migrated::New, Some(database)) => {
            format!("there was no ledger in {database}, so a new, empty one was created")
        }
        (Migrated::New, None) => {
            format!("there was no ledger in {dir}, so a new, empty one was created: if you expected one, check --data")
        }
    });
    Ok(())
}
