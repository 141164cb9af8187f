//! The output cap: the most tokens that each answer to a request may have, and who set it. It bounds the cost of the
//! request, so that every request has one, and it always goes upstream.

use crate::money::{CostLine, NanoUsd};

/// The output cap of a request, by who set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputCap {
    /// The client's own: a target with a lower maximum is not called.
    Requested(u64),
    /// A default, since the client gave none: each target is sent the default or its own maximum, whichever is lower.
    Bounded(u64),
    /// Lowered by the ledger, since budgets had not enough left for the cap before.
    Lowered(LoweredCap),
}

impl OutputCap {
    /// The cap in force.
    pub const fn tokens(self) -> u64 {
        match self {
            Self::Requested(tokens) | Self::Bounded(tokens) => tokens,
            Self::Lowered(lowered) => lowered.tokens,
        }
    }

    /// The cap to send to a target with this maximum.
    pub fn sent_to(self, maximum: Option<u64>) -> u64 {
        maximum.map_or(self.tokens(), |maximum| self.tokens().min(maximum))
    }
}

/// A cap that replaces a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoweredCap {
    requested: u64,
    tokens: u64,
}

impl LoweredCap {
    /// `None` if `tokens` is not lower than `requested`.
    pub fn new(requested: u64, tokens: u64) -> Option<Self> {
        (tokens < requested).then_some(Self { requested, tokens })
    }

    pub const fn requested(self) -> u64 {
        self.requested
    }

    pub const fn tokens(self) -> u64 {
        self.tokens
    }
}

/// The lowest cap that the ledger may set: a shorter answer helps nobody, and some upstreams refuse a lower cap. A request may need
/// more.
pub const SHRUNK_OUTPUT_TOKENS_MIN: u64 = 16;
/// The most answers that a client may ask for in one request. The output cap holds for each.
pub const CHOICES_MAX: u64 = 128;

/// The bounds for lowering a cap, and the cost that follows from a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrinking {
    /// An upper bound of the cost at every target, by cap.
    pub line: CostLine,
    /// The same for the request if the client sent it again with a lower cap; `None` if it is unknown.
    pub resent: Option<CostLine>,
    /// The lowest useful cap: answers under a lower one are of no use, or would be refused upstream.
    pub tokens_min: u64,
}

impl Shrinking {
    /// The highest cap below the requested one that costs no more than `left`, and the amount to hold for it.
    pub fn lowered(&self, requested: u64, left: NanoUsd) -> Option<(LoweredCap, NanoUsd)> {
        self.lowered_on(&self.line, requested, left)
    }

    /// The highest cap that fits on the line of a resent request. That line allows for the longest body that names a cap, so
    /// what the client sends may cost less, and a slightly higher cap may fit.
    pub fn affordable(&self, requested: u64, left: NanoUsd) -> Option<u64> {
        Some(self.lowered_on(self.resent.as_ref()?, requested, left)?.0.tokens)
    }

    fn lowered_on(&self, line: &CostLine, requested: u64, left: NanoUsd) -> Option<(LoweredCap, NanoUsd)> {
        let tokens = line.cap_within(left)?.min(requested.checked_sub(1)?);
        let held = line.at(tokens).filter(|held| *held <= left)?;
        let lowered = LoweredCap::new(requested, tokens)?;
        (tokens >= self.tokens_min).then_some((lowered, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_sent_the_cap_in_force_or_its_own_maximum_if_that_is_lower() {
        let lowered = LoweredCap::new(100, 40).expect("it is lower");
        for (cap, in_force) in
            [(OutputCap::Requested(100), 100), (OutputCap::Bounded(100), 100), (OutputCap::Lowered(lowered), 40)]
        {
            assert_eq!(cap.tokens(), in_force, "{cap:?}");
            for (maximum, sent) in
                [(None, in_force), (Some(30), 30), (Some(70), in_force.min(70)), (Some(100), in_force)]
            {
                assert_eq!(cap.sent_to(maximum), sent, "{cap:?} to a target that takes {maximum:?}");
            }
        }
    }

    #[test]
    fn a_cap_can_only_be_lowered() {
        assert_eq!(LoweredCap::new(10, 9).map(|cap| (cap.requested(), cap.tokens())), Some((10, 9)));
        assert_eq!((LoweredCap::new(10, 10), LoweredCap::new(10, 11), LoweredCap::new(0, 0)), (None, None, None));
    }
}
