//! Faults in an upstream's response.

use crate::json::JsonFault;
use crate::rejection::UpstreamWords;

/// An upstream answered 200 with something that is not a response. If the upstream's words are kept, they are
/// unreadable until they are redacted, because they could contain credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the upstream's answer ended before it was complete")]
    Truncated,
    #[error("the upstream's answer has a content coding that the gateway does not decode, or is damaged")]
    Coding,
    /// `retryable`: a retry or another target may succeed.
    #[error("the upstream reported an error inside its answer")]
    InBandError { retryable: bool },
    /// An error in band that blames the request: only the client can fix it.
    #[error("the upstream rejected the request inside its answer")]
    Rejected(Box<UpstreamWords>),
    /// The response, an event, a name, a list of parts, or its translation for the client is too large.
    #[error("the upstream's answer is larger than the gateway takes")]
    TooLarge,
}

impl UpstreamFault {
    /// A response that ended with an error and says no more of it. It is not the request's fault, which has a status.
    pub const UNEXPLAINED: Self = Self::InBandError { retryable: true };
}

impl From<JsonFault> for UpstreamFault {
    fn from(fault: JsonFault) -> Self {
        match fault {
            JsonFault::TooManyMembers => Self::TooLarge,
            JsonFault::Syntax(_) | JsonFault::TooDeep | JsonFault::Nul(_) => {
                Self::Malformed("not the JSON that was expected")
            }
        }
    }
}
