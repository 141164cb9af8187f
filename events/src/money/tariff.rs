//! The prices of one backend model, as they are recorded and billed. This is the one place that knows what a request costs.

use serde::{Deserialize, Serialize};

use super::given_rates::{GivenRates, OptionalRate, null_for_none};
use super::highest_rates::{HighestRates, HighestRatesTable};
use super::rates::Rates;
use super::tiers::Tiers;
use super::token_rate::{TokenRate, TokenRates};
use super::{NanoUsd, NanoUsdPerMtok};
use crate::usage::{ServiceTier, TokenClasses};

/// The prices of one backend model. On the wire they are members of a larger object. The rates that every version knows
/// are always there, also those that were left out; of all others, only those that were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RecordedTariff", into = "RecordedTariff")]
pub struct Tariff {
    given: GivenRates,
    /// The complete prices of a request to which no tier applies.
    base: Rates,
    /// The highest rates of a request; like the base, they follow from the given rates.
    highest: HighestRatesTable,
    /// False for an event of a version that did not record which rates were left out: see [`Tariff::defaulted`].
    says_what_was_left_out: bool,
}

/// The form of the events.
#[derive(Clone, Serialize, Deserialize)]
struct RecordedTariff {
    input_usd_per_mtok: NanoUsdPerMtok,
    output_usd_per_mtok: NanoUsdPerMtok,
    cache_read_usd_per_mtok: NanoUsdPerMtok,
    cache_write_usd_per_mtok: NanoUsdPerMtok,
    reasoning_usd_per_mtok: NanoUsdPerMtok,
    request_usd: NanoUsd,
    #[serde(flatten)]
    others: TokenRates,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_image_usd: Option<NanoUsd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    search_usd: Option<NanoUsd>,
    #[serde(default, deserialize_with = "null_for_none", skip_serializing_if = "Tiers::is_empty")]
    tiers: Tiers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    defaulted: Option<Vec<OptionalRate>>,
}

/// The most that a prompt can be, and the service tier that its request names: what its cost is bounded by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptBound {
    pub tokens: u64,
    pub images: u64,
    /// `None` if the request leaves the tier to the provider, which bills the base price then, unless its own settings
    /// say otherwise.
    pub service_tier: Option<ServiceTier>,
}

impl Tariff {
    pub fn new(given: GivenRates) -> Self {
        Self { base: given.base(), highest: HighestRatesTable::new(&given), given, says_what_was_left_out: true }
    }

    /// The names of single prices that are recorded only if they were given.
    pub fn left_out_where_absent() -> impl Iterator<Item = &'static str> {
        let units = ["input_image_usd", "search_usd"];
        TokenRate::ALL.iter().filter(|rate| rate.is_recorded_if_given()).map(|rate| rate.as_str()).chain(units)
    }

    /// The prices as they were given.
    pub const fn given(&self) -> &GivenRates {
        &self.given
    }

    /// The complete prices of a request to which no tier applies.
    pub const fn base(&self) -> &Rates {
        &self.base
    }

    /// The complete prices of a request whose prompt has so many tokens, cached or not, and which this tier served.
    pub fn rates_for(&self, prompt_tokens: u64, service_tier: Option<ServiceTier>) -> Rates {
        if self.given.tiers.is_empty() { self.base } else { self.given.at(prompt_tokens, service_tier) }
    }

    /// The cost of one request: exact, and rounded up once. `None` if money cannot count it.
    pub fn cost(&self, used: &TokenClasses, service_tier: Option<ServiceTier>) -> Option<NanoUsd> {
        self.rates_for(used.input(), service_tier).cost(used)
    }

    /// True if requests that this tier serves have prices of their own.
    pub fn has_tier(&self, service_tier: ServiceTier) -> bool {
        self.given.tiers.has(service_tier)
    }

    /// True if the base price has a price of its own for these tokens, and does not leave it to follow another.
    pub const fn gives(&self, rate: TokenRate) -> bool {
        self.given.others.get(rate).is_some()
    }

    /// True if each image of a request costs something beside its tokens.
    pub const fn bills_images(&self) -> bool {
        self.base.input_image_usd.nanos() > 0
    }

    /// The highest prices of any request within the bound: of the base, and of each tier that it can reach.
    pub(super) fn highest(&self, prompt: PromptBound) -> HighestRates {
        self.highest.up_to(prompt.tokens, prompt.service_tier)
    }

    /// How many tokens longer than the bound a prompt may be before a further tier can apply.
    pub(super) fn tokens_to_next_tier(&self, prompt_tokens: u64) -> u64 {
        self.highest.tokens_to_next_tier(prompt_tokens)
    }

    /// The rates that were left out, of those that are recorded all the same. If that was not recorded, these are the rates
    /// that equal their defaults: the two cannot be told apart.
    pub fn defaulted(&self) -> Vec<OptionalRate> {
        self.given.defaulted()
    }

    /// The same prices, recorded with what was left out.
    #[must_use]
    pub fn saying_what_was_left_out(self) -> Self {
        Self { says_what_was_left_out: true, ..self }
    }

    /// The same prices, as versions recorded them that did not say what was left out.
    #[must_use]
    pub fn as_first_recorded(self) -> Self {
        Self { says_what_was_left_out: false, ..Self::from(RecordedTariff { defaulted: None, ..self.into() }) }
    }
}

impl From<RecordedTariff> for Tariff {
    /// A rate counts as left out if it is recorded as such, or if that was not recorded, and it equals its default.
    fn from(recorded: RecordedTariff) -> Self {
        let RecordedTariff { others, tiers, defaulted, .. } = recorded;
        let left_out = |rate| defaulted.as_ref().is_none_or(|rates| rates.contains(&rate));
        let mut given = GivenRates {
            others,
            input_image: recorded.input_image_usd,
            search: recorded.search_usd,
            tiers,
            ..GivenRates::new(recorded.input_usd_per_mtok, recorded.output_usd_per_mtok)
        };
        for (rate, price, default) in [
            (OptionalRate::CacheRead, recorded.cache_read_usd_per_mtok, given.input),
            (OptionalRate::CacheWrite, recorded.cache_write_usd_per_mtok, given.input),
            (OptionalRate::Reasoning, recorded.reasoning_usd_per_mtok, given.output),
        ] {
            if let Some(of_tokens) = rate.of_tokens().filter(|_| price != default || !left_out(rate)) {
                given.others.set(of_tokens, Some(price));
            }
        }
        let is_free = recorded.request_usd == NanoUsd::ZERO && left_out(OptionalRate::Request);
        given.request = (!is_free).then_some(recorded.request_usd);
        Self { says_what_was_left_out: defaulted.is_some(), ..Self::new(given) }
    }
}

impl From<Tariff> for RecordedTariff {
    fn from(Tariff { given, base, says_what_was_left_out, highest: _ }: Tariff) -> Self {
        let defaulted = says_what_was_left_out.then(|| given.defaulted());
        let mut others = given.others;
        OptionalRate::ALL.iter().filter_map(|rate| rate.of_tokens()).for_each(|rate| others.set(rate, None));
        Self {
            input_usd_per_mtok: given.input,
            output_usd_per_mtok: given.output,
            cache_read_usd_per_mtok: base.of(TokenRate::CacheRead),
            cache_write_usd_per_mtok: base.of(TokenRate::CacheWrite),
            reasoning_usd_per_mtok: base.of(TokenRate::Reasoning),
            request_usd: base.request_usd,
            others,
            input_image_usd: given.input_image,
            search_usd: given.search,
            tiers: given.tiers,
            defaulted,
        }
    }
}

#[cfg(test)]
mod tests;
