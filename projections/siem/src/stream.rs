//! The role that sends the audit to a syslog receiver: in the order of the log, at least once, from a position that it remembers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::backoff::Backoff;
use events::event::Recorded;
use events::ids::RequestId;
use events::log::{ClientAddress, Lease, LeaseWorkEnd, Log, LogError};
use events::role::{RoleMemory, RoleStatus};
use events::time::Clock;
use projections::views::audit::Entry;
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::{Connection, ConnectionError, Receiver};
use crate::format::SiemFormat;
use crate::message::MessageWriter;
use crate::progress::{DELIVERED_AFTER, Progress};
use crate::record::AuditRecord;

/// Events that are read at a time.
const PAGE_EVENTS: usize = 256;
/// What is written at a time; a single message can be longer.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often it is remembered what was delivered.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);
/// The pauses between attempts. They begin anew once a connection has lasted.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What the role needs.
pub struct AuditStreamParts {
    pub log: Log,
    pub receiver: Receiver,
    pub format: SiemFormat,
    /// The name of this machine, if it is known.
    pub hostname: Option<String>,
    pub status: RoleStatus,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("the audit is not sent: {0}")]
    Connection(#[from] ConnectionError),
    #[error("cannot read the log, or remember how far it was read: {0}")]
    Log(#[from] LogError),
    #[error("an entry of the audit cannot be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Sends the audit whenever this process has the lease, until the log is closed. Can be dropped at any time: the next stream
/// continues after what was delivered.
pub async fn run(parts: AuditStreamParts) {
    let mut holder = parts.log.lease(&parts.status);
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        let lease = holder.wait().await;
        let ended = tokio::select! {
            () = lease.lost() => Ok(LeaseWorkEnd::LeaseLost),
            ended = send_all(&parts, &lease, &mut backoff) => ended,
        };
        if !holder.conclude(lease, ended, &mut backoff, parts.clock.now()).await {
            return;
        }
    }
}

/// Follows the log from what was delivered, and sends its entries.
async fn send_all(parts: &AuditStreamParts, lease: &Lease, backoff: &mut Backoff) -> Result<LeaseWorkEnd, StreamError> {
    let mut remembered = begin(parts, lease).await?;
    let mut connection = Connection::open(&parts.receiver).await?;
    let opened = parts.clock.monotonic();
    let writer = MessageWriter::new(parts.format, parts.hostname.as_deref());
    let mut follower = parts.log.follow(remembered, PAGE_EVENTS);
    let mut progress = Progress::after(remembered);
    let mut remember = interval(REMEMBER_INTERVAL);
    remember.set_missed_tick_behavior(MissedTickBehavior::Delay);
    parts.status.working();
    parts.status.reached(remembered);
    loop {
        tokio::select! {
            error = connection.ended() => return Err(error.into()),
            _ = remember.tick() => {
                let now = parts.clock.monotonic();
                // Not before: a receiver that closes each connection would be sent the same again and again, without a pause.
                if now.saturating_sub(opened) >= DELIVERED_AFTER {
                    backoff.reset();
                }
                let delivered = progress.delivered(now);
                if delivered > remembered {
                    lease.remember(at(delivered)).await?;
                    remembered = delivered;
                }
            }
            followed = follower.next() => {
                let Some(followed) = followed? else {
                    connection.close().await;
                    return Ok(LeaseWorkEnd::LogClosed);
                };
                for events in followed.events().chunks(PAGE_EVENTS) {
                    let Some(last) = events.last() else { continue };
                    send(parts, &writer, &mut connection, events).await?;
                    progress.wrote(last.position, parts.clock.monotonic());
                    parts.status.reached(last.position);
                }
            }
        }
    }
}

/// What was remembered last, or else the end of the log: a new receiver does not get the past.
async fn begin(parts: &AuditStreamParts, lease: &Lease) -> Result<u64, StreamError> {
    if let Some(memory) = lease.memory().await? {
        return Ok(memory.position);
    }
    let head = parts.log.head().position;
    lease.remember(at(head)).await?;
    Ok(head)
}

fn at(position: u64) -> RoleMemory {
    RoleMemory { position, detail: String::new() }
}

/// Sends the entries of these events.
async fn send(
    parts: &AuditStreamParts,
    writer: &MessageWriter,
    connection: &mut Connection,
    events: &[Arc<Recorded>],
) -> Result<(), StreamError> {
    let mut entries = Vec::new();
    for recorded in events {
        entries.extend(Entry::of(recorded)?);
    }
    let clients = clients(&parts.log, &entries).await?;
    let mut frames = Vec::new();
    for entry in &entries {
        let client = entry.request_id.and_then(|request| clients.get(&request));
        writer.write(&mut frames, &AuditRecord { entry, client, actor_name: None, resource_name: None });
        if frames.len() >= CHUNK_BYTES {
            connection.write(&frames).await?;
            frames.clear();
        }
    }
    if !frames.is_empty() {
        connection.write(&frames).await?;
    }
    Ok(())
}

/// Where changes came from: from the erasable side table, in which each is stored with its event.
async fn clients(log: &Log, entries: &[Entry]) -> Result<HashMap<RequestId, ClientAddress>, LogError> {
    let requests: Vec<RequestId> = entries.iter().filter_map(|entry| entry.request_id).collect();
    if requests.is_empty() {
        return Ok(HashMap::new());
    }
    log.read(move |reader| reader.client_addresses(&requests)).await
}
