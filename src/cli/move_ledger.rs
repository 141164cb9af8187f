//! `ledgerway move`: verifies the ledger of a data folder, copies it into an empty one in PostgreSQL, and verifies the copy. The
//! copy is one transaction, so a move that is interrupted before its end leaves nothing and is run again. The folder is left as
//! it was, with a marker by which `serve` refuses it. Exit 0 done, 1 failed, 2 not begun.

use std::path::Path;
use std::process::ExitCode;

use events::log::lock::FolderLock;
use events::log::{DatabaseAddress, LEDGER_FILE, LogError, copy_to_shared, open_reader, open_shared_reader};
use secrets::node_key;

use super::ledger_place::{LedgerPlace, named_database};
use super::moved_ledger;
use super::progress::{Progress, WithoutTerminal};
use super::verify::{NotSound, check_ledger};
use super::{Failure, exit, print_line};
use crate::config::arguments::{MoveArgs, is_address};
use crate::config::setting::{DATABASE_URL, NODE_KEY};

/// Where it is said what to do about a copy.
const HELP: &str = "docs/operations.md#moving-a-ledger";

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
    check_database(&database)?;
    check_source(from, &ledger)?;
    let catalogue = catalogue::read_folder(from).map_err(|error| {
        Failure::NotBegun(format!("{error}: replace it with `ledgerway catalogue update`, or delete it"))
    })?;
    let catalogue = catalogue.map(|(_, document)| document);
    let mut progress = Progress::new("copying", WithoutTerminal::Lines);
    let copied = copy_to_shared(&ledger, catalogue, &database, &mut |position, last| progress.at(position, last));
    let copied = copied.map_err(|error| {
        let may_be_there =
            matches!(error, LogError::Commit(_)).then(|| format!("; it may be there all the same, {HELP}"));
        Failure::Failed(format!("cannot move the ledger to {database}: {error}{}", may_be_there.unwrap_or_default()))
    })?;
    progress.done();
    // Before anything else can go wrong: from here on there are two ledgers.
    if let Err(error) = moved_ledger::mark(from, &database) {
        let why =
            format!("the copy is in {database}, but {} cannot be marked ({error}): never serve it", from.display());
        return Err(Failure::Failed(why));
    }
    check_copy(from, database.clone(), copied)?;
    Ok(said(from, &database, copied))
}

/// Refuses a database with events before the ledger is verified, which takes its time. The copy looks again.
fn check_database(database: &DatabaseAddress) -> Result<(), Failure> {
    let head = open_shared_reader(database).and_then(|reader| reader.head());
    let why = match head {
        Ok(head) if head.position == 0 => return Ok(()),
        Ok(_) => format!(
            "the shared ledger has events already; if they are from a move that was interrupted while it verified the copy, \
             `ledgerway verify` says whether the copy is sound: {HELP}"
        ),
        Err(error) => error.to_string(),
    };
    Err(Failure::Failed(format!("cannot move the ledger to {database}: {why}")))
}

/// Refuses a ledger that is not sound: nobody could serve its copy.
fn check_source(from: &Path, ledger: &Path) -> Result<(), Failure> {
    let checked = check_ledger(&LedgerPlace::File(ledger.to_owned()), "verifying");
    let why = match checked {
        Ok(_) => return Ok(()),
        Err(NotSound::Broken(why)) => {
            let dir = from.display();
            format!("the ledger in {dir} is not sound: {why}; `ledgerway verify --data {dir}` says what to do")
        }
        Err(NotSound::Unknown(why)) => why,
    };
    Err(Failure::Failed(format!("nothing was copied: {why}")))
}

/// Checks the copy as `verify` does.
fn check_copy(from: &Path, database: DatabaseAddress, copied: u64) -> Result<(), Failure> {
    let copy = LedgerPlace::Database(Box::new(database));
    let why = match check_ledger(&copy, "verifying the copy") {
        Ok(sound) if sound.events == copied => return Ok(()),
        Ok(sound) => format!("{} of {copied} events are there", sound.events),
        Err(NotSound::Broken(why)) => why,
        Err(NotSound::Unknown(why)) => {
            let why = format!(
                "the copy is in {copy}, but could not be verified ({why}): run `ledgerway verify` on it, {HELP}"
            );
            return Err(Failure::Failed(why));
        }
    };
    // The folder's ledger is still the only one that can be served.
    let left = moved_ledger::unmark(from)
        .err()
        .map(|error| format!("; delete {}: {error}", moved_ledger::marker(from).display()));
    let left = left.unwrap_or_default();
    Err(Failure::Failed(format!("the copy in {copy} is not sound, do not use it: {why}; remove it, {HELP}{left}")))
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

fn said(from: &Path, database: &DatabaseAddress, events: u64) -> Vec<String> {
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
    lines.push(format!(
        "{dir} is kept as it was, and `serve` refuses it: what it recorded now would not be in the database"
    ));
    lines
}
