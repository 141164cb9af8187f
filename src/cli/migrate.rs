//! `ledgerway migrate`: upgrades the ledger to this version and exits. Views need no migration: they are rebuilt.

use std::process::ExitCode;

use events::log::{Log, Migrated};

use super::progress::{Progress, WithoutTerminal};
use super::{Failure, exit, print_line};
use crate::config::arguments::DataArgs;

pub fn run(args: &DataArgs) -> ExitCode {
    let progress = Progress::new("upgrading the ledger", WithoutTerminal::Silent);
    progress.spin();
    let migrated = Log::migrate(&args.dir);
    drop(progress);
    exit(migrated.map_err(Failure::failed).map(|migrated| {
        let dir = args.dir.display();
        print_line(&match migrated {
            Migrated::Existing => format!("the ledger in {dir} is up to date"),
            Migrated::New => format!(
                "there was no ledger in {dir}, so a new, empty one was created: if you expected one, check --data"
            ),
        });
    }))
}
