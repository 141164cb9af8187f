//! A row of a response: names and values in order, whatever the format.

use std::borrow::Cow;

use events::money::NanoUsdSum;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// One value of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
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

impl<T: Into<Value>> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::Json(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_any_size_are_numbers_and_fields_keep_their_order() {
        let mut record = Record::default();
        record.put("z", Cell::Whole(17 * i128::from(u64::MAX)));
        record.put("a", Cell::Whole(i128::MIN));
        record.put("text", "a\"b");
        record.put("none", None::<String>);
        let json = serde_json::to_string(&record).expect("JSON");
        let wanted =
            r#"{"z":313594649253062377455,"a":-170141183460469231731687303715884105728,"text":"a\"b","none":null}"#;
        assert_eq!(json, wanted);
    }
}
