//! The command line: commands, their flags, and the variable of each flag.

use std::path::{Path, PathBuf};

use catalogue::Mode;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, Args, Parser, Subcommand, ValueHint};
use events::ledger::UnknownUsage;
use projections::views::View;

use super::one_of::OneOf;
use super::{BOOLEANS, EXPORT_FORMATS, ServeMode};

/// Secrets have no flags: every user of a machine can see the arguments of its processes.
const SECRETS: &str = "Secrets, given as environment variables:
  LEDGERWAY_DATABASE_URL  A PostgreSQL database that has the ledger, for several gateways; if unset, it is in the data folder
  LEDGERWAY_NATS_URL  A NATS server with JetStream that the log is relayed to; if unset, it is not relayed
  LEDGERWAY_OBJECT_STORE_URL  The object store of the archive: s3://BUCKET/PREFIX, with AWS_… variables, or file:///FOLDER
  LEDGERWAY_REDIS_URL  A Redis in which several gateways share the counts of rate limits; if unset, each counts by itself
  LEDGERWAY_ALERTS_URL  A webhook to which budgets' alerts are sent, https://HOST/PATH; if unset, they are in the log alone
  LEDGERWAY_ALERTS_SECRET  What signs them, whsec_ and 24 to 64 bytes as base64; if unset, they are not signed
  LEDGERWAY_ADMIN_KEY  The operator's key, 32 characters or more; if unset, the first start creates one in admin.key
  LEDGERWAY_NODE_KEY   The key that seals secrets, 64 hex digits; if unset, the first start creates one in node.key
  LEDGERWAY_NODE_KEY_PREVIOUS  The node key to replace, for `ledgerway reseal`

Each can be in a file instead, whose name is in the variable with _FILE at its end, such as LEDGERWAY_NODE_KEY_FILE.

OTEL_EXPORTER_OTLP_ENDPOINT turns traces on, RUST_LOG sets the log level (default: info). Any other variable that begins with
LEDGERWAY_ is refused.";

/// An LLM gateway whose accounts are a ledger.
#[derive(Parser)]
#[command(name = "ledgerway", version, about, mut_subcommands = by_value_names)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the gateway
    #[command(after_help = SECRETS)]
    Serve(Box<ServeArgs>),
    /// Upgrade the ledger in the data folder or in PostgreSQL to this version; creates an empty ledger if there is none
    Migrate(MigrateArgs),
    /// Copy the ledger of a data folder that no gateway serves into an empty one in PostgreSQL, and verify it there
    Move(MoveArgs),
    /// Copy the events of the log that are not in the archive yet into it, also while a gateway runs
    Archive(ArchiveArgs),
    /// Build a ledger anew from an archive, in a folder without one or in an empty one in PostgreSQL, and verify it
    Restore(RestoreArgs),
    /// Print the events of a range of positions, from a ledger or an archive
    Export(ExportArgs),
    /// Check the log, the ledger and the views without changing them, also while a gateway runs; exit code 0: sound,
    /// 1: broken, 2: could not check
    Verify(VerifyArgs),
    /// Rebuild views from the log; a running gateway rebuilds them itself, and serves the old ones until they are ready
    Rebuild(RebuildArgs),
    /// Build the views as they stood at an earlier position of the log, in an SQLite file; also while a gateway runs
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Replace the node's key while no gateway runs: re-encrypts all secrets, from LEDGERWAY_NODE_KEY_PREVIOUS to
    /// LEDGERWAY_NODE_KEY or the key in node.key; API keys of clients stay valid
    Reseal(ResealArgs),
    /// Show the gateway's address, the log, the views, open holds, today's charges and budgets near their limit
    Status(StatusArgs),
    /// Show the providers, models and list prices that the gateway knows by itself, or take newer ones
    Catalogue(CatalogueArgs),
    /// Use the models of a running gateway
    Models(ModelsArgs),
    /// Check the providers, keys, prices and models of a running gateway, without spending money; exit code 0: all is well,
    /// 1: something is wrong, 2: could not check
    Doctor(DoctorArgs),
    /// Ask a running gateway whether it is ready, without a key; exit code 0: ready, 1: not ready, or not reached
    Health(HealthArgs),
    /// Print shell completions, for example: ledgerway completions bash
    Completions(CompletionsArgs),
}

