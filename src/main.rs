//! `ledgerway`: an LLM gateway whose accounts are a ledger. This crate puts the parts together: configuration, the door in front of
//! the routes, the server, start and shutdown. All commands that do not serve are in the crate `cli`.
//!
//! `serve` and `witness` are the commands that serve, and `server_process` is what they have in common: signals and the end.
//! `http` has the door and the server, `metrics` answers `/metrics`, and `open_files` divides the files that the process may open.

mod config;
mod guarded_body;
mod http;
mod in_flight;
mod logging;
mod metrics;
mod open_files;
mod serve;
mod server_process;
mod witness;

use std::process::ExitCode;

use cli::Servers;

/// Memory of a request is allocated on one thread and freed on another, the writer's or the views'. glibc's arenas take a
/// lock for each such free, and return little memory to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(&Servers { gateway: serve::run, witness: witness::run })
}
