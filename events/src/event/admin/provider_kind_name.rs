//! The recorded name of a provider's kind.
//!
//! Which kinds there are is not a fact of the log: the table of upstreams defines them, and this crate does not know it.
//! A log may name a kind that this version does not have, because a later version wrote it. Such an event is read like any
//! other. The provider is not called and cannot be changed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::named::NamedValue;
use crate::text_on_the_wire::text_on_the_wire;

/// Up to 32 lower-case letters, digits and underscores; the first is a letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProviderKindName(Cow<'static, str>);

impl ProviderKindName {
    const LEN_MAX: usize = 32;

    /// The name in the table of upstreams. Panics if it is not a name, so it is for constants.
    pub const fn literal(name: &'static str) -> Self {
        assert!(is_name(name), "a kind's name has up to 32 lower-case letters, digits and underscores");
        Self(Cow::Borrowed(name))
    }

    /// Returns the entry of a table that has this name.
    pub fn find<T: Copy>(&self, table: &[NamedValue<T>]) -> Option<T> {
        table.iter().find(|named| named.name == self.0).map(|named| named.value)
    }
}

pub(super) const fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!((bytes[at], at), (b'a'..=b'z', _) | (b'0'..=b'9' | b'_', 1..)) {
            return false;
        }
        at += 1;
    }
    1 <= at && at <= ProviderKindName::LEN_MAX
}

impl FromStr for ProviderKindName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_name(text) { Ok(Self(Cow::Owned(text.to_owned()))) } else { Err("is not the name of a kind of provider") }
    }
}

impl fmt::Display for ProviderKindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_on_the_wire!(ProviderKindName, "the name of a kind of provider");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_whether_or_not_this_version_has_the_kind() {
        for name in ["openai", "bedrock", "vertex_2", "a", &"k".repeat(32)] {
            let read: ProviderKindName = serde_json::from_value(name.into()).expect("a name");
            assert_eq!((&*read.0, serde_json::to_value(&read).expect("text")), (name, name.into()));
        }
    }

    #[test]
    fn what_is_not_a_name_is_an_error() {
        for text in ["", "OpenAI", "2go", "_openai", "open-ai", "open ai", "öpenai", &"k".repeat(33)] {
            assert!(serde_json::from_value::<ProviderKindName>(text.into()).is_err(), "{text}");
        }
        assert!(serde_json::from_value::<ProviderKindName>(1.into()).is_err());
    }
}
