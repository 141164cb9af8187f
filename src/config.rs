//! Configuration: flags and variables, checked once at the start. A wrong one ends the process with one sentence: its name as
//! it was given, the problem with its value, and a valid example.

mod access_logging;
mod address;
mod alerting;
mod applied_files;
mod archiving;
mod audit_logging;
mod audit_streaming;
mod breakers;
mod keys;
pub mod log_filter;
mod nats;
mod object_store;
mod providers;
mod publishing;
mod retries;
mod served_tenants;
mod snapshotting;
mod tracing;
mod unusable;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access_control::limits::{DefaultLimits, RedisAddress};
use access_log::AccessLogSettings;
use audit_export::SiemFormat;
use budget_alerts::Webhook;
use cli::arguments::ServeArgs;
use cli::settings::{Flags, ServeMode, WrongConfig, boolean, content_store, database, node_key, setting};
use command::body::memory::BodyBounds;
use command::environment::NamedProviders;
use command::inference::{BreakerSettings, RetrySettings};
use command::trace::TraceTarget;
use events::fraction::Fraction;
use events::ledger::UnknownUsage;
use events_log::DatabaseAddress;
use object_storage::ObjectStoreAddress;
use projections::views::snapshot_maker::SnapshotSettings;
use secrets::Secret;

use crate::http::{CorsOrigins, TrustedProxies};
pub use address::ListenAddress;
pub use applied_files::AppliedFiles;
pub use archiving::Archiving;
pub use audit_streaming::AuditStreamSettings;
use keys::{admin_key, require_keys_of_cluster};
pub use nats::NatsSettings;
use providers::providers;
pub use publishing::Publishing;
pub use served_tenants::ServedNames;
use values::{
    boolean_or_on, cors, data, listen, memory, requests_per_hour, seconds, share, trusted_proxies, whole, word,
};

const HOLD_TTL_SECONDS_MAX: u64 = 86_400;
const DRAIN_SECONDS_MAX: u64 = 3_600;
const KEEP_ALIVE_SECONDS_MAX: u64 = 3_600;
/// Where a process serves gRPC that serves nothing else, unless it is told.
const GRPC_LISTEN_OF_MODE: &str = "127.0.0.1:8081";

/// The sources of settings that depend on more than their own flags.
struct Given<'a> {
    args: &'a ServeArgs,
    flags: &'a Flags,
    database: Option<&'a DatabaseAddress>,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

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
    /// Where sealed content is kept; `None` if it is not.
    pub content: Option<ObjectStoreAddress>,
    /// Whether reads of what is recorded are recorded as well.
    pub record_reads: bool,
    /// The access log; `None` if there is none.
    pub access_log: Option<AccessLogSettings>,
    /// Where alerts are sent; `None` if they are not.
    pub alerts: Option<Webhook>,
    /// The syslog receiver that the audit is sent to; `None` if it is not.
    pub audit_stream: Option<AuditStreamSettings>,
    /// The webhook that the audit is posted to, and in which format; `None` if it is not.
    pub audit_webhook: Option<(Webhook, SiemFormat)>,
    pub limit_counts: LimitCounts,
    pub dev: bool,
    /// The providers that the environment names; `None` if none is to be made from it.
    pub providers: Option<Arc<NamedProviders>>,
    /// Whether this node keeps views.
    pub views: bool,
    /// Whether views are copied for analysts, into the database.
    pub analytics: bool,
    /// The files that this process applies to itself; `None` if it applies none.
    pub applied_files: Option<AppliedFiles>,
    /// When a target is left alone.
    pub breakers: BreakerSettings,
    /// How many further calls a provider gets after failures.
    pub retries: RetrySettings,
    /// After how long without a word the client of a stream gets one; `None` if it gets none.
    pub keep_alive: Option<Duration>,
    /// How snapshots of the views are made; `None` if none are.
    pub snapshots: Option<SnapshotSettings>,
    /// The tenants that this node serves.
    pub serves_tenants: ServedNames,
    pub hold_ttl: Duration,
    /// The part of a budget shared with others that one key, or one tenant, may hold.
    pub hold_share: Fraction,
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
        let mode = flags.check(MODE, word(&args.mode, ServeMode::parse, ServeMode::words()))?;
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
        let given = Given { args, flags, database: database.as_ref(), variable: &variable };
        let nats = nats::nats(&given)?;
        let archiving = archiving::read(&given)?;
        let publishing = publishing::read(&given)?;
        let data = flags.check(DATA, data(&args.data.dir))?;
        let views = flags.check(VIEWS, boolean_or_on(&args.views))?;
        if !views && database.is_none() && mode != ServeMode::Migrate {
            let problem = format!(
                "is false, and no other node can answer queries of this ledger: set it only with {}",
                DATABASE_URL.variable
            );
            return Err(flags.wrong_with(VIEWS, problem, "true"));
        }
        // Only what has views can copy them. Beside a ledger in the data folder, analysts read the views themselves.
        let analytics = views && flags.check(ANALYTICS, boolean_or_on(&args.analytics))? && database.is_some();
        let archives = archiving.as_ref().is_some_and(|archiving| archiving.limits.is_some());
        let content = content_store(&variable)?;
        let alerts = alerting::read(&variable)?;
        let audit_stream = audit_streaming::read(args, flags)?;
        let audit_format = audit_streaming::format(args, flags)?;
        let audit_webhook = alerting::audit_webhook(&variable)?.map(|webhook| (webhook, audit_format));
        if mode == ServeMode::Worker
            && nats.is_none()
            && alerts.is_none()
            && audit_stream.is_none()
            && audit_webhook.is_none()
            && !archives
            && publishing.is_none()
            && content.is_none()
            && !analytics
        {
            let problem = format!(
                "is {}, and there is nothing for it to do: set {}, {}, {}, {} or {}, or do not turn {} off",
                args.mode,
                NATS_URL.variable,
                OBJECT_STORE_URL.variable,
                ALERTS_URL.variable,
                AUDIT_SYSLOG.variable,
                AUDIT_WEBHOOK.variable,
                ANALYTICS.variable
            );
            return Err(flags.wrong(MODE, problem));
        }
        let metrics_listen = args.metrics_listen.as_deref().map(listen).transpose();
        let of_mode = (mode == ServeMode::Grpc).then_some(GRPC_LISTEN_OF_MODE);
        let grpc_listen = args.grpc_listen.as_deref().or(of_mode).map(listen).transpose();
        let listen = flags.check(LISTEN, listen(&args.listen))?;
        Ok(Self {
            providers: providers(&given, listen.port())?,
            listen,
            metrics_listen: flags.check(METRICS_LISTEN, metrics_listen)?,
            grpc_listen: flags.check(GRPC_LISTEN, grpc_listen)?,
            archiving,
            publishing,
            content,
            record_reads: flags.check(RECORD_READS, boolean_or_on(&args.record_reads))?,
            access_log: access_logging::read(args, flags, &data)?,
            applied_files: applied_files::read(&given, mode)?,
            data,
            database,
            nats,
            mode,
            alerts,
            audit_stream,
            audit_webhook,
            limit_counts: limit_counts(&variable)?,
            dev: flags.check(DEV, boolean(&args.dev))?,
            views,
            analytics,
            breakers: breakers::read(args, flags)?,
            retries: retries::read(args, flags)?,
            keep_alive: flags
                .check(KEEP_ALIVE_SECONDS, seconds(&args.keep_alive_seconds, 0..=KEEP_ALIVE_SECONDS_MAX))
                .map(|interval| (!interval.is_zero()).then_some(interval))?,
            snapshots: snapshotting::read(args, flags)?.filter(|_| views),
            serves_tenants: flags.check(SERVES_TENANTS, ServedNames::parse(&args.serves_tenants))?,
            hold_ttl: flags.check(HOLD_TTL_SECONDS, seconds(&args.hold_ttl_seconds, 1..=HOLD_TTL_SECONDS_MAX))?,
            hold_share: flags.check(HOLD_SHARE, share(&args.hold_share))?,
            unknown_usage: flags
                .check(UNKNOWN_USAGE, word(&args.unknown_usage, UnknownUsage::parse, UnknownUsage::words()))?,
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
}

/// The value of `LEDGERWAY_REDIS_URL` with which a node counts by itself on purpose.
const REDIS_OFF: &str = "off";

/// Where this process counts rate limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitCounts {
    /// In this process alone, and not beside nodes that share their counts: nobody said that it may.
    Alone,
    /// In this process alone, also beside such nodes, as long as these are replaced.
    AloneBesideOthers,
    /// With others, in this Redis.
    Shared(RedisAddress),
}

