//! The rules that leave a target out of the order of a request. Each is a file below this one: what it judges by, the word that is
//! recorded, and its sentence. The table has them in their precedence: the first one that leaves a target out says why.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::inputs::{RouteQuestion, TargetInputs};

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

        impl fmt::Display for RecordedLeftOut {
            /// In words: the log does not have the details.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match None$(.or_else(|| $name::told(self)))+ {
                    Some(told) => f.write_str(&told),
                    // A later version recorded it.
                    None => f.write_str(&self.shown().replace('_', " ")),
                }
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

    /// Whether it, or its provider, was under maintenance.
    pub fn is_maintenance(&self) -> bool {
        self.is(Maintenance::WORD)
    }

    /// Whether the rule that held did not name it.
    pub fn is_not_in_rule(&self) -> bool {
        self.is(NotInRule::WORD)
    }

    /// Whether it did not meet a term.
    pub fn is_term(&self) -> bool {
        TermNotMet::told(self).is_some()
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

#[cfg(test)]
mod tests;
