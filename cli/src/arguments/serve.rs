//! The arguments of `serve`, and the variables that have no flag.

use std::path::PathBuf;

use audit_export::SiemFormat;
use clap::{Args, ValueHint};
use events::ledger::UnknownUsage;

use super::{BOOL, DataArgs, path};
use crate::settings::{AccessLogOutput, OneOf, ServeMode};

/// Values are read as text and checked when the configuration is put together, so that a wrong one is refused in one sentence.
#[derive(Args, Clone)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "LEDGERWAY_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Separate address for /metrics; the main address then does not serve it
    #[arg(long, env = "LEDGERWAY_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
    /// Address for gRPC; without one, gRPC is not served, except in the mode grpc: 127.0.0.1:8081
    #[arg(long, env = "LEDGERWAY_GRPC_LISTEN", value_name = "ADDRESS")]
    pub grpc_listen: Option<String>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Create a simulator provider, two priced models and an app key with a budget of 5 USD
    #[arg(long, env = "LEDGERWAY_DEV", value_name = BOOL, default_value = "false")]
    pub dev: String,
    /// Parts to run in this process: all; http: requests alone; grpc: gRPC alone; worker: what one process at a time does for
    /// all, such as relaying the log; migrate: upgrade the ledger, and end
    #[arg(long, env = "LEDGERWAY_MODE", default_value = "all", value_parser = OneOf::new(ServeMode::words()))]
    pub mode: String,
    /// Make providers, models and prices from API keys in the environment, and from local servers; false also removes those made
    /// earlier
    #[arg(long, env = "LEDGERWAY_PROVIDERS_FROM_ENV", value_name = BOOL, default_value = "true")]
    pub providers_from_env: String,
    /// Keep views, which answer queries; false is for a node with a database whose queries are answered by others
    #[arg(long, env = "LEDGERWAY_VIEWS", value_name = BOOL, default_value = "true")]
    pub views: String,
    /// With a database: keep a copy of the views for analysts, in its schema `views`. Without one, analysts read views.db
    #[arg(long, env = "LEDGERWAY_ANALYTICS", value_name = BOOL, default_value = "true")]
    pub analytics: String,
    /// Events after which a snapshot of the views is kept, which lets `replay` begin near; 0: none is kept
    #[arg(long, env = "LEDGERWAY_SNAPSHOT_EVENTS", value_name = "NUMBER", default_value = "0")]
    pub snapshot_events: String,
    /// GiB that all snapshots of the views may take together
    #[arg(long, env = "LEDGERWAY_SNAPSHOT_GIB", value_name = "GIB", default_value = "10")]
    pub snapshot_gib: String,
    /// File or folder of configuration that this gateway applies to itself at its start and at SIGHUP, as `ledgerway apply` does
    #[arg(long, env = "LEDGERWAY_APPLY", value_name = "PATH",
        value_parser = path(), value_hint = ValueHint::AnyPath)]
    pub apply: Option<PathBuf>,
    /// Delete resources that have this label and are in none of these files any more
    #[arg(long, env = "LEDGERWAY_APPLY_PRUNE", value_name = "NAME=VALUE")]
    pub apply_prune: Option<String>,
    /// Also apply these files whenever they change
    #[arg(long, env = "LEDGERWAY_ENABLE_HOT_RELOAD", value_name = BOOL, default_value = "false")]
    pub enable_hot_reload: String,
    /// Failures in a row after which a target gets no requests for a while, if its model has another one; 0 turns breakers off
    #[arg(long, env = "LEDGERWAY_BREAKER_FAILURES", value_name = "NUMBER", default_value = "5")]
    pub breaker_failures: String,
    /// Seconds after which one request tries such a target again
    #[arg(long, env = "LEDGERWAY_BREAKER_SECONDS", value_name = "SECONDS", default_value = "60")]
    pub breaker_seconds: String,
    /// Further calls of requests after failures, for a hundred other calls to the same provider within ten seconds; ten a second are
    /// always allowed
    #[arg(long, env = "LEDGERWAY_RETRY_PERCENT", value_name = "PERCENT", default_value = "20")]
    pub retry_percent: String,
    /// Seconds after which the client of a stream that has heard nothing is told that the stream is alive; 0: it is not
    #[arg(long, env = "LEDGERWAY_KEEP_ALIVE_SECONDS", value_name = "SECONDS", default_value = "15")]
    pub keep_alive_seconds: String,
    /// Use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for Bedrock
    #[arg(long, env = "LEDGERWAY_BEDROCK", value_name = BOOL, default_value = "false")]
    pub bedrock: String,
    /// Copy the log into the archive [default: true if LEDGERWAY_OBJECT_STORE_URL is set]
    #[arg(long, env = "LEDGERWAY_ARCHIVING", value_name = BOOL)]
    pub archiving: Option<String>,
    /// Events after which a segment of the archive is complete
    #[arg(long, env = "LEDGERWAY_ARCHIVE_SEGMENT_EVENTS", value_name = "NUMBER", default_value = "50000")]
    pub archive_segment_events: String,
    /// Time after which a segment of the archive is complete, in seconds: the longest that an event is missing in it
    #[arg(long, env = "LEDGERWAY_ARCHIVE_SEGMENT_SECONDS", value_name = "SECONDS", default_value = "300")]
    pub archive_segment_seconds: String,
    /// Record who reads the audit, the log, usage and single requests
    #[arg(long, env = "LEDGERWAY_RECORD_READS", value_name = BOOL, default_value = "true")]
    pub record_reads: String,
    /// Keep an access log, with an entry for each request: off; lines on stderr; view: for GET /v1/access-log; both
    #[arg(long, env = "LEDGERWAY_ACCESS_LOG", default_value = "off", value_parser = OneOf::new(AccessLogOutput::words()))]
    pub access_log: String,
    /// How many of the newest entries the view of the access log keeps
    #[arg(long, env = "LEDGERWAY_ACCESS_LOG_ENTRIES", value_name = "NUMBER", default_value = "1000000")]
    pub access_log_entries: String,
    /// A syslog receiver that the audit is sent to, by TCP or TLS: tcp://HOST:PORT or tls://HOST:PORT
    #[arg(long, env = "LEDGERWAY_AUDIT_SYSLOG", value_name = "ADDRESS")]
    pub audit_syslog: Option<String>,
    /// The format in which the audit is sent: ocsf or cef
    #[arg(long, env = "LEDGERWAY_AUDIT_FORMAT", default_value = "ocsf", value_name = "FORMAT",
        value_parser = OneOf::new(SiemFormat::words()))]
    pub audit_format: String,
    /// The most bytes of a message to the syslog receiver; an entry that is longer is sent without its changes
    #[arg(long, env = "LEDGERWAY_AUDIT_MESSAGE_BYTES", value_name = "BYTES", default_value = "8192")]
    pub audit_message_bytes: String,
    /// Publish the log as a transparency log that anybody can check, in the object store or in the data folder
    #[arg(long, env = "LEDGERWAY_TRANSPARENCY", value_name = BOOL, default_value = "false")]
    pub transparency: String,
    /// Publish a log anew whose published files are lost for good
    #[arg(long, env = "LEDGERWAY_TRANSPARENCY_ANEW", value_name = BOOL, default_value = "false")]
    pub transparency_anew: String,
    /// The name of a new published log, in its checkpoints and for verifiers: a host and a path. It never changes
    /// [default: a name that the gateway makes]
    #[arg(long, env = "LEDGERWAY_LOG_ORIGIN", value_name = "NAME")]
    pub log_origin: Option<String>,
    /// Witnesses that are asked to cosign checkpoints of the published log: the key and the URL of each, with a space between
    /// them, separated by commas
    #[arg(long, env = "LEDGERWAY_WITNESSES", value_name = "WITNESSES", default_value = "")]
    pub witnesses: String,
    /// Tenants whose inference requests this node serves, and whose own providers' keys it can open: all, or tenants by id or
    /// as PARTNER/TENANT, separated by commas
    #[arg(long, env = "LEDGERWAY_SERVES_TENANTS", value_name = "TENANTS", default_value = "all")]
    pub serves_tenants: String,
    /// Time after which a hold expires, in seconds
    #[arg(long, env = "LEDGERWAY_HOLD_TTL_SECONDS", value_name = "SECONDS", default_value = "900")]
    pub hold_ttl_seconds: String,
    /// The part of what is not settled of a budget that one key may hold if others share it and it has no budget of its own, and
    /// that one of several tenants may hold of their partner's budget; 1: all of it
    #[arg(long, env = "LEDGERWAY_HOLD_SHARE", value_name = "NUMBER", default_value = "0.5")]
    pub hold_share: String,
    /// The charge for a request whose usage is unknown, after a crash or if its response never came: charge_hold or
    /// release
    #[arg(long, env = "LEDGERWAY_UNKNOWN_USAGE", default_value = "charge_hold", value_name = "POLICY",
        value_parser = OneOf::new(UnknownUsage::words()))]
    pub unknown_usage: String,
    /// How long to wait for requests in flight after SIGTERM, in seconds
    #[arg(long, env = "LEDGERWAY_DRAIN_TIMEOUT_SECONDS", value_name = "SECONDS", default_value = "30")]
    pub drain_timeout_seconds: String,
    /// How long to keep serving after SIGTERM while reporting that it is not ready, in seconds
    #[arg(long, env = "LEDGERWAY_DRAIN_DELAY_SECONDS", value_name = "SECONDS", default_value = "0")]
    pub drain_delay_seconds: String,
    /// Origins whose web pages may call the gateway, separated by commas; * for all
    #[arg(long, env = "LEDGERWAY_CORS_ORIGINS", value_name = "ORIGINS", default_value = "")]
    pub cors_origins: String,
    /// Proxies in front of the gateway, as addresses and networks separated by commas: their X-Forwarded-For says where changes
    /// come from
    #[arg(long, env = "LEDGERWAY_TRUSTED_PROXIES", value_name = "NETWORKS", default_value = "")]
    pub trusted_proxies: String,
    /// Requests per hour for a key that has no rate limit of its own; if unset, no limit
    #[arg(long, env = "LEDGERWAY_RATE_LIMIT_REQUESTS", value_name = "NUMBER", default_value = "")]
    pub rate_limit_requests: String,
    /// Requests per hour for a key under /v1/admin, including the operator's; if unset, no limit
    #[arg(long, env = "LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS", value_name = "NUMBER", default_value = "")]
    pub admin_rate_limit_requests: String,
    /// Total memory for bodies of inference requests, in MiB
    #[arg(long, env = "LEDGERWAY_BODY_MEMORY_MIB", value_name = "MIB", default_value = "160")]
    pub body_memory_mib: String,
    /// Total memory for responses to inference requests, in MiB
    #[arg(long, env = "LEDGERWAY_ANSWER_MEMORY_MIB", value_name = "MIB", default_value = "160")]
    pub answer_memory_mib: String,
    /// Servers of the NATS cluster that have a copy each of the relayed log, from 1 to 5
    #[arg(long, env = "LEDGERWAY_NATS_REPLICAS", value_name = "NUMBER", default_value = "1")]
    pub nats_replicas: String,
    /// Size up to which the log is relayed to NATS, in GiB; 0: no limit
    #[arg(long, env = "LEDGERWAY_NATS_MAX_GIB", value_name = "GIB", default_value = "0")]
    pub nats_max_gib: String,
}

