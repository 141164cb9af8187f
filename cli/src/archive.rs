//! `ledgerway archive`: puts the events that are not in the archive yet into it, and exits. It may run beside gateways that do
//! the same. Exit 0 done, 1 failed, 2 not begun.

use archive::{Archive, ArchiveError, Archiver, LogDiffers, Sealed, compare_with_log};
use events_log::{PAGE_EVENTS, Reader};
use object_storage::ObjectStoreAddress;
use serde_json::json;

use super::ledger_place::LedgerPlace;
use super::object_store::{named_object_store, objects_beside, open_archive};
use super::progress::{Progress, WithoutTerminal};
use super::runtime::CommandRuntime;
use super::{Failure, print_line};
use crate::arguments::ArchiveArgs;
use crate::settings::Flags;
use crate::settings::setting::{DATABASE_URL, OBJECT_STORE_URL};

/// Events in a segment, as the gateway's default.
const SEGMENT_EVENTS: u64 = 50_000;

/// The counts of what was added to the archive.
#[derive(Default)]
struct Added {
    events: u64,
    segments: u64,
    /// The last position in the archive.
    position: u64,
}

pub fn run(args: &ArchiveArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let ledger = LedgerPlace::find_alone(&args.ledger, flags)?;
    let archive = find_archive(args, &ledger)?;
    let reader = ledger.open_shared_with_a_gateway()?;
    let added = runtime.block_on(add_all(&archive, &*reader))?;
    let Added { events, segments, position } = added;
    print_line(&match json {
        true => json!({ "archived": events, "segments": segments, "position": position }).to_string(),
        false => {
            format!("archived {events} events in {segments} segments: {archive} has all up to position {position}")
        }
    });
    Ok(())
}

fn find_archive(args: &ArchiveArgs, ledger: &LedgerPlace) -> Result<Archive, Failure> {
    let own = || {
        let folder = ledger.file().and_then(|file| file.parent());
        folder.map(|folder| ObjectStoreAddress::of_folder(&objects_beside(folder)))
    };
    match named_object_store(args.archive.as_deref())?.or_else(own) {
        Some(address) => open_archive(&address),
        None => {
            let (store, database, example) =
                (OBJECT_STORE_URL.variable, DATABASE_URL.variable, OBJECT_STORE_URL.example);
            Err(Failure::NotBegun(format!(
                "there is no archive: with a ledger in {database}, give --archive {example}, or set {store}"
            )))
        }
    }
}

async fn add_all(archive: &Archive, log: &dyn Reader) -> Result<Added, Failure> {
    let head = log.head()?.position;
    let mut archiver = begin(archive, log, head).await?;
    let mut progress = Progress::new("archiving", WithoutTerminal::Lines);
    let (mut position, mut added) = (archiver.position(), Added::default());
    while position < head {
        let mut page = log.after(position, PAGE_EVENTS)?;
        page.retain(|recorded| recorded.position <= head);
        let mut left = page.as_slice();
        while !left.is_empty() {
            let taken = archiver.add(left).map_err(|error| failed(&error.into()))?;
            left = &left[taken..];
            position += taken as u64;
            if (archiver.is_full() || position == head) && put(&mut archiver, &mut added).await? == Sealed::ByOther {
                // Another archiver has put these events, and maybe more.
                archiver = begin(archive, log, head).await?;
                position = archiver.position();
                break;
            }
        }
        progress.at(position, head);
    }
    progress.done();
    Ok(Added { position: archiver.position(), ..added })
}

/// Continues the archive, if it is of this ledger.
async fn begin(archive: &Archive, log: &dyn Reader, head: u64) -> Result<Archiver, Failure> {
    let newest = archive.newest(head).await.map_err(|error| failed(&error.into()))?;
    if let Some(newest) = &newest {
        compare_with_log(archive, newest, log).map_err(differs)?;
    }
    Ok(Archiver::new(archive.clone(), newest, log.revaluation_begins_after()?, SEGMENT_EVENTS))
}

async fn put(archiver: &mut Archiver, added: &mut Added) -> Result<Sealed, Failure> {
    let Some(packed) = archiver.pack().map_err(|error| failed(&error.into()))? else { return Ok(Sealed::Own) };
    let sealed = archiver.put(&packed).await.map_err(|error| failed(&error))?;
    if sealed == Sealed::Own {
        added.events += packed.last - packed.first + 1;
        added.segments += 1;
    }
    Ok(sealed)
}

fn failed(error: &ArchiveError) -> Failure {
    Failure::Failed(format!("cannot archive the log: {error}"))
}

fn differs(error: LogDiffers) -> Failure {
    match error {
        LogDiffers::Archive(error) => failed(&ArchiveError::from(error)),
        LogDiffers::Log(error) => error.into(),
        differs => Failure::Failed(format!("{differs}: see docs/archive.md#a-ledger-that-is-behind-its-archive")),
    }
}
