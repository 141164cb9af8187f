//! The verdict on a part of a request that is decided again.

use std::fmt;

use crate::ids::BudgetId;

/// The differences between what is recorded and what follows, and what could not be decided again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub differences: Vec<Difference>,
    /// Each says what the log does not have, or what would be too much to read.
    pub undecided: Vec<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The position of the event that says otherwise.
    pub position: u64,
    /// The field, or the rule that the event breaks.
    pub what: String,
    /// Both are absent for a broken rule.
    pub recorded: Option<String>,
    pub follows: Option<String>,
    pub about: About,
}

/// The subject of the values in a difference: not everybody may see the figures of every budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Request,
    Budget(BudgetId),
}

impl Verdict {
    /// False if anything differs, `None` if something could not be decided.
    pub const fn follows(&self) -> Option<bool> {
        match (self.differences.is_empty(), self.undecided.is_empty()) {
            (false, _) => Some(false),
            (true, false) => None,
            (true, true) => Some(true),
        }
    }

    /// Notes a difference if the two are not equal.
    pub(super) fn compare<T: PartialEq + fmt::Display>(&mut self, position: u64, what: &str, recorded: T, follows: T) {
        if recorded != follows {
            self.differ(position, what, recorded, follows);
        }
    }

    pub(super) fn differ(
        &mut self,
        position: u64,
        what: &str,
        recorded: impl fmt::Display,
        follows: impl fmt::Display,
    ) {
        self.differences.push(Difference {
            position,
            what: what.to_owned(),
            recorded: Some(recorded.to_string()),
            follows: Some(follows.to_string()),
            about: About::Request,
        });
    }
}

impl Difference {
    pub(super) const fn rule(position: u64, what: String) -> Self {
        Self { position, what, recorded: None, follows: None, about: About::Request }
    }
}
