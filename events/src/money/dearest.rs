//! The most that a request can cost at any of its targets, if one or two of them are called at the same time.

use super::{CostLine, NanoUsd};

/// How many of a request's targets can be called at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallsAtOnce {
    One,
    /// The second one is a hedge.
    Two,
}

impl CallsAtOnce {
    /// The calls of a request whose first call is alone for this time; `None` if it always is.
    pub const fn of(hedge_after_ms: Option<u64>) -> Self {
        if hedge_after_ms.is_some() { Self::Two } else { Self::One }
    }
}

/// The dearest of a request's targets, and the second dearest one.
#[derive(Clone, Copy, Debug)]
pub struct Dearest {
    calls: CallsAtOnce,
    /// Under the cap of the request.
    cap: u64,
    held: [NanoUsd; 2],
    /// The first one is nowhere below the line of any target; the second one is so of all targets but one.
    lines: [CostLine; 2],
}

impl Dearest {
    pub const fn new(calls: CallsAtOnce, cap: u64) -> Self {
        Self { calls, cap, held: [NanoUsd::ZERO; 2], lines: [CostLine::ZERO; 2] }
    }

    /// The same targets, of which so many can be called at the same time. There is one of them if that becomes more.
    #[must_use]
    pub const fn called(self, calls: CallsAtOnce) -> Self {
        Self { calls, ..self }
    }

    /// Takes in another target. `None` if money cannot count its cost.
    pub fn with(self, line: CostLine) -> Option<Self> {
        let Self { calls, cap, held: [first, second], lines: [above_all, above_others] } = self;
        let held = line.at(cap)?;
        let (held, lines) = match calls {
            CallsAtOnce::One => ([first.max(held), second], [above_all.above(line), above_others]),
            CallsAtOnce::Two => (
                [first.max(held), second.max(first.min(held))],
                [above_all.above(line), above_others.above(above_all.below(line))],
            ),
        };
        Some(Self { calls, cap, held, lines })
    }

    /// The amount held under the request's cap. `None` if money cannot count it.
    pub fn held(&self) -> Option<NanoUsd> {
        let [first, second] = self.held;
        first.checked_add(second)
    }

    /// The amount held under lower caps. `None` if money cannot count it.
    pub fn line(&self) -> Option<CostLine> {
        let [first, second] = self.lines;
        match self.calls {
            CallsAtOnce::One => Some(first),
            CallsAtOnce::Two => first.beside(second),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{GivenRates, NanoUsdPerMtok, PromptBound, Tariff};
    use super::*;

    fn line((input, output, request): (i64, i64, i64)) -> CostLine {
        let price = |nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price");
        let rates = GivenRates::new(price(input), price(output));
        let tariff = Tariff::new(GivenRates { request: Some(NanoUsd::new(request)), ..rates });
        CostLine::of(&tariff, PromptBound { tokens: 1_000, ..PromptBound::default() }, 1).expect("a line")
    }

    fn dearest(calls: CallsAtOnce, cap: u64, lines: &[CostLine]) -> Dearest {
        lines.iter().try_fold(Dearest::new(calls, cap), |dearest, line| dearest.with(*line)).expect("it can be counted")
    }

    proptest! {
        #[test]
        fn two_at_once_cost_no_more_than_is_held_for_them_under_any_cap(
            prices in prop::collection::vec((0i64..9_000_000_000, 0i64..9_000_000_000, 0i64..9_000_000), 1..6),
            cap in 0u64..200_000, lower in 0u64..200_000,
        ) {
            let lines: Vec<_> = prices.into_iter().map(line).collect();
            let one = dearest(CallsAtOnce::One, cap, &lines);
            let two = dearest(CallsAtOnce::Two, cap, &lines);
            let at = |line: &CostLine, cap| line.at(cap).expect("countable");
            let mut costs: Vec<_> = lines.iter().map(|line| at(line, cap)).collect();
            costs.sort_unstable();
            let dearest_two = costs.iter().rev().take(2).try_fold(NanoUsd::ZERO, |sum, cost| sum.checked_add(*cost));
            prop_assert_eq!(one.held(), costs.last().copied());
            prop_assert_eq!(two.held(), dearest_two);
            let (one, two) = (one.line().expect("a line"), two.line().expect("a line"));
            for (place, first) in lines.iter().enumerate() {
                prop_assert!(at(&one, lower) >= at(first, lower));
                for second in &lines[..place] {
                    let both = at(first, lower).checked_add(at(second, lower)).expect("countable");
                    prop_assert!(at(&two, lower) >= both);
                }
            }
        }
    }
}
