//! `ledgerway migrate`: brings the ledger to this version and exits. Views need none: they are built anew.

use std::process::ExitCode;

use events::log::Log;

use super::{DataArgs, complain, say};

pub fn run(args: &DataArgs) -> ExitCode {
    match Log::migrate(&args.dir) {
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
