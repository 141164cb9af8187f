//! The arguments of commands that work on a ledger or an archive.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use projections::views::View;

use super::gateway::KEY_OF_ADMINISTRATION;
use super::{BOOL, DataArgs, GatewayArgs, LedgerArgs, OutputArgs, path};
use crate::settings::{Flags, OneOf, WrongConfig, boolean, setting};

#[derive(Args)]
pub struct MoveArgs {
    /// Data folder with the ledger
    #[arg(long, value_name = "DIR", value_parser = path(), value_hint = ValueHint::DirPath)]
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
    pub ledger: LedgerArgs,
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
    #[arg(long, value_name = "DIR|URL", value_parser = path(), value_hint = ValueHint::DirPath)]
    pub to: PathBuf,
}

/// The forms in which `export` prints events.
pub const EXPORT_FORMATS: [&str; 2] = ["jsonl", "csv"];

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ExportArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
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
    #[command(subcommand)]
    pub command: Option<ExportCommand>,
}

#[derive(Subcommand)]
pub enum ExportCommand {
    /// Print partners, tenants, users, teams, providers, models, prices, budgets and rate limits of a running gateway as a YAML file
    /// for `ledgerway apply`
    #[command(after_help = KEY_OF_ADMINISTRATION)]
    Config(GatewayArgs),
}

/// The part of the help of `bundle` with examples.
pub(super) const BUNDLE_EXAMPLES: &str = "Examples:
  ledgerway bundle --tenant ten_0198… --into acme.bundle
  ledgerway bundle --tenant ten_0198… --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --into acme-november.bundle

The receiver checks it with: ledgerway verify --bundle FILE --checkpoint-key KEY. Exit code 0: done, 1: failed, 2: not begun.";

#[derive(Args)]
pub struct BundleArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// Tenant whose events are written
    #[arg(long, value_name = "ID")]
    pub tenant: String,
    /// Only events recorded at this time or later [default: from the beginning]
    #[arg(long, value_name = "RFC3339")]
    pub from: Option<String>,
    /// Only events recorded before this time [default: up to the newest checkpoint]
    #[arg(long, value_name = "RFC3339")]
    pub to: Option<String>,
    /// File to create; it must not exist
    #[arg(long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub into: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The part of the help of `what-if` with examples.
pub(super) const WHAT_IF_EXAMPLES: &str = "Examples:
  ledgerway what-if --rules rules.json --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z
  ledgerway what-if --rules rules.json --json

