//! `ledgerway move`: verifies the ledger of a data folder, copies it into an empty one in PostgreSQL, and verifies the copy. The
//! copy is one transaction. The folder is left as it was, with a marker by which `serve` refuses it, from before the copy is
//! committed. A move that was interrupted is run again: it finds its copy, or copies. Exit 0 done, 1 failed, 2 not begun.

use std::io;
use std::path::Path;

use events_log::lock::FolderLock;
use events_log::{
    CopyCallbacks, DatabaseAddress, LEDGER_FILE, LogError, UnusableReason, copy_to_shared, open_reader,
    open_shared_reader,
};
use secrets::{node_key, operator_key};

use super::ledger_place::{LedgerPlace, named_database};
use super::moved_ledger;
use super::progress::{Progress, WithoutTerminal};
use super::verify::{Fault, check_ledger};
use super::{Failure, print_lines};
use crate::arguments::{MoveArgs, is_address};
use crate::settings::setting::{ADMIN_KEY, DATABASE_URL, NODE_KEY};

/// Where it is said what to do about a copy.
const HELP: &str = "docs/operations.md#moving-a-ledger";

pub fn run(args: &MoveArgs) -> Result<(), Failure> {
    print_lines(&move_ledger(args)?);
    Ok(())
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
    check_marker(from, &database)?;
    let (copied, moved) = match find_copy(&ledger, &database)? {
        Some(copied) => {
            moved_ledger::mark(from, &database).map_err(|error| Failure::Failed(not_marked(from, &error)))?;
            (copied, format!("{database} has the {copied} events already, and they are sound"))
        }
        None => {
            check_source(from, &ledger)?;
            let copied = copy_ledger(from, &ledger, &database)?;
            (copied, format!("moved {copied} events to {database}, where they are sound"))
        }
    };
    check_copy(from, database, copied)?;
    Ok(said(from, moved))
}

/// Refuses a folder whose ledger was moved to another database: each of the two would spend the same budgets.
fn check_marker(from: &Path, database: &DatabaseAddress) -> Result<(), Failure> {
    let marker = moved_ledger::marker(from);
    let moved_to = moved_ledger::moved_to(from)
        .map_err(|error| Failure::NotBegun(format!("cannot read {}: {error}", marker.display())))?;
    match moved_to {
        Some(moved_to) if !database.is_shown_as(&moved_to) => Err(Failure::NotBegun(format!(
            "the ledger in {} was moved to {moved_to}, and a second copy would spend the same budgets again: give that address; to \
             move it to {database} all the same, without what was recorded in the other one, delete {}",
            from.display(),
            marker.display()
        ))),
        _ => Ok(()),
    }
}

/// The number of the ledger's events, if the database has them: an earlier move copied them. `None` if the database has no events.
/// This is before the ledger is verified, which takes its time; the copy looks again.
fn find_copy(ledger: &Path, database: &DatabaseAddress) -> Result<Option<u64>, Failure> {
    let cannot_move = |error: LogError| Failure::Failed(format!("cannot move the ledger to {database}: {error}"));
    let shared = open_shared_reader(database).map_err(cannot_move)?;
    if shared.head().map_err(cannot_move)?.position == 0 {
        return Ok(None);
    }
    let reader = open_reader(ledger).map_err(Failure::not_begun)?;
    let last = reader.head()?.position;
    // No other ledger has an event like that at this position.
    let (ours, theirs) = (reader.at(&[last])?, shared.at(&[last]).map_err(cannot_move)?);
    if !ours.is_empty() && ours == theirs {
        return Ok(Some(last));
    }
    Err(Failure::Failed(format!(
        "cannot move the ledger to {database}: it has events already, which are not a copy of those in the folder: give another \
         database; if nobody needs these events, for example because a node was started before the move, stop all nodes, run DROP \
         SCHEMA ledger CASCADE as the owner of the database, then `ledgerway migrate`, and this again: {HELP}"
    )))
}

