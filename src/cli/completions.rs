//! `ledgerway completions SHELL`: what a shell completes the command line by, on stdout.

use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, CompletionsArgs, say};

pub fn run(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ledgerway", &mut script);
    say(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}
