//! `ledgerway models`: uses the models of a running gateway. `try` sends one small request and shows what came of it, `list` shows
//! the models that the key may use. Exit 0 done, 1 refused, failed or nothing found, 2 no gateway or no key.

mod advice;
mod event_stream;
mod failed_calls;
mod list;
mod report;
mod trial;
mod unknown_model;

use std::io::Write;

use serde_json::{Value, json};

use super::gateway_access::{FOR_MODELS, connect};
use super::gateway_client::{GatewayError, Refused};
use super::printable_text::printable_text;
use super::runtime::CommandRuntime;
use super::{Failure, print_line};
use crate::arguments::{ModelsCommand, TryArgs};
use crate::settings::Flags;
use trial::{Trial, attempt};

pub fn run(command: &ModelsCommand, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    match command {
        ModelsCommand::Try(args) => try_model(args, flags, runtime),
        ModelsCommand::List(args) => list::list(args, flags, runtime),
    }
}

fn try_model(args: &TryArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let gateway = connect(&args.gateway, flags, &FOR_MODELS)?;
    runtime.block_on(async {
        let is_shown_early = args.stream && !json;
        let mut shown = |text: &str| {
            if is_shown_early {
                print_piece(text);
            }
        };
        let outcome = attempt(&gateway, &args.model, &args.message, &mut shown).await;
        let failed = failed_calls::of(&gateway, &outcome).await;
        let error = match outcome {
            Ok(trial) => {
                print_trial(&Trial { failed, ..trial }, json, is_shown_early);
                return Ok(());
            }
            Err(error) => error,
        };
        let advice = match advice::is_of_doctor(&error) {
            true => advice::of_doctor(&args.gateway, flags).await,
            false => advice::of(&error, &gateway, &args.model, &args.gateway.data.dir).await,
        };
        Err(failure(&error, failed, advice, json))
    })
}

/// The failure of a command whose request was refused or failed, with the calls that failed, if they are known.
fn failure(error: &GatewayError, failed: Option<Vec<Value>>, advice: Option<String>, json: bool) -> Failure {
    match error {
        GatewayError::Refused { refused, .. } if json => {
            let mut shown = json!({ "error": refused.error, "advice": advice });
            if let Some(failed) = failed {
                shown["attempts_failed"] = failed.into();
            }
            print_line(&shown.to_string());
            Failure::Printed
        }
        GatewayError::Refused { refused, .. } if !refused.code().is_empty() => {
            let reason = reason_of(refused).map(|reason| format!(" ({reason})")).unwrap_or_default();
            let mut sentence = format!("{}: {}{reason}", refused.code(), refused.message());
            // The message is about the last of several.
            let several = failed.iter().filter(|calls| calls.len() > 1).flatten();
            sentence.extend(several.map(|call| format!("\nfailed: {}", failed_calls::in_words(call))));
            Failure::Failed(with_advice(&sentence, advice))
        }
        error => Failure::Failed(with_advice(&error.to_string(), advice)),
    }
}

fn print_trial(trial: &Trial, json: bool, is_shown: bool) {
    if json {
        return print_line(&report::json(trial).to_string());
    }
    let text = printable_text(&trial.text);
    match (is_shown, text.trim().is_empty()) {
        (_, true) => print_line("(the answer has no text)"),
        // The text is there already, without the end of its line.
        (true, false) => print_line(""),
        (false, false) => print_line(text.trim()),
    }
    print_line("");
    print_line(&report::table(trial));
}

/// Which provider failed, and why, as far as the message does not say it.
fn reason_of(refused: &Refused) -> Option<String> {
    let details = &refused.error["details"];
    let reason = details["reason"].as_str().filter(|reason| !refused.message().contains(*reason));
    let why = reason.map(|reason| failed_calls::why(reason, details["upstream_status"].as_u64()));
    let provider = details["provider"].as_str().map(|name| format!("provider {name}"));
    let said: Vec<_> = provider.into_iter().chain(why).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn with_advice(sentence: &str, advice: Option<String>) -> String {
    let sentence = printable_text(sentence);
    advice.map_or_else(|| sentence.clone(), |advice| format!("{sentence}\n{advice}"))
}

/// Prints a piece of the answer at once. Errors are ignored: a closed stdout wants no more of it.
fn print_piece(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = write!(stdout, "{}", printable_text(text)).and_then(|()| stdout.flush());
}
