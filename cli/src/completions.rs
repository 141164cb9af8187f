//! `ledgerway completions SHELL`: prints the shell's completion script.

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;

use super::{Failure, print_line};
use crate::arguments::{Cli, CompletionsArgs, is_switch};

pub fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut with_plain_switches(Cli::command()), "ledgerway", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Fish {
        script.extend(Cli::command().get_subcommands().filter_map(values_for_fish));
    }
    print_line(script.trim_end());
    Ok(())
}

/// A switch takes a value only after `=`, but shells would offer its values as the next argument.
fn with_plain_switches(command: Command) -> Command {
    let plain = |switch: Arg| {
        let switch = switch.require_equals(false).num_args(0);
        switch.action(ArgAction::SetTrue).value_parser(clap::value_parser!(bool))
    };
    command
        .mut_subcommands(with_plain_switches)
        .mut_args(|argument| if is_switch(&argument) { plain(argument) } else { argument })
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