impl Command {
    /// The data folder of a command that does not take the address of a database in its place.
    pub const fn folder_alone(&self) -> Option<&DataArgs> {
        match self {
            Self::Serve(args) => Some(&args.data),
            Self::Rebuild(args) => Some(&args.data),
            Self::Catalogue(args) => Some(args.command.data()),
            Self::Models(args) => Some(&args.command.gateway().data),
            Self::Doctor(args) => Some(&args.gateway.data),
            Self::Health(args) => Some(&args.data),
            Self::Migrate(_)
            | Self::Move(_)
            | Self::Archive(_)
            | Self::Restore(_)
            | Self::Export(_)
            | Self::Replay(_)
            | Self::Reseal(_)
            | Self::Verify(_)
            | Self::Status(_)
            | Self::Completions(_) => None,
        }
    }
}

/// The name of the value of a switch.
const BOOL: &str = "BOOL";
/// Names of values that are numbers.
const NUMBERS: [&str; 5] = ["GIB", "MIB", "NUMBER", "SECONDS", POSITION_OR_TIME];

/// True for a switch: its value may be left out, and is otherwise given after `=`.
pub fn is_switch(argument: &Arg) -> bool {
    has_value(argument, &[BOOL])
}

fn has_value(argument: &Arg, names: &[&str]) -> bool {
    argument.get_value_names().is_some_and(|found| found.iter().any(|name| names.contains(&name.as_str())))
}

/// A command and its subcommands, whose arguments are read by the names of their values.
fn by_value_names(command: clap::Command) -> clap::Command {
    command.mut_subcommands(by_value_names).mut_args(by_value_name)
}

fn by_value_name(argument: Arg) -> Arg {
    if is_switch(&argument) {
        let switch = argument.num_args(0..=1).require_equals(true).default_missing_value("true");
        return switch.value_parser(OneOf::new(BOOLEANS));
    }
    // A negative number is a value of these arguments, which is then refused as one, and not an unknown flag.
    let is_number = has_value(&argument, &NUMBERS);
    argument.allow_negative_numbers(is_number)
}

/// Values are read as text and checked by [`super::Config`], so that a wrong one is refused in one sentence.
#[derive(Args)]
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
    /// Keep a copy of the views for analysts: in the schema `views` of the database, or in analytics.db in the data folder
    #[arg(long, env = "LEDGERWAY_ANALYTICS", value_name = BOOL, default_value = "true")]
    pub analytics: String,
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
    #[arg(long, env = "LEDGERWAY_RECORD_READS", value_name = BOOL, default_value = "false")]
    pub record_reads: String,
    /// Publish the log as a transparency log that anybody can check, in the object store or in the data folder
    #[arg(long, env = "LEDGERWAY_TRANSPARENCY", value_name = BOOL, default_value = "false")]
    pub transparency: String,
    /// The name of a new published log, in its checkpoints and for verifiers: a host and a path. It never changes
    /// [default: a name that the gateway makes]
    #[arg(long, env = "LEDGERWAY_LOG_ORIGIN", value_name = "NAME")]
    pub log_origin: Option<String>,
    /// Tenants whose inference requests this node serves, and whose own providers' keys it can open: all, or tenants by id or
    /// as PARTNER/TENANT, separated by commas
    #[arg(long, env = "LEDGERWAY_SERVES_TENANTS", value_name = "TENANTS", default_value = "all")]
    pub serves_tenants: String,
    /// Time after which a hold expires, in seconds
    #[arg(long, env = "LEDGERWAY_HOLD_TTL_SECONDS", value_name = "SECONDS", default_value = "900")]
    pub hold_ttl_seconds: String,
    /// What to charge for a request whose usage is unknown, after a crash or if its response never came: charge_hold or
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
    #[arg(long, env = "LEDGERWAY_CORS_ORIGINS", value_name = "ORIGINS", default_value = "", hide_default_value = true)]
    pub cors_origins: String,
    /// Proxies in front of the gateway, as addresses and networks separated by commas: their X-Forwarded-For says where changes
    /// come from
    #[arg(
        long,
        env = "LEDGERWAY_TRUSTED_PROXIES",
        value_name = "NETWORKS",
        default_value = "",
        hide_default_value = true
    )]
    pub trusted_proxies: String,
    /// Requests per hour for a key that has no rate limit of its own; if unset, no limit
    #[arg(
        long,
        env = "LEDGERWAY_RATE_LIMIT_REQUESTS",
        value_name = "NUMBER",
        default_value = "",
        hide_default_value = true
    )]
    pub rate_limit_requests: String,
    /// Requests per hour for a key under /v1/admin, including the operator's; if unset, no limit
    #[arg(
        long,
        env = "LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS",
        value_name = "NUMBER",
        default_value = "",
        hide_default_value = true
    )]
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

