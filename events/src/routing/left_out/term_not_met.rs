//! Targets of which a required term is not stated.

use std::borrow::Cow;
use std::fmt;

use super::{RecordedLeftOut, Rule};
use crate::routing::inputs::{RouteQuestion, TargetInputs};
use crate::terms::{Requirements, StatedTerms, Term};

/// A term that the tenant or the request requires is not stated of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermNotMet(pub Term);

impl TermNotMet {
    /// The word that is recorded.
    pub const fn word(self) -> &'static str {
        match self.0 {
            Term::Residency => "residency_not_met",
            Term::ZeroRetention => "zero_retention_not_met",
            Term::Training => "training_not_met",
        }
    }

    /// The terms of a target of which the log has no statement: all that are required, but for the one that it was left out for.
    pub fn restated(recorded: Option<&RecordedLeftOut>, required: Requirements<'_>) -> StatedTerms {
        let is_met = |term| !recorded.is_some_and(|recorded| recorded.is(Self(term).word()));
        let region = required.narrowest_region().filter(|_| is_met(Term::Residency));
        StatedTerms {
            region: region.cloned(),
            zero_retention: is_met(Term::ZeroRetention),
            training: is_met(Term::Training).then_some(false),
        }
    }
}

impl Rule for TermNotMet {
    const WORD: &'static str = "term_not_met";
    const TOLD: &'static str = "does not meet a required term";

    fn judge(question: &RouteQuestion<'_>, target: &TargetInputs<'_>) -> Option<Self> {
        if question.required.are_none() {
            return None;
        }
        question.required.unmet_by(target.terms).map(|(term, _)| Self(term))
    }

    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "does not meet the required {}", self.0)
    }

    fn recorded(self) -> RecordedLeftOut {
        RecordedLeftOut::Word(Cow::Borrowed(self.word()))
    }

    fn told(recorded: &RecordedLeftOut) -> Option<Cow<'static, str>> {
        let term = Term::ALL.iter().find(|term| recorded.is(Self(**term).word()))?;
        Some(Cow::Owned(format!("does not meet the required {term}")))
    }
}
