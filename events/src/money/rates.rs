//! The prices at which one request is billed: every class and every unit has one.

use super::token_rate::{Side, TokenRate};
use super::{NanoUsd, NanoUsdPerMtok, rounded_up};
use crate::usage::TokenClasses;

/// Millionths of a nano-dollar in a nano-dollar.
pub(super) const MILLIONTHS: i128 = 1_000_000;

/// The complete prices of one request. They follow from a [`Tariff`](super::Tariff), the length of the prompt and the
/// service tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub(super) tokens: [NanoUsdPerMtok; TokenRate::COUNT],
    /// Charged once per request, on top of its tokens.
    pub request_usd: NanoUsd,
    /// Charged for each image in the request, on top of its tokens.
    pub input_image_usd: NanoUsd,
    /// Charged for each search that the provider reports.
    pub search_usd: NanoUsd,
}

impl Rates {
    pub const fn of(&self, rate: TokenRate) -> NanoUsdPerMtok {
        self.tokens[rate as usize]
    }

    /// The cost of one request: the disjoint classes and the units are summed exactly in millionths of a nano-dollar and
    /// rounded up once, at the end, so that use is never free. `None` if it does not fit [`NanoUsd`].
    pub(super) fn cost(&self, used: &TokenClasses) -> Option<NanoUsd> {
        let tokens = [
            (TokenRate::Input, used.input_uncached_tokens),
            (TokenRate::CacheRead, used.input_cache_read_tokens),
            (TokenRate::Output, used.output_text_tokens),
            (TokenRate::Reasoning, used.output_reasoning_tokens),
            (TokenRate::InputAudio, used.input_audio_tokens),
            (TokenRate::CacheReadAudio, used.input_cache_read_audio_tokens),
            (TokenRate::OutputAudio, used.output_audio_tokens),
            (TokenRate::InputImage, used.input_image_tokens),
            (TokenRate::CacheReadImage, used.input_cache_read_image_tokens),
            (TokenRate::OutputImage, used.output_image_tokens),
            (TokenRate::Citation, used.citation_tokens),
        ];
        let of_tokens = tokens.into_iter().try_fold(self.cost_of_cache_writes(used)?, |sum, (rate, tokens)| {
            sum.checked_add(self.of(rate).millionths_of_a_nano(tokens))
        })?;
        let units =
            [(self.search_usd, used.searches), (self.input_image_usd, used.input_images), (self.request_usd, 1)];
        let all =
            units.into_iter().try_fold(of_tokens, |sum, (price, units)| sum.checked_add(of_units(price, units)?))?;
        rounded_up(all)
    }

    /// Each lifetime has its own price, and an unknown one that of the dearest. Writes of no lifetime cost what those of
    /// five minutes cost.
    fn cost_of_cache_writes(&self, used: &TokenClasses) -> Option<i128> {
        let mut without_lifetime = used.input_cache_write_tokens;
        let mut sum = 0_i128;
        for (lifetime, tokens) in &used.input_cache_write_by_ttl {
            let price = TokenRate::of_cache(lifetime).map_or_else(|| self.dearest_cache_write(), |rate| self.of(rate));
            sum = sum.checked_add(price.millionths_of_a_nano(*tokens))?;
            without_lifetime = without_lifetime.saturating_sub(*tokens);
        }
        sum.checked_add(self.of(TokenRate::CacheWrite).millionths_of_a_nano(without_lifetime))
    }

    fn dearest_cache_write(&self) -> NanoUsdPerMtok {
        TokenRate::CACHE_WRITES.into_iter().map(|rate| self.of(rate)).max().unwrap_or_default()
    }

    /// The price of the dearest class of a side.
    pub(super) fn dearest(&self, side: Side) -> NanoUsdPerMtok {
        let of_side = TokenRate::ALL.iter().filter(|rate| rate.side() == side);
        of_side.map(|rate| self.of(*rate)).max().unwrap_or_default()
    }
}

/// The cost of units, in millionths of a nano-dollar.
pub(super) fn of_units(price: NanoUsd, units: u64) -> Option<i128> {
    i128::from(price.nanos()).checked_mul(i128::from(units))?.checked_mul(MILLIONTHS)
}
