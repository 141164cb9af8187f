//! Why the relay does not go on.

use events::canonical::CanonicalError;
use events_log::LogError;

use crate::subject::{STREAM, SUBJECTS};

/// None has a secret in it; the words of a server are in it as they came. The relay tries again after any of them.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("connect to {address}: {reason}")]
    Connect { address: String, reason: String },
    #[error("the connection to NATS was lost")]
    Disconnected,
    /// An error about a request that is not answered, for example because the user may not send it.
    #[error("NATS reports an error: {reason}")]
    ServerError { reason: String },
    #[error("NATS did not answer in time")]
    NoAnswer,
    #[error("NATS has no JetStream for this user: turn it on in the configuration of the server, and for the account")]
    NoJetStream,
    #[error("the {request} of the stream {STREAM} failed: {reason}")]
    Request { request: &'static str, reason: String },
    /// Where it cannot be changed, the stream has to be made again.
    #[error(
        "the stream {STREAM} has other settings than the relay needs ({}), and they cannot be changed: {reason}",
        settings.join(", ")
    )]
    Unsuitable { settings: Vec<String>, reason: String },
    #[error("the stream {STREAM} does not accept position {position}: {reason}")]
    Refused { position: u64, reason: String },
    /// Another relay was faster, or somebody else publishes to the stream: the next inspection shows which.
    #[error("position {position} was not the next one in the stream {STREAM}")]
    NotNext { position: u64 },
    #[error("position {position} got the sequence {sequence} in the stream {stream}")]
    Misplaced { position: u64, stream: String, sequence: u64 },
    #[error(
        "the event at position {position} needs messages of {needed} bytes even without its data, and NATS accepts {max_payload}: raise \
         max_payload in the configuration of the server"
    )]
    TooLong { position: u64, needed: usize, max_payload: usize },
    #[error(
        "the stream {STREAM} ends at {stream}, and the log at {log}: the log was restored from an older copy, or somebody else \
         publishes to {SUBJECTS}. Nothing is relayed until the log is restored completely, or the stream is deleted"
    )]
    Ahead { stream: u64, log: u64 },
    #[error(
        "the message {position} of the stream {STREAM} is not the event at that position of this log: the stream belongs to another \
         ledger, the log was restored, or somebody else publishes to {SUBJECTS}. Nothing is relayed until the stream is deleted, or \
         this ledger uses another account"
    )]
    OtherEvent { position: u64 },
    #[error("the stream {STREAM} was cut or made again")]
    Changed,
    /// This node could not find out in time where a shared log ends.
    #[error("the end of the log is not known now")]
    HeadUnknown,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}
