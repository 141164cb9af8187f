//! The counts that a request asks for under shared limits, and those that it has made.

use events::limit::Measure;

use crate::limits::binding::LimitHolder;
use crate::limits::tokens::TokenAmounts;
use crate::limits::window::BucketNumber;

/// The count that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One request, and its place while it runs.
    Request,
    /// One request that has its place already.
    RequestAgain,
    Tokens(TokenAmounts),
    /// One request that was admitted: it counts, whatever is left.
    RequestAdmitted,
    TokensAdmitted(TokenAmounts),
}

impl Demand {
    /// The amount that it counts in a measure of a limit of this holder; `None` if it does not.
    pub fn in_measure(self, measure: Measure, holder: &LimitHolder) -> Option<u64> {
        match (self, measure) {
            (Self::Request, Measure::ConcurrentRequests) => Some(1),
            (_, Measure::ConcurrentRequests) => None,
            (Self::Tokens(tokens) | Self::TokensAdmitted(tokens), _) if measure.is_of_tokens() => {
                holder.counted_of(tokens)
            }
            (Self::Request | Self::RequestAgain | Self::RequestAdmitted, _) if !measure.is_of_tokens() => Some(1),
            _ => None,
        }
    }

    /// For the words of a refusal.
    pub fn amount(self, holder: &LimitHolder) -> u64 {
        match self {
            Self::Request | Self::RequestAgain | Self::RequestAdmitted => 1,
            Self::Tokens(tokens) | Self::TokensAdmitted(tokens) => holder.counted_of(tokens).unwrap_or(0),
        }
    }

    /// True for a request, which is decided once or twice; its tokens belong to it.
    pub const fn is_of_request(self) -> bool {
        matches!(self, Self::Request | Self::RequestAgain)
    }

    /// True for what was admitted before: nothing refuses it any more.
    pub const fn is_admitted(self) -> bool {
        matches!(self, Self::RequestAdmitted | Self::TokensAdmitted(_))
    }

    /// The bound that holds for it.
    pub const fn bound(self, bound: u64) -> u64 {
        if self.is_admitted() { u64::MAX } else { bound }
    }
}

/// One count of a request: the index of the limit, and the bucket of this node; a place has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneCount {
    pub index: usize,
    pub measure: Measure,
    pub bucket: Option<BucketNumber>,
    pub amount: u64,
}

/// The counts that a request has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub counts: Vec<OneCount>,
    pub at_micros: i64,
}

impl Counted {
    /// The places, and what is in windows.
    pub fn split(self) -> (Self, Self) {
        let (places, windows) = self.counts.into_iter().partition(|count| count.bucket.is_none());
        let counted = |counts| Self { counts, at_micros: self.at_micros };
        (counted(places), counted(windows))
    }
}
