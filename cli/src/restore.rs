//! `ledgerway restore`: builds a ledger anew from an archive, verifies it, and puts it into a data folder that has none or an
//! empty one in PostgreSQL. A restore that fails or is interrupted leaves no ledger. Exit 0 done, 1 failed, 2 not begun.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use archive::Archive;
use events::private::{BESIDE_A_DATABASE, beside};
use events_log::lock::FolderLock;
use events_log::{CopyCallbacks, DatabaseAddress, LEDGER_FILE, copy_to_shared, open_shared_reader};
use projections::views::VIEWS_FILE;
use secrets::NodeKey;

use super::archived_ledger::{BuiltLedger, NotBuilt, Strays, build};
use super::ledger_place::{LedgerPlace, named_database};
use super::object_store::named_archive;
use super::progress::{Progress, WithoutTerminal};
use super::runtime::CommandRuntime;
use super::scratch_folder::ScratchFolder;
use super::verify::{Fault, check_ledger};
use super::{Failure, moved_ledger, new_ids, print_line, print_lines, variable};
use crate::arguments::{RestoreArgs, is_address};
use crate::settings::setting::NODE_KEY;

/// The folder in a data folder in which its ledger is built.
const PARTIAL: &str = "restore.partial";
const BUILDING: &str = "restoring";
/// Notes on the secrets and people that an archive does not have.
const LOST: [&str; 4] = [
    "an archive has no secrets and no people, so these did not come back:",
    "  API keys of clients do not work until they are rotated: POST /v1/admin/keys/{id}/rotate",
    "  API keys of providers must be given again: PATCH /v1/admin/providers/{id}, and of their further keys",
    "  names and e-mail addresses of users, addresses of clients, and answers kept for Idempotency-Key are gone",
];

pub fn run(args: &RestoreArgs, runtime: &CommandRuntime) -> Result<(), Failure> {
    let archive = named_archive(args.archive.as_deref())?;
    let restored = match args.to.to_str().filter(|to| is_address(to)) {
        Some(url) => match named_database(Some(url))? {
            Some(database) => restore_database(&archive, database, runtime)?,
            None => return Err(Failure::NotBegun("--to is empty".to_owned())),
        },
        None => restore_folder(&archive, &args.to, runtime)?,
    };
    print_line(&restored);
    print_lines(&LOST);
    Ok(())
}

fn restore_folder(archive: &Archive, dir: &Path, runtime: &CommandRuntime) -> Result<String, Failure> {
    let _lock = FolderLock::create_and_take(dir).map_err(Failure::not_begun)?;
    must_have_no_ledger(dir)?;
    let folder = ScratchFolder::create_at(dir.join(PARTIAL))?;
    let built = build_in(archive, folder.path(), runtime)?;
    // A ledger with events is not served without a node key, and nothing is sealed yet that could need another one.
    NodeKey::load_or_make(variable(NODE_KEY.variable).as_deref(), dir, &new_ids())?;
    let not_placed =
        |error: io::Error| Failure::Failed(format!("cannot move the ledger into {}: {error}", dir.display()));
    let log_beside = beside(&built.file, "-wal");
    if fs::metadata(&log_beside).is_ok_and(|log| log.len() > 0) {
        return Err(not_placed(io::Error::other(format!("part of it is only in {}", log_beside.display()))));
    }
    fs::rename(&built.file, dir.join(LEDGER_FILE)).map_err(not_placed)?;
    // A renamed entry is durable only once its folder is synced.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(not_placed)?;
    let (events, dir) = (built.checked.last, dir.display());
    Ok(format!("restored {events} events from {archive} into {dir}, where they are sound"))
}

/// Refuses a folder with files of another ledger. SQLite takes files that it finds beside a database for the database's own, and would
/// write the other ledger's last pages into the restored one.
fn must_have_no_ledger(dir: &Path) -> Result<(), Failure> {
    let with_its_files = |file: &str| {
        [""].into_iter().chain(BESIDE_A_DATABASE).map(|suffix| beside(&dir.join(file), suffix)).collect::<Vec<_>>()
    };
    let mut left = [LEDGER_FILE, VIEWS_FILE].into_iter().flat_map(with_its_files).chain([moved_ledger::marker(dir)]);
    match left.find(|file| file.exists()) {
        Some(file) => Err(Failure::NotBegun(format!(
            "{} exists: restore into a folder without a ledger, or move what is left of the old one away first",
            file.display()
        ))),
        None => Ok(()),
    }
}

fn restore_database(archive: &Archive, database: DatabaseAddress, runtime: &CommandRuntime) -> Result<String, Failure> {
    let cannot = |error: &dyn std::fmt::Display| Failure::Failed(format!("cannot restore into {database}: {error}"));
    let head = open_shared_reader(&database).and_then(|reader| reader.head()).map_err(|error| cannot(&error))?;
    if head.position > 0 {
        return Err(Failure::Failed(format!(
            "cannot restore into {database}: it has a ledger with events up to position {}: give another database",
            head.position
        )));
    }
    let folder = ScratchFolder::create()?;
    let built = build_in(archive, folder.path(), runtime)?;
    let mut progress = Progress::new("copying", WithoutTerminal::Lines);
    let callbacks =
        CopyCallbacks { progress: &mut |position, last| progress.at(position, last), before_commit: &mut || Ok(()) };
    copy_to_shared(&built.file, None, &database, callbacks).map_err(|error| cannot(&error))?;
    progress.done();
    let (shown, events) = (database.to_string(), built.checked.last);
    match check_ledger(&LedgerPlace::Database(Box::new(database)), "verifying the copy") {
        Ok(_) => Ok(format!("restored {events} events from {archive} into {shown}, where they are sound")),
        Err(Fault::Broken { position, reason, .. } | Fault::Damaged { position, reason, .. }) => Err(Failure::Failed(
            format!("the copy in {shown} is not sound, do not use it: position {position}: {reason}"),
        )),
        Err(Fault::Unreadable(why)) => Err(Failure::Failed(format!(
            "the ledger is in {shown}, but could not be verified there ({why}): run `ledgerway verify` on it"
        ))),
    }
}

fn build_in(archive: &Archive, folder: &Path, runtime: &CommandRuntime) -> Result<BuiltLedger, Failure> {
    let built = runtime.block_on(build(archive, folder, BUILDING, Strays::Ignored));
    built.map_err(|error| match &error {
        NotBuilt::NoArchive(_) => Failure::not_begun(error),
        NotBuilt::Archive(_) | NotBuilt::Folder { .. } => Failure::Failed(format!("nothing was restored: {error}")),
    })
}
