//! Why a target cannot serve a request, as a word in the log and in words for people.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::terms::Term;
use crate::time::rfc3339;

/// Why a target cannot serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its provider is deleted, or belongs to another tenant.
    NoProvider,
    NoPrice,
    /// Its provider is of a kind that this version does not have: a later version recorded it.
    KindUnknown,
    /// Its provider does not have the API that the request needs.
    NoSuchApi,
    /// The catalogue knows that the model is for the other API.
    ForAnotherApi,
    /// The request has a field that changes the cost, and the provider does not allow it.
    FieldNotAllowed,
    /// The client's own output cap is above the target's maximum.
    CapAbove {
        maximum: u64,
    },
    /// The request has documents, which may fill the target's context, whose length is unknown.
    ContextUnknown,
    /// Its breaker is open, and another target may serve.
    BreakerOpen,
    /// The rule that holds for the request does not name it.
    NotInRule,
    /// The target, or its provider, is under maintenance.
    Maintenance {
        until: DateTime<Utc>,
    },
    /// A term that the tenant or the request requires is not stated of it.
    TermNotMet(Term),
}

impl LeftOut {
    /// Each with some details.
    const KINDS: [Self; 14] = [
        Self::NoProvider,
        Self::NoPrice,
        Self::KindUnknown,
        Self::NoSuchApi,
        Self::ForAnotherApi,
        Self::FieldNotAllowed,
        Self::CapAbove { maximum: 0 },
        Self::ContextUnknown,
        Self::BreakerOpen,
        Self::NotInRule,
        Self::Maintenance { until: DateTime::<Utc>::MIN_UTC },
        Self::TermNotMet(Term::Residency),
        Self::TermNotMet(Term::ZeroRetention),
        Self::TermNotMet(Term::Training),
    ];

    /// The word that is recorded, and so can never change.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoProvider => "no_provider",
            Self::NoPrice => "no_price",
            Self::KindUnknown => "kind_unknown",
            Self::NoSuchApi => "no_such_api",
            Self::ForAnotherApi => "for_another_api",
            Self::FieldNotAllowed => "field_not_allowed",
            Self::CapAbove { .. } => "cap_above",
            Self::ContextUnknown => "context_unknown",
            Self::BreakerOpen => "breaker_open",
            Self::NotInRule => "not_in_rule",
            Self::Maintenance { .. } => "maintenance",
            Self::TermNotMet(Term::Residency) => "residency_not_met",
            Self::TermNotMet(Term::ZeroRetention) => "zero_retention_not_met",
            Self::TermNotMet(Term::Training) => "training_not_met",
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str("no live provider for this tenant"),
            Self::NoPrice => f.write_str("no price in force"),
            Self::KindUnknown => f.write_str("the provider's kind is unknown to this version"),
            Self::NoSuchApi => f.write_str("its provider does not have the API"),
            Self::ForAnotherApi => f.write_str("the model is known to be for another API"),
            Self::FieldNotAllowed => f.write_str("a field changes the cost and is not allowed"),
            Self::CapAbove { maximum } => write!(f, "accepts at most {maximum} output tokens"),
            Self::ContextUnknown => f.write_str("documents need a target with a context_window"),
            Self::BreakerOpen => f.write_str("its breaker is open, so it is called only if no other one can be"),
            Self::NotInRule => f.write_str("the rule that holds does not name it"),
            Self::Maintenance { until } => write!(f, "under maintenance until {}", rfc3339(*until)),
            Self::TermNotMet(term) => write!(f, "does not meet the required {term}"),
        }
    }
}

/// The recorded word, in words: the log does not have the details.
pub struct RecordedLeftOut<'a>(pub &'a str);

impl fmt::Display for RecordedLeftOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match LeftOut::KINDS.iter().find(|kind| kind.as_str() == self.0) {
            Some(LeftOut::CapAbove { .. }) => f.write_str("accepts fewer output tokens than the request asked for"),
            Some(LeftOut::Maintenance { .. }) => f.write_str("under maintenance"),
            // It may have been called nevertheless.
            Some(LeftOut::BreakerOpen) => f.write_str("its breaker was open, so it came after all others"),
            Some(LeftOut::ContextUnknown) => {
                f.write_str("its context window is not known, and the request has documents")
            }
            Some(kind) => kind.fmt(f),
            // A later version recorded it.
            None => f.write_str(&self.0.replace('_', " ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recorded_word_is_told_in_words_without_what_the_log_lacks() {
        for kind in LeftOut::KINDS {
            let told = RecordedLeftOut(kind.as_str()).to_string();
            assert!(told != kind.as_str() && !told.contains("1970") && told.contains(' '), "{told}");
            // This match is here to be extended with the list above.
            match kind {
                LeftOut::NoProvider
                | LeftOut::NoPrice
                | LeftOut::KindUnknown
                | LeftOut::NoSuchApi
                | LeftOut::ForAnotherApi
                | LeftOut::FieldNotAllowed
                | LeftOut::NotInRule
                | LeftOut::TermNotMet(_) => assert_eq!(told, kind.to_string()),
                LeftOut::CapAbove { .. }
                | LeftOut::ContextUnknown
                | LeftOut::BreakerOpen
                | LeftOut::Maintenance { .. } => {
                    assert_ne!(told, kind.to_string())
                }
            }
        }
        assert_eq!(RecordedLeftOut("of_later_times").to_string(), "of later times");
    }
}
