//! JSON that others wrote, as a value. `serde_json` reads an object whose first name is `$serde_json::private::RawValue` as what the
//! text in it says, because it marks its own raw values so: such an object of a client or a provider would have another form when
//! it is read than when it was recorded, or could not be read at all. Here it is an object like any other.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The value of a JSON text.
pub fn parse(json: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Plain>(json).map(|Plain(value)| value)
}

/// The value of a JSON text in bytes.
pub fn parse_slice(json: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Plain>(json).map(|Plain(value)| value)
}

/// For a field that may be absent or null.
pub fn option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let plain = Option::<Plain>::deserialize(deserializer)?;
    Ok(plain.map(|Plain(value)| value))
}

/// How deep arrays and objects are nested in a value: 0 for all others.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Why a text has no value.
#[derive(Debug)]
pub enum Ambiguous {
    RepeatedName,
    TooManyValues,
    Json(serde_json::Error),
}

/// The value of a text without repeated names and with at most so many values, nested ones included. Parsers differ in which of two equal
/// names they use, so one could check a value and the next one act on the other; and a value can take a hundred times the memory of
/// its text.
pub fn parse_unambiguous(json: &[u8], values_max: usize) -> Result<Value, Ambiguous> {
    let left = Cell::new(values_max);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = Reader { left: Some(&left) }.deserialize(&mut deserializer);
    match read.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) if !error.is_data() => Err(Ambiguous::Json(error)),
        Err(_) if left.get() == 0 => Err(Ambiguous::TooManyValues),
        Err(_) => Err(Ambiguous::RepeatedName),
    }
}

struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reader { left: None }.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    /// The number of values that may still be read, if it is bounded: then no name may be repeated either.
    left: Option<&'a Cell<usize>>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if let Some(left) = self.left {
            left.set(left.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let is_repeated = values.insert(name, members.next_value_seed(self)?).is_some();
            if is_repeated && self.left.is_some() {
                return Err(A::Error::custom("a repeated name"));
            }
        }
        Ok(values.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_serde_json_keeps_for_itself_is_a_name() {
        let json = r#"{"$serde_json::private::RawValue":"[1]","a":[null,true,-1,1.5,"x",{}]}"#;
        let value = parse(json).expect("JSON");
        assert_eq!(value["$serde_json::private::RawValue"], "[1]");
        assert_eq!(value.to_string(), json);
        assert!(parse(r#"{"$serde_json::private::RawValue":"x"}"#).is_ok());
    }

    #[test]
    fn anything_else_is_read_as_serde_json_reads_it() {
        for json in
            ["null", "18446744073709551615", "-9223372036854775808", "1e300", "\"\\u00e9\"", "[]", "{\"a\":1,\"a\":2}"]
        {
            assert_eq!(parse(json).expect("JSON"), serde_json::from_str::<Value>(json).expect("JSON"), "{json}");
        }
        for wrong in ["", "[", "1e400", "{\"a\":}", &"[".repeat(200)] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nesting_is_counted() {
        for (json, expected) in [("1", 0), ("[]", 1), (r#"{"a":[{"b":1}],"c":[]}"#, 3)] {
            assert_eq!(depth(&parse(json).expect("JSON")), expected, "{json}");
        }
    }
}
