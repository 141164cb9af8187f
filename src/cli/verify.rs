//! `ledgerway verify`: exit 0 sound, 1 broken (the first bad position and why), 2 could not look.

use std::process::ExitCode;

use events::log::{LEDGER_FILE, Reader};
use events::verify::{Sound, VerifyError, verify};

use super::{DataArgs, complain, say};

const COULD_NOT_LOOK: u8 = 2;

pub fn run(args: &DataArgs) -> ExitCode {
    let ledger = args.dir.join(LEDGER_FILE);
    if !ledger.is_file() {
        complain(&format!("there is no {}: --data must be the data folder of a gateway", ledger.display()));
        return COULD_NOT_LOOK.into();
    }
    match Reader::open(&ledger).map_err(VerifyError::from).and_then(|reader| verify(&reader)) {
        Ok(Sound { events, open_holds }) => {
            say(&format!("sound: {events} events, {open_holds} open holds"));
            ExitCode::SUCCESS
        }
        Err(broken @ (VerifyError::Broken { .. } | VerifyError::BesideTheLog { .. })) => {
            say(&format!("broken: {broken}"));
            ExitCode::FAILURE
        }
        Err(VerifyError::Unreadable(error)) => {
            complain(&format!("read {}: {error}", ledger.display()));
            COULD_NOT_LOOK.into()
        }
    }
}
