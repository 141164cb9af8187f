//! The published log of a gateway: compared with the ledger at the start, before anything is recorded, and then written by the
//! role and read by queries.

use std::sync::Arc;
use std::time::Duration;

use blocking_work::STARTING;
use chrono::TimeDelta;
use events::event::{Stream, StreamKind};
use events::time::Clock;
use events_log::role::Role;
use events_log::{LEDGER_FILE, LogError, Reader, open_reader, open_shared_reader};
use object_storage::{Objects, Open, Opening};
use secrets::Vault;
use secrets::log_key::{LogKeyError, recorded_log_keys};
use transparency::role::{FILES_BYTES_MAX, PARTIAL_KEPT, Publisher, PublisherParts};
use transparency::{
    CheckpointError, Differs, FOLDER, Files, KeyHistory, NewestLeaves, OpenSigner, PublishedError, PublishedLog,
    SignerNotOpened, WITNESS_RETRY_AFTER, compare_with_ledger,
};

use super::ServeError;
use super::engines::Engines;
use super::object_stores::objects_opener;
use super::roles::direct_client;
use crate::config::Config;

/// How long the start waits for the object store. Without an answer the gateway serves: an outage of an object store must not keep
/// it from starting, and the role compares the two before it publishes anything.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long the start waits until the tables have a new key.
const TABLES_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long after its first key a log is new: a process that could not publish its first checkpoint is mended or started again by then,
/// and no backup is restored.
const NEW_MAX: TimeDelta = TimeDelta::hours(1);
/// Advice about a ledger that is not the published one.
const ADVICE: &str = "the database was replaced, or restored from an older copy: restore a newer one, or build it anew from the archive \
                      (`ledgerway restore`); if what it lacks is lost for good, move the published log away: \
                      docs/transparency.md#a-ledger-that-is-behind-its-checkpoint";

/// Opens the object store of the published log, and compares the ledger with the newest checkpoint there.
///
/// Errors: the ledger is another one, or has lost events that were published.
pub async fn open(config: &Config) -> Result<Option<Open<Objects>>, ServeError> {
    let Some(publishing) = &config.publishing else { return Ok(None) };
    let open = objects_opener(&publishing.address, &[FOLDER])?;
    let Some(objects) = open_now(Arc::clone(&open)).await else { return Ok(Some(open)) };
    let (database, file) = (config.database.clone(), config.data.join(LEDGER_FILE));
    let reader = STARTING.run(None, move || match &database {
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
    let (newest, reader) = match tokio::time::timeout(ANSWER_MAX, newest_of(&published, reader)).await {
        Ok(Ok(found)) => found,
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
    let (Some(newest), Some(reader)) = (newest, reader) else { return Ok(()) };
    match STARTING.run(None, move || compare_with_ledger(&place, &newest, &*reader)).await? {
        Ok(()) => Ok(()),
        Err(Differs::Log(error)) => {
            warn(&error);
            Ok(())
        }
        Err(differs) => Err(format!("{differs}: {ADVICE}").into()),
    }
}

/// The newest checkpoint, if one of the ledger's keys has signed it while it was in force, with the leaves of its last tile, and the
/// ledger.
///
/// Errors: it is published of another ledger, or of a later one: this one has no key of which anything can have been published.
async fn newest_of(
    published: &PublishedLog,
    reader: Option<Box<dyn Reader>>,
) -> Result<(Option<NewestLeaves>, Option<Box<dyn Reader>>), ServeError> {
    let checkpoint = published.unchecked_checkpoint().await?;
    // Read afterwards: another node may have rotated the key, and published with the new one.
    let read = move || -> Result<_, LogError> {
        let created = reader.as_deref().map_or(Ok(Vec::new()), recorded_log_keys)?;
        let history = created.first().zip(reader.as_deref());
        let history = history.map(|(first, reader)| KeyHistory::read(&first.origin, reader)).transpose()?;
        Ok((history, reader))
    };
    let Ok((keys, reader)) = STARTING.run(None, read).await? else { return Ok((None, None)) };
    match (checkpoint, keys) {
        (Some(checkpoint), Some(keys)) => {
            let head = keys.read_in_force(&checkpoint.bytes).map_err(PublishedError::from)?;
            Ok((published.tree(head).newest_leaves().await?, reader))
        }
        (Some(checkpoint), None) => {
            let (place, size) = (published.place(), checkpoint.head.size);
            Err(format!(
                "the checkpoint in {place} is of {size} events, and the ledger has none that was published: {ADVICE}"
            )
            .into())
        }
        (None, Some(_)) => {
            let place = published.place();
            tracing::warn!(place, "this ledger has a key for checkpoints, and none is published here");
            Ok((None, reader))
        }
        (None, None) => Ok((None, reader)),
    }
}

/// The publisher of the log, if this process may have the role. Its key is made here if the log has none.
///
/// Errors: another name for the log was given than the one that it has.
pub async fn publisher(
    config: &Config,
    engines: &Engines,
    vault: &Arc<Vault>,
    clock: &dyn Clock,
) -> Result<Option<Publisher>, ServeError> {
    let (Some(publishing), Some(open)) = (&config.publishing, engines.published.clone()) else { return Ok(None) };
    if !engines.roles.iter().any(|status| status.role() == Role::Transparency) {
        return Ok(None);
    }
    let known = engines.tables.load().log_keys().to_vec();
    let keys = match vault.log_signer(known, publishing.origin.clone()).await {
        Err(error @ LogKeyError::OtherOrigin { .. }) => return Err(config.other_origin(&error).into()),
        signer => signer?.keys,
    };
    // Whoever asks for the key finds it from the first request on, unless the tables are slow.
    engines.tables.catch_up(TABLES_WAIT_MAX).await;
    let origin = keys.first().ok_or("the log has no key that signs its checkpoints")?.origin.clone();
    let may_begin = publishing.anew || is_new(engines, &origin, clock).await?;
    let (witnesses, client) = (publishing.witnesses.clone(), direct_client()?);
    Ok(Some(Publisher::new(PublisherParts {
        open,
        origin,
        open_signer: signer_opener(Arc::clone(vault)),
        may_begin,
        witnesses,
        client,
        witness_retry_after: WITNESS_RETRY_AFTER,
        files_bytes_max: FILES_BYTES_MAX,
        partial_kept: PARTIAL_KEPT,
    })))
}

/// Opens the keys of the log that this node has.
fn signer_opener(vault: Arc<Vault>) -> OpenSigner {
    Arc::new(move |created| {
        let vault = Arc::clone(&vault);
        Box::pin(async move { vault.open_log_key(&created).await.map_err(|error| SignerNotOpened(error.into())) })
    })
}

/// Whether the log got its first key just now, so that nothing can have been published of it and lost since.
async fn is_new(engines: &Engines, origin: &str, clock: &dyn Clock) -> Result<bool, LogError> {
    let stream = Stream::new(StreamKind::LogKey, origin);
    let keys = engines.log.read(move |reader| reader.stream(&stream)).await?;
    Ok(keys.first().is_none_or(|first| clock.now() - first.recorded_at < NEW_MAX))
}
