//! Compares the ledger with its archive at the start, before anything is recorded: a database that was restored from an older
//! copy would give the positions that it has lost to other events, and spend its budgets again.

use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, LogDiffers, Newest, ReadError, SegmentLimits, compare_with_log};
use blocking_work::STARTING;
use events_log::{LEDGER_FILE, Log, LogError, Reader, open_reader, open_shared_reader};
use object_storage::{NotOpened, Open, OpenError, Opening};

use super::ServeError;
use super::object_stores::archive_opener;
use crate::config::Config;

/// How long the start waits for the archive. Without an answer the gateway serves: an outage of an object store must not keep
/// it from starting.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Advice about a ledger that is not the archived one.
const ADVICE: &str = "the database was replaced, or restored from an older copy: build it anew from the archive (`ledgerway restore`); \
                      to go on without what was lost, archive to another place: docs/archive.md#a-ledger-that-is-behind-its-archive";

/// An archive, and how it is written.
pub struct ConfiguredArchive {
    pub open: Open<Archive>,
    /// `None` if this gateway does not write it.
    pub limits: Option<SegmentLimits>,
    /// The archive, and its newest manifest, that the ledger could not be compared with yet.
    uncompared: Option<(Archive, Newest)>,
}

/// Opens the archive of the configuration, and compares the ledger with it.
///
/// Errors: the ledger is another one, or has lost events that the archive has; the settings of a bucket are wrong.
pub async fn open(config: &Config) -> Result<Option<ConfiguredArchive>, ServeError> {
    let Some(archiving) = &config.archiving else { return Ok(None) };
    let open = archive_opener(archiving)?;
    let mut configured = ConfiguredArchive { open, limits: archiving.limits, uncompared: None };
    let Some(archive) = open_now(Arc::clone(&configured.open)).await? else { return Ok(Some(configured)) };
    let reader = match open_ledger(config).await? {
        Ledger::Readable(reader) => Some(reader),
        Ledger::Unreadable => None,
        Ledger::Missing => {
            refuse_any(&archive).await?;
            return Ok(Some(configured));
        }
    };
    let head = reader.as_ref().and_then(|(_, head)| *head).unwrap_or(0);
    let Some(newest) = newest(&archive, head).await else { return Ok(Some(configured)) };
    match reader {
        Some((reader, _)) => {
            let compared = STARTING.run(None, move || compare_with_log(&archive, &newest, &*reader)).await?;
            must_be_same(compared)?;
        }
        None => configured.uncompared = Some((archive, newest)),
    }
    Ok(Some(configured))
}

impl ConfiguredArchive {
    /// Compares an opened log that could not be read before, because it was of an older version.
    pub async fn compare_opened(&mut self, log: &Log) -> Result<(), ServeError> {
        let Some((archive, newest)) = self.uncompared.take() else { return Ok(()) };
        must_be_same(log.read(move |reader| Ok(compare_with_log(&archive, &newest, reader))).await?)
    }
}

/// Opens the archive; `None` if it cannot be opened now, which is logged: the role tries again.
///
/// Errors: the settings of a bucket are wrong.
async fn open_now(open: Open<Archive>) -> Result<Option<Archive>, ServeError> {
    match Opening::new(open).within(ANSWER_MAX).await {
        Ok(archive) => Ok(Some(archive)),
        Err(NotOpened::Open(error @ OpenError::Bucket { .. })) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "the ledger was not compared with its archive");
            Ok(None)
        }
    }
}

enum Ledger {
    /// With its last position, if that can be read.
    Readable((Box<dyn Reader>, Option<u64>)),
    /// The ledger is of another version, or cannot be reached: opening it says why.
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
    Ok(STARTING.run(None, open).await?.unwrap_or(Ledger::Unreadable))
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
