//! Targets that are stated not to have an ability that the request needs.

use std::borrow::Cow;
use std::fmt;

use super::{RecordedLeftOut, Rule};
use crate::abilities::{Ability, AbilitySet};
use crate::routing::inputs::{RouteQuestion, TargetInputs};

/// The target is stated not to have what the request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbilityLacked(pub AbilitySet);

impl Rule for AbilityLacked {
    const WORD: &'static str = "ability";
    const TOLD: &'static str = "cannot do what the request needs";

    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        let lacked = target.target.facts.abilities().lacks_of(question.needs);
        (!lacked.is_empty()).then_some(Self(lacked))
    }

    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Self::TOLD, self.0)
    }

    fn recorded(self) -> RecordedLeftOut {
        RecordedLeftOut::Abilities { ability: self.0.iter().map(Ability::as_str).map(str::to_owned).collect() }
    }

    fn told(recorded: &RecordedLeftOut) -> Option<Cow<'static, str>> {
        let RecordedLeftOut::Abilities { ability } = recorded else { return None };
        Some(Cow::Owned(format!("{}: {}", Self::TOLD, ability.join(", "))))
    }

    fn restate(recorded: &RecordedLeftOut, question: &mut RouteQuestion<'_>, _: &mut TargetInputs<'_>) {
        // Whether the target lacks what others were left out for, follows from the model's row.
        if let RecordedLeftOut::Abilities { ability } = recorded {
            question.needs =
                ability.iter().filter_map(|word| Ability::parse(word)).fold(question.needs, AbilitySet::with);
        }
    }
}
