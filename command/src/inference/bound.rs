//! The most that a request can cost, whichever of its targets serve it. Pure.

use events::money::{CallsAtOnce, CostLine, Dearest, NanoUsd, PromptBound};
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
    /// The terms that the line is made of.
    pub dearest: Dearest,
}

impl Bound {
    /// The bound over all targets, of which one or two are called at the same time; without a cap the request has no output. `prompt`
    /// gives each target's bound of the prompt. `None` if money cannot count it.
    pub fn over(
        targets: &[PlannedTarget],
        prompt: impl Fn(&PlannedTarget) -> PromptBound,
        cap: Option<OutputCap>,
        choices: u64,
        calls: CallsAtOnce,
    ) -> Option<Self> {
        let nothing = Dearest::new(calls, cap.map_or(0, OutputCap::tokens));
        let (input_tokens, dearest) = targets.iter().try_fold((0, nothing), |(tokens, dearest), target| {
            let prompt = prompt(target);
            Some((prompt.tokens.max(tokens), dearest.with(CostLine::of(target.tariff(), prompt, choices)?)?))
        })?;
        Some(Self { input_tokens, held: dearest.held()?, line: dearest.line()?, dearest })
    }
}
