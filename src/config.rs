//! Configuration: flags and variables as they came, judged once. A wrong one is answered in one sentence that names it as it
//! was given, what is wrong with it and a valid example.

mod address;
pub mod arguments;
pub mod environment;
pub mod log_filter;
mod one_of;
pub mod setting;
mod tracing;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use access::limits::DefaultLimits;
use command::body::memory::BodyBounds;
use command::trace::TraceTarget;
use events::ledger::UnknownUsage;
use secrets::{NodeKey, Secret, operator_key};

use crate::http::CorsOrigins;
pub use address::ListenAddress;
use arguments::ServeArgs;
pub use setting::{Flags, Setting, WrongConfig};

const HOLD_TTL_SECONDS_MAX: u64 = 86_400;
const DRAIN_SECONDS_MAX: u64 = 3_600;
/// Two bodies of the largest size.
const MEMORY_MIB_MIN: usize = 66;
const MEMORY_MIB_MAX: usize = 1_048_576;
const REQUESTS_AN_HOUR_MAX: u64 = 1_000_000_000;
/// Parts that can run in a process of their own: this version runs all of them in one.
pub const MODES: [&str; 1] = ["all"];
pub const TRUTHS: [&str; 2] = ["true", "false"];

/// How `serve` runs.
pub struct Config {
    pub listen: ListenAddress,
    /// Where metrics are served; `None`: with everything else.
    pub metrics_listen: Option<ListenAddress>,
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
    pub answers: BodyBounds,
    /// Where traces are exported to.
    pub traces: Option<TraceTarget>,
    pub admin_key: Option<Secret>,
    pub node_key: Option<Secret>,
    /// What secrets were sealed with before, while they are sealed anew.
    pub previous_node_key: Option<Secret>,
    /// How it was given, for what turns out to be wrong later.
    pub flags: Flags,
}

impl Config {
    pub fn read(
        args: &ServeArgs,
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, WrongConfig> {
        use setting::*;
        if !MODES.contains(&args.mode.as_str()) {
            let problem = format!("is {:?}, and this version runs everything in one process", shown(&args.mode));
            return Err(flags.wrong(MODE, problem));
        }
        let metrics_listen = args.metrics_listen.as_deref().map(listen).transpose();
        Ok(Self {
            listen: flags.judge(LISTEN, listen(&args.listen))?,
            metrics_listen: flags.judge(METRICS_LISTEN, metrics_listen)?,
            data: flags.judge(DATA, data(&args.data.dir))?,
            dev: flags.judge(DEV, truth(&args.dev))?,
            hold_ttl: flags.judge(HOLD_TTL_SECONDS, seconds(&args.hold_ttl_seconds, 1..=HOLD_TTL_SECONDS_MAX))?,
            unknown_usage: flags.judge(UNKNOWN_USAGE, unknown_usage(&args.unknown_usage))?,
            drain_timeout: flags
                .judge(DRAIN_TIMEOUT_SECONDS, seconds(&args.drain_timeout_seconds, 0..=DRAIN_SECONDS_MAX))?,
            drain_delay: flags.judge(DRAIN_DELAY_SECONDS, seconds(&args.drain_delay_seconds, 0..=DRAIN_SECONDS_MAX))?,
            cors: flags.judge(CORS_ORIGINS, cors(&args.cors_origins))?,
            default_limits: DefaultLimits {
                requests_per_hour: flags.judge(RATE_LIMIT_REQUESTS, requests_an_hour(&args.rate_limit_requests))?,
                admin_requests_per_hour: flags
                    .judge(ADMIN_RATE_LIMIT_REQUESTS, requests_an_hour(&args.admin_rate_limit_requests))?,
            },
            bodies: flags.judge(BODY_MEMORY_MIB, memory(&args.body_memory_mib).map(BodyBounds::of_process))?,
            answers: flags.judge(ANSWER_MEMORY_MIB, memory(&args.answer_memory_mib).map(BodyBounds::of_answers))?,
            traces: tracing::target(&variable)?,
            admin_key: variable(ADMIN_KEY.variable).map(admin_key).transpose()?,
            node_key: node_key(NODE_KEY, &variable)?,
            previous_node_key: node_key(NODE_KEY_PREVIOUS, &variable)?,
            flags: flags.clone(),
        })
    }

    /// For an address of `setting` that cannot be listened on.
    pub fn unlistened(&self, setting: Setting, address: &ListenAddress, error: &std::io::Error) -> WrongConfig {
        let problem = match error.kind() {
            ErrorKind::AddrInUse => format!("is {address}, where something listens already; take another port"),
            _ => format!("is {address}, which cannot be listened on ({error})"),
        };
        let example = example_beside(setting, address.port());
        self.flags.wrong_with(setting, problem, &example)
    }

    /// For a name of `setting` that has no address.
    pub fn unresolved(&self, setting: Setting, address: &ListenAddress, error: &std::io::Error) -> WrongConfig {
        self.flags.wrong(setting, format!("is \"{address}\", a name that does not resolve ({error})"))
    }

    /// For a data folder that can be neither made nor used. `path` is where it failed.
    pub fn unusable_data(&self, path: &Path, error: &std::io::Error) -> WrongConfig {
        let problem = format!("names a folder that can be neither made nor written ({}: {error})", path.display());
        self.flags.wrong(setting::DATA, problem)
    }
}

/// An example that is not what was tried: the next port where that one is taken.
fn example_beside(setting: Setting, tried: u16) -> String {
    match setting.example.parse::<SocketAddr>() {
        Ok(mut example) if example.port() == tried => {
            example.set_port(tried.saturating_add(1));
            example.to_string()
        }
        Ok(_) | Err(_) => setting.example.to_owned(),
    }
}

/// The key in a variable, where it is set.
pub fn node_key(setting: Setting, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(setting.variable) {
        Some(text) if NodeKey::from_variable(&text).is_ok() => Ok(Some(Secret::new(text))),
        Some(_) => Err(setting.wrong_as_variable("must be 64 hexadecimal digits")),
        None => Ok(None),
    }
}

fn listen(text: &str) -> Result<ListenAddress, String> {
    ListenAddress::parse(text).ok_or_else(|| format!("is {:?}, which is no address with a port", shown(text)))
}

fn data(dir: &Path) -> Result<PathBuf, String> {
    if dir.as_os_str().is_empty() { Err("is empty".to_owned()) } else { Ok(dir.to_owned()) }
}

pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("is {:?}, which is neither true nor false", shown(text))),
    }
}

