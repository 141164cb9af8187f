//! `ledgerway completions SHELL`: prints the shell's completion script.

use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::print_line;
use crate::config::arguments::{Cli, CompletionsArgs};

pub fn run(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ledgerway", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Fish {
        script.extend(Cli::command().get_subcommands().filter_map(values_for_fish));
    }
    print_line(script.trim_end());
    ExitCode::SUCCESS
}

/// Completions for the values of positional arguments, such as the views to rebuild: clap_complete leaves them out for fish.
fn values_for_fish(command: &Command) -> Option<String> {
    let values: Vec<String> = command
        .get_positionals()
        .flat_map(|argument| argument.get_possible_values())
        .map(|value| value.get_name().to_owned())
        .collect();
    let name = command.get_name();
    (!values.is_empty()).then(|| {
        format!(
            "complete -c ledgerway -n \"__fish_ledgerway_using_subcommand {name}\" -f -a \"{}\"\n",
            values.join(" ")
        )
    })
}
