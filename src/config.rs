//! Configuration: flags and variables, checked once at the start. A wrong one ends the process with one sentence: its name as
//! it was given, the problem with its value, and a valid example.

mod address;
mod alerting;
mod archiving;
pub mod arguments;
mod audit_logging;
pub mod environment;
pub mod log_filter;
mod nats;
mod one_of;
mod publishing;
mod secret_files;
mod serve_mode;
mod served_tenants;
pub mod setting;
mod tracing;

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::alerts::Webhook;
use access::limits::{CounterError, DefaultLimits, RedisAddress};
use catalogue::{InForce, UnreadableCatalogue};
use command::body::memory::BodyBounds;
use command::environment::{DetectionSettings, EnvironmentFault, NamedProviders};
use command::trace::TraceTarget;
use events::ledger::UnknownUsage;
use events::log::{DatabaseAddress, LEDGER_FILE};
use projections::views::VIEWS_FILE;
use secrets::log_key::LogKeyError;
use secrets::{NodeKey, Secret, operator_key};

use crate::http::{CorsOrigins, TrustedProxies};
pub use address::ListenAddress;
pub use archiving::{Archiving, OBJECTS_FOLDER, object_store};
use arguments::ServeArgs;
pub use nats::NatsSettings;
pub use publishing::Publishing;
pub use secret_files::{SecretFiles, is_plainly_path};
pub use serve_mode::ServeMode;
pub use served_tenants::ServedNames;
pub use setting::{Advice, Flags, Setting, WrongConfig};

const HOLD_TTL_SECONDS_MAX: u64 = 86_400;
const DRAIN_SECONDS_MAX: u64 = 3_600;
/// Enough for two bodies of the largest size.
const MEMORY_MIB_MIN: u64 = 66;
const MEMORY_MIB_MAX: u64 = 1_048_576;
const REQUESTS_PER_HOUR_MAX: u64 = 1_000_000_000;
/// The values of a flag that shells complete; [`boolean`] accepts more.
pub const BOOLEANS: [&str; 2] = ["true", "false"];

/// Where a process serves gRPC that serves nothing else, unless it is told.
const GRPC_LISTEN_OF_MODE: &str = "127.0.0.1:8081";
/// The forms in which `export` prints events.
pub const EXPORT_FORMATS: [&str; 2] = ["jsonl", "csv"];

/// The configuration of `serve`.
pub struct Config {
    pub listen: ListenAddress,
    /// The separate address for metrics; `None` if they are served with everything else.
    pub metrics_listen: Option<ListenAddress>,
    /// The address for gRPC; `None` if it is not served.
    pub grpc_listen: Option<ListenAddress>,
    pub data: PathBuf,
    /// The database that has the ledger, for several nodes; `None` if the ledger is in the data folder.
    pub database: Option<DatabaseAddress>,
    /// Where the log is relayed to; `None` if it is not.
    pub nats: Option<NatsSettings>,
    pub mode: ServeMode,
    /// The object store of the archive, and how it is written; `None` if there is none.
    pub archiving: Option<Archiving>,
    /// Where the log is published; `None` if it is not.
    pub publishing: Option<Publishing>,
    /// Whether reads of what is recorded are recorded as well.
    pub record_reads: bool,
    /// Where alerts are sent; `None` if they are not.
    pub alerts: Option<Webhook>,
    /// Where several nodes share the counts of rate limits; `None` if this process counts by itself.
    pub redis: Option<RedisAddress>,
    pub dev: bool,
    /// The providers that the environment names; `None` if none is to be made from it.
    pub providers: Option<Arc<NamedProviders>>,
    /// Whether this node keeps views.
    pub views: bool,
    /// Whether views are copied for analysts.
    pub analytics: bool,
    /// The tenants that this node serves.
    pub serves_tenants: ServedNames,
    pub hold_ttl: Duration,
    pub unknown_usage: UnknownUsage,
    pub drain_timeout: Duration,
    /// How long the gateway keeps serving after the shutdown signal while not ready.
    pub drain_delay: Duration,
    /// The origins whose pages may call the gateway; `None` if none may.
    pub cors: Option<CorsOrigins>,
    pub trusted_proxies: TrustedProxies,
    pub default_limits: DefaultLimits,
    pub bodies: BodyBounds,
    pub answers: BodyBounds,
    /// The collector of traces; `None` if they are not exported.
    pub traces: Option<TraceTarget>,
    pub admin_key: Option<Secret>,
    pub node_key: Option<Secret>,
    /// The node key before the last `reseal`.
    pub previous_node_key: Option<Secret>,
    /// Which settings were flags, for errors that are found later.
    pub flags: Flags,
}

