//! Variables that begin with `LEDGERWAY_`. One that is not a setting is refused: it would silently have no effect.

use events::nearest_name::nearest_name;

use super::setting::{ALL, Advice, GRPC_LISTEN, LISTEN, METRICS_LISTEN, PREFIX, RUST_LOG, Setting, WrongConfig};

/// The end of other servers' names for the port to listen on.
const PORT: &str = "PORT";
/// The beginning of other servers' names for the log level.
const LOG: &str = "LOG";
/// The most characters that are printed of a name.
const NAME_CHARS_MAX: usize = 64;

/// Checks all variables.
///
/// Errors: a variable that is not a setting. The first by name, so that the same environment always gets the same error.
pub fn check(variables: impl Iterator<Item = (String, String)>) -> Result<(), WrongConfig> {
    let mut prefixed: Vec<(String, String)> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    prefixed.sort();
    prefixed.iter().try_for_each(|(name, value)| check_one(name, value))
}

fn check_one(name: &str, value: &str) -> Result<(), WrongConfig> {
    let is_setting = |setting: &Setting| setting.variable == name || setting.is_in_file_of(name);
    if ALL.iter().any(is_setting) || is_from_kubernetes(name, value) {
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
        return use_instead(shown, setting, &example);
    }
    let known = ALL.iter().filter_map(|setting| setting.variable.strip_prefix(PREFIX));
    let nearest = nearest_name(&typed, known);
    let is_nearest = |variable: &str| variable.strip_prefix(PREFIX) == nearest;
    if let Some(setting) = ALL.iter().find(|setting| is_nearest(setting.variable)) {
        return use_instead(shown, *setting, setting.example);
    }
    if typed.starts_with(LOG) {
        return use_instead(shown, RUST_LOG, RUST_LOG.example);
    }
    WrongConfig { name: shown, problem: "is not a setting".to_owned(), advice: Advice::ReadHelp }
}

/// The setting that other servers have under this name.
fn of_another_server(typed: &str) -> Option<Setting> {
    match typed {
        LOG => Some(RUST_LOG),
        _ if !typed.split('_').any(|word| word == PORT) || !typed.ends_with(PORT) => None,
        _ if typed.starts_with("METRICS") => Some(METRICS_LISTEN),
        _ if typed.starts_with("GRPC") => Some(GRPC_LISTEN),
        _ => Some(LISTEN),
    }
}

fn use_instead(name: String, setting: Setting, example: &str) -> WrongConfig {
    let variable = setting.variable;
    let problem = format!("is not a setting; the nearest name is {variable}");
    WrongConfig { name, problem, advice: Advice::Example(format!("{variable}={example}")) }
}

/// True for the variables that Kubernetes sets in every container for a Service named `ledgerway`, or `ledgerway-metrics`:
/// `{NAME}_SERVICE_HOST`, `{NAME}_SERVICE_PORT…`, `{NAME}_PORT` and `{NAME}_PORT_8080_TCP…`. Kubernetes sets
/// `{NAME}_PORT` to a URL; a bare number comes from somebody who means the port to listen on.
fn is_from_kubernetes(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    if ["LEDGERWAY_SERVICE_", "LEDGERWAY_PORT_"].iter().any(|prefix| name.starts_with(prefix))
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

    fn error(name: &str, value: &str) -> Option<String> {
        check([(name.to_owned(), value.to_owned())].into_iter()).err().map(|wrong| wrong.to_string())
    }

    /// Holds: bin.unknown-variable
    #[test]
    fn a_mistaken_name_is_answered_with_the_nearest_one() {
        assert_eq!(
            error("LEDGERWAY_DRAIN_TIMEOUT", "30").expect("a mistake"),
            "LEDGERWAY_DRAIN_TIMEOUT is not a setting; the nearest name is LEDGERWAY_DRAIN_TIMEOUT_SECONDS, for example \
             LEDGERWAY_DRAIN_TIMEOUT_SECONDS=30"
        );
        for (mistake, value, instead) in [
            ("LEDGERWAY_HOLD_TTL", "60", "LEDGERWAY_HOLD_TTL_SECONDS=900"),
            ("LEDGERWAY_DATA_DIR", "/d", "LEDGERWAY_DATA=./ledgerway-data"),
            ("LEDGERWAY_LISTEN_ADDRESS", "", "LEDGERWAY_LISTEN=127.0.0.1:8080"),
            ("LEDGERWAY_LOG", "debug", "RUST_LOG=info,provider_client=debug"),
            ("LEDGERWAY_LOG_LEVEL", "debug", "RUST_LOG=info,provider_client=debug"),
            ("LEDGERWAY_LOGLEVEL", "debug", "RUST_LOG=info,provider_client=debug"),
            ("LEDGERWAY_LOG_ONYL", "true", "LEDGERWAY_LOG_ONLY=true"),
            ("LEDGERWAY_PORT", "80", "LEDGERWAY_LISTEN=127.0.0.1:80"),
            ("LEDGERWAY_PORT", "99999", "LEDGERWAY_LISTEN=127.0.0.1:8080"),
            ("LEDGERWAY_HTTP_PORT", "81", "LEDGERWAY_LISTEN=127.0.0.1:81"),
            ("LEDGERWAY_METRICS_PORT", "9091", "LEDGERWAY_METRICS_LISTEN=127.0.0.1:9091"),
            ("LEDGERWAY_GRPC_PORT", "8082", "LEDGERWAY_GRPC_LISTEN=127.0.0.1:8082"),
        ] {
            let error = error(mistake, value).expect("a mistake");
            let name = instead.split_once('=').expect("an example").0;
            assert_eq!(error, format!("{mistake} is not a setting; the nearest name is {name}, for example {instead}"));
        }
        for far in [
            "LEDGERWAY_X", "LEDGERWAY_", "LEDGERWAY_SERVICES", "LEDGERWAY_PORTS", "LEDGERWAY_AIRPORT",
            "LEDGERWAY_API_TOKEN",
        ] {
            let error = error(far, "1").expect("a mistake");
            assert_eq!(error, format!("{far} is not a setting; `ledgerway serve --help` lists them"));
        }
        let wild = format!("LEDGERWAY_\u{1b}[31m{}", "x".repeat(5000));
        let shown = error(&wild, "").expect("a mistake");
        assert!(!shown.contains('\u{1b}') && shown.len() < 300, "{shown}");
        for fine in ["LEDGERWAY_LISTEN", "LEDGERWAY_NODE_KEY_PREVIOUS", "ledgerway_listen", "LEDGERWAYS_X", "PATH"] {
            assert_eq!(error(fine, "anything"), None, "{fine}");
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
            assert_eq!(error(fine, value), None, "{fine}");
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
            assert!(error(mistake, value).is_some(), "{mistake}={value}");
        }
    }
}
