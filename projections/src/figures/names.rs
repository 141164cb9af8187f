//! Bounded values of labels. Administrators can create any number of models, and a metric must not grow with them.

use std::collections::BTreeSet;

/// The label of every name beyond the bound, and of everything without a name.
pub const OTHER: &str = "other";
/// The label of everything that one tenant owns: its names must not be visible to others.
pub const TENANT_OWNED: &str = "tenant-owned";

/// A bounded set of names: the first `max` names are labels, all later ones become [`OTHER`].
pub struct BoundedLabels {
    known: BTreeSet<String>,
    max: usize,
}

impl BoundedLabels {
    pub const fn at_most(max: usize) -> Self {
        Self { known: BTreeSet::new(), max }
    }

    pub fn label<'a>(&mut self, name: &'a str) -> &'a str {
        if self.known.contains(name) {
            return name;
        }
        if self.known.len() >= self.max {
            return OTHER;
        }
        self.known.insert(name.to_owned());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_names_become_as_many_as_there_is_room_for() {
        let mut names = BoundedLabels::at_most(100);
        let made: BTreeSet<String> =
            (0..1000).map(|number| names.label(&format!("model-{number}")).to_owned()).collect();
        assert_eq!(made.len(), 101);
        assert_eq!((names.label("model-99"), names.label("model-100")), ("model-99", OTHER));
    }
}
