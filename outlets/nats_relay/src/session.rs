//! A session: one connection, from the inspection of the stream to the first failure.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use events::backoff::Backoff;
use events::log::{Lease, LeaseWorkEnd, PAGE_EVENTS};
use events::role::RoleMemory;
use futures_util::StreamExt;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::connection::Connection;
use crate::failure::RelayError;
use crate::inspection::{Inspected, inspect};
use crate::publish::{Acknowledged, published};
use crate::size::StreamSize;
use crate::window::windows;
use crate::{Finding, RelayParts};

const INSPECTION_INTERVAL: Duration = Duration::from_secs(60);
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);

pub struct Session<'a> {
    pub parts: &'a RelayParts,
    pub lease: &'a Lease,
    pub backoff: &'a mut Backoff,
    pub finding: &'a mut Finding,
    /// The last message that this process knows to have been in the stream, and when the stream was created. It is newer than what
    /// the lease remembers, which is only written from time to time, but this process may have had no lease since.
    pub end: &'a mut Option<RoleMemory>,
}

impl Session<'_> {
    pub async fn run(self) -> Result<LeaseWorkEnd, RelayError> {
        let lease = self.lease;
        tokio::select! {
            ended = self.connect_and_relay() => ended,
            () = lease.lost() => Ok(LeaseWorkEnd::LeaseLost),
        }
    }

    async fn connect_and_relay(self) -> Result<LeaseWorkEnd, RelayError> {
        let connection = Connection::open(&self.parts.address).await?;
        tokio::select! {
            ended = self.relay(&connection) => ended,
            error = connection.failed() => Err(error),
        }
    }

    async fn relay(self, connection: &Connection) -> Result<LeaseWorkEnd, RelayError> {
        let Self { parts: RelayParts { log, limits, status, .. }, lease, backoff, finding, end } = self;
        let inspected = inspect(log, connection, limits.replicas).await?;
        let newest = inspected.newest([memory(lease).await, end.take()]);
        finding.say(inspected.finding(newest.as_ref()).map(|finding| finding.to_string()));
        let Inspected { last: begin, created, bytes, .. } = inspected;
        let end = end.insert(RoleMemory { position: begin, detail: created });
        remember(lease, end).await;
        status.reached(begin);
        // A stream that can be inspected may accept nothing: a failure from before lasts until it has accepted something.
        if log.head().position <= begin {
            status.working();
        }
        let size = Arc::new(StreamSize::new(limits.bytes_max, bytes));
        let windows = windows(log.follow(begin, PAGE_EVENTS), connection.max_payload(), Arc::clone(&size));
        let mut published = pin!(published(connection, windows));
        let (mut inspections, mut memories) = (every(INSPECTION_INTERVAL), every(REMEMBER_INTERVAL));
        let (mut remembered, mut sent_len) = (begin, 0);
        loop {
            tokio::select! {
                acknowledged = published.next() => {
                    let Some(acknowledged) = acknowledged else { return Ok(LeaseWorkEnd::LogClosed) };
                    Acknowledged { position: end.position, sent_len } = acknowledged?;
                    status.working();
                    status.reached(end.position);
                    backoff.reset();
                }
                _ = inspections.tick() => {
                    let now = inspect(log, connection, limits.replicas).await?;
                    size.inspected(now.bytes, sent_len);
                    finding.say(now.finding(Some(end)).map(|finding| finding.to_string()));
                    if now.created != end.detail || now.last < end.position {
                        return Err(RelayError::Changed);
                    }
                }
                _ = memories.tick(), if remembered < end.position => {
                    remember(lease, end).await;
                    remembered = end.position;
                }
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// What the relay last remembered of the stream, on whichever node it was: its end, and when it was created. A hint: without it, a
/// stream that was cut is filled again without a word.
async fn memory(lease: &Lease) -> Option<RoleMemory> {
    lease.memory().await.unwrap_or_else(|error| {
        tracing::debug!(%error, "what the relay remembered of its stream cannot be read");
        None
    })
}

async fn remember(lease: &Lease, end: &RoleMemory) {
    if let Err(error) = lease.remember(end.clone()).await {
        tracing::debug!(%error, "the end of the relay's stream cannot be remembered");
    }
}
