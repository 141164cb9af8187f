//! Commands. Exit codes: 0 done, 1 could not or was cut short, 2 wrong configuration (`verify`, `status`: could not look;
//! `rebuild`, `reseal`: not begun).

mod asking;
mod completions;
mod logging;
mod migrate;
mod one_of;
mod progress;
mod rebuild;
mod reseal;
mod serve;
mod status;
mod verify;
mod welcome;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use events::ledger::UnknownUsage;
use events::log::LEDGER_FILE;
use projections::views::View;

use crate::config::{Flags, MODES, TRUTHS, environment, setting};
use one_of::OneOf;

const WRONG_CONFIGURATION: u8 = 2;

/// No flags: the arguments of a process are seen by everybody on its machine.
const SECRETS: &str = "Secrets, as variables:
  LEDGERWAY_ADMIN_KEY  The operator's key, 32 characters or more; made at the first start, in admin.key, where unset
  LEDGERWAY_NODE_KEY   What secrets are sealed with, 64 hex digits; made at the first start, in node.key, where unset
  LEDGERWAY_NODE_KEY_PREVIOUS  The node key before, for `ledgerway reseal`

OTEL_EXPORTER_OTLP_ENDPOINT switches traces on, RUST_LOG says how much is logged (info). Any other variable that begins with
LEDGERWAY_ is refused.";

/// An LLM gateway whose accounts are a ledger.
#[derive(Parser)]
#[command(name = "ledgerway", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    #[command(after_help = SECRETS)]
    Serve(Box<ServeArgs>),
    /// Bring the data folder's databases to this version; makes a new, empty ledger where the folder has none
    Migrate(DataArgs),
    /// Check the log, the ledger and the views, read-only, also while a gateway runs: exit 0 sound, 1 broken, 2 could not
    /// look
    Verify(VerifyArgs),
    /// Build views anew from the log; a gateway that runs is asked to do it, and answers from the old ones meanwhile
    Rebuild(RebuildArgs),
    /// Replace the node's key, offline: seals under LEDGERWAY_NODE_KEY, or the key in node.key, what was sealed under
    /// LEDGERWAY_NODE_KEY_PREVIOUS; API keys that were given out go on working
    Reseal(ResealArgs),
    /// Show whether a gateway runs and where, the log's head, views, open holds, today's money, budgets near their limit
    Status(StatusArgs),
    /// Print the completions of a shell, for example: ledgerway completions bash
    Completions(CompletionsArgs),
}

/// Values are read as text and judged by [`crate::config`], so that a wrong one is answered in one sentence.
#[derive(Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "LEDGERWAY_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Address for /metrics, which the main one then does not have
    #[arg(long, env = "LEDGERWAY_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Create a simulator provider, two priced models and an app key with a budget of 5 USD
    #[arg(long, env = "LEDGERWAY_DEV", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = OneOf::new(TRUTHS))]
    pub dev: String,
    /// Which parts run in this process; this version knows all of them together
    #[arg(long, env = "LEDGERWAY_MODE", default_value = "all", value_parser = OneOf::new(MODES))]
    pub mode: String,
    /// How long a hold may live, in seconds
    #[arg(
        long,
        env = "LEDGERWAY_HOLD_TTL_SECONDS",
        value_name = "SECONDS",
        default_value = "900",
        allow_negative_numbers = true
    )]
    pub hold_ttl_seconds: String,
    /// What is charged where nobody knows what was used: after a crash, or for a whole answer that never came because its
    /// client had left or its time was up; charge_hold or release
    #[arg(long, env = "LEDGERWAY_UNKNOWN_USAGE", default_value = "charge_hold", value_name = "POLICY",
        value_parser = OneOf::new(UnknownUsage::ALL.map(UnknownUsage::as_str)))]
    pub unknown_usage: String,
    /// How long requests in flight may take after SIGTERM, in seconds
    #[arg(
        long,
        env = "LEDGERWAY_DRAIN_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value = "30",
        allow_negative_numbers = true
    )]
    pub drain_timeout_seconds: String,
    /// How long it goes on serving after SIGTERM while it says that it is not ready, in seconds
    #[arg(
        long,
        env = "LEDGERWAY_DRAIN_DELAY_SECONDS",
        value_name = "SECONDS",
        default_value = "0",
        allow_negative_numbers = true
    )]
    pub drain_delay_seconds: String,
    /// Origins whose pages may call the gateway, separated by commas; * for all
    #[arg(long, env = "LEDGERWAY_CORS_ORIGINS", value_name = "ORIGINS", default_value = "", hide_default_value = true)]
    pub cors_origins: String,
    /// Requests an hour of a key that has no rate limit of its own; none where this is unset
    #[arg(
        long,
        env = "LEDGERWAY_RATE_LIMIT_REQUESTS",
        value_name = "NUMBER",
        allow_negative_numbers = true,
        default_value = "",
        hide_default_value = true
    )]
    pub rate_limit_requests: String,
    /// Requests an hour of a key under /v1/admin, the operator's included; no limit where this is unset
    #[arg(
        long,
        env = "LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS",
        value_name = "NUMBER",
        allow_negative_numbers = true,
        default_value = "",
        hide_default_value = true
    )]
    pub admin_rate_limit_requests: String,
    /// Memory that the bodies of inference requests may take at a time, in MiB
    #[arg(
        long,
        env = "LEDGERWAY_BODY_MEMORY_MIB",
        value_name = "MIB",
        default_value = "160",
        allow_negative_numbers = true
    )]
    pub body_memory_mib: String,
    /// Memory that answers to inference requests may take at a time, in MiB
    #[arg(long, env = "LEDGERWAY_ANSWER_MEMORY_MIB", value_name = "MIB", default_value = "160")]
    pub answer_memory_mib: String,
}