A file of rules: {\"budgets\": {\"change\": [{\"budget_id\": \"bud_0198…\", \"limit_usd\": \"50\"}]}}; docs/what-if.md describes it.
Exit code 0: done, 1: failed, 2: not begun.";

#[derive(Args)]
pub struct WhatIfArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// Read the archive instead of the ledger, which needs space for a ledger: s3://BUCKET/PREFIX or file:///FOLDER; without a
    /// value, LEDGERWAY_OBJECT_STORE_URL
    #[arg(long, value_name = ARCHIVE_VALUE, num_args = 0..=1, default_missing_value = "", value_hint = ValueHint::Url)]
    pub archive: Option<String>,
    /// File with the rules, as JSON
    #[arg(long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub rules: PathBuf,
    /// The rules are in force from this time on [default: from the beginning]
    #[arg(long, value_name = "RFC3339")]
    pub from: Option<String>,
    /// The rules are in force, and requests are reported, before this time [default: up to the end]
    #[arg(long, value_name = "RFC3339")]
    pub to: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// Print one JSON object: sound, events, open_holds, views, copy, content, checkpoint, bundle, receipt, unchecked, proven,
    /// not_proven, broken
    #[arg(long, env = "LEDGERWAY_JSON", value_name = BOOL, default_value = "false")]
    pub json: String,
    /// Check only the log and the ledger, which is faster
    #[arg(long, env = "LEDGERWAY_LOG_ONLY", value_name = BOOL, default_value = "false")]
    pub log_only: String,
    /// Check an archive, which needs no database: s3://BUCKET/PREFIX or file:///FOLDER; without a value,
    /// LEDGERWAY_OBJECT_STORE_URL
    #[arg(long, value_name = ARCHIVE_VALUE, num_args = 0..=1, default_missing_value = "", value_hint = ValueHint::Url)]
    pub archive: Option<String>,
    /// Check a bundle instead of a ledger: only the file and --checkpoint-key are needed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "checkpoint_key",
        conflicts_with_all = ["archive", "copy", "checkpoint"])]
    pub bundle: Option<PathBuf>,
    /// Check a receipt of a request instead of a ledger: only the file and --checkpoint-key are needed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "checkpoint_key",
        conflicts_with_all = ["archive", "bundle", "copy", "checkpoint"])]
    pub receipt: Option<PathBuf>,
    /// Check only that the files of an archive are whole and belong together, which needs no space for a ledger
    #[arg(long, requires = "archive")]
    pub shallow: bool,
    /// Also compare every row of the copy for analysts in this PostgreSQL database with the log. Its ledger is there too, unless you
    /// name another one
    #[arg(long, visible_alias = "views", value_name = "URL")]
    pub copy: Option<String>,
    /// Also check that sealed prompts and answers are in their object store as they were sealed: s3://BUCKET/PREFIX or
    /// file:///FOLDER; without a value, LEDGERWAY_CONTENT_URL. The node's key opens them, from LEDGERWAY_NODE_KEY or the data folder;
    /// without it, only that they are there is checked. No text is shown
    #[arg(long, value_name = ARCHIVE_VALUE, num_args = 0..=1, default_missing_value = "", value_hint = ValueHint::Url,
        conflicts_with_all = ["archive", "bundle", "receipt"])]
    pub content: Option<String>,
    /// Also compare every event with the published log: its newest checkpoint must have been signed with this key, a line of
    /// /v1/log/key. Earlier keys of the log can be given as well, as lines or several times. The published log is beside the
    /// archive, in LEDGERWAY_OBJECT_STORE_URL, or in the data folder. With --bundle or --receipt: the key that must have signed the
    /// checkpoint in the file
    #[arg(long, value_name = "KEY", conflicts_with = "shallow")]
    pub checkpoint_key: Vec<String>,
    /// A checkpoint that was kept, as a file, which the events must agree with as well; can be given several times
    #[arg(long, value_name = "FILE", requires = "checkpoint_key", value_hint = ValueHint::FilePath)]
    pub checkpoint: Vec<PathBuf>,
    /// A witness that must have cosigned the checkpoint, by its key; can be given several times
    #[arg(long, value_name = "KEY", requires = "checkpoint_key")]
    pub witness_key: Vec<String>,
}

impl VerifyArgs {
    pub fn is_json(&self, flags: &Flags) -> Result<bool, WrongConfig> {
        flags.check(setting::JSON, boolean(&self.json))
    }
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
pub(super) const POSITION_OR_TIME: &str = "POSITION|RFC3339";

/// The part of the help of `replay` with examples.
pub(super) const REPLAY_EXAMPLES: &str = "Examples:
  ledgerway replay --as-of 1200 --into views-1200.sqlite
  ledgerway replay --as-of 2026-11-01T00:00:00Z --into october.sqlite
  ledgerway replay --as-of 0 --into empty.sqlite

The file has the tables and the SQL views of views.db, and a table `replay`, which says as of which event it is. Exit code 0: done,
1: failed, 2: not begun.";

#[derive(Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// Position of the last event, from 0 to the end of the log; or a time: the last event recorded at it or before
    #[arg(long, value_name = POSITION_OR_TIME)]
    pub as_of: String,
    /// File to create; it must not exist
    #[arg(long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub into: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct ResealArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// Continue without the old key: deletes the API keys of providers, and the API keys of clients stop working
    #[arg(long, env = "LEDGERWAY_PREVIOUS_KEY_LOST", value_name = BOOL, default_value = "false")]
    pub previous_key_lost: String,
}

#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub ledger: LedgerArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
