//! The variables that begin like ours. One that is no setting is a mistake: what was meant would silently not be so.

use events::nearest_name::nearest_name;

use super::log_filter::RUST_LOG;
use super::setting::{ALL, Advice, LISTEN, METRICS_LISTEN, PREFIX, Setting, WrongConfig};

/// What this version does not have: ignoring it would look like having it.
const ABSENT: [&str; 7] = [
    "LEDGERWAY_DATABASE_URL",
    "LEDGERWAY_NATS_URL",
    "LEDGERWAY_REDIS_URL",
    "LEDGERWAY_OBJECT_STORE_URL",
    "LEDGERWAY_PROVIDERS_FROM_ENV",
    "LEDGERWAY_SERVES_TENANTS",
    "LEDGERWAY_VIEWS",
];
const ABSENT_SAID: &str = "is for something that this version does not have";
/// What other servers call the address to listen on, or end its name with.
const PORT: &str = "PORT";
/// What they call the level of the log, or begin its name with.
const LOG: &str = "LOG";
/// Of a name that is shown.
const NAME_CHARS_MAX: usize = 64;

/// Errors: a variable that this version does not have and that asks for something, or one that is no setting at all. The
/// first by name, so that the same surroundings are always answered the same.
pub fn check(variables: impl Iterator<Item = (String, String)>) -> Result<(), WrongConfig> {
    let mut ours: Vec<(String, String)> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    ours.iter().try_for_each(|(name, value)| check_one(name, value))
}

fn check_one(name: &str, value: &str) -> Result<(), WrongConfig> {
    if ABSENT.contains(&name) {
        return if value.is_empty() { Ok(()) } else { Err(to_unset(name, ABSENT_SAID.to_owned())) };
    }
    if ALL.iter().any(|setting| setting.variable == name) || is_of_kubernetes(name, value) {
        return Ok(());
    }
    Err(unknown(name, value))
}

fn unknown(name: &str, value: &str) -> WrongConfig {
    let shown: String = name.chars().take(NAME_CHARS_MAX).flat_map(char::escape_default).collect();
    let typed = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_uppercase();
    if let Some(setting) = of_another_server(&typed) {
        let port = value.trim().parse::<u16>().ok().filter(|_| typed.ends_with(PORT));
        let example = port.map_or_else(|| setting.example.to_owned(), |port| format!("127.0.0.1:{port}"));
        return instead(shown, setting, &example);
    }
    let known = ALL.iter().map(|setting| setting.variable).chain(ABSENT);
    let nearest = nearest_name(&typed, known.filter_map(|known| known.strip_prefix(PREFIX)));
    let is_nearest = |variable: &str| variable.strip_prefix(PREFIX) == nearest;
    if let Some(setting) = ALL.iter().find(|setting| is_nearest(setting.variable)) {
        return instead(shown, *setting, setting.example);
    }
    match ABSENT.iter().find(|absent| is_nearest(absent)) {
        Some(absent) => to_unset(&shown, format!("is no setting; the nearest name, {absent}, {ABSENT_SAID}")),
        None if typed.starts_with(LOG) => instead(shown, RUST_LOG, RUST_LOG.example),
        None => WrongConfig { name: shown, problem: "is no setting".to_owned(), advice: Advice::ReadHelp },
    }
}

/// A setting by the name that other servers have for it.
fn of_another_server(typed: &str) -> Option<Setting> {
    match typed {
        LOG => Some(RUST_LOG),
        _ if !typed.split('_').any(|word| word == PORT) || !typed.ends_with(PORT) => None,
        _ if typed.starts_with("METRICS") => Some(METRICS_LISTEN),
        _ => Some(LISTEN),
    }
}

fn instead(name: String, setting: Setting, example: &str) -> WrongConfig {
    let variable = setting.variable;
    let problem = format!("is no setting; the nearest name is {variable}");
    WrongConfig { name, problem, advice: Advice::Example(format!("{variable}={example}")) }
}

fn to_unset(name: &str, problem: String) -> WrongConfig {
    WrongConfig { name: name.to_owned(), problem, advice: Advice::Unset }
}

