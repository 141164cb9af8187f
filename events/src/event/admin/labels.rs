//! The labels of a resource, by which operators and their tools group what they manage: `{"managed-by":"git"}`.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;

use serde::{Deserialize, Serialize};

/// Names with values. They stay in the log for ever, so that none may be personal data or a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    pub const LEN_MAX: usize = 16;
    pub const NAME_LEN_MAX: usize = 63;
    pub const VALUE_LEN_MAX: usize = 63;

    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> Iter<'_, String, String> {
        self.0.iter()
    }

    /// True for a text of the form `[a-z0-9][a-z0-9._/-]{0,62}`.
    pub fn is_name(text: &str) -> bool {
        let is_of_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        (1..=Self::NAME_LEN_MAX).contains(&text.len())
            && text.bytes().all(is_of_name)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