impl Config {
    pub fn read(
        args: &ServeArgs,
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, WrongConfig> {
        use setting::*;
        audit_logging::check(&variable)?;
        let mode = flags.check(MODE, mode(&args.mode))?;
        let database = database(&variable)?;
        if mode.is_one_of_several() && database.is_none() {
            let problem = format!(
                "is {}, which needs a ledger that several processes share ({})",
                args.mode, DATABASE_URL.variable
            );
            return Err(flags.wrong(MODE, problem));
        }
        if database.is_some() && mode != ServeMode::Migrate {
            require_keys_of_cluster(&variable)?;
        }
        let nats = nats::nats(args, flags, &variable)?;
        let archiving = archiving::read(args, flags, database.as_ref(), &variable)?;
        let publishing = publishing::read(args, flags, database.as_ref(), &variable)?;
        let views = flags.check(VIEWS, boolean_or_on(&args.views))?;
        if !views && database.is_none() && mode != ServeMode::Migrate {
            let problem = format!(
                "is false, and no other node can answer queries of this ledger: set it only with {}",
                DATABASE_URL.variable
            );
            return Err(flags.wrong_with(VIEWS, problem, "true"));
        }
        // Only what has views can copy them.
        let analytics = views && flags.check(ANALYTICS, boolean_or_on(&args.analytics))?;
        let archives = archiving.as_ref().is_some_and(|archiving| archiving.limits.is_some());
        let alerts = alerting::read(&variable)?;
        if mode == ServeMode::Worker
            && nats.is_none()
            && alerts.is_none()
            && !archives
            && publishing.is_none()
            && !analytics
        {
            let problem = format!(
                "is {}, and there is nothing for it to do: set {}, {} or {}, or do not turn {} off",
                args.mode, NATS_URL.variable, OBJECT_STORE_URL.variable, ALERTS_URL.variable, ANALYTICS.variable
            );
            return Err(flags.wrong(MODE, problem));
        }
        let metrics_listen = args.metrics_listen.as_deref().map(listen).transpose();
        let of_mode = (mode == ServeMode::Grpc).then_some(GRPC_LISTEN_OF_MODE);
        let grpc_listen = args.grpc_listen.as_deref().or(of_mode).map(listen).transpose();
        let listen = flags.check(LISTEN, listen(&args.listen))?;
        Ok(Self {
            providers: providers(args, flags, listen.port(), database.as_ref(), &variable)?,
            listen,
            metrics_listen: flags.check(METRICS_LISTEN, metrics_listen)?,
            grpc_listen: flags.check(GRPC_LISTEN, grpc_listen)?,
            data: flags.check(DATA, data(&args.data.dir))?,
            archiving,
            publishing,
            record_reads: flags.check(RECORD_READS, boolean(&args.record_reads))?,
            database,
            nats,
            mode,
            alerts,
            redis: redis(&variable)?,
            dev: flags.check(DEV, boolean(&args.dev))?,
            views,
            analytics,
            serves_tenants: flags.check(SERVES_TENANTS, ServedNames::parse(&args.serves_tenants))?,
            hold_ttl: flags.check(HOLD_TTL_SECONDS, seconds(&args.hold_ttl_seconds, 1..=HOLD_TTL_SECONDS_MAX))?,
            unknown_usage: flags.check(UNKNOWN_USAGE, unknown_usage(&args.unknown_usage))?,
            drain_timeout: flags
                .check(DRAIN_TIMEOUT_SECONDS, seconds(&args.drain_timeout_seconds, 0..=DRAIN_SECONDS_MAX))?,
            drain_delay: flags.check(DRAIN_DELAY_SECONDS, seconds(&args.drain_delay_seconds, 0..=DRAIN_SECONDS_MAX))?,
            cors: flags.check(CORS_ORIGINS, cors(&args.cors_origins))?,
            trusted_proxies: flags.check(TRUSTED_PROXIES, trusted_proxies(&args.trusted_proxies))?,
            default_limits: DefaultLimits {
                requests_per_hour: flags.check(RATE_LIMIT_REQUESTS, requests_per_hour(&args.rate_limit_requests))?,
                admin_requests_per_hour: flags
                    .check(ADMIN_RATE_LIMIT_REQUESTS, requests_per_hour(&args.admin_rate_limit_requests))?,
            },
            bodies: flags.check(BODY_MEMORY_MIB, memory(&args.body_memory_mib).map(BodyBounds::of_process))?,
            answers: flags.check(ANSWER_MEMORY_MIB, memory(&args.answer_memory_mib).map(BodyBounds::of_answers))?,
            traces: tracing::target(&variable)?,
            admin_key: admin_key(&variable)?,
            node_key: node_key(NODE_KEY, &variable)?,
            previous_node_key: node_key(NODE_KEY_PREVIOUS, &variable)?,
            flags: flags.clone(),
        })
    }

    /// The error for an address of `setting` on which the server cannot listen.
    pub fn listen_failed(&self, setting: Setting, address: &ListenAddress, error: &std::io::Error) -> WrongConfig {
        if error.kind() == ErrorKind::AddrInUse {
            let problem = format!("is {address}, which is already in use; choose another port");
            return self.flags.wrong_with(setting, problem, &address.with_next_port().to_string());
        }
        self.flags.wrong(setting, format!("is {address}, and listening there failed ({error})"))
    }

    /// The error for a host name of `setting` that does not resolve.
    pub fn resolve_failed(&self, setting: Setting, address: &ListenAddress, error: &std::io::Error) -> WrongConfig {
        self.flags.wrong(setting, format!("is \"{address}\", a name that does not resolve ({error})"))
    }

    /// The error for a data folder whose ledger would be left unused.
    pub fn two_ledgers(&self, database: &DatabaseAddress) -> WrongConfig {
        two_ledgers(&self.data, database, &self.flags)
    }

    /// The error for a data folder whose ledger was moved to a database.
    pub fn moved_ledger(&self, moved_to: &str, marker: &Path) -> WrongConfig {
        let (variable, marker) = (setting::DATABASE_URL.variable, marker.display());
        let problem = format!(
            "is a folder whose ledger was moved to {moved_to}: start nodes of that database ({variable}), with other folders; if the \
             move was interrupted, run it again; to serve this one all the same, without what was recorded in the database, delete \
             {marker}"
        );
        self.flags.wrong_with(setting::DATA, problem, "./ledgerway-node")
    }

    /// The error for a data folder with views whose ledger is missing: its database was not given, or it was lost.
    pub fn views_without_ledger(&self) -> WrongConfig {
        let (variable, data) = (setting::DATABASE_URL.variable, &self.data);
        let problem = format!(
            "is a folder with the views of a ledger, and without that ledger: if it is in a database, set {variable}; if there was a \
             {}, restore it from a backup; for a new ledger, delete {} or give another folder",
            data.join(LEDGER_FILE).display(),
            data.join(VIEWS_FILE).display()
        );
        self.flags.wrong_with(setting::DATA, problem, "./ledgerway-new")
    }

    /// The error for a data folder that cannot be created or written. `path` is where it failed.
    pub fn data_unusable(&self, path: &Path, error: &std::io::Error) -> WrongConfig {
        let problem = format!("names a folder that cannot be created or written ({}: {error})", path.display());
        self.flags.wrong(setting::DATA, problem)
    }

    /// The error for another name of the log than the one that is recorded.
    pub fn other_origin(&self, error: &LogKeyError) -> WrongConfig {
        let name = self.flags.name_of(setting::LOG_ORIGIN);
        WrongConfig { name, problem: format!("cannot be used: {error}"), advice: Advice::Unset }
    }

    /// The error for a Redis that this node cannot use while nodes run, or may run, that started before it.
    pub fn redis_unusable(error: &CounterError, variable: impl Fn(&str) -> Option<String>) -> WrongConfig {
        let problem = format!(
            "is the address of a Redis that this node cannot use ({error}); it does not start, because nodes that started before it \
             run, or may run, and would have to stop sharing counts: correct the server, or give the address of one that works"
        );
        setting::REDIS_URL.wrong_as_secret(problem, variable)
    }
}

/// The database in `LEDGERWAY_DATABASE_URL`; `None` if it is unset.
///
/// Errors: it is empty, or not such an address. An empty one is not as unset: a node would serve an empty ledger of its own.
pub fn database(variable: impl Fn(&str) -> Option<String>) -> Result<Option<DatabaseAddress>, WrongConfig> {
    setting::DATABASE_URL.address("a database", "to use the ledger in the data folder", variable, str::parse)
}

/// The Redis in `LEDGERWAY_REDIS_URL`; `None` if it is unset.
///
/// Errors: it is empty, or not such an address. An empty one is not as unset: the node would count by itself, and admit as much
/// again as the others.
fn redis(variable: impl Fn(&str) -> Option<String>) -> Result<Option<RedisAddress>, WrongConfig> {
    setting::REDIS_URL.address("a Redis", "to count rate limits in this process", variable, str::parse)
}

/// Nodes of one database have the same keys, so no node may make some of its own.
fn require_keys_of_cluster(variable: impl Fn(&str) -> Option<String>) -> Result<(), WrongConfig> {
    for setting in [setting::NODE_KEY, setting::ADMIN_KEY] {
        if variable(setting.variable).is_none_or(|key| key.is_empty()) {
            let database = setting::DATABASE_URL.variable;
            let problem = format!("is not set, but {database} needs it: all nodes of a database have the same one");
            return Err(setting.wrong_as_variable(problem));
        }
    }
    Ok(())
}

/// The node key in a variable, if it is set.
pub fn node_key(setting: Setting, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(setting.variable) {
        Some(text) if NodeKey::from_variable(&text).is_ok() => Ok(Some(Secret::new(text))),
        Some(_) => Err(setting.wrong_as_secret("must be 64 hexadecimal digits", variable)),
        None => Ok(None),
    }
}

/// The error for a folder with a ledger of its own beside a database: one of them would silently be left out.
pub fn two_ledgers(data: &Path, database: &DatabaseAddress, flags: &Flags) -> WrongConfig {
    let ledger = data.join(LEDGER_FILE);
    let variable = setting::DATABASE_URL.variable;
    let problem = format!(
        "is a folder with a ledger of its own ({}), and not that of a node of {database}: give another folder, or no database \
         ({variable}) to use that ledger",
        ledger.display()
    );
    flags.wrong_with(setting::DATA, problem, "./ledgerway-node")
}

fn mode(text: &str) -> Result<ServeMode, String> {
    ServeMode::parse(text).ok_or_else(|| {
        let words: Vec<&str> = ServeMode::words().collect();
        format!("is {:?}, but must be one of {}", truncated(text), words.join(", "))
    })
}

fn listen(text: &str) -> Result<ListenAddress, String> {
    ListenAddress::parse(text).ok_or_else(|| format!("is {:?}, which is not an address with a port", truncated(text)))
}

fn data(dir: &Path) -> Result<PathBuf, String> {
    if dir.as_os_str().is_empty() { Err("is empty".to_owned()) } else { Ok(dir.to_owned()) }
}

/// Reads a boolean flag.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("is {:?}, but must be true or false", truncated(text))),
    }
}

