//! Why an answer of an upstream is none.

use crate::json::JsonFault;
use crate::rejection::UpstreamWords;

/// An upstream said 200 and did not answer. Its words, where they are carried, are locked away: credentials could be in
/// them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the upstream's answer ended before it was complete")]
    Truncated,
    /// `retryable`: another try, or another target, may succeed.
    #[error("the upstream reported an error inside its answer")]
    InBandError { retryable: bool },
    /// The same where it says that the request is wrong: only the client can mend it.
    #[error("the upstream rejected the request inside its answer")]
    Rejected(Box<UpstreamWords>),
    /// As a whole, an event of it, a name in it, or what it would become for the client.
    #[error("the upstream's answer is larger than the gateway takes")]
    TooLarge,
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
