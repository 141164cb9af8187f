//! The role that sends the audit to a syslog receiver: in the order of the log, at least once, from a position that it remembers.

use std::time::Duration;

use events_log::LogError;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
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
/// How many connections in a row may end before anything that was written on them counts as delivered, until a message may be what ends
/// them: all entries would wait behind it for ever.
const UNDELIVERED_MAX: u32 = 4;
/// The most bytes of a message that RFC 5424 expects every receiver to take.
const SHORT_MESSAGE_BYTES: usize = 2_048;

/// The outlet that sends the audit to a syslog receiver. After what was delivered, it continues whenever it has the role again.
pub struct AuditStream {
    receiver: Receiver,
    format: SiemFormat,
    hostname: Option<String>,
    message_bytes_max: usize,
    /// The connections in a row on which something was written and nothing counts as delivered.
    undelivered: u32,
}

impl AuditStream {
    /// `hostname` is the name of this machine, if it is known. A message has at most so many bytes.
    pub const fn new(
        receiver: Receiver,
        format: SiemFormat,
        hostname: Option<String>,
        message_bytes_max: usize,
    ) -> Self {
        Self { receiver, format, hostname, message_bytes_max, undelivered: 0 }
    }

    fn writer(&self, bytes_max: usize) -> MessageWriter {
        MessageWriter::new(self.format, self.hostname.as_deref(), bytes_max)
    }

    /// The most bytes of a message on the next connection, until something counts as delivered there. From some number of failures on, every second connection has short ones: the
    /// reason may be another one, which ends by itself.
    fn next_bytes_max(&self) -> usize {
        if self.undelivered < UNDELIVERED_MAX || self.undelivered % 2 == 1 {
            return self.message_bytes_max;
        }
        tracing::warn!(
            connections = self.undelivered,
            "the receiver of the audit ends each connection: it is sent short messages, in case one was too long"
        );
        SHORT_MESSAGE_BYTES.min(self.message_bytes_max)
    }
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
        let mut writer = self.writer(self.next_bytes_max());
        let mut has_written = false;
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
                        self.undelivered = 0;
                        // Long messages again: the failures may have had another reason, and are over.
                        writer = self.writer(self.message_bytes_max);
                    }
                }
                followed = follower.next() => {
                    let Some(followed) = followed? else {
                        connection.close().await;
                        return Ok(());
                    };
                    for events in followed.events().chunks(PAGE_EVENTS) {
                        let Some(last) = events.last() else { continue };
                        let entries = Entries::of(role.log, events).await?;
                        if !entries.is_empty() && !std::mem::replace(&mut has_written, true) {
                            self.undelivered = self.undelivered.saturating_add(1);
                        }
                        send(&entries, &writer, &mut connection).await?;
                        progress.wrote(last.position, role.clock.monotonic());
                        role.status.reached(last.position);
                    }
                }
            }
        }
    }
}

async fn send(entries: &Entries, writer: &MessageWriter, connection: &mut Connection) -> Result<(), ConnectionError> {
    let mut frames = Vec::new();
    for record in entries.records() {
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
