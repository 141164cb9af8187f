//! `ledgerway`: an LLM gateway whose accounts are a ledger. This crate composes: configuration, engines, the door in
//! front of the routes, listening and shutting down.

mod cli;
mod config;
mod http;
mod in_flight;
mod metrics;

use std::process::ExitCode;

/// Requests are allocated on one thread and freed on another, the writer's or the views': glibc's arenas pay a lock for
/// each of those, and give little back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
