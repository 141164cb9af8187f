//! The commands. Exit codes: 0 done, 1 failed or interrupted, 2 wrong configuration (`verify`, `status`: could not check;
//! `rebuild`, `replay`, `bundle`, `what-if`, `reseal`, `apply`: not begun; `models`, `doctor`: no gateway or no key; `witness`: could
//! not start).

mod apply;
mod archive;
mod archived_ledger;
mod bundle;
mod catalogue;
mod completions;
mod doctor;
mod export;
mod gateway_access;
mod gateway_client;
mod health;
mod ledger_place;
mod logging;
mod migrate;
mod models;
mod move_ledger;
mod moved_ledger;
mod object_store;
mod partial_file;
mod printable_text;
mod progress;
mod rebuild;
mod replay;
mod reseal;
mod restore;
mod scratch_folder;
mod serve;
mod server_process;
mod status;
mod table;
mod time_range;
mod verify;
mod welcome;
mod what_if;
mod witness;

use std::fmt::Display;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};
use events_log::{LEDGER_FILE, LogError};
use secrets::file::SecretFileError;
use secrets::node_key::NodeKeyError;
use tokio::runtime::Runtime;

use self::printable_text::{printable_line, printable_text};
use crate::config::arguments::{Cli, Command, DataArgs, ExportCommand, is_address};
use crate::config::{Flags, SecretFiles, WrongConfig, environment, setting};

/// The exit code of what was not begun, for example because of wrong configuration.
const NOT_BEGUN: u8 = 2;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let matches = matches.unwrap_or_else(|error| without_addresses(with_port_tip(error)).exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // A variable that is not UTF-8 is read lossily, so that it is refused by its name instead of being overlooked.
    let variables =
        std::env::vars_os().map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()));
    // `completions` reads no setting, and shells call it at their start: it reports no mistakes.
    if !matches!(cli.command, Command::Completions(_))
        && let Err(wrong) = environment::check(variables.map(|[name, value]| (name, value)))
    {
        return exit(Err(wrong.into()));
    }
    match SecretFiles::read(variable) {
        // Nothing has been read before.
        Ok(read) => drop(SECRET_FILES.set(read)),
        Err(_) if matches!(cli.command, Command::Completions(_)) => {}
        Err(wrong) => return exit(Err(wrong.into())),
    }
    let flags = Flags::of(&command, &matches);
    if let Err(wrong) = check_folder(&cli.command, &flags) {
        return exit(Err(wrong.into()));
    }
    match cli.command {
        Command::Serve(args) => serve::run(&args, &flags),
        Command::Migrate(args) => migrate::run(&args),
        Command::Move(args) => move_ledger::run(&args),
        Command::Archive(args) => archive::run(&args, &flags),
        Command::Restore(args) => restore::run(&args),
        Command::Export(args) => match &args.command {
            Some(ExportCommand::Config(args)) => apply::export_config(args, &flags),
            None => export::run(&args, &flags),
        },
        Command::Bundle(args) => bundle::run(&args, &flags),
        Command::WhatIf(args) => what_if::run(&args, &flags),
        Command::Verify(args) => verify::run(&args, &flags),
        Command::Rebuild(args) => rebuild::run(&args, &flags),
        Command::Replay(args) => replay::run(&args, &flags),
        Command::Reseal(args) => reseal::run(&args, &flags),
        Command::Status(args) => status::run(&args, &flags),
        Command::Catalogue(args) => catalogue::run(&args, &flags),
        Command::Apply(args) => apply::run(&args, &flags),
        Command::Models(args) => models::run(&args, &flags),
        Command::Doctor(args) => doctor::run(&args, &flags),
        Command::Health(args) => health::run(&args, &flags),
        Command::Witness(args) => witness::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Why a command did not do its work; a sentence.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    NotBegun(String),
    #[error("{0}")]
    Failed(String),
    /// The sentence was printed before.
    #[error("")]
    Printed,
    #[error(transparent)]
    WrongConfig(#[from] WrongConfig),
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
}

impl Failure {
    fn not_begun(error: impl Display) -> Self {
        Self::NotBegun(error.to_string())
    }

    fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The exit code of a command, which prints why it failed.
fn exit(done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if !matches!(failure, Failure::Printed) {
        print_error(&failure.to_string());
    }
    match failure {
        Failure::NotBegun(_) | Failure::WrongConfig(_) | Failure::NodeKey(_) => NOT_BEGUN.into(),
        Failure::Failed(_) | Failure::Printed | Failure::SecretFile(_) | Failure::Log(_) => ExitCode::FAILURE,
    }
}

/// The runtime of a command. It is not dropped: that would wait for threads, of which one may read a folder that does not answer.
fn single_threaded_runtime() -> Result<ManuallyDrop<Runtime>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name("blocking").build();
    runtime.map(ManuallyDrop::new).map_err(|error| Failure::NotBegun(format!("cannot start the runtime: {error}")))
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

/// Refuses the address of a database where a folder is meant: it would become the name of one, with its password.
fn check_folder(command: &Command, flags: &Flags) -> Result<(), WrongConfig> {
    if command.folder_alone().is_none_or(|data| data.address().is_none()) {
        return Ok(());
    }
    let variable = setting::DATABASE_URL.variable;
    Err(flags.wrong(setting::DATA, format!("must be a folder; the address of a database belongs in {variable}")))
}

/// The secrets that files had at the start of the process.
static SECRET_FILES: OnceLock<SecretFiles> = OnceLock::new();

/// The value of an environment variable, or the secret in the file that another variable names in its place.
fn variable(name: &str) -> Option<String> {
    let in_file = SECRET_FILES.get().and_then(|files| files.get(name));
    let in_file = in_file.map(|secret| secret.reveal().to_owned());
    in_file.or_else(|| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

/// The path of the ledger in a data folder.
///
/// Errors: there is none.
fn find_ledger(data: &DataArgs, flags: &Flags) -> Result<PathBuf, Failure> {
    let ledger = data.dir.join(LEDGER_FILE);
    if ledger.is_file() {
        return Ok(ledger);
    }
    if !flags.has(setting::DATA) && variable(setting::DATA.variable).is_none() {
        return Err(Failure::NotBegun(no_ledger_here(&ledger)));
    }
    let name = flags.name_of(setting::DATA);
    Err(Failure::NotBegun(format!("there is no {}: {name} must be the data folder of a gateway", ledger.display())))
}

/// The sentence for a default folder that is not there: most likely the current folder is the wrong one.
fn no_ledger_here(ledger: &Path) -> String {
    let ledger = ledger.strip_prefix(".").unwrap_or(ledger).display();
    let here =
        std::env::current_dir().map_or_else(|_| "the current folder".to_owned(), |dir| dir.display().to_string());
    format!(
        "there is no {ledger} in {here}: run this where you started `ledgerway serve`, or give the data folder with --data DIR"
    )
}

/// The most characters that are printed of a name.
const NAME_CHARS_MAX: usize = 40;

/// A tenant's or provider's name on one line.
fn printable(name: &str) -> String {
    printable_line(name, NAME_CHARS_MAX)
}

/// Prints one line to stdout. Errors are ignored: a closed stdout wants no more lines.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Prints one sentence to stderr. It may repeat what files and gateways say.
fn print_error(sentence: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ledgerway: {}", printable_text(sentence));
}
