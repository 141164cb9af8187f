//! Reads the JSON object of a command field by field. Every error names the field by its path (`targets[0].provider_id`)
//! and says what is wrong. Fields that nobody reads are refused at the end.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use events::money::NanoUsd;
use events::named::NamedValue;
use events::nearest_name::did_you_mean;
use events::plain_json::{self, Ambiguous};
use events::time::parse_rfc3339;
use serde_json::{Map, Value};

/// The values of one body, nested ones included: far more than any command has.
const VALUES_MAX: usize = 10_000;

/// A field is missing, unknown, of the wrong type or out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The path from the body; empty for the body itself.
    pub field: String,
    pub reason: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// A value that was read, or what is wrong with it.
pub type FieldResult<T> = Result<T, FieldError>;

/// A value and its path in the body.
pub struct Field {
    path: String,
    value: Value,
}

/// The unread fields of an object. Read every known field, then call [`Fields::finish`].
pub struct Fields {
    path: String,
    left: Map<String, Value>,
    /// The names read so far: candidates for what an unknown name may have meant.
    known: Vec<String>,
}

impl Fields {
    /// Parses a request's body: a JSON object, bounded in depth, without U+0000 and without repeated fields.
    pub fn of_body(body: &[u8]) -> FieldResult<Self> {
        Self::of_body_within(body, VALUES_MAX)
    }

    /// The same for a body that may have another number of values.
    pub fn of_body_within(body: &[u8], values_max: usize) -> FieldResult<Self> {
        let wrong = |reason: &str| FieldError::new("", reason);
        let value = plain_json::parse_unambiguous(body, values_max).map_err(|ambiguous| match ambiguous {
            Ambiguous::RepeatedName => wrong("a field of the body is given twice"),
            Ambiguous::TooManyValues => wrong(&format!("the body has more than {values_max} values")),
            Ambiguous::Json(error) if error.is_eof() => wrong("the body ends in the middle of its JSON"),
            Ambiguous::Json(error) => {
                wrong(&format!("the body is not JSON: line {}, column {}", error.line(), error.column()))
            }
        })?;
        if has_nul(&value) {
            return Err(wrong("the body has the character U+0000"));
        }
        Field { path: String::new(), value }.object()
    }

    /// The fields of a body that was parsed before.
    pub fn of_members(members: Map<String, Value>) -> Self {
        Self { path: String::new(), left: members, known: Vec::new() }
    }

    /// Reads a field that must be present.
    pub fn required<T>(&mut self, name: &str, read: impl FnOnce(Field) -> FieldResult<T>) -> FieldResult<T> {
        match self.take(name) {
            None => Err(FieldError::new(self.path_of(name), "is required")),
            Some(field) => read(field),
        }
    }

    /// Reads a field that may be absent or `null`: `None` for both.
    pub fn optional<T>(&mut self, name: &str, read: impl FnOnce(Field) -> FieldResult<T>) -> FieldResult<Option<T>> {
        self.take(name).filter(|field| !field.is_null()).map(read).transpose()
    }

    /// Reads a field of a change: `None` if it is absent. `read` decides whether it may be `null`.
    pub fn changed<T>(&mut self, name: &str, read: impl FnOnce(Field) -> FieldResult<T>) -> FieldResult<Option<T>> {
        self.take(name).map(read).transpose()
    }

    /// Errors: the first of these fields that is present. They can be set only at creation.
    pub fn fixed(&mut self, names: &[&str]) -> FieldResult<()> {
        self.known.extend(names.iter().map(|name| (*name).to_owned()));
        match names.iter().find(|name| self.left.contains_key(**name)) {
            None => Ok(()),
            Some(name) => Err(FieldError::new(self.path_of(name), "cannot be changed")),
        }
    }

    /// Errors: the first field that is none of these. Call it before reading, so that a misspelled name is reported
    /// rather than the field that it leaves missing.
    pub fn refuse_unknown(self, names: &[&str]) -> FieldResult<Self> {
        match self.left.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(self),
            Some(name) => Err(self.unknown(name, names.iter().copied())),
        }
    }

    /// Errors: the first field that was not read.
    pub fn finish(self) -> FieldResult<()> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.unknown(name, self.known.iter().map(String::as_str))),
        }
    }

    fn unknown<'a>(&self, name: &str, known: impl Iterator<Item = &'a str>) -> FieldError {
        FieldError::new(self.path_of(name), format!("unknown field{}", did_you_mean(name, known)))
    }

    /// The only field of an object that must have exactly one; `named` lists the possible names for the error.
    pub fn only(self, named: &str) -> FieldResult<(String, Field)> {
        let Self { path, left, .. } = self;
        let mut left = left.into_iter();
        match (left.next(), left.next()) {
            (Some((name, value)), None) => {
                let path = joined(&path, &name);
                Ok((name, Field { path, value }))
            }
            (None, _) | (Some(_), Some(_)) => Err(FieldError::new(path, format!("must have exactly one of {named}"))),
        }
    }

    fn take(&mut self, name: &str) -> Option<Field> {
        let path = self.path_of(name);
        #[cfg(test)]
        read_paths::note(&path);
        self.known.push(name.to_owned());
        self.left.remove(name).map(|value| Field { path, value })
    }

    pub fn path_of(&self, name: &str) -> String {
        joined(&self.path, name)
    }
}

