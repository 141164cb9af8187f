//! Configuration: flags and variables as they came, judged once. A wrong one is answered in one sentence that names the
//! variable, what is wrong with it and a valid example.

mod tracing;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use command::body::memory::BodyBounds;
use command::limits::DefaultLimits;
use command::secrets::{NodeKey, Secret, node_key, operator_key};
use command::trace::TraceTarget;
use events::ledger::UnknownUsage;

use crate::cli::ServeArgs;
use crate::http::CorsOrigins;

const HOLD_TTL_SECONDS_MAX: u64 = 86_400;
const DRAIN_SECONDS_MAX: u64 = 3_600;
/// Two bodies of the largest size.
const BODY_MEMORY_MIB_MIN: usize = 66;
const BODY_MEMORY_MIB_MAX: usize = 1_048_576;
const REQUESTS_AN_HOUR_MAX: u64 = 1_000_000_000;
/// What this version does not have: ignoring it would look like having it.
const ABSENT: [&str; 4] =
    ["LEDGERWAY_DATABASE_URL", "LEDGERWAY_NATS_URL", "LEDGERWAY_REDIS_URL", "LEDGERWAY_OBJECT_STORE_URL"];

/// A variable that says where to listen.
#[derive(Clone, Copy)]
pub struct ListenVariable {
    name: &'static str,
    example: &'static str,
    /// For whom the first is taken.
    other: &'static str,
}

pub const LISTEN: ListenVariable =
    ListenVariable { name: "LEDGERWAY_LISTEN", example: "127.0.0.1:8080", other: "127.0.0.1:8081" };
pub const METRICS_LISTEN: ListenVariable =
    ListenVariable { name: "LEDGERWAY_METRICS_LISTEN", example: "127.0.0.1:9090", other: "127.0.0.1:9091" };

impl ListenVariable {
    /// An example that is not what was tried.
    fn beside(self, tried: SocketAddr) -> &'static str {
        let is_tried = self.example.parse::<SocketAddr>().is_ok_and(|example| example.port() == tried.port());
        if is_tried { self.other } else { self.example }
    }
}

/// How `serve` runs.
pub struct Config {
    pub listen: SocketAddr,
    /// Where metrics are served; `None`: with everything else.
    pub metrics_listen: Option<SocketAddr>,
    pub data: PathBuf,
    pub dev: bool,
    pub hold_ttl: Duration,
    pub unknown_usage: UnknownUsage,
    pub drain_timeout: Duration,
    /// How long it goes on serving after the signal, not ready.
    pub drain_delay: Duration,
    /// Pages of which origins may call it; `None` where none may.
    pub cors: Option<CorsOrigins>,
    pub default_limits: DefaultLimits,
    pub bodies: BodyBounds,
    /// Where traces are exported to.
    pub traces: Option<TraceTarget>,
    pub admin_key: Option<Secret>,
    pub node_key: Option<Secret>,
    /// What secrets were sealed with before, while they are sealed anew.
    pub previous_node_key: Option<Secret>,
}

/// A variable has a value that cannot be used. The value of a secret is not repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}, for example {variable}={example}")]
pub struct WrongConfig {
    pub variable: &'static str,
    pub problem: String,
    pub example: &'static str,
}

