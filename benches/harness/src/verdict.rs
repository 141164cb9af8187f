//! How a measurement ends for whoever called it.

use std::io::{self, Write};
use std::process::ExitCode;

/// Success only where everything that was measured was right; why it could not be measured goes to stderr.
pub fn exit_code(all_right: Result<bool, String>) -> ExitCode {
    match all_right {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            // Nothing can be done where that cannot be said either.
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}
