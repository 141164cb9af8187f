//! The published log of a gateway: compared with the ledger at the start, before anything is recorded, and then written by the
//! role and read by queries.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use events::event::{Stream, StreamKind};
use events::log::{LEDGER_FILE, LogError, Reader, open_reader, open_shared_reader};
use events::role::Role;
use events::time::Clock;
use objects::{Objects, Open, Opening};
use secrets::Vault;
use secrets::log_key::{LogKeyError, LogSigner, recorded_log_keys};
use transparency::{
    CheckpointError, Differs, FOLDER, Files, LogKeys, PublishedError, PublishedLog, compare_with_ledger,
};

use super::super::object_store::objects_opener;
use super::ServeError;
use super::engines::Engines;
use super::roles::Publisher;
use crate::config::Config;

/// How long the start waits for the object store. Without an answer the gateway serves: an outage of an object store must not keep
/// it from starting, and the role compares the two before it publishes anything.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long the start waits until the tables have a new key.
const TABLES_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long after its first key a log is new: a process that could not publish its first checkpoint is mended or started again by then,
/// and no backup is restored.
const NEW_MAX: TimeDelta = TimeDelta::hours(1);
/// What to do about a ledger that is not the published one.
const ADVICE: &str = "the database was replaced, or restored from an older copy: restore a newer one, or build it anew from the archive \
                      (`ledgerway restore`): docs/transparency.md#a-ledger-that-is-behind-its-checkpoint";

/// Opens the object store of the published log, and compares the ledger with the newest checkpoint there.
///
/// Errors: the ledger is another one, or has lost events that were published.
pub async fn open(config: &Config) -> Result<Option<Open<Objects>>, ServeError> {
    let Some(publishing) = &config.publishing else { return Ok(None) };
    let open = objects_opener(&publishing.address, &[FOLDER])?;
    let Some(objects) = open_now(Arc::clone(&open)).await else { return Ok(Some(open)) };
    let (database, file) = (config.database.clone(), config.data.join(LEDGER_FILE));
    let reader = tokio::task::spawn_blocking(move || match &database {
        Some(database) => open_shared_reader(database).map(Some),
        None if file.exists() => open_reader(&file).map(Some),
        None => Ok(None),
    });
    match reader.await? {
        Ok(reader) => compare(objects, reader).await?,
        // Of another version, or not to be reached: opening it says why, and the role compares it.
        Err(error) => tracing::debug!(%error, "the ledger is not compared with its checkpoint yet"),
    }
    Ok(Some(open))
}

/// Opens the object store; `None` if it cannot be used now, which is logged: the role tries again.
async fn open_now(open: Open<Objects>) -> Option<Objects> {
    Opening::new(open).within(ANSWER_MAX).await.inspect_err(|error| warn(error)).ok()
}

fn warn(reason: &dyn std::fmt::Display) {
    tracing::warn!(%reason, "the ledger was not compared with its checkpoint");
}

async fn compare(objects: Objects, reader: Option<Box<dyn Reader>>) -> Result<(), ServeError> {
    let published = PublishedLog::new(Files::new(objects));
    let place = published.place();
    let read = move || -> Result<_, LogError> {
        let created = reader.as_deref().map_or(Ok(Vec::new()), recorded_log_keys)?;
        Ok((reader, LogKeys::of(&created)))
    };
    let Ok((reader, keys)) = tokio::task::spawn_blocking(read).await? else { return Ok(()) };
    let has_keys = keys.is_some();
    let newest = match keys {
        Some(keys) => {
            tokio::time::timeout(ANSWER_MAX, published.newest_leaves(&keys)).await.map(|read| read.map_err(Into::into))
        }
        None => tokio::time::timeout(ANSWER_MAX, must_be_unpublished(&published))
            .await
            .map(|checked| checked.map(|()| None)),
    };
    let newest = match newest {
        Ok(Ok(newest)) => newest,
        Ok(Err(error)) => match error.downcast::<PublishedError>() {
            Ok(error) if !matches!(*error, PublishedError::Checkpoint(CheckpointError::Refused(_))) => {
                warn(&error);
                return Ok(());
            }
            Ok(error) => return Err(format!("{error}: {ADVICE}").into()),
            Err(error) => return Err(error),
        },
        Err(_) => {
            warn(&"the object store does not answer");
            return Ok(());
        }
    };
    if newest.is_none() && has_keys {
        tracing::warn!(place, "this ledger has a key for checkpoints, and none is published here");
    }
    let (Some(newest), Some(reader)) = (newest, reader) else { return Ok(()) };
    match tokio::task::spawn_blocking(move || compare_with_ledger(&place, &newest, &*reader)).await? {
        Ok(()) => Ok(()),
        Err(Differs::Log(error)) => {
            warn(&error);
            Ok(())
        }
        Err(differs) => Err(format!("{differs}: {ADVICE}").into()),
    }
}

/// Refuses a ledger without a key, of which nothing can have been published, where a log is published.
async fn must_be_unpublished(published: &PublishedLog) -> Result<(), ServeError> {
    match published.checkpoint().await? {
        None => Ok(()),
        Some(checkpoint) => {
            let (place, size) = (published.place(), checkpoint.head.size);
            Err(format!(
                "the checkpoint in {place} is of {size} events, and the ledger has none that was published: {ADVICE}"
            )
            .into())
        }
    }
}

/// What publishes the log, if this process may have the role. Its key is made here if the log has none.
///
/// Errors: another name for the log was given than the one that it has.
pub async fn publisher(
    config: &Config,
    engines: &Engines,
    vault: &Vault,
    clock: &dyn Clock,
) -> Result<Option<Publisher>, ServeError> {
    let (Some(publishing), Some(open)) = (&config.publishing, engines.published.clone()) else { return Ok(None) };
    if !engines.roles.iter().any(|status| status.role() == Role::Transparency) {
        return Ok(None);
    }
    let known = engines.tables.load().log_keys().to_vec();
    let LogSigner { signer, keys } = match vault.log_signer(known, publishing.origin.clone()).await {
        Err(error @ LogKeyError::OtherOrigin { .. }) => return Err(config.other_origin(&error).into()),
        signer => signer?,
    };
    // Whoever asks for the key finds it from the first request on, unless the tables are slow.
    engines.tables.catch_up(TABLES_WAIT_MAX).await;
    let keys = LogKeys::of(&keys).ok_or("the log has no key that signs its checkpoints")?;
    let may_begin = publishing.anew || is_new(engines, keys.origin(), clock).await?;
    let (witnesses, client) = (publishing.witnesses.clone(), super::direct_client()?);
    Ok(Some(Publisher { open, signer: Arc::new(signer), keys, may_begin, witnesses, client }))
}

/// Whether the log got its first key just now, so that nothing can have been published of it and lost since.
async fn is_new(engines: &Engines, origin: &str, clock: &dyn Clock) -> Result<bool, LogError> {
    let stream = Stream::new(StreamKind::LogKey, origin);
    let keys = engines.log.read(move |reader| reader.stream(&stream)).await?;
    Ok(keys.first().is_none_or(|first| clock.now() - first.recorded_at < NEW_MAX))
}
