//! The recorded name of a provider's kind.
//!
//! Which kinds there are is not a fact of the log: the table of upstreams defines them, and this crate does not know it.
//! A log may name a kind that this version does not have, because a later version wrote it. Such an event is read like any
//! other. The provider is not called and cannot be changed.

use std::borrow::Cow;

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

/// A name that a table of this version may have: how it is found there, read and written.
macro_rules! name_of_table {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Returns the entry of a table that has this name.
            pub fn find<T: Copy>(&self, table: &[$crate::named::NamedValue<T>]) -> Option<T> {
                table.iter().find(|named| named.name == self.0).map(|named| named.value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let is_name = $crate::event::admin::provider_kind_name::is_name(text);
                is_name.then(|| Self(Cow::Owned(text.to_owned()))).ok_or(concat!("is not ", $what))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        $crate::text_on_the_wire::text_on_the_wire!($name, $what);
    };
}

pub(super) use name_of_table;

name_of_table!(ProviderKindName, "the name of a kind of provider");

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
