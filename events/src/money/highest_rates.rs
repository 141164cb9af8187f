//! The highest prices that a request can have, one for each side, by the length of its prompt and the service tier that it names. They are
//! computed once for each tariff, because every choice of a target and every hold needs them.

use std::collections::BTreeSet;

use super::NanoUsdPerMtok;
use super::given_rates::GivenRates;
use super::rates::Rates;
use super::token_rate::Side;
use crate::usage::ServiceTier;

/// A price of each side of a request that none of its tokens exceeds, whatever classes the provider counts them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HighestRates {
    pub input: NanoUsdPerMtok,
    pub output: NanoUsdPerMtok,
}

impl HighestRates {
    fn of(rates: &Rates) -> Self {
        Self { input: rates.highest(Side::Input), output: rates.highest(Side::Output) }
    }

    fn max(self, other: Self) -> Self {
        Self { input: self.input.max(other.input), output: self.output.max(other.output) }
    }
}

/// The highest prices of all requests that one tariff is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HighestRatesTable {
    /// For requests that name no service tier, or none that the tariff has.
    without_service_tier: HighestByLength,
    by_service_tier: Vec<(ServiceTier, HighestByLength)>,
}

impl HighestRatesTable {
    pub fn new(given: &GivenRates) -> Self {
        let service_tiers = ServiceTier::ALL.iter().copied().filter(|service_tier| given.tiers.has(*service_tier));
        let by_service_tier = service_tiers.map(|tier| (tier, HighestByLength::new(given, Some(tier)))).collect();
        Self { without_service_tier: HighestByLength::new(given, None), by_service_tier }
    }

    /// The highest prices of any request that has at most this many tokens of input and names this service tier.
    pub fn up_to(&self, prompt_tokens: u64, service_tier: Option<ServiceTier>) -> HighestRates {
        let named = self.by_service_tier.iter().find(|(named, _)| Some(*named) == service_tier);
        named.map_or(&self.without_service_tier, |(_, by_length)| by_length).up_to(prompt_tokens)
    }

    /// How many tokens longer than this a prompt may be before a further tier can apply.
    pub fn tokens_to_next_tier(&self, prompt_tokens: u64) -> u64 {
        let mut ahead =
            self.without_service_tier.longer.iter().filter_map(|(above, _)| above.checked_sub(prompt_tokens));
        ahead.next().unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HighestByLength {
    shortest: HighestRates,
    /// The rates of prompts with more tokens than this, including those of shorter ones: the lowest length first.
    longer: Vec<(u64, HighestRates)>,
}

impl HighestByLength {
    /// The provider may serve a request by the base price though it names a service tier: the highest of both.
    fn new(given: &GivenRates, service_tier: Option<ServiceTier>) -> Self {
        let at = |length| {
            let served_by = |service_tier| HighestRates::of(&given.at(length, service_tier));
            served_by(None).max(served_by(service_tier))
        };
        let lengths: BTreeSet<u64> = given.tiers.lengths().collect();
        let shortest = at(0);
        let longer = lengths.into_iter().scan(shortest, |highest, above| {
            *highest = highest.max(at(above.saturating_add(1)));
            Some((above, *highest))
        });
        Self { shortest, longer: longer.collect() }
    }

    fn up_to(&self, prompt_tokens: u64) -> HighestRates {
        let reached = self.longer.iter().rev().find(|(above, _)| *above < prompt_tokens);
        reached.map_or(self.shortest, |(_, highest)| *highest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::{NanoUsd, PriceTier, Tiers, TokenRate, TokenRates};
    use super::*;

    fn rates() -> impl Strategy<Value = TokenRates> {
        let price = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price");
        vec((select(TokenRate::ALL), 0i64..1000), 0..4).prop_map(move |given| {
            given.into_iter().fold(TokenRates::default(), |rates, (rate, nanos)| rates.with(rate, price(nanos)))
        })
    }

    fn given() -> impl Strategy<Value = GivenRates> {
        let tier = (option::of(0u64..9), option::of(select(ServiceTier::ALL)), rates());
        let tier = tier.prop_map(|(above_input_tokens, service_tier, rates)| PriceTier {
            above_input_tokens,
            service_tier,
            rates,
        });
        (rates(), vec(tier, 0..6)).prop_map(|(others, mut tiers)| {
            let conditions = |tier: &PriceTier| (tier.above_input_tokens, tier.service_tier);
            tiers.retain(|tier| conditions(tier) != (None, None));
            tiers.sort_by_key(conditions);
            tiers.dedup_by_key(|tier| conditions(tier));
            let [input, output] = [TokenRate::Input, TokenRate::Output];
            let of = |rate| others.get(rate).unwrap_or_default();
            GivenRates { others, tiers: Tiers::new(tiers).expect("tiers"), ..GivenRates::new(of(input), of(output)) }
        })
    }

    proptest! {
        #[test]
        fn no_request_within_the_bound_has_a_higher_price(
            given in given(), tokens in 0u64..12, service_tier in option::of(select(ServiceTier::ALL)),
        ) {
            let all = (0..=tokens).flat_map(|length| [given.at(length, None), given.at(length, service_tier)]);
            let all: Vec<Rates> = all.collect();
            let of_side = |side| all.iter().map(|rates| rates.highest(side)).max().expect("the base at least");
            let wanted = HighestRates { input: of_side(Side::Input), output: of_side(Side::Output) };
            prop_assert_eq!(HighestRatesTable::new(&given).up_to(tokens, service_tier), wanted);
        }

        #[test]
        fn the_next_tier_is_the_nearest_length_that_the_prompt_does_not_exceed(given in given(), tokens in 0u64..12) {
            let ahead = given.tiers.lengths().filter(|above| *above >= tokens).map(|above| above - tokens);
            prop_assert_eq!(HighestRatesTable::new(&given).tokens_to_next_tier(tokens), ahead.min().unwrap_or(u64::MAX));
        }
    }
}