/// Reads a boolean flag that is on unless it is turned off: empty is as unset.
fn boolean_or_on(text: &str) -> Result<bool, String> {
    if text.is_empty() { Ok(true) } else { boolean(text) }
}

/// The providers that the environment names; `None` if that is turned off.
fn providers(
    args: &ServeArgs,
    flags: &Flags,
    own_port: u16,
    database: Option<&DatabaseAddress>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Arc<NamedProviders>>, WrongConfig> {
    let is_on = flags.check(setting::PROVIDERS_FROM_ENV, boolean_or_on(&args.providers_from_env))?;
    let bedrock = flags.check(setting::BEDROCK, boolean(&args.bedrock))?;
    if !is_on {
        return Ok(None);
    }
    let settings = DetectionSettings {
        bedrock,
        own_port: Some(own_port).filter(|port| *port != 0),
        resolve: Some(address::resolve_now),
    };
    // What was imported into a database is read once that is open.
    let catalogue = database.map_or_else(|| catalogue(&args.data.dir), |_| InForce::shipped());
    let named = NamedProviders::detect(catalogue, settings, variable);
    named.map(|named| Some(Arc::new(named))).map_err(|EnvironmentFault { variable, problem, example }| {
        let advice = Advice::Example(format!("{variable}={example}"));
        WrongConfig { name: variable, problem, advice }
    })
}

/// The catalogue in the data folder, or the shipped one.
fn catalogue(data: &Path) -> InForce {
    let in_force = catalogue::in_force(data);
    match &in_force.unusable {
        // It is the folder that is wrong, which is found where it is opened.
        Some(UnreadableCatalogue::Read { source, .. })
            if matches!(
                source.kind(),
                ErrorKind::NotADirectory | ErrorKind::InvalidInput | ErrorKind::InvalidFilename
            ) =>
        {
            InForce { unusable: None, ..in_force }
        }
        Some(_) | None => in_force,
    }
}

fn unknown_usage(text: &str) -> Result<UnknownUsage, String> {
    UnknownUsage::parse(text).ok_or_else(|| format!("is {:?}, but must be charge_hold or release", truncated(text)))
}

/// Reads a whole number of `things`.
fn whole(text: &str, things: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
        let (value, min, max) = (truncated(text), bounds.start(), bounds.end());
        format!("is {value:?}, but must be a whole number of {things} from {min} to {max}")
    })
}

