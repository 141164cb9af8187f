//! A row of a response: names and values in order, whatever the format.

use std::borrow::Cow;

use events::money::NanoUsdSum;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// One value of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    /// A sum may exceed 64 bits: JSON allows integers of any size, [`Value`] does not.
    Whole(i128),
    Usd(NanoUsdSum),
    Json(Value),
}

/// An object with its fields in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    fields: Vec<(Cow<'static, str>, Cell)>,
}

impl Record {
    pub fn put(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cell>) {
        self.fields.push((name.into(), value.into()));
    }

    /// The record with another field in front.
    #[must_use]
    pub fn prefixed(mut self, name: &'static str, value: impl Into<Cell>) -> Self {
        self.fields.insert(0, (name.into(), value.into()));
        self
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_ref())
    }

    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.fields.iter().map(|(_, value)| value)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Whole(number) => serializer.serialize_i128(*number),
            Self::Usd(amount) => amount.serialize(serializer),
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i128> for Cell {
    fn from(number: i128) -> Self {
        Self::Whole(number)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Whole(number.into())
    }
}

impl From<NanoUsdSum> for Cell {
    fn from(amount: NanoUsdSum) -> Self {
        Self::Usd(amount)
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::String(text) => Self::Text(text),
            other => Self::Json(other),
        }
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_any_size_are_numbers_and_fields_keep_their_order() {
        let mut record = Record::default();
        record.put("z", 17 * i128::from(u64::MAX));
        record.put("a", i128::MIN);
        record.put("text", "a\"b");
        record.put("none", None::<String>);
        let json = serde_json::to_string(&record).expect("JSON");
        let wanted =
            r#"{"z":313594649253062377455,"a":-170141183460469231731687303715884105728,"text":"a\"b","none":null}"#;
        assert_eq!(json, wanted);
    }
}
