//! The role that sends the audit to a syslog receiver: in the order of the log, at least once, from a position that it remembers.

use std::sync::Arc;
use std::time::Duration;

use events::backoff::Backoff;
use events::event::Recorded;
use events::log::{Lease, LeaseWorkEnd, Log, LogError};
use events::role::RoleStatus;
use events::time::Clock;
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::{Connection, ConnectionError, Receiver};
use crate::format::SiemFormat;
use crate::message::MessageWriter;
use crate::progress::{DELIVERED_AFTER, Progress};
use crate::source::{self, Entries, PAGE_EVENTS, SourceError};

/// What is written at a time; a single message can be longer.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often it is remembered what was delivered.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);
/// If it has not looked for so long, it may not have noticed that the connection has ended.
const STANDSTILL: Duration = Duration::from_secs(15);
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
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read the log: {0}")]
    Log(#[from] LogError),
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
    let mut remembered = source::begin(&parts.log, lease).await?;
    let mut connection = Connection::open(&parts.receiver).await?;
    let opened = parts.clock.monotonic();
    let writer = MessageWriter::new(parts.format, parts.hostname.as_deref());
    let mut follower = parts.log.follow(remembered, PAGE_EVENTS);
    let mut progress = Progress::after(remembered);
    let mut remember = interval(REMEMBER_INTERVAL);
    remember.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_looked = opened;
    parts.status.working();
    parts.status.reached(remembered);
    loop {
        tokio::select! {
            error = connection.ended() => return Err(error.into()),
            _ = remember.tick() => {
                let now = parts.clock.monotonic();
                if now.saturating_sub(last_looked) >= STANDSTILL {
                    progress.begin_again(now);
                }
                last_looked = now;
                // Not before: a receiver that closes each connection would be sent the same again and again, without a pause.
                if now.saturating_sub(opened) >= DELIVERED_AFTER {
                    backoff.reset();
                }
                let delivered = progress.delivered(now);
                if delivered > remembered {
                    source::remember(lease, delivered).await?;
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

/// Sends the entries of these events.
async fn send(
    parts: &AuditStreamParts,
    writer: &MessageWriter,
    connection: &mut Connection,
    events: &[Arc<Recorded>],
) -> Result<(), StreamError> {
    let mut frames = Vec::new();
    for record in Entries::of(&parts.log, events).await?.records() {
        writer.write(&mut frames, &record);
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