/// What Kubernetes sets in every container for a Service that is called `ledgerway`, or like `ledgerway-metrics`:
/// `{NAME}_SERVICE_HOST`, `{NAME}_SERVICE_PORT…`, `{NAME}_PORT` and `{NAME}_PORT_8080_TCP…`. `{NAME}_PORT` is a URL: a bare
/// number was put there by somebody who means the port to listen on.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    if ["LEDGERWAY_SERVICE_", "LEDGERWAY_PORT_"].iter().any(|of_ours| name.starts_with(of_ours))
        || (name == "LEDGERWAY_PORT" && value.trim().parse::<u64>().is_err())
    {
        return true;
    }
    let is_link = |rest: &str| {
        let mut parts = rest.split('_');
        let port = parts.next().is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let protocol = parts.next().is_some_and(|protocol| PROTOCOLS.contains(&protocol));
        port && protocol && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR")) && parts.next().is_none()
    };
    let is_url = PROTOCOLS.iter().any(|protocol| {
        let scheme = protocol.to_ascii_lowercase();
        value.strip_prefix(&scheme).is_some_and(|rest| rest.starts_with("://"))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| is_link(rest))
        || (name.ends_with("_PORT") && is_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str) -> Option<String> {
        check([(name.to_owned(), value.to_owned())].into_iter()).err().map(|wrong| wrong.to_string())
    }

    /// Holds: bin.unknown-variable
    #[test]
    fn a_mistaken_name_is_answered_with_the_nearest_one() {
        assert_eq!(
            said("LEDGERWAY_DRAIN_TIMEOUT", "30").expect("a mistake"),
            "LEDGERWAY_DRAIN_TIMEOUT is no setting; the nearest name is LEDGERWAY_DRAIN_TIMEOUT_SECONDS, for example \
             LEDGERWAY_DRAIN_TIMEOUT_SECONDS=30"
        );
        for (mistake, value, instead) in [
            ("LEDGERWAY_HOLD_TTL", "60", "LEDGERWAY_HOLD_TTL_SECONDS=900"),
            ("LEDGERWAY_DATA_DIR", "/d", "LEDGERWAY_DATA=./ledgerway-data"),
            ("LEDGERWAY_LISTEN_ADDRESS", "", "LEDGERWAY_LISTEN=127.0.0.1:8080"),
            ("LEDGERWAY_LOG", "debug", "RUST_LOG=info,hyper=debug"),
            ("LEDGERWAY_LOG_LEVEL", "debug", "RUST_LOG=info,hyper=debug"),
            ("LEDGERWAY_LOGLEVEL", "debug", "RUST_LOG=info,hyper=debug"),
            ("LEDGERWAY_LOG_ONYL", "true", "LEDGERWAY_LOG_ONLY=true"),
            ("LEDGERWAY_PORT", "80", "LEDGERWAY_LISTEN=127.0.0.1:80"),
            ("LEDGERWAY_PORT", "99999", "LEDGERWAY_LISTEN=127.0.0.1:8080"),
            ("LEDGERWAY_HTTP_PORT", "81", "LEDGERWAY_LISTEN=127.0.0.1:81"),
            ("LEDGERWAY_METRICS_PORT", "9091", "LEDGERWAY_METRICS_LISTEN=127.0.0.1:9091"),
        ] {
            let said = said(mistake, value).expect("a mistake");
            let name = instead.split_once('=').expect("an example").0;
            assert_eq!(said, format!("{mistake} is no setting; the nearest name is {name}, for example {instead}"));
        }
        for far in [
            "LEDGERWAY_X",
            "LEDGERWAY_",
            "LEDGERWAY_SERVICES",
            "LEDGERWAY_PORTS",
            "LEDGERWAY_AIRPORT",
            "LEDGERWAY_API_TOKEN",
        ] {
            let said = said(far, "1").expect("a mistake");
            assert_eq!(said, format!("{far} is no setting; `ledgerway serve --help` lists them"));
        }
        let wild = format!("LEDGERWAY_\u{1b}[31m{}", "x".repeat(5000));
        let shown = said(&wild, "").expect("a mistake");
        assert!(!shown.contains('\u{1b}') && shown.len() < 300, "{shown}");
        for fine in ["LEDGERWAY_LISTEN", "LEDGERWAY_NODE_KEY_PREVIOUS", "ledgerway_listen", "LEDGERWAYS_X", "PATH"] {
            assert_eq!(said(fine, "anything"), None, "{fine}");
        }
        let two = [("LEDGERWAY_Z", ""), ("LEDGERWAY_B", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(check(two.into_iter()).expect_err("a mistake").name, "LEDGERWAY_B");
    }

    /// Holds: bin.unknown-variable
    #[test]
    fn what_kubernetes_sets_is_none_and_what_only_looks_like_it_is() {
        for (fine, value) in [
            ("LEDGERWAY_SERVICE_HOST", "10.0.0.1"),
            ("LEDGERWAY_PORT", "tcp://10.0.0.1:8080"),
            ("LEDGERWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("LEDGERWAY_METRICS_PORT", "tcp://10.0.0.1:9090"),
            ("LEDGERWAY_METRICS_PORT_9090_TCP", "tcp://10.0.0.1:9090"),
            ("LEDGERWAY_METRICS_PORT_9090_TCP_PORT", "9090"),
            ("LEDGERWAY_A_B_PORT_53_UDP_ADDR", "10.0.0.1"),
            ("LEDGERWAY_METRICS_SERVICE_HOST", "10.0.0.1"),
            ("LEDGERWAY_METRICS_SERVICE_PORT", "9090"),
            ("LEDGERWAY_METRICS_SERVICE_PORT_HTTP", "9090"),
        ] {
            assert_eq!(said(fine, value), None, "{fine}");
        }
        for (mistake, value) in [
            ("LEDGERWAY_METRICS_PORT", "9090"),
            ("LEDGERWAY_METRICS_PORT", "tcp"),
            ("LEDGERWAY_METRICS_PORT_9090", "9090"),
            ("LEDGERWAY_METRICS_PORT_HTTP_TCP", "9090"),
            ("LEDGERWAY_METRICS_PORT_9090_TCP_X", "9090"),
            ("LEDGERWAY_METRICS_PORT_9090_TCP_PORT_X", "9090"),
            ("LEDGERWAY_PORTS", "9090"),
            ("LEDGERWAY_SERVICES", "x"),
            ("LEDGERWAY_METRICS_SERVICE", "x"),
        ] {
            assert!(said(mistake, value).is_some(), "{mistake}={value}");
        }
    }

    /// Holds: bin.absent-settings
    #[test]
    fn what_this_version_does_not_have_must_not_be_asked_for() {
        for absent in ABSENT {
            let said = said(absent, "x").expect("a refusal");
            assert_eq!(said, format!("{absent} {ABSENT_SAID}, so unset it"));
            assert_eq!(check([(absent.to_owned(), String::new())].into_iter()), Ok(()));
        }
        assert_eq!(
            said("LEDGERWAY_VIEW", "1").expect("a mistake"),
            "LEDGERWAY_VIEW is no setting; the nearest name, LEDGERWAY_VIEWS, is for something that this version does not \
             have, so unset it"
        );
    }
}