#[derive(Args)]
pub struct DataArgs {
    /// Folder of the databases and keys
    // Not clap's own reader of paths, which has words of its own for an empty one.
    #[arg(long = "data", env = "LEDGERWAY_DATA", default_value = "./ledgerway-data", value_name = "DIR",
        value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Say it as one JSON object: sound, events, open_holds, views, broken
    #[arg(long, env = "LEDGERWAY_JSON", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = OneOf::new(TRUTHS))]
    pub json: String,
    /// Leave out the views, which take longer than the log
    #[arg(long, env = "LEDGERWAY_LOG_ONLY", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = OneOf::new(TRUTHS))]
    pub log_only: String,
}

#[derive(Args)]
pub struct RebuildArgs {
    /// Views to build; all of them where none is named
    #[arg(value_name = "VIEW", value_parser = OneOf::new(View::ALL.iter().map(|view| view.as_str())))]
    pub views: Vec<String>,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Args)]
pub struct ResealArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Go on without the old key: API keys of providers are deleted, and keys that were given out stop working
    #[arg(long, env = "LEDGERWAY_PREVIOUS_KEY_LOST", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = OneOf::new(TRUTHS))]
    pub previous_key_lost: String,
}

#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Say it as one JSON object
    #[arg(long, env = "LEDGERWAY_JSON", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = OneOf::new(TRUTHS))]
    pub json: String,
}

#[derive(Args)]
pub struct CompletionsArgs {
    /// Whose completions
    pub shell: clap_complete::Shell,
}

/// The command that the process was started with.
pub fn run() -> ExitCode {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let matches = matches.unwrap_or_else(|error| with_tip(error).exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // What is no text is no value that would do: read as one, it is refused by its name instead of being overlooked.
    let variables = std::env::vars_os();
    let texts = variables.map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()));
    // A shell that asks for completions at its start is not to be told of mistakes: they read no setting.
    if !matches!(cli.command, Command::Completions(_))
        && let Err(wrong) = environment::check(texts.map(|[name, value]| (name, value)))
    {
        complain(&wrong.to_string());
        return WRONG_CONFIGURATION.into();
    }
    let flags = Flags::of(&command, &matches);
    match cli.command {
        Command::Serve(args) => serve::run(&args, &flags),
        Command::Migrate(args) => migrate::run(&args),
        Command::Verify(args) => verify::run(&args, &flags),
        Command::Rebuild(args) => rebuild::run(&args, &flags),
        Command::Reseal(args) => reseal::run(&args, &flags),
        Command::Status(args) => status::run(&args, &flags),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Other servers have a flag for the port alone, which no name of ours is near to.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let is_port = |value: &ContextValue| matches!(value, ContextValue::String(flag) if flag == "--port");
    if error.get(ContextKind::InvalidArg).is_some_and(is_port) {
        error.insert(ContextKind::SuggestedArg, ContextValue::String("--listen".to_owned()));
    }
    error
}

/// The value of a variable.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl DataArgs {
    /// The ledger of a folder that was served. Errors: there is none; a sentence.
    fn ledger(&self, flags: &Flags) -> Result<PathBuf, String> {
        let ledger = self.dir.join(LEDGER_FILE);
        if ledger.is_file() {
            return Ok(ledger);
        }
        let name = flags.name_of(setting::DATA);
        Err(format!("there is no {}: {name} must be the data folder of a gateway", ledger.display()))
    }
}

/// Of a name that somebody else chose.
const NAME_CHARS_MAX: usize = 40;

/// A name that somebody else chose. Nothing in it moves the cursor.
fn shown(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(NAME_CHARS_MAX).collect()
}

/// One line on stdout. Who closed it does not want to hear more.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// One sentence on stderr.
fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ledgerway: {sentence}");
}
