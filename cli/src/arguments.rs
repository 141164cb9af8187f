//! The command line: its commands, and what their arguments have in common.

mod apply;
mod catalogue;
mod gateway;
mod ledger;
mod serve;
mod witness;

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgMatches, Args, Parser, Subcommand, ValueHint};

use crate::settings::setting::innermost;
use crate::settings::{Flags, OneOf, WrongConfig, boolean, setting};
pub use apply::ApplyArgs;
pub use catalogue::{CatalogueCommand, ListArgs, UpdateArgs};
pub use gateway::{DoctorArgs, GatewayArgs, HealthArgs, ListModelsArgs, ModelsCommand, TryArgs};
pub use ledger::{
    ArchiveArgs, BundleArgs, EXPORT_FORMATS, ExportArgs, ExportCommand, MoveArgs, RebuildArgs, ReplayArgs, ResealArgs,
    RestoreArgs, StatusArgs, VerifyArgs, WhatIfArgs,
};
use ledger::{BUNDLE_EXAMPLES, POSITION_OR_TIME, REPLAY_EXAMPLES, WHAT_IF_EXAMPLES};
use serve::SECRETS;
pub use serve::ServeArgs;
pub use witness::WitnessArgs;

/// An LLM gateway whose accounts are a ledger.
#[derive(Parser)]
#[command(name = "ledgerway", version, mut_subcommands = by_value_names)]
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
    Migrate(LedgerArgs),
    /// Copy the ledger of a data folder that no gateway serves into an empty one in PostgreSQL, and verify it there
    Move(MoveArgs),
    /// Copy the events of the log that are not in the archive yet into it, also while a gateway runs
    Archive(ArchiveArgs),
    /// Build a ledger anew from an archive, in a folder without one or in an empty one in PostgreSQL, and verify it
    Restore(RestoreArgs),
    /// Print the events of a range of positions, from a ledger or an archive, or the configuration of a running gateway
    Export(ExportArgs),
    /// Write one tenant's events in a time range to a file that proves that they are in the published log, without showing other
    /// tenants' events; also while a gateway runs
    #[command(after_help = BUNDLE_EXAMPLES)]
    Bundle(BundleArgs),
    /// Show which recorded requests would have been refused or admitted, and what they would have cost, under other budgets, rate
    /// limits, prices and routes; also while a gateway runs
    #[command(after_help = WHAT_IF_EXAMPLES)]
    WhatIf(WhatIfArgs),
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
    #[command(subcommand)]
    Catalogue(CatalogueCommand),
    /// Bring partners, tenants, users, teams, providers, models, prices, budgets and rate limits of a running gateway to what YAML
    /// files ask for; exit code 0: done, 1: refused, or unknown whether the changes were made, 2: a mistake in a file,
    /// or not begun
    Apply(ApplyArgs),
    /// Use the models of a running gateway
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Check the providers, keys, prices and models of a running gateway, without spending money; exit code 0: all is well,
    /// 1: something is wrong, 2: could not check
    Doctor(DoctorArgs),
    /// Ask a running gateway whether it is ready, without a key; exit code 0: ready, 1: not ready, or not reached
    Health(HealthArgs),
    /// Run a witness, which cosigns the checkpoints of logs that others publish, if each continues the last one
    Witness(WitnessArgs),
    /// Print shell completions, for example: ledgerway completions bash
    Completions(CompletionsArgs),
}

/// The values of a flag that shells complete; [`boolean`] accepts more.
const BOOLEANS: [&str; 2] = ["true", "false"];
/// The name of the value of a switch.
const BOOL: &str = "BOOL";
/// Names of values that are numbers.
const NUMBERS: [&str; 6] = ["GIB", "MIB", "NUMBER", "PERCENT", "SECONDS", POSITION_OR_TIME];

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
    let is_empty = argument.get_default_values() == [""];
    argument.allow_negative_numbers(is_number).hide_default_value(is_empty)
}

/// Reads a path. Clap's own parser has a message of its own for an empty one.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[derive(Args, Clone)]
pub struct DataArgs {
    /// Folder of the databases and keys
    #[arg(long = "data", env = "LEDGERWAY_DATA", default_value = "./ledgerway-data", value_name = "DIR",
        value_parser = path(), value_hint = ValueHint::DirPath)]
    // `has_address_for_folder` looks for this name.
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

/// True if the data folder of a command is the address of a database, which this command does not take in its place.
pub fn has_address_for_folder(command: &clap::Command, matches: &ArgMatches) -> bool {
    let (command, matches) = innermost(command, matches);
    let takes_address = command.get_positionals().any(|argument| argument.get_id() == "url");
    let folder = matches.try_get_one::<PathBuf>("dir").ok().flatten();
    !takes_address && folder.and_then(|dir| dir.to_str()).is_some_and(is_address)
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

impl OutputArgs {
    pub fn is_json(&self, flags: &Flags) -> Result<bool, WrongConfig> {
        flags.check(setting::JSON, boolean(&self.json))
    }
}

/// The ledger that a command works on.
#[derive(Args)]
pub struct LedgerArgs {
    /// PostgreSQL database with the ledger: postgres://USER@HOST/DATABASE [default: LEDGERWAY_DATABASE_URL; if unset, the
    /// ledger is in the data folder]
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    // `has_address_for_folder` looks for this name.
    pub url: Option<String>,
    #[command(flatten)]
    pub data: DataArgs,
}

impl LedgerArgs {
    /// The address of a database, if one was given, also in place of the folder.
    pub fn address(&self) -> Option<&str> {
        self.url.as_deref().or(self.data.address())
    }
}

#[derive(Args)]
pub struct CompletionsArgs {
    /// Shell to print completions for
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command below this one.
    fn commands(command: &clap::Command) -> Vec<&clap::Command> {
        command.get_subcommands().flat_map(|inner| [vec![inner], commands(inner)].concat()).collect()
    }

    #[test]
    fn an_address_stands_for_the_folder_of_no_command_but_those_that_take_one() {
        let cli = Cli::command();
        for command in commands(&cli) {
            for argument in command.get_arguments() {
                let (id, name) = (argument.get_id().as_str(), command.get_name());
                assert_eq!(argument.get_env().is_some_and(|env| env == "LEDGERWAY_DATA"), id == "dir", "{name}: {id}");
                if argument.is_positional() && has_value(argument, &["URL"]) {
                    assert_eq!(id, "url", "{name}");
                }
            }
        }
        for (words, refused) in [("doctor", true), ("catalogue list", true), ("serve", true), ("verify", false)] {
            for (dir, is_address) in [("postgres://me:secret@host/ledger", true), ("folder", false)] {
                let given = ["ledgerway"].into_iter().chain(words.split(' ')).chain(["--data", dir]);
                let matches = Cli::command().try_get_matches_from(given).expect("arguments");
                assert_eq!(has_address_for_folder(&cli, &matches), refused && is_address, "{words} {dir}");
            }
        }
    }
}
