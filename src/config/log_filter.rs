//! `RUST_LOG`: the log level. Text that the library would silently take for the name of a part, or ignore, is refused.

use cli::settings::setting::RUST_LOG;
use cli::settings::{WrongConfig, truncated};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The default filter. The NATS client is off, because the relay logs the same more clearly.
const DEFAULT: &str = "async_nats=off,info";
/// This program's crates, which may stand without a level. A directive is about all targets that begin with its text: `events` is about
/// `events_log` too.
const CRATES: [&str; 25] = [
    "access_control", "access_log", "analysts", "archive", "budget_alerts", "cli", "command", "content_store",
    "dialects", "events", "events_log", "grpc", "intermediate", "ledgerway", "nats_relay", "openapi", "projections",
    "provider_client", "provider_dialects", "query", "secrets", "shared_limits", "surfaces", "transparency", "witness",
];

/// Reads the value of `RUST_LOG`; the default is `info` for this program and everything that it uses, except for the NATS client.
pub fn read(text: Option<&str>) -> Result<EnvFilter, WrongConfig> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(DEFAULT);
    let wrong = |why: &str| {
        let problem = format!("is {:?}, {why}", truncated(text));
        RUST_LOG.wrong_as_variable(problem)
    };
    let parts = text.split(',').filter(|part| !part.is_empty());
    if let Some(part) = parts.into_iter().find(|part| !is_directive(part)) {
        let part = truncated(part);
        return Err(wrong(&format!(
            "where {part:?} is neither a level (error, warn, info, debug, trace, off) nor a part with a level"
        )));
    }
    EnvFilter::builder().parse(text).map_err(|_| wrong("which is not a list of levels and parts with levels"))
}

/// True for a level, a part with its level, or a crate of this program. Directives with spans are left to the library.
fn is_directive(text: &str) -> bool {
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    match text.rsplit_once('=') {
        _ if text.contains('[') => true,
        Some((part, level)) => !part.is_empty() && !part.contains(char::is_whitespace) && is_level(level),
        None => is_level(text) || CRATES.contains(&text.split("::").next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: bin.rust-log
    #[test]
    fn a_level_or_a_module_with_one_is_accepted_and_anything_else_is_named() {
        for fine in [
            "", " ", "info", "WARN", "off", "3", "warn,ledgerway=debug", "command::inference", "provider_client",
            "[span]=debug", "events_log", "events_log::writer", "content_store",
        ] {
            assert!(read(Some(fine)).is_ok(), "{fine}");
        }
        assert_eq!(read(None).expect("the default").to_string(), DEFAULT);
        assert_eq!(read(Some("")).expect("the default").to_string(), DEFAULT);
        for (wrong, named) in [
            ("wran", "\"wran\""),
            ("info,ledgerway=wran", "\"ledgerway=wran\""),
            ("ledgerway=", "\"ledgerway=\""),
            ("=info", "\"=info\""),
            ("9", "\"9\""),
            ("warn ledgerway", "\"warn ledgerway\""),
            ("hyper", "\"hyper\""),
        ] {
            let said = read(Some(wrong)).expect_err("refused").to_string();
            assert!(said.starts_with(&format!("RUST_LOG is {wrong:?}")) && said.contains(named), "{said}");
            assert!(said.ends_with("for example RUST_LOG=info,provider_client=debug"), "{said}");
        }
    }
    #[test]
    fn the_log_belongs_to_the_part_events() {
        let filter = read(Some("off,events=debug")).expect("a part with a level");
        let lines = tracing_subscriber::fmt().with_env_filter(filter).finish();
        tracing::subscriber::with_default(lines, || {
            assert!(tracing::enabled!(target: "events_log::writer", tracing::Level::DEBUG));
            assert!(!tracing::enabled!(target: "projections::views", tracing::Level::DEBUG));
        });
    }
}
