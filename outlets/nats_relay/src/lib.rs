//! The relay: publishes every event of the log, in order, to one stream of NATS JetStream, so that other programs can follow
//! the log without asking a gateway.
//!
//! The sequence of a message in the stream is the position of its event in the log. Each message is only accepted as the next
//! one after the message of the event before it, so that no event can be missing, doubled or out of order, even if several
//! relays run at once. The stream is a copy: whatever happens to it, the log is not affected, and no decision waits for it. The
//! relay reads the log and writes nothing of it; it relays nothing after an event that it could not relay.
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

use events_log::role::RoleMemory;

pub use address::{NatsAddress, WrongNatsAddress};
pub use stream::{REPLICAS_MAX, StreamLimits};
pub use subject::{STREAM, SUBJECTS};

/// The outlet that publishes the log to NATS. It continues at the end of the stream whenever it has the role again.
pub struct NatsRelay {
    address: NatsAddress,
    limits: StreamLimits,
    finding: LastFinding,
    /// The last message that this process knows to have been in the stream, and when the stream was created. It is newer than what
    /// the lease remembers, which is only written from time to time, but this process may have had no lease since.
    end: Option<RoleMemory>,
}

impl NatsRelay {
    pub fn new(address: NatsAddress, limits: StreamLimits) -> Self {
        Self { address, limits, finding: LastFinding::default(), end: None }
    }
}

/// The last finding about the stream, so that it is logged once.
#[derive(Default)]
struct LastFinding(Option<String>);

impl LastFinding {
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
