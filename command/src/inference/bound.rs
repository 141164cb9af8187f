//! The most that a request can cost, whichever of its targets serves. Pure.

use events::money::{CostLine, NanoUsd};
use events::output_cap::OutputCap;

use super::target::PlannedTarget;

/// What is asked of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Upper bound of the prompt, of the target that would count most.
    pub input_tokens: u64,
    pub held: NanoUsd,
    /// What a lower cap would cost.
    pub line: CostLine,
}

impl Bound {
    /// `input_tokens` bounds the prompt for a target. `None` where money cannot count it.
    pub fn over(
        targets: &[PlannedTarget],
        input_tokens: impl Fn(&PlannedTarget) -> u64,
        cap: OutputCap,
        choices: u64,
    ) -> Option<Self> {
        let output_tokens = cap.tokens().checked_mul(choices)?;
        let nothing = Self { input_tokens: 0, held: NanoUsd::ZERO, line: CostLine::default() };
        targets.iter().try_fold(nothing, |bound, target| {
            let input_tokens = input_tokens(target);
            Some(Self {
                input_tokens: bound.input_tokens.max(input_tokens),
                held: bound.held.max(target.rates.upper_bound(input_tokens, output_tokens)?),
                line: bound.line.above(CostLine::of(&target.rates, input_tokens, choices)?),
            })
        })
    }
}
