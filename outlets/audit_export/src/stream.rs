//! The role that sends the audit to a syslog receiver: in the order of the log, at least once, from a position that it remembers.

use std::sync::Arc;
use std::time::Duration;

use events::event::Recorded;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use events_log::{Log, LogError};
use outlets::{AnyOutlet, LeasedRole, Outlet};
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::{Connection, ConnectionError, Receiver};
use crate::format::SiemFormat;
use crate::message::MessageWriter;
use crate::progress::{DELIVERED_AFTER, Progress};
use crate::source::{Entries, PAGE_EVENTS, SourceError};

/// The most bytes that are written at a time; a single message can be longer.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often it is remembered what was delivered.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);
/// If it has not looked for so long, it may not have noticed that the connection has ended.
const STANDSTILL: Duration = Duration::from_secs(15);

/// The outlet that sends the audit to a syslog receiver. After what was delivered, it continues whenever it has the role again.
pub struct AuditStream {
    pub receiver: Receiver,
    pub format: SiemFormat,
    /// The name of this machine, if it is known.
    pub hostname: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("the audit is not sent: {0}")]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read the log: {0}")]
    Log(#[from] LogError),
}

impl From<AuditStream> for AnyOutlet {
    fn from(outlet: AuditStream) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for AuditStream {
    const ROLE: Role = Role::AuditStream;
    /// They begin anew once a connection has lasted.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    type Error = StreamError;

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), StreamError> {
        let mut remembered = role.memory_or_head().await.map_err(SourceError::from)?.position;
        let mut connection = Connection::open(&self.receiver).await?;
        let opened = role.clock.monotonic();
        let writer = MessageWriter::new(self.format, self.hostname.as_deref());
        let mut follower = role.log.follow(remembered, PAGE_EVENTS);
        let mut progress = Progress::after(remembered);
        let mut remember = interval(REMEMBER_INTERVAL);
        remember.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_looked = opened;
        role.status.working();
        role.status.reached(remembered);
        loop {
            tokio::select! {
                error = connection.ended() => return Err(error.into()),
                _ = remember.tick() => {
                    let now = role.clock.monotonic();
                    if now.saturating_sub(last_looked) >= STANDSTILL {
                        progress.begin_again(now);
                    }
                    last_looked = now;
                    // Not before: a receiver that closes each connection would be sent the same again and again, without a pause.
                    if now.saturating_sub(opened) >= DELIVERED_AFTER {
                        role.backoff.reset();
                    }
                    let delivered = progress.delivered(now);
                    if delivered > remembered {
                        let memory = RoleMemory { position: delivered, detail: String::new() };
                        role.remember(memory).await.map_err(SourceError::from)?;
                        remembered = delivered;
                    }
                }
                followed = follower.next() => {
                    let Some(followed) = followed? else {
                        connection.close().await;
                        return Ok(());
                    };
                    for events in followed.events().chunks(PAGE_EVENTS) {
                        let Some(last) = events.last() else { continue };
                        send(role.log, &writer, &mut connection, events).await?;
                        progress.wrote(last.position, role.clock.monotonic());
                        role.status.reached(last.position);
                    }
                }
            }
        }
    }
}

/// Sends the entries of these events.
async fn send(
    log: &Log,
    writer: &MessageWriter,
    connection: &mut Connection,
    events: &[Arc<Recorded>],
) -> Result<(), StreamError> {
    let mut frames = Vec::new();
    for record in Entries::of(log, events).await?.records() {
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