/// Reads MiB; returns bytes.
fn memory(text: &str) -> Result<usize, String> {
    let mib = whole(text, "MiB", MEMORY_MIB_MIN..=MEMORY_MIB_MAX)?;
    usize::try_from(mib * 1024 * 1024).map_err(|error| error.to_string())
}

fn seconds(text: &str, bounds: RangeInclusive<u64>) -> Result<Duration, String> {
    whole(text, "seconds", bounds).map(Duration::from_secs)
}

/// Reads a rate limit; empty means none.
fn requests_per_hour(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = whole(text, "requests per hour", 1..=REQUESTS_PER_HOUR_MAX);
    read.map(Some).map_err(|problem| format!("{problem}, or unset"))
}

fn admin_key(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, WrongConfig> {
    match variable(setting::ADMIN_KEY.variable) {
        Some(text) if operator_key::is_strong(&text) => Ok(Some(Secret::new(text))),
        Some(_) => Err(setting::ADMIN_KEY.wrong_as_secret("must have at least 32 visible ASCII characters", variable)),
        None => Ok(None),
    }
}

fn cors(text: &str) -> Result<Option<CorsOrigins>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let wrong = |wrong| format!("has {:?}, which is not an origin (scheme, host and port, no path)", truncated(wrong));
    CorsOrigins::parse(text).map(Some).map_err(wrong)
}

