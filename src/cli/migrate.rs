//! `ledgerway migrate`: upgrades the ledger to this version and exits. Views need no migration: they are rebuilt. It is the
//! only command that changes the schema of PostgreSQL: nodes of several versions use it at the same time.

use std::path::Path;
use std::process::ExitCode;

use events_log::{DatabaseAddress, Log, Migrated};

use super::ledger_place::named_database;
use super::progress::{Progress, WithoutTerminal};
use super::{Failure, exit, print_line};
use crate::config::arguments::MigrateArgs;

pub fn run(args: &MigrateArgs) -> ExitCode {
    exit(migrate(args).map(|sentence| print_line(&sentence)))
}

fn migrate(args: &MigrateArgs) -> Result<String, Failure> {
    let database = named_database(args.database.url.as_deref().or(args.data.address()))?;
    bring_up_to_date(database.as_ref(), &args.data.dir)
}

/// Upgrades the ledger in a database, or else in a folder. Returns what was done, as a sentence.
pub fn bring_up_to_date(database: Option<&DatabaseAddress>, dir: &Path) -> Result<String, Failure> {
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
    Ok(match (migrated, database) {
        (Migrated::Existing, Some(database)) => format!("the ledger in {database} is up to date"),
        (Migrated::Existing, None) => format!("the ledger in {dir} is up to date"),
        (Migrated::New, Some(database)) => {
            format!("there was no ledger in {database}, so a new, empty one was created")
        }
        (Migrated::New, None) => {
            format!("there was no ledger in {dir}, so a new, empty one was created: if you expected one, check --data")
        }
    })
}