fn unknown_usage(text: &str) -> Result<UnknownUsage, String> {
    let found = UnknownUsage::ALL.iter().copied().find(|policy| policy.as_str() == text);
    found.ok_or_else(|| format!("is {:?}, and must be charge_hold or release", shown(text)))
}

/// In bytes.
fn memory(text: &str) -> Result<usize, String> {
    let allowed = |mib: &usize| (MEMORY_MIB_MIN..=MEMORY_MIB_MAX).contains(mib);
    let read = text.parse().ok().filter(allowed).map(|mib| mib * 1024 * 1024);
    read.ok_or_else(|| {
        let shown = shown(text);
        format!("is {shown:?}, and must be a whole number of MiB from {MEMORY_MIB_MIN} to {MEMORY_MIB_MAX}")
    })
}

fn seconds(text: &str, bounds: RangeInclusive<u64>) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if bounds.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => {
            let (min, max) = bounds.into_inner();
            Err(format!("is {:?}, and must be a whole number of seconds from {min} to {max}", shown(text)))
        }
    }
}

/// Nothing is no limit.
fn requests_an_hour(text: &str) -> Result<Option<u64>, String> {
    match text.parse() {
        Ok(requests) if (1..=REQUESTS_AN_HOUR_MAX).contains(&requests) => Ok(Some(requests)),
        _ if text.is_empty() => Ok(None),
        _ => Err(format!(
            "is {:?}, and must be a whole number of requests an hour from 1 to {REQUESTS_AN_HOUR_MAX}, or unset",
            shown(text)
        )),
    }
}

fn admin_key(text: String) -> Result<Secret, WrongConfig> {
    if operator_key::is_strong(&text) {
        return Ok(Secret::new(text));
    }
    Err(setting::ADMIN_KEY.wrong_as_variable("must have at least 32 visible ASCII characters"))
}

fn cors(text: &str) -> Result<Option<CorsOrigins>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let wrong = |wrong| format!("has {:?}, which is no origin (scheme, host and port, no path)", shown(wrong));
    CorsOrigins::parse(text).map(Some).map_err(wrong)
}