/// Secrets have no flags: every user of a machine can see the arguments of its processes.
pub(super) const SECRETS: &str = "Secrets, given as environment variables:
  LEDGERWAY_DATABASE_URL  A PostgreSQL database that has the ledger, for several gateways; if unset, it is in the data folder
  LEDGERWAY_NATS_URL  A NATS server with JetStream that the log is relayed to; if unset, it is not relayed
  LEDGERWAY_OBJECT_STORE_URL  The object store of the archive: s3://BUCKET/PREFIX, with AWS_… variables, or file:///FOLDER
  LEDGERWAY_CONTENT_URL  The object store of sealed prompts and answers, of the same form; if unset, none are kept
  LEDGERWAY_REDIS_URL  A Redis in which several gateways share the counts of rate limits; if unset, each counts by itself
  LEDGERWAY_ALERTS_URL  A webhook to which budgets' alerts are sent, https://HOST/PATH; if unset, they are in the log alone
  LEDGERWAY_ALERTS_SECRET  What signs them, whsec_ and 24 to 64 bytes as base64; if unset, they are not signed
  LEDGERWAY_AUDIT_WEBHOOK  A webhook to which the audit is posted in batches, https://HOST/PATH; if unset, it is not posted
  LEDGERWAY_AUDIT_WEBHOOK_SECRET  What signs the batches, whsec_ and 24 to 64 bytes as base64; if unset, they are not signed
  LEDGERWAY_ADMIN_KEY  The operator's key, 32 characters or more; if unset, the first start creates one in admin.key
  LEDGERWAY_NODE_KEY   The key that seals secrets, 64 hex digits; if unset, the first start creates one in node.key
  LEDGERWAY_NODE_KEY_PREVIOUS  The node key to replace, for `ledgerway reseal`

Each can be in a file instead, whose name is in the variable with _FILE at its end, such as LEDGERWAY_NODE_KEY_FILE.

OTEL_EXPORTER_OTLP_ENDPOINT turns traces on, RUST_LOG sets the log level (default: info). Any other variable that begins with
LEDGERWAY_ is refused.";
