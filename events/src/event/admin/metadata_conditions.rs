//! The metadata that requests must have for a narrowed scope to bind them.

use std::collections::BTreeMap;

/// Names of metadata, each with the value that a request must have, in the order of the names. A list, because owners may have thousands
/// of scopes that are narrowed to one or two names, and the smallest [`BTreeMap`] takes half a kilobyte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetadataConditions(Box<[(String, String)]>);

impl MetadataConditions {
    /// The names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn first(&self) -> Option<(&str, &str)> {
        self.iter().next()
    }

    pub const fn len(&self) -> usize {
        self.0.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The metadata of a request that has these alone.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        self.0.iter().cloned().collect()
    }
}

/// The last of several values for a name counts.
impl FromIterator<(String, String)> for MetadataConditions {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_in_the_order_of_their_names_and_the_last_value_for_a_name_counts() {
        let pairs =
            [("b", "1"), ("a", "2"), ("c", "3"), ("b", "4")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let conditions: MetadataConditions = pairs.clone().into_iter().collect();
        assert_eq!(conditions.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "4"), ("c", "3")]);
        assert_eq!((conditions.first(), conditions.len(), conditions.is_empty()), (Some(("a", "2")), 3, false));
        assert_eq!(conditions.to_metadata(), BTreeMap::from(pairs));
        assert!(MetadataConditions::default().is_empty());
    }
}