#[derive(Args)]
pub struct DataArgs {
    /// Folder of the databases and keys
    // Not clap's own path parser, which has a message of its own for an empty path.
    #[arg(long = "data", env = "LEDGERWAY_DATA", default_value = "./ledgerway-data", value_name = "DIR",
        value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

impl DataArgs {
    /// The address of a database, if one was given in place of the folder.
    pub fn address(&self) -> Option<&str> {
        self.dir.to_str().filter(|dir| is_address(dir))
    }

    /// The folder; `None` if the address of a database was given in its place.
    pub fn folder(&self) -> Option<&Path> {
        self.address().is_none().then_some(&*self.dir)
    }
}

/// True for an address rather than a word or a folder. It may have a password in it, so it must be in no message and no name of
/// a file.
pub fn is_address(text: &str) -> bool {
    text.contains("://")
}

#[derive(Args)]
pub struct OutputArgs {
    /// Print one JSON object
    #[arg(long, env = "LEDGERWAY_JSON", value_name = BOOL, default_value = "false")]
    pub json: String,
}

/// What is in the help of commands that read a ledger.
#[derive(Args)]
pub struct DatabaseArg {
    /// PostgreSQL database with the ledger: postgres://USER@HOST/DATABASE [default: LEDGERWAY_DATABASE_URL; if unset, the
    /// ledger is in the data folder]
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
}

#[derive(Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub database: DatabaseArg,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Args)]
pub struct MoveArgs {
    /// Data folder with the ledger
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from),
        value_hint = ValueHint::DirPath)]
    pub from: PathBuf,
    /// PostgreSQL database with an empty ledger, as `migrate` creates it [default: LEDGERWAY_DATABASE_URL]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub to: Option<String>,
}

/// The name of the value of `--archive`.
const ARCHIVE_VALUE: &str = "URL";

