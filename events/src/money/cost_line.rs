//! The cost bound of a request as a line over its output cap, by which a cap can be lowered to the money that is left.

use super::highest_rates::HighestRates;
use super::rates::{MILLIONTHS, of_units};
use super::{NanoUsd, NanoUsdSum, PromptBound, Tariff, rounded_up};

/// A line in millionths of a nano-dollar: the cost before any output, per further token of input, and per token of the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLine {
    fixed: i128,
    per_input_token: i128,
    per_token: i128,
    /// How many more tokens the prompt may have at these prices.
    input_to_next_tier: u64,
}

/// The prices by which a bound is computed: the highest of each side. That of output is for all choices together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundTerms {
    pub input_per_mtok: NanoUsdSum,
    pub output_per_mtok: NanoUsdSum,
}

impl CostLine {
    /// The line of a request that costs nothing.
    pub const ZERO: Self = Self { fixed: 0, per_input_token: 0, per_token: 0, input_to_next_tier: u64::MAX };

    /// The line of a prompt within its bound and of `choices` answers, each under the cap. Where several prices are possible
    /// it has the highest of each side, so that it is never below the cost, whatever classes the provider counts tokens in and
    /// whichever tiers apply. Searches come on top: only the provider knows how many it runs. `None` on overflow.
    pub fn of(tariff: &Tariff, prompt: PromptBound, choices: u64) -> Option<Self> {
        let HighestRates { input, output } = tariff.highest(prompt);
        let base = tariff.base();
        let units = of_units(base.request_usd, 1)?.checked_add(of_units(base.input_image_usd, prompt.images)?)?;
        Some(Self {
            fixed: input.millionths_of_a_nano(prompt.tokens).checked_add(units)?,
            per_input_token: input.millionths_of_a_nano(1),
            per_token: output.millionths_of_a_nano(choices),
            input_to_next_tier: tariff.tokens_to_next_tier(prompt.tokens),
        })
    }

    /// The prices that it is made of.
    pub const fn terms(&self) -> BoundTerms {
        BoundTerms {
            input_per_mtok: NanoUsdSum::new(self.per_input_token),
            output_per_mtok: NanoUsdSum::new(self.per_token),
        }
    }

    /// The line of a prompt that is longer by `tokens`. `None` on overflow, or if another price could apply to it.
    pub fn with_more_input(self, tokens: u64) -> Option<Self> {
        let input_to_next_tier = self.input_to_next_tier.checked_sub(tokens)?;
        let more = self.per_input_token.checked_mul(i128::from(tokens))?;
        Some(Self { fixed: self.fixed.checked_add(more)?, input_to_next_tier, ..self })
    }

    /// The line of a request of which each choice can have so many tokens beyond the cap. `None` on overflow.
    pub fn with_more_output(self, tokens: u64) -> Option<Self> {
        let more = self.per_token.checked_mul(i128::from(tokens))?;
        Some(Self { fixed: self.fixed.checked_add(more)?, ..self })
    }