impl Field {
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub const fn is_text(&self) -> bool {
        matches!(self.value, Value::String(_))
    }

    pub fn error(&self, reason: impl Into<String>) -> FieldError {
        FieldError::new(self.path.clone(), reason)
    }

    pub fn object(self) -> FieldResult<Fields> {
        match self.value {
            Value::Object(left) => Ok(Fields { path: self.path, left, known: Vec::new() }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let reason = if self.path.is_empty() { "the body must be a JSON object" } else { "must be an object" };
                Err(FieldError::new(self.path, reason))
            }
        }
    }

    /// The members of an object, whatever they are.
    pub fn members(self) -> FieldResult<Map<String, Value>> {
        self.object().map(|fields| fields.left)
    }

    /// A list of at most `len_max` items, each read by `read`.
    pub fn list<T>(self, len_max: usize, read: impl Fn(Self) -> FieldResult<T>) -> FieldResult<Vec<T>> {
        let Self { path, value: Value::Array(items) } = self else { return Err(self.error("must be an array")) };
        if items.len() > len_max {
            return Err(FieldError::new(path, format!("must have at most {len_max} items")));
        }
        let fields = items.into_iter().enumerate();
        fields.map(|(index, value)| read(Self { path: format!("{path}[{index}]"), value })).collect()
    }

    /// The names and values of an object, each value read by `read`, which also gets the name.
    pub fn map<T>(self, len_max: usize, read: impl Fn(&str, Self) -> FieldResult<T>) -> FieldResult<Vec<(String, T)>> {
        let Fields { path, left, .. } = self.object()?;
        if left.len() > len_max {
            return Err(FieldError::new(path, format!("must have at most {len_max} fields")));
        }
        let members = left.into_iter();
        members
            .map(|(name, value)| {
                let read = read(&name, Self { path: joined(&path, &name), value })?;
                Ok((name, read))
            })
            .collect()
    }

    /// A text of 1 to `len_max` characters, not blank and without control characters.
    pub fn text(&self, len_max: usize) -> FieldResult<String> {
        match self.string()? {
            text if text.trim().is_empty() => Err(self.error("must not be empty")),
            text if text.chars().count() > len_max => {
                Err(self.error(format!("must have at most {len_max} characters")))
            }
            text if text.chars().any(char::is_control) => Err(self.error("must not have control characters")),
            text => Ok(text.to_owned()),
        }
    }

    /// A text that may be empty and have several lines.
    pub fn prose(&self, len_max: usize) -> FieldResult<String> {
        let text = self.string()?;
        if text.chars().count() > len_max {
            return Err(self.error(format!("must have at most {len_max} characters")));
        }
        Ok(text.to_owned())
    }

    /// An id, or any other type that parses from a text.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self) -> FieldResult<T> {
        self.string()?.parse().map_err(|error: T::Err| self.error(error.to_string()))
    }

    /// One of the named values.
    pub fn one_of<T: Copy>(&self, values: &[NamedValue<T>]) -> FieldResult<T> {
        let text = self.string()?;
        let named = values.iter().find(|named| named.name == text);
        named.map(|named| named.value).ok_or_else(|| {
            let names: Vec<_> = values.iter().map(|named| named.name).collect();
            self.error(format!("must be one of: {}", names.join(", ")))
        })
    }

    /// A non-negative amount.
    pub fn money(self) -> FieldResult<NanoUsd> {
        if self.value.is_number() {
            return Err(self.error("money is a string of US dollars such as \"5\" or \"0.25\", not a JSON number"));
        }
        let amount: NanoUsd = self.parsed()?;
        if amount.is_negative() { Err(self.error("must not be negative")) } else { Ok(amount) }
    }

    /// A whole number within the range. `60.0` counts as one, because some clients write it.
    pub fn whole(self, range: std::ops::RangeInclusive<u64>) -> FieldResult<u64> {
        let written_out = || self.value.as_number()?.to_string().strip_suffix(".0")?.parse().ok();
        let number = self.value.as_u64().or_else(written_out).filter(|number| range.contains(number));
        number.ok_or_else(|| self.error(format!("must be a whole number from {} to {}", range.start(), range.end())))
    }

    pub fn boolean(self) -> FieldResult<bool> {
        self.value.as_bool().ok_or_else(|| self.error("must be true or false"))
    }

    pub fn time(self) -> FieldResult<DateTime<Utc>> {
        parse_rfc3339(self.string()?)
            .ok_or_else(|| self.error("must be an RFC 3339 time such as 2026-11-20T08:15:30.123456Z"))
    }

    fn string(&self) -> FieldResult<&str> {
        self.value.as_str().ok_or_else(|| self.error("must be a string"))
    }
}

