//! The relay: publishes every event of the log, in order, to one stream of NATS JetStream, so that other programs can follow
//! the log without asking a gateway.
//!
//! The sequence of a message in the stream is the position of its event in the log. Each message is only accepted as the next
//! one after the message of the event before it, so that no event can be missing, doubled or out of order, even if several
//! relays run at once. The stream is a copy: whatever happens to it, the log is not affected, and no decision waits for it.
//!
//! - `session`: one connection, from the first check of the stream to the first failure.
//! - `inspection`: whether the stream is a copy of this log, and where it ends; `stream` is its configuration.
//! - `window`, `publish`: the messages, and how they get into the stream; `subject` and `message` are what they look like.
//!
//! Rejected: an acknowledgement for each message, which costs more than the message (ADR-0022); going on after a position of its
//! own, which could differ from the stream's end. What it remembers only shows that the stream was cut or made again.

mod address;
mod connection;
mod failure;
mod inspection;
mod message;
mod pause;
mod publish;
mod session;
mod stream;
mod subject;
mod window;

use std::sync::Arc;
use std::time::Duration;

use events::log::{Lease, LeaseHolder, Log};
use events::role::{Role, RoleStatus};
use events::time::Clock;

pub use address::{NatsAddress, WrongNatsAddress};
pub use stream::{REPLICAS_MAX, StreamLimits};
pub use subject::{STREAM, SUBJECTS};

use pause::Pause;
use session::{Ended, Session};

/// A lease that takes longer to get is another node's.
const LEASE_SOON: Duration = Duration::from_secs(2);

/// What the relay needs.
pub struct RelayParts {
    pub log: Log,
    pub address: NatsAddress,
    pub limits: StreamLimits,
    pub status: RoleStatus,
    pub clock: Arc<dyn Clock>,
}

/// Relays the log whenever this process has the lease, until the log is closed. Every failure is shown in the status, and tried
/// again after a pause. Can be dropped at any time: the next relay continues at the end of the stream.
pub async fn run(parts: RelayParts) {
    let mut lease_holder = parts.log.lease(Role::Relay);
    let mut pause = Pause::default();
    let mut shown = Shown::default();
    parts.status.waiting();
    loop {
        let lease = wait_for_lease(&mut lease_holder, &parts.status).await;
        let ended = Session { parts: &parts, lease: &lease, pause: &mut pause, shown: &mut shown }.run().await;
        match ended {
            Ok(Ended::LogClosed) => return,
            Ok(Ended::LeaseLost) => parts.status.waiting(),
            Err(error) => {
                let why = error.shown();
                parts.status.failing(&why, parts.clock.now());
                shown.failure(why);
                // Another node may be able to do what this one cannot.
                lease.release().await;
                pause.wait().await;
            }
        }
    }
}

/// Waits for the lease. A failure stays visible while this node tries again.
async fn wait_for_lease(lease_holder: &mut LeaseHolder, status: &RoleStatus) -> Lease {
    if let Ok(lease) = tokio::time::timeout(LEASE_SOON, lease_holder.wait()).await {
        return lease;
    }
    status.waiting();
    lease_holder.wait().await
}

/// What was logged last, so that a failure that stays is logged once.
#[derive(Default)]
struct Shown {
    failure: Option<String>,
    finding: Option<String>,
}

impl Shown {
    fn failure(&mut self, why: String) {
        if self.failure.as_ref() != Some(&why) {
            tracing::warn!(why, "the relay to NATS failed, and tries again");
            self.failure = Some(why);
        }
    }

    fn relaying(&mut self, after: u64) {
        tracing::info!(after, "relaying the log to NATS");
        self.failure = None;
    }

    /// Something about the stream that its consumers should know.
    fn finding(&mut self, finding: Option<String>) {
        if let Some(finding) = &finding
            && self.finding.as_ref() != Some(finding)
        {
            tracing::warn!("the stream {STREAM} on NATS {finding}");
        }
        self.finding = finding;
    }
}
