//! The variables that begin like ours. One that is no setting is a mistake: what was meant would silently not be so.

use super::setting::{ALL, PREFIX, WrongConfig};

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
    Err(unknown(name))
}

fn unknown(name: &str) -> WrongConfig {
    let shown: String = name.chars().take(NAME_CHARS_MAX).flat_map(char::escape_default).collect();
    let known = ALL.iter().map(|setting| setting.variable).chain(ABSENT);
    let nearest = known.min_by_key(|known| strsim::levenshtein(&shown.to_ascii_uppercase(), known)).unwrap_or_default();
    match ALL.iter().find(|setting| setting.variable == nearest) {
        Some(setting) => {
            let wrong = setting.wrong_as_variable(format!("is no setting; the nearest name is {nearest}"));
            WrongConfig { name: shown, ..wrong }
        }
        None => to_unset(&shown, format!("is no setting; the nearest name, {nearest}, {ABSENT_SAID}")),
    }
}

fn to_unset(name: &str, problem: String) -> WrongConfig {
    WrongConfig { name: name.to_owned(), problem, advice: "so unset it".to_owned() }
}

/// What Kubernetes sets in every container for a Service that is called `ledgerway`, or like `ledgerway-metrics`:
/// `{NAME}_SERVICE_HOST`, `{NAME}_SERVICE_PORT…`, `{NAME}_PORT` and `{NAME}_PORT_8080_TCP…`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    if ["LEDGERWAY_SERVICE_", "LEDGERWAY_PORT_"].iter().any(|of_ours| name.starts_with(of_ours))
        || name == "LEDGERWAY_PORT"
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
