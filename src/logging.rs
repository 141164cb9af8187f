//! Logs on stderr: text on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging what `filter` lets through.
pub fn start(filter: EnvFilter) {
    // A line that cannot be written is lost. Reporting that on the same stderr would panic and end the thread, which may be
    // the ledger's writer when a disk that also holds the logs is full.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // Fails only if logging was already started, which does not happen.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_ansi(false).try_init()
    };
}