impl Config {
    pub fn read(args: &ServeArgs, variable: impl Fn(&str) -> Option<String>) -> Result<Self, WrongConfig> {
        for absent in ABSENT {
            if variable(absent).is_some_and(|value| !value.is_empty()) {
                let problem = "is for something that this version does not have; unset it".to_owned();
                return Err(WrongConfig { variable: absent, problem, example: "" });
            }
        }
        if args.mode != "all" {
            let problem = format!("is {:?}, and this version runs everything in one process", shown(&args.mode));
            return Err(WrongConfig { variable: "LEDGERWAY_MODE", problem, example: "all" });
        }
        Ok(Self {
            listen: listen(LISTEN, &args.listen)?,
            metrics_listen: args.metrics_listen.as_deref().map(|text| listen(METRICS_LISTEN, text)).transpose()?,
            data: data(&args.data.dir)?,
            dev: truth("LEDGERWAY_DEV", &args.dev)?,
            hold_ttl: seconds("LEDGERWAY_HOLD_TTL_SECONDS", &args.hold_ttl_seconds, 1, HOLD_TTL_SECONDS_MAX, "900")?,
            unknown_usage: unknown_usage(&args.unknown_usage)?,
            drain_timeout: seconds(
                "LEDGERWAY_DRAIN_TIMEOUT_SECONDS",
                &args.drain_timeout_seconds,
                0,
                DRAIN_SECONDS_MAX,
                "30",
            )?,
            drain_delay: seconds(
                "LEDGERWAY_DRAIN_DELAY_SECONDS",
                &args.drain_delay_seconds,
                0,
                DRAIN_SECONDS_MAX,
                "5",
            )?,
            cors: cors(&args.cors_origins)?,
            default_limits: DefaultLimits {
                requests_per_hour: requests_an_hour("LEDGERWAY_RATE_LIMIT_REQUESTS", &args.rate_limit_requests)?,
                admin_requests_per_hour: requests_an_hour(
                    "LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS",
                    &args.admin_rate_limit_requests,
                )?,
            },
            bodies: bodies(&args.body_memory_mib)?,
            traces: tracing::target(&variable)?,
            admin_key: variable("LEDGERWAY_ADMIN_KEY").map(admin_key).transpose()?,
            node_key: node_key(node_key::VARIABLE, &variable)?,
            previous_node_key: node_key(node_key::PREVIOUS_VARIABLE, &variable)?,
        })
    }
}

impl WrongConfig {
    /// For an address that cannot be listened on.
    pub fn listen(variable: ListenVariable, address: SocketAddr, error: &std::io::Error) -> Self {
        let problem = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("is {address}, where something listens already; take another port")
            }
            _ => format!("is {address}, which cannot be listened on ({error})"),
        };
        Self { variable: variable.name, problem, example: variable.beside(address) }
    }

    /// For a data folder that can be neither made nor used. `path` is where it failed.
    pub fn data(path: &Path, error: &std::io::Error) -> Self {
        let problem = format!("names a folder that can be neither made nor written ({}: {error})", path.display());
        Self { variable: "LEDGERWAY_DATA", problem, example: "./ledgerway-data" }
    }
}

/// The key in a variable, where it is set.
pub fn node_key(name: &'static str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(name) {
        Some(text) if NodeKey::from_variable(&text).is_ok() => Ok(Some(Secret::new(text))),
        Some(_) => Err(WrongConfig {
            variable: name,
            problem: "must be 64 hexadecimal digits".to_owned(),
            example: "\"$(openssl rand -hex 32)\"",
        }),
        None => Ok(None),
    }
}

fn listen(variable: ListenVariable, text: &str) -> Result<SocketAddr, WrongConfig> {
    text.parse().map_err(|_| WrongConfig {
        variable: variable.name,
        problem: format!("is {:?}, which is no IP address with a port", shown(text)),
        example: variable.example,
    })
}

fn data(dir: &Path) -> Result<PathBuf, WrongConfig> {
    if !dir.as_os_str().is_empty() {
        return Ok(dir.to_owned());
    }
    Err(WrongConfig { variable: "LEDGERWAY_DATA", problem: "is empty".to_owned(), example: "./ledgerway-data" })
}

pub fn truth(variable: &'static str, text: &str) -> Result<bool, WrongConfig> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => {
            let problem = format!("is {:?}, which is neither true nor false", shown(text));
            Err(WrongConfig { variable, problem, example: "true" })
        }
    }
}

fn unknown_usage(text: &str) -> Result<UnknownUsage, WrongConfig> {
    let policies = [UnknownUsage::ChargeHold, UnknownUsage::Release];
    policies.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| WrongConfig {
        variable: "LEDGERWAY_UNKNOWN_USAGE",
        problem: format!("is {:?}, and must be charge_hold or release", shown(text)),
        example: "charge_hold",
    })
}