fn copy_ledger(from: &Path, ledger: &Path, database: &DatabaseAddress) -> Result<u64, Failure> {
    let catalogue = built_in_catalogue::read_folder(from).map_err(|error| {
        Failure::NotBegun(format!("{error}: replace it with `ledgerway catalogue update`, or delete it"))
    })?;
    let catalogue = catalogue.map(|(_, document)| document);
    let mut progress = Progress::new("copying", WithoutTerminal::Lines);
    let mut is_marked = false;
    let callbacks = CopyCallbacks {
        progress: &mut |position, last| progress.at(position, last),
        before_commit: &mut || {
            is_marked = true;
            moved_ledger::mark(from, database).map_err(|error| UnusableReason::Local(not_marked(from, &error)))
        },
    };
    let why = match copy_to_shared(ledger, catalogue, database, callbacks) {
        Ok(copied) => {
            progress.done();
            return Ok(copied);
        }
        Err(UnusableReason::Log(error @ LogError::Commit(_))) => format!(
            "it is not known whether the copy is in {database} ({error}): run this again, which finds out; until then, `serve` \
             refuses the folder"
        ),
        Err(error) => {
            let left = if is_marked { unmark(from) } else { String::new() };
            format!("cannot move the ledger to {database}: {error}{left}")
        }
    };
    Err(Failure::Failed(why))
}

fn not_marked(from: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", moved_ledger::marker(from).display())
}

/// Lets the folder be served again. Returns what is left to do, as the end of a sentence.
fn unmark(from: &Path) -> String {
    let left = moved_ledger::unmark(from)
        .err()
        .map(|error| format!("; delete {}: {error}", moved_ledger::marker(from).display()));
    left.unwrap_or_default()
}

/// Refuses a ledger that is not sound: nobody could serve its copy.
fn check_source(from: &Path, ledger: &Path) -> Result<(), Failure> {
    let checked = check_ledger(&LedgerPlace::File(ledger.to_owned()), "verifying");
    let why = match checked {
        Ok(_) => return Ok(()),
        Err(Fault::Broken { position, reason, .. } | Fault::Damaged { position, reason, .. }) => {
            let (dir, why) = (from.display(), format!("position {position}: {reason}"));
            format!("the ledger in {dir} is not sound: {why}; `ledgerway verify --data {dir}` says what to do")
        }
        Err(Fault::Unreadable(why)) => why,
    };
    Err(Failure::Failed(format!("nothing was copied: {why}")))
}

/// Checks the copy as `verify` does. It may have grown since.
fn check_copy(from: &Path, database: DatabaseAddress, copied: u64) -> Result<(), Failure> {
    let copy = LedgerPlace::Database(Box::new(database));
    let why = match check_ledger(&copy, "verifying the copy") {
        Ok(sound) if sound.events >= copied => return Ok(()),
        Ok(sound) => format!("{} of {copied} events are there", sound.events),
        Err(Fault::Broken { position, reason, .. } | Fault::Damaged { position, reason, .. }) => {
            format!("position {position}: {reason}")
        }
        Err(Fault::Unreadable(why)) => {
            let why = format!("the copy is in {copy}, but could not be verified ({why}): run this again, {HELP}");
            return Err(Failure::Failed(why));
        }
    };
    if may_be_in_use(&copy, copied) {
        let why = format!(
            "the ledger in {copy} is not sound: {why}; nodes may have used it since it was copied, so `serve` refuses the folder: \
             {HELP}"
        );
        return Err(Failure::Failed(why));
    }
    // The folder's ledger is still the only one that can be served.
    let left = unmark(from);
    Err(Failure::Failed(format!("the copy in {copy} is not sound, do not use it: {why}; remove it, {HELP}{left}")))
}

/// False if no node has recorded anything in the copy, and none runs.
fn may_be_in_use(copy: &LedgerPlace, copied: u64) -> bool {
    let used = || {
        let reader = copy.open_reader()?;
        Ok::<_, LogError>(reader.head()?.position != copied || !reader.running_nodes()?.is_empty())
    };
    used().unwrap_or(true)
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

fn said(from: &Path, moved: String) -> Vec<String> {
    let or_as_before = |variable: &str, file: &str, key: &str| {
        let path = from.join(file);
        if path.is_file() {
            format!("  {variable}=\"$(cat {})\"", path.display())
        } else {
            format!("  {variable}: {key} as before")
        }
    };
    vec![
        moved,
        "start all nodes with these variables, and each with a data folder of its own:".to_owned(),
        format!("  {}: the address of this database", DATABASE_URL.variable),
        or_as_before(NODE_KEY.variable, node_key::FILE, "the same node key"),
        or_as_before(ADMIN_KEY.variable, operator_key::FILE, "the same operator's key"),
        format!(
            "{} is kept as it was, and `serve` refuses it: what it recorded now would not be in the database",
            from.display()
        ),
    ]
}
