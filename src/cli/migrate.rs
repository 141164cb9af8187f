//! `ledgerway migrate`: brings the ledger to this version and exits. Views need none: they are built anew.

use std::process::ExitCode;

use events::log::{Log, Migrated};

use super::progress::{Elsewhere, Progress};
use super::{complain, say};
use crate::config::arguments::DataArgs;

pub fn run(args: &DataArgs) -> ExitCode {
    let progress = Progress::of("bringing the ledger to this version", Elsewhere::Nothing);
    progress.turn();
    let migrated = Log::migrate(&args.dir);
    drop(progress);
    match migrated {
        Ok(migrated) => {
            let dir = args.dir.display();
            say(&match migrated {
                Migrated::Existing => format!("the ledger in {dir} is at this version"),
                Migrated::New => format!("made a new, empty ledger in {dir}: there was none"),
            });
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
