//! The rules that leave a target out of the order of a request. Each is a file below this one: what it judges by, the word that is
//! recorded, and its sentence. The table has them in their precedence: the first one that leaves a target out says why.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::inputs::{RouteQuestion, TargetInputs};
use crate::abilities::Ability;

/// A rule, as the reason why it leaves a target out.
trait Rule: Copy {
    /// The word that is recorded, and so can never change, unless `recorded` has another form.
    const WORD: &'static str;
    /// The recorded word in words: the log does not have the details.
    const TOLD: &'static str;

    /// `None` if the target may serve as far as this rule goes.
    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self>;

    /// The reason in words, with its details.
    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::TOLD)
    }

    fn recorded(self) -> RecordedLeftOut {
        RecordedLeftOut::Word(Cow::Borrowed(Self::WORD))
    }

    /// A recorded reason of this rule in words; `None` for that of another one.
    fn told(recorded: &RecordedLeftOut) -> Option<Cow<'static, str>> {
        recorded.is(Self::WORD).then_some(Cow::Borrowed(Self::TOLD))
    }

    /// States the facts that the log has only as a recorded reason of this rule, so that the rule judges the target again as it did then.
    /// A rule does nothing here if the log has all that it judges by: its reason is decided again, and compared.
    fn restate(_recorded: &RecordedLeftOut, _question: &mut RouteQuestion<'_>, _target: &mut TargetInputs<'_>) {}
}

macro_rules! rules {
    ($($module:ident => $name:ident,)+) => {
        $(mod $module;)+
        $(pub use $module::$name;)+

        /// Why a target cannot serve a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum LeftOut { $($name($name),)+ }

        impl LeftOut {
            /// `None` if the target can serve.
            pub fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
                None$(.or_else(|| $name::judge(question, target).map(Self::$name)))+
            }

            /// The reason as it is recorded.
            pub fn recorded(self) -> RecordedLeftOut {
                match self {
                    $(Self::$name(reason) => reason.recorded(),)+
                }
            }
        }

        impl fmt::Display for LeftOut {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name(reason) => reason.write(f),)+
                }
            }
        }

        impl RecordedLeftOut {
            /// States the facts that the log has only as this reason, as its rule says.
            pub fn restate(&self, question: &mut RouteQuestion<'_>, target: &mut TargetInputs<'_>) {
                $(if $name::told(self).is_some() {
                    $name::restate(self, question, target);
                })+
            }

            /// The reason in words; `None` if no rule of this version has it.
            fn told(&self) -> Option<Cow<'static, str>> {
                None$(.or_else(|| $name::told(self)))+
            }
        }
    };
}

rules! {
    // Why else a target cannot serve that the rule does not name, makes no difference to the request.
    not_in_rule => NotInRule,
    no_provider => NoProvider,
    no_price => NoPrice,
    kind_unknown => KindUnknown,
    no_such_api => NoSuchApi,
    for_another_api => ForAnotherApi,
    field_not_allowed => FieldNotAllowed,
    context_unknown => ContextUnknown,
    cap_above => CapAbove,
    ability => AbilityLacked,
    context_window => ContextWindow,
    // A target that is left out for a term lacks nothing else: that is what the refusal says.
    term_not_met => TermNotMet,
    maintenance => Maintenance,
    breaker_open => BreakerOpen,
}

/// A recorded reason: a word, or an object if the reason has parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RecordedLeftOut {
    Word(Cow<'static, str>),
    /// The abilities that it is stated not to have.
    Abilities {
        ability: Vec<String>,
    },
    /// A reason of a later version.
    Later(serde_json::Value),
}

impl RecordedLeftOut {
    /// Whether it is this word.
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(recorded) if recorded == word)
    }

    /// Whether its breaker was open, so that it came after all others.
    pub fn is_breaker_open(&self) -> bool {
        self.is(BreakerOpen::WORD)
    }

    /// Whether this version has the rule, so that it can judge again. An earlier or later version may have had others.
    pub fn is_of_this_version(&self) -> bool {
        let has_word = |word: &String| Ability::parse(word).is_some();
        match self {
            Self::Abilities { ability } => ability.iter().all(has_word),
            Self::Word(_) | Self::Later(_) => self.told().is_some(),
        }
    }

    /// The word, the abilities that are lacked, or the object of a later version.
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Word(word) => Cow::Borrowed(word),
            Self::Abilities { ability } => Cow::Owned(format!("ability {}", ability.join(", "))),
            Self::Later(reason) => Cow::Owned(reason.to_string()),
        }
    }
}

impl fmt::Display for RecordedLeftOut {
    /// In words: the log does not have the details.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.told() {
            Some(told) => f.write_str(&told),
            // A later version recorded it.
            None => f.write_str(&self.shown().replace('_', " ")),
        }
    }
}

#[cfg(test)]
mod tests;