/// As much of a wrong value as helps to find it.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::arguments::DataArgs;
    use super::*;

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
            answer_memory_mib: "160".to_owned(),
        }
    }

    fn refused(args: &ServeArgs, name: &str, value: &str) -> WrongConfig {
        let variable = |asked: &str| (asked == name).then(|| value.to_owned());
        Config::read(args, &Flags::default(), variable).err().expect("it is refused")
    }

    /// Holds: bin.wrong-configuration
    #[test]
    fn a_wrong_value_is_named_with_an_example() {
        let wrong = ServeArgs { listen: "nowhere".to_owned(), ..args() };
        assert_eq!(
            refused(&wrong, "", "").to_string(),
            "LEDGERWAY_LISTEN is \"nowhere\", which is no address with a port, for example LEDGERWAY_LISTEN=127.0.0.1:8080"
        );
        let wrong = ServeArgs { metrics_listen: Some("9090".to_owned()), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_METRICS_LISTEN");
        let wrong = ServeArgs { hold_ttl_seconds: "0".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_HOLD_TTL_SECONDS");
        for wrong in ["", "refund", "Release", "charge-hold"] {
            let wrong = ServeArgs { unknown_usage: wrong.to_owned(), ..args() };
            assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_UNKNOWN_USAGE");
        }
        for wrong in ["", "65", "1048577", "-66", "160MiB", "1e3"] {
            let of_bodies = ServeArgs { body_memory_mib: wrong.to_owned(), ..args() };
            assert_eq!(refused(&of_bodies, "", "").name, "LEDGERWAY_BODY_MEMORY_MIB");
            let of_answers = ServeArgs { answer_memory_mib: wrong.to_owned(), ..args() };
            assert_eq!(refused(&of_answers, "", "").name, "LEDGERWAY_ANSWER_MEMORY_MIB");
        }
        let wrong = ServeArgs { mode: "banana".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_MODE");
        let wrong = ServeArgs { data: DataArgs { dir: "".into() }, ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_DATA");
        let wrong = ServeArgs { drain_delay_seconds: "-1".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_DRAIN_DELAY_SECONDS");
        let wrong = ServeArgs { cors_origins: "https://a.example,b.example".to_owned(), ..args() };
        let wrong = refused(&wrong, "", "");
        assert_eq!(wrong.name, "LEDGERWAY_CORS_ORIGINS");
        assert!(wrong.problem.contains("\"b.example\""), "{wrong}");
    }

    #[test]
    fn who_finds_a_port_taken_is_shown_another_one() {
        let taken = std::io::Error::from(ErrorKind::AddrInUse);
        let config = Config::read(&args(), &Flags::default(), |_| None).expect("a configuration");
        for (tried, example) in [("127.0.0.1:8080", "127.0.0.1:8081"), ("0.0.0.0:80", "127.0.0.1:8080")] {
            let wrong = config.unlistened(setting::LISTEN, &ListenAddress::parse(tried).expect("an address"), &taken);
            assert_eq!(wrong.advice, setting::Advice::Example(format!("LEDGERWAY_LISTEN={example}")), "{wrong}");
        }
    }

    #[test]
    fn a_limit_for_every_key_is_a_number_or_nothing() {
        let limits = |of_keys: &str, of_admin: &str| {
            let (rate_limit_requests, admin_rate_limit_requests) = (of_keys.to_owned(), of_admin.to_owned());
            let args = ServeArgs { rate_limit_requests, admin_rate_limit_requests, ..args() };
            Config::read(&args, &Flags::default(), |_| None).map(|config| config.default_limits)
        };
        assert_eq!(limits("", "").expect("none"), DefaultLimits::default());
        let both = DefaultLimits { requests_per_hour: Some(7), admin_requests_per_hour: Some(9) };
        assert_eq!(limits("7", "9").expect("numbers"), both);
        for wrong in ["0", "-1", "many", "1.5", "1000000001"] {
            assert_eq!(limits(wrong, "").expect_err("no number").name, "LEDGERWAY_RATE_LIMIT_REQUESTS");
            assert_eq!(limits("", wrong).expect_err("no number").name, "LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS");
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
