//! The output cap: how many tokens each answer to a request may have, and whose figure that is. It bounds what the request
//! can cost, so that every request has one, and it always goes upstream.

use crate::money::{CostLine, NanoUsd};

/// Where a request's cap stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputCap {
    /// The client's own: a target that takes less is not asked.
    Asked(u64),
    /// The client gave none, and a default bounds the request: each target is sent as much of it as it takes.
    Bounded(u64),
    /// Budgets had not enough left for either.
    Lowered(LoweredCap),
}

impl OutputCap {
    /// What is in force.
    pub const fn tokens(self) -> u64 {
        match self {
            Self::Asked(tokens) | Self::Bounded(tokens) => tokens,
            Self::Lowered(lowered) => lowered.tokens,
        }
    }

    /// What a target is sent that takes so many at most.
    pub fn sent_to(self, maximum: Option<u64>) -> u64 {
        maximum.map_or(self.tokens(), |maximum| self.tokens().min(maximum))
    }
}

/// A cap in the place of a higher one that was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoweredCap {
    requested: u64,
    tokens: u64,
}

impl LoweredCap {
    /// `None` where it is not lower.
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

/// How far a cap may be lowered, and what the request then costs at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrinking {
    /// Nowhere below what any target may bill.
    pub line: CostLine,
    /// The same for the request as the client would send it with a lower cap of its own; `None` where that is not known.
    pub resent: Option<CostLine>,
    /// An answer under a lower cap is of no use, or would be refused upstream.
    pub tokens_min: u64,
}

impl Shrinking {
    /// The highest cap below the requested one that costs no more than what is left, and what to hold for it.
    pub fn lowered(&self, requested: u64, left: NanoUsd) -> Option<(LoweredCap, NanoUsd)> {
        self.lowered_on(&self.line, requested, left)
    }

    /// The highest cap that the client could send the request again with.
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
    fn a_target_is_sent_no_more_than_is_in_force_and_no_more_than_it_takes() {
        let lowered = LoweredCap::new(100, 40).expect("it is lower");
        for (cap, in_force) in
            [(OutputCap::Asked(100), 100), (OutputCap::Bounded(100), 100), (OutputCap::Lowered(lowered), 40)]
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
    fn a_cap_is_lowered_to_a_lower_one_alone() {
        assert_eq!(LoweredCap::new(10, 9).map(|cap| (cap.requested(), cap.tokens())), Some((10, 9)));
        assert_eq!((LoweredCap::new(10, 10), LoweredCap::new(10, 11), LoweredCap::new(0, 0)), (None, None, None));
    }
}
