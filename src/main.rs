//! `ledgerway`: an LLM gateway whose accounts are a ledger. This crate puts the parts together: command line,
//! configuration, the door in front of the routes, the server, start and shutdown.

mod cli;
mod config;
mod guarded_body;
mod http;
mod in_flight;
mod metrics;

use std::process::ExitCode;

/// Memory of a request is allocated on one thread and freed on another, the writer's or the views'. glibc's arenas take a
/// lock for each such free, and return little memory to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
