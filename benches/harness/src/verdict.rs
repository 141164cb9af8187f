//! The exit code of a benchmark.

use std::io::{self, Write};
use std::process::ExitCode;

/// Success if everything measured was correct; an error that prevented the measurement goes to stderr.
pub fn exit_code(is_correct: Result<bool, String>) -> ExitCode {
    match is_correct {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            // Without stderr, the exit code is all that is left.
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}