fn joined(path: &str, name: &str) -> String {
    // A name that the client made up could have any length.
    let name: String = name.chars().take(100).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Recursive, because the parser bounds the depth.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The paths that were read, so that a test can compare them with the published schema.
#[cfg(test)]
pub mod read_paths {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static PATHS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub fn note(path: &str) {
        // Items of a list have the same fields.
        let of_item = |part: &str| part.trim_start_matches(|digit: char| digit.is_ascii_digit()).to_owned();
        let mut parts = path.split('[');
        let first = parts.next().unwrap_or_default().to_owned();
        let path = parts.fold(first, |path, part| path + "[" + &of_item(part));
        PATHS.with_borrow_mut(|paths| paths.insert(path));
    }

    /// The paths since the last call.
    pub fn take() -> BTreeSet<String> {
        PATHS.take()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Fields {
        Fields::of_body(value.to_string().as_bytes()).unwrap()
    }

    fn refused<T: fmt::Debug>(result: Result<T, FieldError>) -> String {
        result.unwrap_err().field
    }

    /// Holds: http.unknown-fields
    #[test]
    fn an_unread_field_is_refused_by_name() {
        let mut body = fields(&json!({"name": "x", "colour": "red"}));
        assert_eq!(body.required("name", |field| field.text(10)), Ok("x".to_owned()));
        assert_eq!(refused(body.finish()), "colour");
    }

    /// Holds: http.unknown-fields
    #[test]
    fn a_misspelled_name_is_reported_with_the_nearest_one_before_a_missing_field() {
        let error = fields(&json!({"nmae": "x"})).refuse_unknown(&["name", "kind"]).err().unwrap();
        assert_eq!(error.to_string(), "nmae: unknown field; did you mean name?");
        let mut body = fields(&json!({"limit": "5", "colour": 1}));
        assert_eq!(body.changed("limit_usd", Field::money), Ok(None));
        assert_eq!(body.left.remove("colour"), Some(json!(1)));
        assert_eq!(body.finish().unwrap_err().reason, "unknown field; did you mean limit_usd?");
        let error = fields(&json!({"colour": 1})).refuse_unknown(&["name"]).err().unwrap();
        assert_eq!(error.reason, "unknown field", "no name is near");
    }

    #[test]
    fn a_missing_field_is_named() {
        assert_eq!(refused(fields(&json!({})).required("name", |field| field.text(10))), "name");
    }

    #[test]
    fn nested_fields_are_named_by_their_path() {
        let mut body = fields(&json!({"targets": [{"weight": 1}, {"weight": "1"}]}));
        let read = body.required("targets", |field| {
            field.list(9, |item| item.object()?.required("weight", |field| field.whole(0..=9)))
        });
        assert_eq!(refused(read), "targets[1].weight");
    }

    /// Holds: http.money
    #[test]
    fn a_number_is_not_money_and_the_refusal_says_so() {
        for number in [json!(1), json!(1.5)] {
            let error = fields(&json!({ "limit_usd": number })).required("limit_usd", Field::money).unwrap_err();
            assert_eq!(error.field, "limit_usd");
            assert!(error.reason.contains("money is a string"), "{}", error.reason);
        }
        for text in ["-1", "1e3", "five", "0.0000000001", &"9".repeat(30)] {
            let read = fields(&json!({ "limit_usd": text })).required("limit_usd", Field::money);
            assert_eq!(refused(read), "limit_usd", "{text}");
        }
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_nothing() {
        let read = |value: Value| fields(&json!({ "n": value })).required("n", |field| field.whole(1..=1000));
        assert_eq!(read(json!(60)), Ok(60));
        assert_eq!(read(json!(60.0)), Ok(60));
        for wrong in [json!(60.5), json!(-60.0), json!(0.0), json!(1001.0), json!(1e300), json!("60")] {
            assert_eq!(refused(read(wrong.clone())), "n", "{wrong}");
        }
    }

    #[test]
    fn null_is_absent_on_creation_and_seen_on_change() {
        let body = json!({"models": null});
        assert_eq!(fields(&body).optional("models", Field::boolean), Ok(None));
        assert_eq!(fields(&body).changed("models", |field| Ok(field.is_null())), Ok(Some(true)));
        assert_eq!(fields(&json!({})).changed("models", Field::boolean), Ok(None));
        assert_eq!(refused(fields(&json!({"name": null})).changed("name", |field| field.text(9))), "name");
    }

    #[test]
    fn what_is_no_object_or_no_json_or_has_a_nul_is_refused() {
        let deep = "[".repeat(5000);
        for body in [
            "",
            "[]",
            "1",
            "{",
            "{\"name\":}",
            "{\"a\":\"\\u0000\"}",
            "{\"\\u0000\":1}",
            "\u{feff}{}",
            "{\"a\":[{\"b\":1,\"b\":2}]}",
            &deep,
        ] {
            assert_eq!(refused(Fields::of_body(body.as_bytes()).map(|_| ())), "", "{body:.20}");
        }
        assert_eq!(refused(Fields::of_body(b"{\"a\":\"\xff\"}").map(|_| ())), "");
    }
}