#[derive(Args)]
pub struct ArchiveArgs {
    #[command(flatten)]
    pub database: DatabaseArg,
    #[command(flatten)]
    pub data: DataArgs,
    /// Object store of the archive: s3://BUCKET/PREFIX or file:///FOLDER [default: LEDGERWAY_OBJECT_STORE_URL; if unset,
    /// the folder `objects` in the data folder]
    #[arg(long, value_name = ARCHIVE_VALUE, value_hint = ValueHint::Url)]
    pub archive: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct RestoreArgs {
    /// Object store of the archive: s3://BUCKET/PREFIX or file:///FOLDER [default: LEDGERWAY_OBJECT_STORE_URL]
    #[arg(long, value_name = ARCHIVE_VALUE, value_hint = ValueHint::Url)]
    pub archive: Option<String>,
    /// Data folder without a ledger, or PostgreSQL database with an empty one, as `migrate` creates it:
    /// postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "DIR|URL", value_parser = OsStringValueParser::new().map(PathBuf::from),
        value_hint = ValueHint::DirPath)]
    pub to: PathBuf,
}

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub database: DatabaseArg,
    #[command(flatten)]
    pub data: DataArgs,
    /// Read the archive instead of the ledger: s3://BUCKET/PREFIX or file:///FOLDER; without a value,
    /// LEDGERWAY_OBJECT_STORE_URL
    #[arg(long, value_name = ARCHIVE_VALUE, num_args = 0..=1, default_missing_value = "", value_hint = ValueHint::Url)]
    pub archive: Option<String>,
    /// First position
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub from: String,
    /// Last position [default: the last one]
    #[arg(long, value_name = "NUMBER")]
    pub to: Option<String>,
    /// JSON Lines, as /v1/events has them, or CSV
    #[arg(long, default_value = "jsonl", value_parser = OneOf::new(EXPORT_FORMATS))]
    pub format: String,
}

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub database: DatabaseArg,
    #[command(flatten)]
    pub data: DataArgs,
    /// Print one JSON object: sound, events, open_holds, views, copy, broken
    #[arg(long, env = "LEDGERWAY_JSON", value_name = BOOL, default_value = "false")]
    pub json: String,
    /// Check only the log and the ledger, which is faster
    #[arg(long, env = "LEDGERWAY_LOG_ONLY", value_name = BOOL, default_value = "false")]
    pub log_only: String,
    /// Check an archive, which needs no database: s3://BUCKET/PREFIX or file:///FOLDER; without a value,
    /// LEDGERWAY_OBJECT_STORE_URL
    #[arg(long, value_name = ARCHIVE_VALUE, num_args = 0..=1, default_missing_value = "", value_hint = ValueHint::Url)]
    pub archive: Option<String>,
    /// Of an archive, check only that its files are whole and belong together, which needs no space for a ledger
    #[arg(long, requires = "archive")]
    pub shallow: bool,
    /// Also compare every row of the copy for analysts with the log: in this PostgreSQL database, or in analytics.db in this
    /// folder. Its ledger is there too, unless you name another one
    #[arg(long, visible_alias = "views", value_name = "URL|DIR")]
    pub copy: Option<String>,
    /// Also compare every event with the published log: its newest checkpoint must have been signed with this key, a line of
    /// /v1/log/key. The published log is beside the archive, in LEDGERWAY_OBJECT_STORE_URL, or in the data folder
    #[arg(long, value_name = "KEY", conflicts_with = "shallow")]
    pub checkpoint_key: Option<String>,
    /// A checkpoint that was kept, as a file, which the events must agree with as well; can be given several times
    #[arg(long, value_name = "FILE", requires = "checkpoint_key", value_hint = ValueHint::FilePath)]
    pub checkpoint: Vec<PathBuf>,
}

#[derive(Args)]
pub struct RebuildArgs {
    /// Views to rebuild [default: all]
    #[arg(value_name = "VIEW", value_parser = OneOf::new(View::words()))]
    pub views: Vec<String>,
    #[command(flatten)]
    pub data: DataArgs,
}

/// The name of the value of `--as-of`.
const POSITION_OR_TIME: &str = "POSITION|RFC3339";

/// What is in the help of `replay`.
const REPLAY_EXAMPLES: &str = "Examples:
  ledgerway replay --as-of 1200 --into views-1200.sqlite
  ledgerway replay --as-of 2026-11-01T00:00:00Z --into october.sqlite
  ledgerway replay --as-of 0 --into empty.sqlite

The file has the tables of views.db and a table `replay`, which says as of which event it is. Exit code 0: done, 1: failed, 2: not
begun.";

#[derive(Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub database: DatabaseArg,
    #[command(flatten)]
    pub data: DataArgs,
    /// Position of the last event, from 0 to the end of the log; or a time: the last event recorded at it or before
    #[arg(long, value_name = POSITION_OR_TIME)]
    pub as_of: String,
    /// File to create; a file that is there is left as it is
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from),
        value_hint = ValueHint::FilePath)]
    pub into: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct ResealArgs {
    #[command(flatten)]
    pub database: DatabaseArg,
    #[command(flatten)]
    pub data: DataArgs,
    /// Continue without the old key: deletes the API keys of providers, and the API keys of clients stop working
    #[arg(long, env = "LEDGERWAY_PREVIOUS_KEY_LOST", value_name = BOOL, default_value = "false")]
    pub previous_key_lost: String,
}

