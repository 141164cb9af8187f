//! Prices that differ from the base price of a model: for long prompts, and for service tiers.

use serde::{Deserialize, Serialize};

use super::token_rate::TokenRates;
use crate::usage::ServiceTier;

/// Prices for the requests that meet all conditions of the tier, of which there is at least one. What it does not name is of
/// the tiers with fewer conditions, or of the base price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceTier {
    /// The tier prices the whole request once its prompt has more tokens than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_input_tokens: Option<u64>,
    /// The tier prices requests that this service tier served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    #[serde(flatten)]
    pub rates: TokenRates,
}

impl PriceTier {
    const fn has_condition(&self) -> bool {
        self.above_input_tokens.is_some() || self.service_tier.is_some()
    }

    fn has_conditions_of(&self, other: &Self) -> bool {
        (self.above_input_tokens, self.service_tier) == (other.above_input_tokens, other.service_tier)
    }
}

/// The tiers of a price, in the order in which they were given. No two have the same conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<PriceTier>")]
pub struct Tiers(Vec<PriceTier>);

/// Why these are not the tiers of a price. Indexes count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTiers {
    #[error("must be at most {} tiers", Tiers::LEN_MAX)]
    TooMany,
    #[error("must have above_input_tokens or service_tier")]
    NoCondition { at: usize },
    #[error("has the same conditions as tiers[{earlier}]")]
    Repeated { at: usize, earlier: usize },
}

impl Tiers {
    pub const LEN_MAX: usize = 32;

    pub fn new(tiers: Vec<PriceTier>) -> Result<Self, InvalidTiers> {
        if tiers.len() > Self::LEN_MAX {
            return Err(InvalidTiers::TooMany);
        }
        for (at, tier) in tiers.iter().enumerate() {
            if !tier.has_condition() {
                return Err(InvalidTiers::NoCondition { at });
            }
            if let Some(earlier) = tiers[..at].iter().position(|earlier| earlier.has_conditions_of(tier)) {
                return Err(InvalidTiers::Repeated { at, earlier });
            }
        }
        Ok(Self(tiers))
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if any of them prices this service tier.
    pub fn has(&self, service_tier: ServiceTier) -> bool {
        self.0.iter().any(|tier| tier.service_tier == Some(service_tier))
    }

    /// The base prices with those of every tier that applies. The one with both conditions goes before those with one, and
    /// of two with one each the dearer price does. Of lengths, the greatest that the prompt exceeds applies.
    pub(super) fn applied_to(
        &self,
        base: &TokenRates,
        prompt_tokens: u64,
        service_tier: Option<ServiceTier>,
    ) -> TokenRates {
        let longest = |service_tier| {
            let reached = self.0.iter().filter(|tier| tier.service_tier == service_tier);
            let reached = reached.filter(|tier| tier.above_input_tokens.is_some_and(|above| prompt_tokens > above));
            reached.max_by_key(|tier| tier.above_input_tokens).map(|tier| tier.rates).unwrap_or_default()
        };
        let of_length = longest(None);
        let Some(service_tier) = service_tier else { return base.overlaid_by(&of_length) };
        let is_of_service = |tier: &&PriceTier| tier.service_tier == Some(service_tier);
        let of_service = self.0.iter().filter(is_of_service).find(|tier| tier.above_input_tokens.is_none());
        let of_service = of_service.map(|tier| tier.rates).unwrap_or_default();
        base.overlaid_by(&of_length.dearer(&of_service)).overlaid_by(&longest(Some(service_tier)))
    }

    /// The lengths that a prompt may exceed and then has another price.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u64> {
        self.0.iter().filter_map(|tier| tier.above_input_tokens)
    }
}

impl TryFrom<Vec<PriceTier>> for Tiers {
    type Error = InvalidTiers;

    fn try_from(tiers: Vec<PriceTier>) -> Result<Self, InvalidTiers> {
        Self::new(tiers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(above_input_tokens: Option<u64>, service_tier: Option<ServiceTier>) -> PriceTier {
        PriceTier { above_input_tokens, service_tier, rates: TokenRates::default() }
    }

    #[test]
    fn each_tier_has_a_condition_and_no_two_have_the_same() {
        let (long, flex) = (tier(Some(200_000), None), tier(None, Some(ServiceTier::Flex)));
        let both = tier(Some(200_000), Some(ServiceTier::Flex));
        assert!(Tiers::new(vec![long, flex, both]).is_ok());
        assert_eq!(Tiers::new(vec![long, tier(None, None)]), Err(InvalidTiers::NoCondition { at: 1 }));
        assert_eq!(Tiers::new(vec![both, flex, long, flex]), Err(InvalidTiers::Repeated { at: 3, earlier: 1 }));
        let lengths = |len: u64| (1..=len).map(|above| tier(Some(above), None)).collect();
        assert!(Tiers::new(lengths(32)).is_ok());
        assert_eq!(Tiers::new(lengths(33)), Err(InvalidTiers::TooMany));
        assert!(serde_json::from_str::<Tiers>("[{}]").is_err(), "also where they are read");
    }
}
