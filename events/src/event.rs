//! Events: the facts that the log holds. Every event that was ever written decodes for ever: type names and versions are
//! literals, and fields are never renamed or reinterpreted. `tests/golden/events/` has one golden JSON per type.
//!
//! There are five families (ADR-0009), each an enum in its own file with the names and versions of its types. A reader of
//! the log matches only the families that it uses, so that a new event concerns only the readers of its family.

pub mod access;
pub mod admin;
pub mod alert;
pub mod catalogue_imported;
pub mod hold;
pub mod inference;
pub mod log_key;
pub mod node_key;
pub mod price_revalued;
pub mod published_log_repaired;
pub mod resource;

mod context;
mod event_set;
mod family;
mod scope_subject;
mod shown;
mod stream;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

pub use access::Access;
pub use alert::Alert;
pub use context::{Actor, Chain, Context};
pub use event_set::{EVENT_SET_READ, EVENT_SET_WRITTEN};
pub use family::{EventType, SequenceRule};
pub use hold::Hold;
pub use inference::Inference;
use inference::{AttemptFailed, InferenceAdmitted, InferenceEnded};
pub use resource::{Change, Resource, ResourceState};
pub use scope_subject::{ScopeSubject, TeamVersions};
pub use shown::Shown;
pub use stream::{Stream, StreamKind};

/// The error for a stored event that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown event type {name}.v{version}")]
    UnknownType { name: String, version: u32 },
    #[error("decode {name}.v{version}: {source}")]
    Payload { name: String, version: u32, source: serde_json::Error },
}

/// Every event that the log can hold, by family.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Inference(Inference),
    Hold(Hold),
    Resource(Resource),
    Access(Access),
    Alert(Alert),
}

/// The writer moves events by value, so payloads are boxed.
const _: () = assert!(size_of::<Event>() <= 32);

/// Asks the event of its family.
macro_rules! of_family {
    ($event:expr, $fact:ident => $answer:expr) => {
        match $event {
            Event::Inference($fact) => $answer,
            Event::Hold($fact) => $answer,
            Event::Resource($fact) => $answer,
            Event::Access($fact) => $answer,
            Event::Alert($fact) => $answer,
        }
    };
}

impl Event {
    /// The name and version of every type, as in the catalogue `docs/events.md`, in the order of `/openapi.json`.
    pub fn types() -> impl Iterator<Item = (&'static str, u32)> {
        let families = [Inference::TYPES, Hold::TYPES, Alert::TYPES, Resource::TYPES, Access::TYPES];
        families.into_iter().flatten().copied()
    }

    /// The literal name without its version: `budget.settled`.
    pub const fn name(&self) -> &'static str {
        self.event_type().name
    }

    pub const fn version(&self) -> u32 {
        self.event_type().version
    }

    /// The kind of its stream.
    pub const fn stream_kind(&self) -> StreamKind {
        match self {
            Self::Inference(_) => StreamKind::Inference,
            Self::Hold(_) => StreamKind::Hold,
            Self::Resource(fact) => fact.kind(),
            Self::Access(_) => StreamKind::Access,
            Self::Alert(_) => StreamKind::Alert,
        }
    }

    /// The admission of a request, if it is one.
    pub const fn admission(&self) -> Option<&InferenceAdmitted> {
        match self {
            Self::Inference(Inference::Admitted(admitted)) => Some(admitted),
            _ => None,
        }
    }

    /// The failed call of a request, if it is one.
    pub const fn failed_call(&self) -> Option<&AttemptFailed> {
        match self {
            Self::Inference(Inference::AttemptFailed(attempt)) => Some(attempt),
            _ => None,
        }
    }

    /// The end of a request, if it is one.
    pub const fn outcome(&self) -> Option<&InferenceEnded> {
        match self {
            Self::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
                Some(ended)
            }
            _ => None,
        }
    }

    /// The state after a change of such a resource; `None` for its end, and for any other event.
    pub fn state<R: ResourceState>(&self) -> Option<&R> {
        match self {
            Self::Resource(resource) => R::change_in(resource)?.state(),
            _ => None,
        }
    }

    /// The id of its stream, if the payload contains it: the resource's, or the budget's.
    pub fn stream_id(&self) -> Option<String> {
        match self {
            Self::Resource(fact) => Some(fact.id()),
            Self::Alert(fact) => Some(fact.budget_id().to_string()),
            Self::Inference(_) | Self::Hold(_) | Self::Access(_) => None,
        }
    }

    /// The event set of its type (ADR-0019).
    pub const fn event_set(&self) -> u32 {
        of_family!(self, fact => fact.event_set())
    }

    /// The sequences that it may have on its stream.
    pub const fn sequence_rule(&self) -> SequenceRule {
        self.event_type().sequence_rule
    }

    const fn event_type(&self) -> EventType {
        of_family!(self, fact => fact.event_type())
    }

    /// `data` as JSON text.
    pub fn payload(&self) -> Result<String, serde_json::Error> {
        let mut payload = Vec::new();
        self.write_payload(&mut payload)?;
        String::from_utf8(payload).map_err(serde::ser::Error::custom)
    }

    /// Appends `data` as JSON text to a buffer, which can be reused.
    pub fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        of_family!(self, fact => fact.write_payload(out))
    }

    pub fn decode(name: &str, version: u32, payload: &str) -> Result<Self, DecodeError> {
        let decoded = Inference::decode(name, version, payload)
            .map(|fact| fact.map(Self::Inference))
            .or_else(|| Some(Hold::decode(name, version, payload)?.map(Self::Hold)))
            .or_else(|| Some(Resource::decode(name, version, payload)?.map(Self::Resource)))
            .or_else(|| Some(Access::decode(name, version, payload)?.map(Self::Access)))
            .or_else(|| Some(Alert::decode(name, version, payload)?.map(Self::Alert)));
        decoded.unwrap_or_else(|| Err(DecodeError::UnknownType { name: name.to_owned(), version }))
    }
}

fn decode_data<T: DeserializeOwned>(name: &str, version: u32, payload: &str) -> Result<T, DecodeError> {
    serde_json::from_str(payload).map_err(|source| DecodeError::Payload { name: name.to_owned(), version, source })
}

/// An event as recorded in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// 1, 2, 3 … without a gap, in commit order.
    pub position: u64,
    /// UTC, whole microseconds; never decreases as positions rise.
    pub recorded_at: DateTime<Utc>,
    pub stream: Stream,
    /// Its number on its stream, from 1.
    pub sequence: u64,
    pub context: Context,
    pub event: Event,
}
