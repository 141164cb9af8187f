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

/// One item of a request's bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostItem {
    /// The class of tokens or the unit, as in [`TokenClasses::NAMES`]; `request` for the request itself.
    pub name: &'static str,
    pub count: u64,
    pub price: ItemPrice,
}

/// The price of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemPrice {
    PerMtok(NanoUsdPerMtok),
    Each(NanoUsd),
}

impl CostItem {
    const fn of_tokens(name: &'static str, price: NanoUsdPerMtok, count: u64) -> Self {
        Self { name, count, price: ItemPrice::PerMtok(price) }
    }

    /// Its exact cost. `None` on overflow.
    fn millionths_of_a_nano(self) -> Option<i128> {
        match self.price {
            ItemPrice::PerMtok(price) => Some(price.millionths_of_a_nano(self.count)),
            ItemPrice::Each(price) => of_units(price, self.count),
        }
    }
}

impl Rates {
    pub const fn of(&self, rate: TokenRate) -> NanoUsdPerMtok {
        self.tokens[rate as usize]
    }

    /// The cost of one request: its items are summed exactly in millionths of a nano-dollar and rounded up once, at the end, so
    /// that use is never free. `None` if it does not fit [`NanoUsd`].
    pub(super) fn cost(&self, used: &TokenClasses) -> Option<NanoUsd> {
        rounded_up(self.items(used).try_fold(0_i128, |sum, item| sum.checked_add(item.millionths_of_a_nano()?))?)
    }

    /// The billed items of a request: its disjoint classes and its units, each with its price.
    pub fn items<'a>(&'a self, used: &'a TokenClasses) -> impl Iterator<Item = CostItem> + 'a {
        let tokens = [
            ("input_uncached_tokens", TokenRate::Input, used.input_uncached_tokens),
            ("input_cache_read_tokens", TokenRate::CacheRead, used.input_cache_read_tokens),
            ("output_text_tokens", TokenRate::Output, used.output_text_tokens),
            ("output_reasoning_tokens", TokenRate::Reasoning, used.output_reasoning_tokens),
            ("input_audio_tokens", TokenRate::InputAudio, used.input_audio_tokens),
            ("input_cache_read_audio_tokens", TokenRate::CacheReadAudio, used.input_cache_read_audio_tokens),
            ("output_audio_tokens", TokenRate::OutputAudio, used.output_audio_tokens),
            ("input_image_tokens", TokenRate::InputImage, used.input_image_tokens),
            ("input_cache_read_image_tokens", TokenRate::CacheReadImage, used.input_cache_read_image_tokens),
            ("output_image_tokens", TokenRate::OutputImage, used.output_image_tokens),
            ("citation_tokens", TokenRate::Citation, used.citation_tokens),
        ];
        let tokens = tokens.into_iter().map(|(name, rate, tokens)| CostItem::of_tokens(name, self.of(rate), tokens));
        let units = [
            ("searches", self.search_usd, used.searches),
            ("input_images", self.input_image_usd, used.input_images),
            ("request", self.request_usd, 1),
        ];
        let units = units.into_iter().map(|(name, each, count)| CostItem { name, count, price: ItemPrice::Each(each) });
        self.cache_writes(used).chain(tokens).chain(units)
    }

    /// Each lifetime has its own price, and an unknown one that of the dearest. Writes of no lifetime cost what those of
    /// five minutes cost.
    fn cache_writes<'a>(&'a self, used: &'a TokenClasses) -> impl Iterator<Item = CostItem> + 'a {
        const NAME: &str = "input_cache_write_tokens";
        let by_lifetime = &used.input_cache_write_by_ttl;
        let with_lifetime = by_lifetime.values().fold(0_u64, |sum, tokens| sum.saturating_add(*tokens));
        let rest = used.input_cache_write_tokens.saturating_sub(with_lifetime);
        let by_lifetime = by_lifetime.iter().map(|(lifetime, tokens)| {
            let price = TokenRate::of_cache(lifetime).map_or_else(|| self.dearest_cache_write(), |rate| self.of(rate));
            CostItem::of_tokens(NAME, price, *tokens)
        });
        by_lifetime.chain([CostItem::of_tokens(NAME, self.of(TokenRate::CacheWrite), rest)])
    }

    fn dearest_cache_write(&self) -> NanoUsdPerMtok {
        TokenRate::CACHE_WRITES.into_iter().map(|rate| self.of(rate)).max().unwrap_or_default()
    }

    /// The highest price of the classes of a side.
    pub(super) fn highest(&self, side: Side) -> NanoUsdPerMtok {
        let of_side = TokenRate::ALL.iter().filter(|rate| rate.side() == side);
        of_side.map(|rate| self.of(*rate)).max().unwrap_or_default()
    }
}

/// The cost of units, in millionths of a nano-dollar.
pub(super) fn of_units(price: NanoUsd, units: u64) -> Option<i128> {
    i128::from(price.nanos()).checked_mul(i128::from(units))?.checked_mul(MILLIONTHS)
}
