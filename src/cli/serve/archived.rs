//! Compares the ledger with its archive at the start, before anything is recorded: a database that was restored from an older
//! copy would give the positions that it has lost to other events, and spend its budgets again.

use std::time::Duration;

use archive::{Archive, LogDiffers, Newest, ReadError, SegmentLimits, compare_with_log};
use events::log::{LEDGER_FILE, Log, LogError, Reader, open_reader, open_shared_reader};

use super::super::object_store::{open_archive, read_archive};
use super::ServeError;
use crate::config::{Archiving, Config};

/// How long the start waits for the archive. Without an answer the gateway serves: an outage of an object store must not keep
/// it from starting.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What to do about a ledger that is not the archived one.
const ADVICE: &str = "the database was replaced, or restored from an older copy: build it anew from the archive (`ledgerway restore`); \
                      to go on without what was lost, archive to another place: docs/archive.md#a-ledger-that-is-behind-its-archive";

/// An archive, and how it is written.
pub struct OpenedArchive {
    pub archive: Archive,
    /// `None` if this gateway does not write it.
    pub limits: Option<SegmentLimits>,
    /// Its newest manifest, if the ledger could not be compared with it yet.
    uncompared: Option<Newest>,
}

/// Opens the archive of the configuration, and compares the ledger with it.
///
/// Errors: the ledger is another one, or has lost events that the archive has.
pub async fn open(config: &Config) -> Result<Option<OpenedArchive>, ServeError> {
    let Some(Archiving { address, limits }) = &config.archiving else { return Ok(None) };
    let archive = if limits.is_some() { open_archive(address) } else { read_archive(address) }?;
    let mut opened = OpenedArchive { archive, limits: *limits, uncompared: None };
    let reader = match open_ledger(config).await? {
        Ledger::Readable(reader) => Some(reader),
        Ledger::Unreadable => None,
        Ledger::Missing => {
            refuse_any(&opened.archive).await?;
            return Ok(Some(opened));
        }
    };
    let head = reader.as_ref().and_then(|(_, head)| *head).unwrap_or(0);
    let Some(newest) = newest(&opened.archive, head).await else { return Ok(Some(opened)) };
    match reader {
        Some((reader, _)) => {
            let archive = opened.archive.clone();
            let compared = tokio::task::spawn_blocking(move || compare_with_log(&archive, &newest, &*reader)).await?;
            must_be_same(compared)?;
        }
        None => opened.uncompared = Some(newest),
    }
    Ok(Some(opened))
}

impl OpenedArchive {
    /// Compares an opened log that could not be read before, because it was of an older version.
    pub async fn compare_opened(&mut self, log: &Log) -> Result<(), ServeError> {
        let Some(newest) = self.uncompared.take() else { return Ok(()) };
        let archive = self.archive.clone();
        must_be_same(log.read(move |reader| Ok(compare_with_log(&archive, &newest, reader))).await?)
    }
}

enum Ledger {
    /// With its last position, if that can be read.
    Readable((Box<dyn Reader>, Option<u64>)),
    /// It is of another version, or cannot be reached: opening it says why.
    Unreadable,
    Missing,
}

async fn open_ledger(config: &Config) -> Result<Ledger, ServeError> {
    let (database, file) = (config.database.clone(), config.data.join(LEDGER_FILE));
    let open = move || -> Result<Ledger, LogError> {
        let reader = match &database {
            Some(database) => open_shared_reader(database)?,
            None if !file.exists() => return Ok(Ledger::Missing),
            None => open_reader(&file)?,
        };
        let head = reader.head().ok().map(|head| head.position);
        Ok(Ledger::Readable((reader, head)))
    };
    Ok(tokio::task::spawn_blocking(open).await?.unwrap_or(Ledger::Unreadable))
}

/// Refuses an archive with events where there is no ledger at all.
async fn refuse_any(archive: &Archive) -> Result<(), ServeError> {
    match newest(archive, 0).await {
        Some(newest) => {
            let (archive, archived) = (archive.to_string(), newest.manifest.last);
            must_be_same(Err(LogDiffers::Behind { archive, archived, head: 0 }))
        }
        None => Ok(()),
    }
}

/// The newest manifest; `None` if there is none, or it could not be read in time, which is logged.
async fn newest(archive: &Archive, head: u64) -> Option<Newest> {
    match tokio::time::timeout(ANSWER_MAX, archive.newest(head)).await {
        Ok(Ok(newest)) => newest,
        Ok(Err(error)) => {
            warn(&error);
            None
        }
        Err(_) => {
            tracing::warn!(%archive, "the archive does not answer: the ledger was not compared with it");
            None
        }
    }
}

fn warn(error: &ReadError) {
    tracing::warn!(%error, "the ledger was not compared with its archive");
}

fn must_be_same(compared: Result<(), LogDiffers>) -> Result<(), ServeError> {
    match compared {
        Ok(()) => Ok(()),
        Err(LogDiffers::Archive(error)) => {
            warn(&error);
            Ok(())
        }
        Err(LogDiffers::Log(error)) => Err(error.into()),
        Err(differs) => Err(format!("{differs}: {ADVICE}").into()),
    }
}
