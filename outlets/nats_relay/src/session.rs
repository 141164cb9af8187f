//! A session: one connection, from the inspection of the stream to the first failure.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use events_log::{Lease, PAGE_EVENTS};
use futures_util::StreamExt;
use outlets::{AnyOutlet, LeasedRole, Outlet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::NatsRelay;
use crate::connection::Connection;
use crate::failure::RelayError;
use crate::inspection::{Inspected, inspect};
use crate::publish::{Acknowledged, published};
use crate::size::StreamSize;
use crate::window::windows;

const INSPECTION_INTERVAL: Duration = Duration::from_secs(60);
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);

impl From<NatsRelay> for AnyOutlet {
    fn from(outlet: NatsRelay) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for NatsRelay {
    const ROLE: Role = Role::Relay;
    /// They begin anew once something was relayed.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    type Error = RelayError;

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), RelayError> {
        let connection = Connection::open(&self.address).await?;
        tokio::select! {
            ended = self.relay(&connection, role) => ended,
            error = connection.failed() => Err(error),
        }
    }
}

impl NatsRelay {
    async fn relay(&mut self, connection: &Connection, role: &mut LeasedRole<'_>) -> Result<(), RelayError> {
        let Self { limits, finding, end, .. } = self;
        let inspected = inspect(role.log, connection, limits.replicas).await?;
        let newest = inspected.newest([memory(role.lease).await, end.take()]);
        finding.say(inspected.finding(newest.as_ref()).map(|finding| finding.to_string()));
        let Inspected { last: begin, created, bytes, .. } = inspected;
        let end = end.insert(RoleMemory { position: begin, detail: created });
        remember(role.lease, end).await;
        role.status.reached(begin);
        // A stream that can be inspected may accept nothing: a failure from before lasts until it has accepted something.
        if role.log.head().position <= begin {
            role.status.working();
        }
        let size = Arc::new(StreamSize::new(limits.bytes_max, bytes));
        let windows = windows(role.log.follow(begin, PAGE_EVENTS), connection.max_payload(), Arc::clone(&size));
        let mut published = pin!(published(connection, windows));
        let (mut inspections, mut memories) = (every(INSPECTION_INTERVAL), every(REMEMBER_INTERVAL));
        let (mut remembered, mut sent_len) = (begin, 0);
        loop {
            tokio::select! {
                acknowledged = published.next() => {
                    let Some(acknowledged) = acknowledged else { return Ok(()) };
                    Acknowledged { position: end.position, sent_len } = acknowledged?;
                    role.succeeded(end.position);
                }
                _ = inspections.tick() => {
                    let now = inspect(role.log, connection, limits.replicas).await?;
                    size.inspected(now.bytes, sent_len);
                    finding.say(now.finding(Some(end)).map(|finding| finding.to_string()));
                    if now.created != end.detail || now.last < end.position {
                        return Err(RelayError::Changed);
                    }
                }
                _ = memories.tick(), if remembered < end.position => {
                    remember(role.lease, end).await;
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

/// The last memory of the stream by a relay on any node: its end, and its time of creation. A hint: without it, a stream that was cut is
/// filled again without a word.
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
