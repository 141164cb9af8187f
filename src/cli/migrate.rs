//! `ledgerway migrate`: brings the ledger to this version and exits. Views need none: they are built anew.

use std::process::ExitCode;

use events::log::Log;

use super::progress::{Elsewhere, Progress};
use super::{DataArgs, complain, say};

pub fn run(args: &DataArgs) -> ExitCode {
    let progress = Progress::of("bringing the ledger to this version", Elsewhere::Nothing);
    progress.turn();
    let migrated = Log::migrate(&args.dir);
    drop(progress);
    match migrated {
        Ok(()) => {
            say(&format!("the ledger in {} is at this version", args.dir.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
