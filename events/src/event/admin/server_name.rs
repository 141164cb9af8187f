//! The recorded name of the server behind an OpenAI-compatible address.
//!
//! As with [`super::ProviderKindName`], the table of servers is not a fact of the log: a later version may know more of
//! them. A server that this version does not know is called as one without deviations.

use std::borrow::Cow;

use super::provider_kind_name::name_of_table;

/// Up to 32 lower-case letters, digits and underscores; the first is a letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(Cow<'static, str>);

name_of_table!(ServerName, "the name of a server");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::NamedValue;

    #[test]
    fn a_name_is_read_whether_or_not_this_version_has_the_server() {
        for name in ["mistral", "of_a_later_version"] {
            let read: ServerName = serde_json::from_value(name.into()).expect("a name");
            assert_eq!((&*read.0, serde_json::to_value(&read).expect("text")), (name, name.into()));
            assert_eq!(read.find(&[NamedValue::new("mistral", 7)]), (name == "mistral").then_some(7));
        }
        assert!(serde_json::from_value::<ServerName>("No name".into()).is_err());
    }
}
