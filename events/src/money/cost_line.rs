//! What a request can cost, as a line over its output cap: so that a cap can be lowered to what is left.

use super::{NanoUsd, Rates, rounded_up};

/// Millionths of a nano-dollar: what is due before any output, for each further token of input, and for each token of the
/// cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostLine {
    fixed: i128,
    per_input_token: i128,
    per_token: i128,
}

impl CostLine {
    /// Of a prompt of at most `input` tokens and so many answers; the cap is of each. `None` where it is beyond counting.
    pub fn of(rates: &Rates, input: u64, choices: u64) -> Option<Self> {
        let request = i128::from(rates.request_usd.nanos()).checked_mul(1_000_000)?;
        let fixed = rates.dearest_input().millionths_of_a_nano(input).checked_add(request)?;
        Some(Self {
            fixed,
            per_input_token: rates.dearest_input().millionths_of_a_nano(1),
            per_token: rates.dearest_output().millionths_of_a_nano(choices),
        })
    }

    /// Of a prompt that is longer by so many tokens. `None` where it is beyond counting.
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

    /// The most that an answer under this cap can cost, rounded up. `None` where money cannot count it.
    pub fn at(&self, cap: u64) -> Option<NanoUsd> {
        rounded_up(self.per_token.checked_mul(i128::from(cap))?.checked_add(self.fixed)?)
    }

    /// The highest cap that costs no more than that; `None` where not even the prompt does.
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
    fn where_the_prompt_takes_all_that_is_left_only_free_output_fits() {
        let left = NanoUsd::new(3);
        let with_output_at = |price| CostLine::of(&rates(0, price, 3), 0, 1).expect("a line");
        assert_eq!(with_output_at(1).cap_within(left), Some(0));
        let free = Rates { reasoning_usd_per_mtok: NanoUsdPerMtok::default(), ..rates(0, 0, 3) };
        assert_eq!(CostLine::of(&free, 0, 1).expect("a line").cap_within(left), Some(u64::MAX));
        assert_eq!(CostLine::of(&free, 0, 1).expect("a line").cap_within(NanoUsd::new(2)), None);
    }

    #[test]
    fn what_is_beyond_counting_has_no_cost_and_no_cap() {
        let line = CostLine::of(&rates(i64::MAX - 1, i64::MAX - 2, 0), u64::MAX, u64::MAX).expect("a line");
        assert_eq!((line.at(1), line.at(u64::MAX), line.cap_within(NanoUsd::MAX)), (None, None, None));
    }
}