#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub database: DatabaseArg,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct CatalogueArgs {
    #[command(subcommand)]
    pub command: CatalogueCommand,
}

#[derive(Subcommand)]
pub enum CatalogueCommand {
    /// List models, with the prices of input and output in US dollars per million tokens
    List(ListArgs),
    /// List the models whose names or providers contain all words
    Search(SearchArgs),
    /// Show a model at all its providers, with all prices
    Show(ShowArgs),
    /// Show what a newer catalogue changes; with --yes, write it to the data folder
    Update(UpdateArgs),
}

impl CatalogueCommand {
    const fn data(&self) -> &DataArgs {
        match self {
            Self::List(args) => &args.data,
            Self::Search(args) => &args.data,
            Self::Show(args) => &args.data,
            Self::Update(args) => &args.data,
        }
    }
}

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Only the models of this provider, such as openai
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// Only the models of this mode
    #[arg(long, value_parser = OneOf::new(Mode::words()))]
    pub mode: Option<String>,
    /// Print a JSON array of models
    #[arg(long, env = "LEDGERWAY_JSON", value_name = BOOL, default_value = "false")]
    pub json: String,
}

#[derive(Args)]
pub struct SearchArgs {
    /// Words, in upper or lower case
    #[arg(value_name = "WORD", required = true)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Args)]
pub struct ShowArgs {
    /// A name such as gpt-4o, an alias such as gpt, or PROVIDER/MODEL
    #[arg(value_name = "MODEL")]
    pub model: String,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Args)]
pub struct UpdateArgs {
    /// The newer catalogue
    #[arg(value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// Write it
    #[arg(long)]
    pub yes: bool,
    /// Go back to an older catalogue than the one in force
    #[arg(long)]
    pub force: bool,
}

/// The gateway that a command asks.
#[derive(Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Address of the gateway; by default the one that serves the data folder
    #[arg(long, env = "LEDGERWAY_URL", value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// File that holds the API key; by default the key is in a variable or in the data folder
    #[arg(long, env = "LEDGERWAY_KEY_FILE", value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
}

/// What is in the help of commands that need a key.
const KEY_OF_MODELS: &str =
    "The key is the one in --key-file, LEDGERWAY_KEY or LEDGERWAY_ADMIN_KEY, or else admin.key or dev.key in the
data folder.";
const KEY_OF_ADMINISTRATION: &str =
    "The key is the one in --key-file or LEDGERWAY_ADMIN_KEY, or else admin.key in the data folder.";

#[derive(Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: ModelsCommand,
}

#[derive(Subcommand)]
pub enum ModelsCommand {
    /// Send one small request to a model, and show the answer, its tokens, its cost and how long it took
    ///
    /// The request asks for a stream, so that the time to the first token is known, and its cap of output tokens is the model's.
    #[command(after_help = KEY_OF_MODELS)]
    Try(TryArgs),
    /// List the models that the key may use, with their providers and prices; exit code 1 if none contains every WORD
    #[command(after_help = KEY_OF_MODELS)]
    List(ListModelsArgs),
}

impl ModelsCommand {
    const fn gateway(&self) -> &GatewayArgs {
        match self {
            Self::Try(args) => &args.gateway,
            Self::List(args) => &args.gateway,
        }
    }
}

#[derive(Args)]
pub struct TryArgs {
    /// A name that clients ask for
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// What to say to the model
    #[arg(long, value_name = "TEXT", default_value = "Say hello in one short sentence.")]
    pub message: String,
    /// Print the answer as it arrives
    #[arg(long)]
    pub stream: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct ListModelsArgs {
    /// Only models whose name or provider contains each of these words, in upper or lower case
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = KEY_OF_ADMINISTRATION)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct HealthArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Address of the gateway; by default the one that serves the data folder
    #[arg(long, env = "LEDGERWAY_URL", value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
}

#[derive(Args)]
pub struct CompletionsArgs {
    /// Shell to print completions for
    pub shell: clap_complete::Shell,
}
