//! The most that a request can cost, whichever of its targets serve it. Pure.

use events::money::{CallsAtOnce, CostLine, Dearest, NanoUsd, PromptBound, Tariff};
use events::output_cap::OutputCap;

use crate::inference::targets::target::PlannedTarget;

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
    /// The same over the targets that are not the tenant's own; `None` if none is its own.
    pub brokered: Option<BrokeredTargets>,
}

/// The bounds over those targets that are not on providers of the tenant's own.
#[derive(Clone, Copy, Debug)]
pub struct BrokeredTargets {
    /// The bound of the prompt's tokens, for that of them that would count most; 0 if there is none of them.
    pub input_tokens: u64,
    pub held: NanoUsd,
    pub line: CostLine,
}

/// The most output that a request can have.
#[derive(Clone, Copy, Debug)]
pub struct OutputBound {
    /// `None` if it has none.
    pub cap: Option<OutputCap>,
    /// The tokens that each choice can have beyond the cap.
    pub beyond_cap: u64,
    pub choices: u64,
}

impl OutputBound {
    /// The cost at these prices, by cap. `None` on overflow.
    pub fn line(self, tariff: &Tariff, prompt: PromptBound) -> Option<CostLine> {
        CostLine::of(tariff, prompt, self.choices)?.with_more_output(self.beyond_cap)
    }
}

impl Bound {
    /// The bound over all targets, of which one or two are called at the same time; without a cap the request has no output. `prompt`
    /// gives each target's bound of the prompt. `None` if money cannot count it.
    pub fn over(
        targets: &[PlannedTarget],
        prompt: impl Fn(&PlannedTarget) -> PromptBound,
        output: OutputBound,
        calls: CallsAtOnce,
    ) -> Option<Self> {
        let nothing = (0, Dearest::new(calls, output.cap.map_or(0, OutputCap::tokens)));
        let with = |(tokens, dearest): (u64, Dearest), target: &PlannedTarget| {
            let prompt = prompt(target);
            Some((prompt.tokens.max(tokens), dearest.with(output.line(target.tariff(), prompt)?)?))
        };
        let (input_tokens, dearest) = targets.iter().try_fold(nothing, with)?;
        let brokered = if targets.iter().any(PlannedTarget::is_own) {
            let (input_tokens, dearest) = targets.iter().filter(|target| !target.is_own()).try_fold(nothing, with)?;
            Some(BrokeredTargets { input_tokens, held: dearest.held()?, line: dearest.line()? })
        } else {
            None
        };
        Some(Self { input_tokens, held: dearest.held()?, line: dearest.line()?, dearest, brokered })
    }
}
