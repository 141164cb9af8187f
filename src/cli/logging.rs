//! Logs on stderr: text on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// With as much as `filter` lets through.
pub fn start(filter: EnvFilter) {
    // A line that cannot be written is lost. Complaining of it on the same stderr would panic, and take the thread that
    // wrote it with it: the ledger's own, where a full disk holds the log lines as well.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A second start in one process keeps the first one's logs; there is none.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_ansi(false).try_init()
    };
}
