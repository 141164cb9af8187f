//! The command line: the arguments of all commands, and the commands themselves, other than those that serve. Exit codes: 0 done,
//! 1 failed or interrupted, 2 wrong configuration (`verify`, `status`: could not check; `rebuild`, `replay`, `bundle`, `what-if`,
//! `reseal`, `apply`: not begun; `models`, `doctor`: no gateway or no key; `witness`: could not start).
//!
//! Which command runs is decided here, with its exit code (`failure`) and the one runtime on which it waits (`runtime`).
//! `arguments` are those of each command, and `settings` those that have a variable. Commands that serve are handed in by
//! `src/main.rs`.
//!
//! - `ledger_place`: where a command finds the ledger. `move_ledger` copies one from a folder into a database, and
//!   `moved_ledger` is the marker that it leaves.
//! - `archive`, `restore`, `export` work on archives: `archived_ledger` builds a ledger from one and verifies it,
//!   `object_store` finds it, and `scratch_folder` is where it is built. `bundle` and `verify` write and check bundles;
//!   `partial_file` is a new file that gets its name when it is whole.
//! - `gateway_access` finds the gateway and its key, and `gateway_client` asks it: for `apply`, `models`, `doctor`, `rebuild`
//!   and others.
//! - `table`, `progress` and `printable_text` draw for all commands; the last one keeps what could steer the terminal out of
//!   texts. `time_range` reads the times that `what_if` and `bundle` are asked for.

pub mod apply;
mod archive;
mod archived_ledger;
pub mod arguments;
mod bundle;
mod catalogue;
mod completions;
mod doctor;
mod export;
mod failure;
mod gateway_access;
mod gateway_client;
mod health;
mod ledger_place;
pub mod migrate;
mod models;
mod move_ledger;
pub mod moved_ledger;
mod object_store;
mod partial_file;
mod printable_text;
mod progress;
mod rebuild;
mod replay;
mod reseal;
mod restore;
mod runtime;
mod scratch_folder;
pub mod settings;
mod status;
pub mod table;
mod time_range;
mod verify;
mod what_if;

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};
use events::ids::{IdMaker, SystemRandom};
use events::time::SystemClock;

use self::arguments::{Cli, Command, ExportCommand, ServeArgs, WitnessArgs, has_address_for_folder, is_address};
pub use self::failure::Failure;
use self::printable_text::{printable_line, printable_text};
pub use self::runtime::CommandRuntime;
use self::settings::{Flags, SecretFiles, WrongConfig, environment, setting};

/// The commands that serve. They are put together from all parts of the gateway, which other commands do without.
pub struct Servers {
    pub gateway: fn(&ServeArgs, &Flags, CommandRuntime) -> Result<(), Failure>,
    pub witness: fn(&WitnessArgs, CommandRuntime) -> Result<(), Failure>,
}

/// Runs the command that the process was started with. If it fails, prints why.
pub fn run(servers: &Servers) -> ExitCode {
    let Err(failure) = run_command(servers) else { return ExitCode::SUCCESS };
    if !matches!(failure, Failure::Printed) {
        print_error(&failure.to_string());
    }
    failure.exit_code()
}

