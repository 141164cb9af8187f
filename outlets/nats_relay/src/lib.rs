//! The relay: publishes every event of the log, in order, to one stream of NATS JetStream, so that other programs can follow
//! the log without asking a gateway.
//!
//! The sequence of a message in the stream is the position of its event in the log. Each message is only accepted as the next
//! one after the message of the event before it, so that no event can be missing, doubled or out of order, even if several
//! relays run at once. The stream is a copy: whatever happens to it, the log is not affected, and no decision waits for it.
//!
//! - `session`: one connection, from the first check of the stream to the first failure.
//! - `inspection`: whether the stream is a copy of this log, and where it ends; `stream` is its configuration.
//! - `window`, `publish`: the messages, and how they get into the stream; `subject` and `message` are what they look like, and `size`
//!   is how many bytes the stream may have.
//!
//! Rejected: an acknowledgement for each message, which costs more than the message (ADR-0022); going on after a position of its
//! own, which could differ from the stream's end. What it remembers only shows that the stream was cut or made again.

mod address;
mod connection;
mod failure;
mod inspection;
mod message;
mod publish;
mod session;
mod size;
mod stream;
mod subject;
mod window;

use std::sync::Arc;
use std::time::Duration;

use events::backoff::Backoff;
use events::log::Log;
use events::role::RoleStatus;
use events::time::Clock;

pub use address::{NatsAddress, WrongNatsAddress};
pub use stream::{REPLICAS_MAX, StreamLimits};
pub use subject::{STREAM, SUBJECTS};

use session::Session;

/// The pauses between attempts. They begin anew once something was relayed.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

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
    let mut holder = parts.log.lease(&parts.status);
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    let (mut finding, mut end) = (Finding::default(), None);
    loop {
        let lease = holder.wait().await;
        let session =
            Session { parts: &parts, lease: &lease, backoff: &mut backoff, finding: &mut finding, end: &mut end };
        let ended = session.run().await;
        if !holder.conclude(lease, ended, &mut backoff, parts.clock.now()).await {
            return;
        }
    }
}

/// What was said last about the stream, so that it is logged once.
#[derive(Default)]
struct Finding(Option<String>);

impl Finding {
    /// Something about the stream that its consumers should know.
    fn say(&mut self, finding: Option<String>) {
        if let Some(finding) = &finding
            && self.0.as_ref() != Some(finding)
        {
            tracing::warn!("the stream {STREAM} on NATS {finding}");
        }
        self.0 = finding;
    }
}
