//! Commands. Exit codes: 0 done, 1 could not or was cut short, 2 wrong configuration (`verify`, `status`: could not look;
//! `rebuild`, `reseal`: not begun).

mod asking;
mod completions;
mod logging;
mod migrate;
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

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};
use events::log::LEDGER_FILE;

use crate::config::arguments::{Cli, Command, DataArgs};
use crate::config::{Flags, environment, setting};

const WRONG_CONFIGURATION: u8 = 2;

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

/// The ledger of a data folder that a gateway has used. Errors: there is none; a sentence.
fn ledger_in(data: &DataArgs, flags: &Flags) -> Result<PathBuf, String> {
    let ledger = data.dir.join(LEDGER_FILE);
    if ledger.is_file() {
        return Ok(ledger);
    }
    let name = flags.name_of(setting::DATA);
    Err(format!("there is no {}: {name} must be the data folder of a gateway", ledger.display()))
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
