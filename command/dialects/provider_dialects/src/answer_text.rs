//! Strings in answers.

use std::borrow::Cow;

use intermediate::UpstreamFault;
use intermediate::json::{self, Kind};
use intermediate::metered::bounded_name;

/// A string; empty if absent.
pub fn text_of(value: Option<&str>) -> Result<Cow<'_, str>, UpstreamFault> {
    match value {
        Some(value) => json::string(value).ok_or(UpstreamFault::Malformed("not a string")),
        None => Ok(Cow::Borrowed("")),
    }
}

/// A string; empty for any other value. An unpaired surrogate cannot be translated.
pub fn text_or_empty(value: Option<&str>) -> Result<Cow<'_, str>, UpstreamFault> {
    match value.filter(|value| json::kind(value) == Kind::String) {
        Some(value) => json::string(value).ok_or(UpstreamFault::Malformed("an unpaired surrogate")),
        None => Ok(Cow::Borrowed("")),
    }
}

/// An id or a name, which is bounded; empty if absent.
pub fn name_of(value: Option<&str>) -> Result<Cow<'_, str>, UpstreamFault> {
    text_of(value).and_then(bounded_name)
}

/// An id or a name, which is bounded; empty for any other value.
pub fn name_or_empty(value: Option<&str>) -> Result<Cow<'_, str>, UpstreamFault> {
    text_or_empty(value).and_then(bounded_name)
}

/// The length of a text.
pub fn bytes(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