fn trusted_proxies(text: &str) -> Result<TrustedProxies, String> {
    if text.trim().is_empty() {
        return Ok(TrustedProxies::default());
    }
    TrustedProxies::parse(text).map_err(|wrong| {
        format!("has {:?}, which is neither an IP address nor a network such as 10.0.0.0/8", truncated(wrong))
    })
}

/// The beginning of a wrong value, enough to find it. Of an address that may have a password in it, only the scheme.
fn truncated(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.starts_with("postgres") || rest.contains('@') => format!("{scheme}://…"),
        _ => text.chars().take(64).collect(),
    }
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
            grpc_listen: None,
            data: DataArgs { dir: "data".into() },
            dev: "false".to_owned(),
            archiving: None,
            archive_segment_events: "50000".to_owned(),
            archive_segment_seconds: "300".to_owned(),
            transparency: "false".to_owned(),
            record_reads: "false".to_owned(),
            log_origin: None,
            mode: "all".to_owned(),
            providers_from_env: "true".to_owned(),
            views: "true".to_owned(),
            analytics: "true".to_owned(),
            bedrock: "false".to_owned(),
            serves_tenants: "all".to_owned(),
            hold_ttl_seconds: "900".to_owned(),
            unknown_usage: "charge_hold".to_owned(),
            drain_timeout_seconds: "30".to_owned(),
            drain_delay_seconds: "0".to_owned(),
            cors_origins: String::new(),
            trusted_proxies: String::new(),
            rate_limit_requests: String::new(),
            admin_rate_limit_requests: String::new(),
            body_memory_mib: "160".to_owned(),
            answer_memory_mib: "160".to_owned(),
            nats_replicas: "1".to_owned(),
            nats_max_gib: "0".to_owned(),
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
            "LEDGERWAY_LISTEN is \"nowhere\", which is not an address with a port, for example LEDGERWAY_LISTEN=127.0.0.1:8080"
        );
        let wrong = ServeArgs { metrics_listen: Some("9090".to_owned()), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_METRICS_LISTEN");
        let wrong = ServeArgs { grpc_listen: Some("8081".to_owned()), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_GRPC_LISTEN");
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
        let wrong = ServeArgs { serves_tenants: "all,north/acme".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_SERVES_TENANTS");
        let wrong = ServeArgs { drain_delay_seconds: "-1".to_owned(), ..args() };
        assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_DRAIN_DELAY_SECONDS");
        let wrong = ServeArgs { cors_origins: "https://a.example,b.example".to_owned(), ..args() };
        let wrong = refused(&wrong, "", "");
        assert_eq!(wrong.name, "LEDGERWAY_CORS_ORIGINS");
        assert!(wrong.problem.contains("\"b.example\""), "{wrong}");
    }

    #[test]
    fn a_port_in_use_is_answered_with_the_next_one_as_the_example() {
        let taken = std::io::Error::from(ErrorKind::AddrInUse);
        let config = Config::read(&args(), &Flags::default(), |_| None).expect("a configuration");
        for (tried, example) in [
            ("127.0.0.1:8080", "127.0.0.1:8081"),
            ("0.0.0.0:80", "0.0.0.0:81"),
            ("localhost:9090", "localhost:9091"),
            ("[::1]:65535", "[::1]:65534"),
        ] {
            let wrong =
                config.listen_failed(setting::LISTEN, &ListenAddress::parse(tried).expect("an address"), &taken);
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

    /// Holds: bin.wrong-configuration, bin.secret-files
    #[test]
    fn a_wrong_secret_in_a_file_is_refused_by_the_variable_that_names_the_file() {
        const NAMED: [&str; 7] = [
            "LEDGERWAY_ADMIN_KEY",
            "LEDGERWAY_NODE_KEY",
            "LEDGERWAY_NODE_KEY_PREVIOUS",
            "LEDGERWAY_DATABASE_URL",
            "LEDGERWAY_NATS_URL",
            "LEDGERWAY_OBJECT_STORE_URL",
            "LEDGERWAY_REDIS_URL",
        ];
        for name in NAMED {
            let file = format!("{name}_FILE");
            let variable = |asked: &str| {
                (asked == name || asked == file).then(|| if asked == name { "wrong" } else { "/f" }.into())
            };
            let wrong = Config::read(&args(), &Flags::default(), variable).err().expect("it is refused").to_string();
            assert!(wrong.starts_with(&format!("{file} names a file whose content ")), "{wrong}");
            assert!(wrong.contains(", for example echo ") && wrong.ends_with(" > FILE"), "{wrong}");
        }
        let variable = |asked: &str| match asked {
            "LEDGERWAY_NODE_KEY" => Some("wrong".to_owned()),
            "LEDGERWAY_NODE_KEY_FILE" => Some("/run/secrets/node_key".to_owned()),
            _ => None,
        };
        assert_eq!(
            node_key(setting::NODE_KEY, variable).expect_err("it is wrong").to_string(),
            "LEDGERWAY_NODE_KEY_FILE names a file whose content must be 64 hexadecimal digits, for example echo \
             \"$(openssl rand -hex 32)\" > FILE"
        );
    }
}