fn bodies(text: &str) -> Result<BodyBounds, WrongConfig> {
    let allowed = |mib: &usize| (BODY_MEMORY_MIB_MIN..=BODY_MEMORY_MIB_MAX).contains(mib);
    match text.parse().ok().filter(allowed) {
        Some(mib) => Ok(BodyBounds::of_process(mib * 1024 * 1024)),
        None => {
            let problem = format!(
                "is {:?}, and must be a whole number of MiB from {BODY_MEMORY_MIB_MIN} to {BODY_MEMORY_MIB_MAX}",
                shown(text)
            );
            Err(WrongConfig { variable: "LEDGERWAY_BODY_MEMORY_MIB", problem, example: "160" })
        }
    }
}

fn seconds(
    variable: &'static str,
    text: &str,
    min: u64,
    max: u64,
    example: &'static str,
) -> Result<Duration, WrongConfig> {
    match text.parse() {
        Ok(seconds) if (min..=max).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => {
            let problem = format!("is {:?}, and must be a whole number of seconds from {min} to {max}", shown(text));
            Err(WrongConfig { variable, problem, example })
        }
    }
}

/// Nothing is no limit.
fn requests_an_hour(variable: &'static str, text: &str) -> Result<Option<u64>, WrongConfig> {
    match text.parse() {
        Ok(requests) if (1..=REQUESTS_AN_HOUR_MAX).contains(&requests) => Ok(Some(requests)),
        _ if text.is_empty() => Ok(None),
        _ => {
            let problem = format!(
                "is {:?}, and must be a whole number of requests an hour from 1 to {REQUESTS_AN_HOUR_MAX}, or unset",
                shown(text)
            );
            Err(WrongConfig { variable, problem, example: "1000" })
        }
    }
}

fn admin_key(text: String) -> Result<Secret, WrongConfig> {
    if operator_key::is_strong(&text) {
        return Ok(Secret::new(text));
    }
    Err(WrongConfig {
        variable: operator_key::VARIABLE,
        problem: "must have at least 32 visible ASCII characters".to_owned(),
        example: "\"$(openssl rand -hex 32)\"",
    })
}

fn cors(text: &str) -> Result<Option<CorsOrigins>, WrongConfig> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    CorsOrigins::parse(text).map(Some).map_err(|wrong| WrongConfig {
        variable: "LEDGERWAY_CORS_ORIGINS",
        problem: format!("has {:?}, which is no origin (scheme, host and port, no path)", shown(wrong)),
        example: "https://app.example.com,http://localhost:3000",
    })
}

