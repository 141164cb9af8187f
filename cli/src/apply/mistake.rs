//! A mistake in a file, and where it is.

use std::fmt;
use std::rc::Rc;

/// The most that are shown.
pub const MISTAKES_MAX: usize = 20;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Rc<str>,
    pub line: usize,
}

/// Something that must be corrected before anything is changed, or that is [probably a mistake](super::warnings).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub place: Place,
    /// The path of the field, `models[2].name`; empty for the file as a whole.
    pub field: String,
    pub reason: String,
}

/// The mistakes in the order of the lines, each of them once.
pub fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort();
    mistakes.dedup();
    mistakes
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, field, reason } = self;
        if field.is_empty() { write!(f, "{place}: {reason}") } else { write!(f, "{place}: {field}: {reason}") }
    }
}
