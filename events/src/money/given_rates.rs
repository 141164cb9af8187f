//! Prices as an operator gave them. A class that was left out follows another class, also when that one changes later.

use serde::Deserialize;

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

/// The prices as given: `None` for one that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct GivenRates {
    #[serde(rename = "input_usd_per_mtok")]
    pub input: NanoUsdPerMtok,
    #[serde(rename = "output_usd_per_mtok")]
    pub output: NanoUsdPerMtok,
    /// Defaults to the price of input.
    #[serde(rename = "cache_read_usd_per_mtok")]
    pub cache_read: Option<NanoUsdPerMtok>,
    /// Defaults to the price of input.
    #[serde(rename = "cache_write_usd_per_mtok")]
    pub cache_write: Option<NanoUsdPerMtok>,
    /// Defaults to the price of output.
    #[serde(rename = "reasoning_usd_per_mtok")]
    pub reasoning: Option<NanoUsdPerMtok>,
    /// Defaults to zero.
    #[serde(rename = "request_usd")]
    pub request: Option<NanoUsd>,
}

impl GivenRates {
    /// Prices of input and output only; all others follow them.
    pub const fn new(input: NanoUsdPerMtok, output: NanoUsdPerMtok) -> Self {
        Self { input, output, cache_read: None, cache_write: None, reasoning: None, request: None }
    }

    /// The complete prices that are billed: every class has one.
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

    /// The prices that were left out, in the order of [`OptionalRate::ALL`].
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
    /// The prices that equal their defaults.
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
    fn what_was_left_out_is_listed_and_known_from_the_rates() {
        let given = GivenRates { reasoning: Some(price(15)), ..GivenRates::new(price(3), price(15)) };
        let (rates, defaulted) = (given.resolved(), given.defaulted());
        assert_eq!(defaulted, [OptionalRate::CacheRead, OptionalRate::CacheWrite, OptionalRate::Request]);
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
