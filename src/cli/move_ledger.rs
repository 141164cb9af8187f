//! `ledgerway move`: copies the ledger of a data folder into an empty one in PostgreSQL, and verifies it there. All in one
//! transaction, so an interrupted move leaves nothing and is run again. Exit 0 done, 1 failed, 2 not begun.

use std::path::Path;
use std::process::ExitCode;

use events::log::lock::FolderLock;
use events::log::{Database, LEDGER_FILE, copy_to_shared, open_reader, open_shared_reader};
use events::verify::{self, Depth};
use secrets::node_key;

use super::ledger_place::named_database;
use super::progress::{Progress, WithoutTerminal};
use super::{Failure, exit, print_line};
use crate::config::arguments::{MoveArgs, is_address};
use crate::config::setting::{DATABASE_URL, NODE_KEY};

pub fn run(args: &MoveArgs) -> ExitCode {
    exit(move_ledger(args).map(|lines| lines.iter().for_each(|line| print_line(line))))
}

fn move_ledger(args: &MoveArgs) -> Result<Vec<String>, Failure> {
    let from = &args.from;
    let (variable, example) = (DATABASE_URL.variable, DATABASE_URL.example);
    if from.to_str().is_some_and(is_address) {
        let why = format!("--from must be a data folder; give the address of the database with --to {example}");
        return Err(Failure::NotBegun(why));
    }
    let Some(database) = named_database(args.to.as_deref())? else {
        let why = format!("there is no database to move to: give --to {example}, or set {variable}");
        return Err(Failure::NotBegun(why));
    };
    let ledger = from.join(LEDGER_FILE);
    if !ledger.is_file() {
        return Err(Failure::NotBegun(format!(
            "there is no {}: --from must be the data folder of a gateway",
            ledger.display()
        )));
    }
    // What a gateway recorded after the copy would be lost.
    let _lock = FolderLock::take(from).map_err(Failure::not_begun)?;
    check_key(&ledger)?;
    let mut progress = Progress::new("copying", WithoutTerminal::Lines);
    let copied = copy_to_shared(&ledger, &database, &mut |position, last| progress.at(position, last));
    let copied = copied.map_err(|error| Failure::Failed(format!("cannot move the ledger to {database}: {error}")))?;
    progress.done();
    let events = verify_copy(&database, copied)?;
    Ok(said(from, &database, events))
}

/// Refuses a ledger that no version after 0.1.0 has served: it does not say which node key is right, and the first node to start
/// would decide that.
fn check_key(ledger: &Path) -> Result<(), Failure> {
    let reader = open_reader(ledger).map_err(Failure::not_begun)?;
    let is_new = reader.head()?.position == 0;
    if is_new || reader.any_wrapped_key()?.is_some() {
        return Ok(());
    }
    let why = "nothing in the ledger shows yet whether a node key is right: start `ledgerway serve` once on the folder";
    Err(Failure::NotBegun(why.to_owned()))
}

/// Checks the copy as `verify` does. Returns the number of its events.
fn verify_copy(database: &Database, copied: u64) -> Result<u64, Failure> {
    let wrong = |why: String| Failure::Failed(format!("the copy in {database} is not sound, do not use it: {why}"));
    let reader = open_shared_reader(database)?;
    let mut progress = Progress::new("verifying", WithoutTerminal::Lines);
    let sound = verify::verify(&*reader, Depth::Gateway, &mut |position, last| progress.at(position, last));
    let sound = sound.map_err(|error| wrong(error.to_string()))?;
    progress.done();
    if sound.events == copied {
        Ok(copied)
    } else {
        Err(wrong(format!("{} of {copied} events are there", sound.events)))
    }
}

fn said(from: &Path, database: &Database, events: u64) -> Vec<String> {
    let (dir, key) = (from.display(), from.join(node_key::FILE));
    let mut lines = vec![format!("moved {events} events to {database}, where they are sound")];
    if key.is_file() {
        let (variable, key) = (NODE_KEY.variable, key.display());
        lines.push(format!("start all nodes with {variable}=\"$(cat {key})\", and each with a data folder of its own"));
    } else {
        lines.push(
            "start all nodes with the same node key as before, and each with a data folder of its own".to_owned(),
        );
    }
    lines.push(format!("never serve {dir} again: what it recorded then would not be in the database"));
    lines
}
