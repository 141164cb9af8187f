//! Names that may stand in a label. Whoever administrates can make as many models as they like, and a metric must not
//! grow with them.

use std::collections::BTreeSet;

/// Stands for every name beyond the bound, and for what has no name.
pub const OTHER: &str = "other";
/// Stands for whatever belongs to one tenant: its names are nobody else's business.
pub const TENANT_OWNED: &str = "tenant-owned";

/// The first so many names that came; the later ones are [`OTHER`].
pub struct Names {
    known: BTreeSet<String>,
    max: usize,
}

impl Names {
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
        let mut names = Names::at_most(100);
        let made: BTreeSet<String> =
            (0..1000).map(|number| names.label(&format!("model-{number}")).to_owned()).collect();
        assert_eq!(made.len(), 101);
        assert_eq!((names.label("model-99"), names.label("model-100")), ("model-99", OTHER));
    }
}
