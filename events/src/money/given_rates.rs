//! Prices as an operator gave them. A class that was left out follows another class, also when that one changes later.

use serde::{Deserialize, Deserializer};

use super::rates::Rates;
use super::tiers::Tiers;
use super::token_rate::{TokenRate, TokenRates};
use super::{NanoUsd, NanoUsdPerMtok};
use crate::named;
use crate::usage::ServiceTier;

named! {
    /// A price that may be left out and is recorded all the same, with what it follows: the name of its field.
    #[derive(PartialOrd, Ord)]
    pub enum OptionalRate {
        CacheRead = "cache_read_usd_per_mtok",
        CacheWrite = "cache_write_usd_per_mtok",
        Reasoning = "reasoning_usd_per_mtok",
        Request = "request_usd",
    }
}

/// The prices as given: `None` for one that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GivenRates {
    #[serde(rename = "input_usd_per_mtok")]
    pub input: NanoUsdPerMtok,
    #[serde(rename = "output_usd_per_mtok")]
    pub output: NanoUsdPerMtok,
    /// All others of tokens.
    #[serde(flatten)]
    pub others: TokenRates,
    /// Defaults to zero, as do the other units.
    #[serde(rename = "request_usd")]
    pub request: Option<NanoUsd>,
    #[serde(rename = "input_image_usd")]
    pub input_image: Option<NanoUsd>,
    #[serde(rename = "search_usd")]
    pub search: Option<NanoUsd>,
    #[serde(default, deserialize_with = "null_for_none")]
    pub tiers: Tiers,
}

pub(super) fn null_for_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tiers, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl GivenRates {
    /// Prices of input and output only; all others follow them.
    pub fn new(input: NanoUsdPerMtok, output: NanoUsdPerMtok) -> Self {
        let (others, tiers) = (TokenRates::default(), Tiers::default());
        Self { input, output, others, request: None, input_image: None, search: None, tiers }
    }

    /// These prices and another one.
    #[must_use]
    pub fn with(mut self, rate: TokenRate, price: NanoUsdPerMtok) -> Self {
        match rate {
            TokenRate::Input => self.input = price,
            TokenRate::Output => self.output = price,
            _ => self.others.set(rate, Some(price)),
        }
        self
    }

    /// The price of tokens that was given.
    pub fn get(&self, rate: TokenRate) -> Option<NanoUsdPerMtok> {
        self.tokens().get(rate)
    }

    /// The prices that were left out, in the order of [`OptionalRate::ALL`].
    pub fn defaulted(&self) -> Vec<OptionalRate> {
        let left_out = |rate: OptionalRate| match rate.of_tokens() {
            Some(rate) => self.others.get(rate).is_none(),
            None => self.request.is_none(),
        };
        OptionalRate::ALL.iter().copied().filter(|rate| left_out(*rate)).collect()
    }

    fn tokens(&self) -> TokenRates {
        self.others.with(TokenRate::Input, self.input).with(TokenRate::Output, self.output)
    }

    /// The complete prices of a request to which no tier applies.
    pub(super) fn base(&self) -> Rates {
        self.completed(&self.tokens())
    }

    /// The complete prices of a request with so many tokens of input, served by this tier. A tier that the price does not
    /// have costs what the base does.
    pub(super) fn at(&self, prompt_tokens: u64, service_tier: Option<ServiceTier>) -> Rates {
        self.completed(&self.tiers.applied_to(&self.tokens(), prompt_tokens, service_tier))
    }

    fn completed(&self, tokens: &TokenRates) -> Rates {
        Rates {
            tokens: tokens.complete(),
            request_usd: self.request.unwrap_or_default(),
            input_image_usd: self.input_image.unwrap_or_default(),
            search_usd: self.search.unwrap_or_default(),
        }
    }
}

impl OptionalRate {
    /// `None` for the price of a request.
    pub const fn of_tokens(self) -> Option<TokenRate> {
        match self {
            Self::CacheRead => Some(TokenRate::CacheRead),
            Self::CacheWrite => Some(TokenRate::CacheWrite),
            Self::Reasoning => Some(TokenRate::Reasoning),
            Self::Request => None,
        }
    }
}