/// Parses `LEDGERWAY_REDIS_URL`.
///
/// Errors: it is empty, or no address of a Redis. An empty one is not as unset: the node would count by itself, and admit as much again as
/// the others.
fn limit_counts(variable: impl Fn(&str) -> Option<String>) -> Result<LimitCounts, WrongConfig> {
    let read = |text: &str| match text.eq_ignore_ascii_case(REDIS_OFF) {
        true => Ok(LimitCounts::AloneBesideOthers),
        false => text.parse().map(LimitCounts::Shared),
    };
    let given =
        setting::REDIS_URL.address("a Redis, or off", "to count rate limits in this process", variable, read)?;
    Ok(given.unwrap_or(LimitCounts::Alone))
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use clap::{CommandFactory, FromArgMatches};
    use cli::arguments::{Cli, Command, DataArgs};

    use super::*;

    /// The defaults, but for what tests on one machine would share. Variables of the machine do not count.
    static ARGS: LazyLock<ServeArgs> = LazyLock::new(|| {
        let line = ["ledgerway", "serve", "--listen", "127.0.0.1:0", "--data", "data"];
        let command = Cli::command().mut_subcommand("serve", |serve| serve.mut_args(|arg| arg.env(None::<&str>)));
        let matches = command.try_get_matches_from(line).expect("a command line");
        let Command::Serve(args) = Cli::from_arg_matches(&matches).expect("arguments").command else { panic!("serve") };
        *args
    });

    pub(super) fn args() -> ServeArgs {
        ARGS.clone()
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
        for wrong in ["", "0", "1.1", "-0.5", "50%", ".5", "0.0000000001"] {
            let wrong = ServeArgs { hold_share: wrong.to_owned(), ..args() };
            assert_eq!(refused(&wrong, "", "").name, "LEDGERWAY_HOLD_SHARE");
        }
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
        const NAMED: [&str; 8] = [
            "LEDGERWAY_ADMIN_KEY",
            "LEDGERWAY_NODE_KEY",
            "LEDGERWAY_NODE_KEY_PREVIOUS",
            "LEDGERWAY_DATABASE_URL",
            "LEDGERWAY_NATS_URL",
            "LEDGERWAY_OBJECT_STORE_URL",
            "LEDGERWAY_CONTENT_URL",
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
