//! The most that a request can cost, whichever of its targets serves it. Pure.

use events::money::{CostLine, NanoUsd, PromptBound};
use events::output_cap::OutputCap;

use super::target::PlannedTarget;

/// The upper bounds that the hold is made for.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The bound of the prompt's tokens, for the target that would count most.
    pub input_tokens: u64,
    pub held: NanoUsd,
    /// The cost as a function of the output cap, for lower caps.
    pub line: CostLine,
}

impl Bound {
    /// The bound over all targets; without a cap the request has no output. `prompt` gives each target's bound of the prompt.
    /// `None` if money cannot count it.
    pub fn over(
        targets: &[PlannedTarget],
        prompt: impl Fn(&PlannedTarget) -> PromptBound,
        cap: Option<OutputCap>,
        choices: u64,
    ) -> Option<Self> {
        let cap = cap.map_or(0, OutputCap::tokens);
        let nothing = Self { input_tokens: 0, held: NanoUsd::ZERO, line: CostLine::ZERO };
        targets.iter().try_fold(nothing, |bound, target| {
            let prompt = prompt(target);
            let line = CostLine::of(target.tariff(), prompt, choices)?;
            Some(Self {
                input_tokens: bound.input_tokens.max(prompt.tokens),
                held: bound.held.max(line.at(cap)?),
                line: bound.line.above(line),
            })
        })
    }
}
