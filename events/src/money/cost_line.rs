//! The cost bound of a request as a line over its output cap, by which a cap can be lowered to the money that is left.

use super::{NanoUsd, Rates, rounded_up};

/// A line in millionths of a nano-dollar: the cost before any output, per further token of input, and per token of the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostLine {
    fixed: i128,
    per_input_token: i128,
    per_token: i128,
}

impl CostLine {
    /// The line of a prompt of at most `input` tokens and `choices` answers, each under the cap. `None` on overflow.
    pub fn of(rates: &Rates, input: u64, choices: u64) -> Option<Self> {
        let request = i128::from(rates.request_usd.nanos()).checked_mul(1_000_000)?;
        let fixed = rates.highest_input_rate().millionths_of_a_nano(input).checked_add(request)?;
        Some(Self {
            fixed,
            per_input_token: rates.highest_input_rate().millionths_of_a_nano(1),
            per_token: rates.highest_output_rate().millionths_of_a_nano(choices),
        })
    }

    /// The line of a prompt that is longer by `tokens`. `None` on overflow.
    pub fn with_more_input(self, tokens: u64) -> Option<Self> {
        let more = self.per_input_token.checked_mul(i128::from(tokens))?;
        Some(Self { fixed: self.fixed.checked_add(more)?, ..self })
    }

    /// A line that is nowhere below either of them.
    #[must_use]
    pub fn above(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.max(other.fixed),
            per_input_token: self.per_input_token.max(other.per_input_token),
            per_token: self.per_token.max(other.per_token),
        }
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

    use super::super::NanoUsdPerMtok;
    use super::*;

    fn rates(input: i64, output: i64, request: i64) -> Rates {
        let price = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price");
        Rates {
            input_usd_per_mtok: price(input),
            output_usd_per_mtok: price(output),
            cache_read_usd_per_mtok: price(input / 2),
            cache_write_usd_per_mtok: price(input + 1),
            reasoning_usd_per_mtok: price(output + 2),
            request_usd: NanoUsd::new(request),
        }
    }

    proptest! {
        #[test]
        fn the_cap_that_it_gives_is_the_highest_that_fits(
            input_price in 0i64..20_000_000_000, output_price in 0i64..90_000_000_000, request in 0i64..9_000_000,
            input in 0u64..200_000, choices in 1u64..9, left in -10i64..90_000_000_000,
        ) {
            let line = CostLine::of(&rates(input_price, output_price, request), input, choices).expect("a line");
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
            let (one, other) = (rates(one.0, one.1, one.2), rates(other.0, other.1, other.2));
            let line = CostLine::of(&one, input, choices).expect("a line");
            prop_assert_eq!(line.at(cap), one.upper_bound(input, cap * choices));
            let longer = line.with_more_input(40).expect("a line");
            prop_assert_eq!(longer.at(cap), one.upper_bound(input + 40, cap * choices));
            let both = line.above(CostLine::of(&other, input, choices).expect("a line"));
            prop_assert!(both.at(cap) >= one.upper_bound(input, cap * choices));
            prop_assert!(both.at(cap) >= other.upper_bound(input, cap * choices));
        }
    }

    #[test]
    fn a_prompt_that_takes_all_that_is_left_leaves_room_for_free_output_only() {
        let left = NanoUsd::new(3);
        let with_output_at = |price| CostLine::of(&rates(0, price, 3), 0, 1).expect("a line");
        assert_eq!(with_output_at(1).cap_within(left), Some(0));
        let free = Rates { reasoning_usd_per_mtok: NanoUsdPerMtok::default(), ..rates(0, 0, 3) };
        assert_eq!(CostLine::of(&free, 0, 1).expect("a line").cap_within(left), Some(u64::MAX));
        assert_eq!(CostLine::of(&free, 0, 1).expect("a line").cap_within(NanoUsd::new(2)), None);
    }

    #[test]
    fn an_overflow_has_no_cost_and_no_cap() {
        let line = CostLine::of(&rates(i64::MAX - 1, i64::MAX - 2, 0), u64::MAX, u64::MAX).expect("a line");
        assert_eq!((line.at(1), line.at(u64::MAX), line.cap_within(NanoUsd::MAX)), (None, None, None));
    }
}