    /// A line that is nowhere below either of them.
    #[must_use]
    pub fn above(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.max(other.fixed),
            per_input_token: self.per_input_token.max(other.per_input_token),
            per_token: self.per_token.max(other.per_token),
            input_to_next_tier: self.input_to_next_tier.min(other.input_to_next_tier),
        }
    }

    /// A line that is nowhere above either of them.
    #[must_use]
    pub fn below(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.min(other.fixed),
            per_input_token: self.per_input_token.min(other.per_input_token),
            per_token: self.per_token.min(other.per_token),
            input_to_next_tier: self.input_to_next_tier.max(other.input_to_next_tier),
        }
    }

    /// A line that is nowhere below the sum of both, each of which is rounded up. `None` on overflow.
    pub fn beside(self, other: Self) -> Option<Self> {
        Some(Self {
            fixed: self.fixed.checked_add(other.fixed)?.checked_add(MILLIONTHS)?,
            per_input_token: self.per_input_token.checked_add(other.per_input_token)?,
            per_token: self.per_token.checked_add(other.per_token)?,
            input_to_next_tier: self.input_to_next_tier.min(other.input_to_next_tier),
        })
    }

    /// The most that the request can cost under this cap, rounded up. `None` if money cannot count it.
    pub fn at(&self, cap: u64) -> Option<NanoUsd> {
        rounded_up(self.per_token.checked_mul(i128::from(cap))?.checked_add(self.fixed)?)
    }

    /// The highest cap that costs no more than `left`; `None` if the prompt alone costs more.
    pub fn cap_within(&self, left: NanoUsd) -> Option<u64> {
        let left = i128::from(left.nanos()).checked_mul(1_000_000)?.checked_sub(self.fixed)?;
        if left < 0 {
            return None;
        }
        match left.checked_div(self.per_token) {
            Some(cap) => Some(u64::try_from(cap).unwrap_or(u64::MAX)),
            // Output is free.
            None => Some(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{GivenRates, NanoUsdPerMtok, PriceTier, Tiers, TokenRate, TokenRates};
    use super::*;

    fn price(nanos: i64) -> NanoUsdPerMtok {
        NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price")
    }

    fn given(input: i64, output: i64, request: i64) -> GivenRates {
        let given = GivenRates::new(price(input), price(output))
            .with(TokenRate::CacheRead, price(input / 2))
            .with(TokenRate::CacheWrite, price(input + 1))
            .with(TokenRate::Reasoning, price(output + 2));
        GivenRates { request: Some(NanoUsd::new(request)), ..given }
    }

    fn tariff(input: i64, output: i64, request: i64) -> Tariff {
        Tariff::new(given(input, output, request))
    }

    const fn prompt(tokens: u64) -> PromptBound {
        PromptBound { tokens, images: 0, service_tier: None }
    }

    fn bound(tariff: &Tariff, prompt: PromptBound, output: u64) -> Option<NanoUsd> {
        CostLine::of(tariff, prompt, 1)?.at(output)
    }

    proptest! {
        #[test]
        fn the_cap_that_it_gives_is_the_highest_that_fits(
            input_price in 0i64..20_000_000_000, output_price in 0i64..90_000_000_000, request in 0i64..9_000_000,
            input in 0u64..200_000, choices in 1u64..9, left in -10i64..90_000_000_000,
        ) {
            let line = CostLine::of(&tariff(input_price, output_price, request), prompt(input), choices).expect("a line");
            let left = NanoUsd::new(left);
            match line.cap_within(left) {
                None => prop_assert!(line.at(0).expect("countable") > left),
                Some(u64::MAX) => prop_assert_eq!(line.per_token, 0),
                Some(cap) => {
                    prop_assert!(line.at(cap).expect("countable") <= left);
                    prop_assert!(line.at(cap + 1).expect("countable") > left);
                }
            }
        }

        #[test]
        fn it_is_the_bound_of_one_price_and_above_the_bounds_of_two(
            one in (0i64..9_000_000_000, 0i64..9_000_000_000, 0i64..9_000_000),
            other in (0i64..9_000_000_000, 0i64..9_000_000_000, 0i64..9_000_000),
            input in 0u64..200_000, choices in 1u64..9, cap in 0u64..200_000,
        ) {
            let (one, other) = (tariff(one.0, one.1, one.2), tariff(other.0, other.1, other.2));
            let line = CostLine::of(&one, prompt(input), choices).expect("a line");
            prop_assert_eq!(line.at(cap), bound(&one, prompt(input), cap * choices));
            let longer = line.with_more_input(40).expect("a line");
            prop_assert_eq!(longer.at(cap), bound(&one, prompt(input + 40), cap * choices));
            let lengthier = line.with_more_output(40).expect("a line");
            prop_assert_eq!(lengthier.at(cap), bound(&one, prompt(input), (cap + 40) * choices));
            let both = line.above(CostLine::of(&other, prompt(input), choices).expect("a line"));
            prop_assert!(both.at(cap) >= bound(&one, prompt(input), cap * choices));
            prop_assert!(both.at(cap) >= bound(&other, prompt(input), cap * choices));
        }
    }

    #[test]
    fn a_prompt_that_takes_all_that_is_left_leaves_room_for_free_output_only() {
        let left = NanoUsd::new(3);
        let with_output_at = |output| CostLine::of(&tariff(0, output, 3), prompt(0), 1).expect("a line");
        assert_eq!(with_output_at(1).cap_within(left), Some(0));
        let free = Tariff::new(given(0, 0, 3).with(TokenRate::Reasoning, price(0)));
        assert_eq!(CostLine::of(&free, prompt(0), 1).expect("a line").cap_within(left), Some(u64::MAX));
        assert_eq!(CostLine::of(&free, prompt(0), 1).expect("a line").cap_within(NanoUsd::new(2)), None);
    }

    #[test]
    fn an_overflow_has_no_cost_and_no_cap() {
        let line = CostLine::of(&tariff(i64::MAX - 1, i64::MAX - 2, 0), prompt(u64::MAX), u64::MAX).expect("a line");
        assert_eq!((line.at(1), line.at(u64::MAX), line.cap_within(NanoUsd::MAX)), (None, None, None));
    }

    #[test]
    fn a_prompt_that_could_get_another_price_has_no_line_by_adding_to_its_length() {
        let longer = PriceTier {
            above_input_tokens: Some(100),
            service_tier: None,
            rates: TokenRates::default().with(TokenRate::Input, price(9_000_000)),
        };
        let tariff =
            Tariff::new(GivenRates { tiers: Tiers::new(vec![longer]).expect("tiers"), ..given(3_000_000, 0, 0) });
        let line = |tokens| CostLine::of(&tariff, prompt(tokens), 1).expect("a line");
        let longer = |tokens, by| line(tokens).with_more_input(by)?.at(7);
        assert_eq!(longer(60, 40), line(100).at(7));
        assert_eq!(longer(60, 41), None);
        assert_eq!(longer(101, 5), line(106).at(7));
        assert!(line(101).at(0) > line(100).at(0));
    }
}
