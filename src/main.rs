//! `ledgerway`: an LLM gateway whose accounts are a ledger. This crate composes: configuration, engines, the door in
//! front of the routes, listening and shutting down.

mod cli;
mod config;
mod http;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
