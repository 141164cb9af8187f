//! Prices as an operator gave them. A class that was left out follows another one, also when that one changes later.

use super::{NanoUsd, NanoUsdPerMtok, Rates};
use crate::named;

named! {
    /// A price that may be left out: the name of its field.
    #[derive(PartialOrd, Ord)]
    pub enum OptionalRate {
        CacheRead = "cache_read_usd_per_mtok",
        CacheWrite = "cache_write_usd_per_mtok",
        Reasoning = "reasoning_usd_per_mtok",
        Request = "request_usd",
    }
}

/// What was given: `None` for what was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenRates {
    pub input: NanoUsdPerMtok,
    pub output: NanoUsdPerMtok,
    /// Absent: what input costs.
    pub cache_read: Option<NanoUsdPerMtok>,
    /// Absent: what input costs.
    pub cache_write: Option<NanoUsdPerMtok>,
    /// Absent: what output costs.
    pub reasoning: Option<NanoUsdPerMtok>,
    /// Absent: nothing.
    pub request: Option<NanoUsd>,
}

impl GivenRates {
    /// Input and output alone; everything else follows them.
    pub const fn new(input: NanoUsdPerMtok, output: NanoUsdPerMtok) -> Self {
        Self { input, output, cache_read: None, cache_write: None, reasoning: None, request: None }
    }

    /// What is billed by: every class has its price.
    pub fn resolved(&self) -> Rates {
        Rates {
            input_usd_per_mtok: self.input,
            output_usd_per_mtok: self.output,
            cache_read_usd_per_mtok: self.cache_read.unwrap_or(self.input),
            cache_write_usd_per_mtok: self.cache_write.unwrap_or(self.input),
            reasoning_usd_per_mtok: self.reasoning.unwrap_or(self.output),
            request_usd: self.request.unwrap_or(NanoUsd::ZERO),
        }
    }

    /// Which prices were left out, in the order of [`OptionalRate::ALL`].
    pub fn defaulted(&self) -> Vec<OptionalRate> {
        let left_out = |rate: OptionalRate| match rate {
            OptionalRate::CacheRead => self.cache_read.is_none(),
            OptionalRate::CacheWrite => self.cache_write.is_none(),
            OptionalRate::Reasoning => self.reasoning.is_none(),
            OptionalRate::Request => self.request.is_none(),
        };
        OptionalRate::ALL.iter().copied().filter(|rate| left_out(*rate)).collect()
    }
}

impl Rates {
    /// What was given, where it is known which prices were left out.
    pub fn given_but(&self, defaulted: &[OptionalRate]) -> GivenRates {
        let was_given = |rate| !defaulted.contains(&rate);
        GivenRates {
            input: self.input_usd_per_mtok,
            output: self.output_usd_per_mtok,
            cache_read: was_given(OptionalRate::CacheRead).then_some(self.cache_read_usd_per_mtok),
            cache_write: was_given(OptionalRate::CacheWrite).then_some(self.cache_write_usd_per_mtok),
            reasoning: was_given(OptionalRate::Reasoning).then_some(self.reasoning_usd_per_mtok),
            request: was_given(OptionalRate::Request).then_some(self.request_usd),
        }
    }

    /// Which prices are what they would be if they had been left out.
    pub fn as_if_defaulted(&self) -> Vec<OptionalRate> {
        let nothing_given = GivenRates::new(self.input_usd_per_mtok, self.output_usd_per_mtok).resolved();
        let follows = |rate: OptionalRate| match rate {
            OptionalRate::CacheRead => self.cache_read_usd_per_mtok == nothing_given.cache_read_usd_per_mtok,
            OptionalRate::CacheWrite => self.cache_write_usd_per_mtok == nothing_given.cache_write_usd_per_mtok,
            OptionalRate::Reasoning => self.reasoning_usd_per_mtok == nothing_given.reasoning_usd_per_mtok,
            OptionalRate::Request => self.request_usd == nothing_given.request_usd,
        };
        OptionalRate::ALL.iter().copied().filter(|rate| follows(*rate)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(nanos: i64) -> NanoUsdPerMtok {
        NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price")
    }

    #[test]
    fn what_was_left_out_is_known_from_the_rates_and_the_list() {
        let given = GivenRates { reasoning: Some(price(15)), ..GivenRates::new(price(3), price(15)) };
        let (rates, defaulted) = (given.resolved(), given.defaulted());
        assert_eq!(defaulted, [OptionalRate::CacheRead, OptionalRate::CacheWrite, OptionalRate::Request]);
        assert_eq!(rates.given_but(&defaulted), given);
        assert_eq!(rates.as_if_defaulted(), OptionalRate::ALL, "a price that was given may equal the default");
        let all = GivenRates {
            cache_read: Some(price(1)),
            cache_write: Some(price(4)),
            reasoning: Some(price(16)),
            request: Some(NanoUsd::new(2)),
            ..given
        };
        assert_eq!((all.defaulted(), all.resolved().as_if_defaulted()), (vec![], vec![]));
    }

    #[test]
    fn a_rate_is_named_as_its_field() {
        for rate in OptionalRate::ALL {
            assert_eq!(serde_json::to_value(rate).expect("JSON"), rate.as_str());
        }
    }
}