/// As much of a wrong value as helps to find it.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::DataArgs;

    pub(super) fn args() -> ServeArgs {
        ServeArgs {
            listen: "127.0.0.1:0".to_owned(),
            metrics_listen: None,
            data: DataArgs { dir: "data".into() },
            dev: "false".to_owned(),
            mode: "all".to_owned(),
            hold_ttl_seconds: "900".to_owned(),
            unknown_usage: "charge_hold".to_owned(),
            drain_timeout_seconds: "30".to_owned(),
            drain_delay_seconds: "0".to_owned(),
            cors_origins: String::new(),
            rate_limit_requests: String::new(),
            admin_rate_limit_requests: String::new(),
            body_memory_mib: "160".to_owned(),
        }
    }

    fn refused(args: &ServeArgs, name: &str, value: &str) -> WrongConfig {
        let variable = |asked: &str| (asked == name).then(|| value.to_owned());
        Config::read(args, variable).err().expect("it is refused")
    }

    /// Holds: bin.wrong-configuration
    #[test]
    fn a_wrong_value_is_named_with_an_example() {
        let wrong = ServeArgs { listen: "nowhere".to_owned(), ..args() };
        assert_eq!(
            refused(&wrong, "", "").to_string(),
            "LEDGERWAY_LISTEN is \"nowhere\", which is no IP address with a port, for example LEDGERWAY_LISTEN=127.0.0.1:8080"
        );
        let wrong = ServeArgs { metrics_listen: Some("9090".to_owned()), ..args() };
        assert_eq!(refused(&wrong, "", "").variable, "LEDGERWAY_METRICS_LISTEN");
        let wrong = ServeArgs { hold_ttl_seconds: "0".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").variable, "LEDGERWAY_HOLD_TTL_SECONDS");
        for wrong in ["", "refund", "Release", "charge-hold"] {
            let wrong = ServeArgs { unknown_usage: wrong.to_owned(), ..args() };
            assert_eq!(refused(&wrong, "", "").variable, "LEDGERWAY_UNKNOWN_USAGE");
        }
        for wrong in ["", "65", "1048577", "-66", "160MiB", "1e3"] {
            let wrong = ServeArgs { body_memory_mib: wrong.to_owned(), ..args() };
            assert_eq!(refused(&wrong, "", "").variable, "LEDGERWAY_BODY_MEMORY_MIB");
        }
        let wrong = ServeArgs { mode: "banana".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").variable, "LEDGERWAY_MODE");
        let wrong = ServeArgs { data: DataArgs { dir: "".into() }, ..args() };
        assert_eq!(refused(&wrong, "", "").variable, "LEDGERWAY_DATA");
        let wrong = ServeArgs { drain_delay_seconds: "-1".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").variable, "LEDGERWAY_DRAIN_DELAY_SECONDS");
        let wrong = ServeArgs { cors_origins: "https://a.example,b.example".to_owned(), ..args() };
        let wrong = refused(&wrong, "", "");
        assert_eq!(wrong.variable, "LEDGERWAY_CORS_ORIGINS");
        assert!(wrong.problem.contains("\"b.example\""), "{wrong}");
        assert_eq!(refused(&args(), "LEDGERWAY_REDIS_URL", "redis://x").variable, "LEDGERWAY_REDIS_URL");
    }

    #[test]
    fn who_finds_a_port_taken_is_shown_another_one() {
        let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        for (tried, example) in [("127.0.0.1:8080", "127.0.0.1:8081"), ("0.0.0.0:80", "127.0.0.1:8080")] {
            let wrong = WrongConfig::listen(LISTEN, tried.parse().expect("an address"), &taken);
            assert_eq!(wrong.example, example, "{wrong}");
        }
    }

    #[test]
    fn a_limit_for_every_key_is_a_number_or_nothing() {
        let limits = |of_keys: &str, of_admin: &str| {
            let (rate_limit_requests, admin_rate_limit_requests) = (of_keys.to_owned(), of_admin.to_owned());
            let args = ServeArgs { rate_limit_requests, admin_rate_limit_requests, ..args() };
            Config::read(&args, |_| None).map(|config| config.default_limits)
        };
        assert_eq!(limits("", "").expect("none"), DefaultLimits::default());
        let both = DefaultLimits { requests_per_hour: Some(7), admin_requests_per_hour: Some(9) };
        assert_eq!(limits("7", "9").expect("numbers"), both);
        for wrong in ["0", "-1", "many", "1.5", "1000000001"] {
            assert_eq!(limits(wrong, "").expect_err("no number").variable, "LEDGERWAY_RATE_LIMIT_REQUESTS");
            assert_eq!(limits("", wrong).expect_err("no number").variable, "LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS");
        }
    }

    /// Holds: bin.wrong-configuration, bin.operator-key
    #[test]
    fn a_secret_of_the_wrong_form_is_refused_without_being_repeated() {
        for variable in ["LEDGERWAY_ADMIN_KEY", "LEDGERWAY_NODE_KEY", "LEDGERWAY_NODE_KEY_PREVIOUS"] {
            let refused = refused(&args(), variable, "too-short-a-key").to_string();
            assert!(refused.starts_with(variable) && !refused.contains("too-short-a-key"), "{refused}");
        }
    }
}