fn run_command(servers: &Servers) -> Result<(), Failure> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let matches = matches.unwrap_or_else(|error| without_addresses(with_port_tip(error)).exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // `completions` reads no setting, and shells call it at their start: it reports no mistakes.
    if !matches!(cli.command, Command::Completions(_)) {
        read_environment()?;
    }
    let flags = Flags::of(&command, &matches);
    // It would become the name of a folder, with its password.
    if has_address_for_folder(&command, &matches) {
        let variable = setting::DATABASE_URL.variable;
        let problem = format!("must be a folder; the address of a database belongs in {variable}");
        return Err(flags.wrong(setting::DATA, problem).into());
    }
    let runtime = CommandRuntime::start()?;
    match cli.command {
        Command::Serve(args) => (servers.gateway)(&args, &flags, runtime),
        Command::Migrate(args) => migrate::run(&args),
        Command::Move(args) => move_ledger::run(&args),
        Command::Archive(args) => archive::run(&args, &flags, &runtime),
        Command::Restore(args) => restore::run(&args, &runtime),
        Command::Export(args) => match &args.command {
            Some(ExportCommand::Config(args)) => apply::export_config(args, &flags, &runtime),
            None => export::run(&args, &flags, &runtime),
        },
        Command::Bundle(args) => bundle::run(&args, &flags, &runtime),
        Command::WhatIf(args) => what_if::run(&args, &flags, &runtime),
        Command::Verify(args) => verify::run(&args, &flags, &runtime),
        Command::Rebuild(args) => rebuild::run(&args, &flags, &runtime),
        Command::Replay(args) => replay::run(&args, &flags),
        Command::Reseal(args) => reseal::run(&args, &flags, &runtime),
        Command::Status(args) => status::run(&args, &flags),
        Command::Catalogue(args) => catalogue::run(&args, &flags, &runtime),
        Command::Apply(args) => apply::run(&args, &flags, &runtime),
        Command::Models(args) => models::run(&args, &flags, &runtime),
        Command::Doctor(args) => doctor::run(&args, &flags, &runtime),
        Command::Health(args) => health::run(&args, &flags, &runtime),
        Command::Witness(args) => (servers.witness)(&args, runtime),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Refuses unknown variables, and reads the secrets in files.
fn read_environment() -> Result<(), WrongConfig> {
    // A variable that is not UTF-8 is read lossily, so that it is refused by its name instead of being overlooked.
    let variables =
        std::env::vars_os().map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()));
    environment::check(variables.map(|[name, value]| (name, value)))?;
    // Nothing has been read before.
    drop(SECRET_FILES.set(SecretFiles::read(variable)?));
    Ok(())
}

/// Suggests `--listen` for `--port`, which other servers have and clap finds no similar flag for.
fn with_port_tip(mut error: clap::Error) -> clap::Error {
    let is_port = |value: &ContextValue| matches!(value, ContextValue::String(flag) if flag == "--port");
    if error.get(ContextKind::InvalidArg).is_some_and(is_port) {
        error.insert(ContextKind::SuggestedArg, ContextValue::String("--listen".to_owned()));
    }
    error
}

/// An address may have a password in it: an error does not repeat it.
fn without_addresses(mut error: clap::Error) -> clap::Error {
    let is_shown = |value: &ContextValue| matches!(value, ContextValue::String(text) if is_address(text));
    let shown: Vec<_> = error.context().filter(|(_, value)| is_shown(value)).map(|(kind, _)| kind).collect();
    for kind in shown {
        error.insert(kind, ContextValue::String("postgres://…".to_owned()));
    }
    error
}

/// The secrets that files had at the start of the process.
static SECRET_FILES: OnceLock<SecretFiles> = OnceLock::new();

/// The value of an environment variable, or the secret in the file that another variable names in its place.
pub fn variable(name: &str) -> Option<String> {
    let in_file = SECRET_FILES.get().and_then(|files| files.get(name));
    let in_file = in_file.map(|secret| secret.reveal().to_owned());
    in_file.or_else(|| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

/// Makes ids that no other process makes.
fn new_ids() -> IdMaker {
    IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
}

/// The most characters that are printed of a name.
const NAME_CHARS_MAX: usize = 40;

/// A tenant's or provider's name on one line.
pub fn printable(name: &str) -> String {
    printable_line(name, NAME_CHARS_MAX)
}

/// Prints one line to stdout. Errors are ignored: a closed stdout wants no more lines.
pub fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn print_lines(lines: &[impl AsRef<str>]) {
    lines.iter().for_each(|line| print_line(line.as_ref()));
}

/// Prints one sentence to stderr. It may repeat what files and gateways say.
fn print_error(sentence: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ledgerway: {}", printable_text(sentence));
}
