//! Compact JSON, byte for byte as `serde_json` writes it, for the payloads of events.
//!
//! The writer's thread serializes every event, and spent most of that time on looking at strings byte by byte: ids, names of
//! fields and models, none of which needs an escape. Here the names of fields are copied as they are, and other strings are
//! checked sixteen bytes at a time. A string that needs an escape, and numbers, go through `serde_json`.
//!
//! Rejected: `sonic-rs`, which does not know `serde_json`'s raw values and brings a parser that nothing here needs.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

/// Appends a value to a buffer. Errors: the value cannot be JSON, for example a map whose keys are no strings.
pub fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    value.serialize(CompactWriter(out))
}

struct CompactWriter<'a>(&'a mut Vec<u8>);

/// An open object or array.
struct Container<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
    /// The closing bracket or brackets.
    end: &'static str,
}

impl<'a> Container<'a> {
    fn open(out: &'a mut Vec<u8>, begin: &str, end: &'static str) -> Self {
        out.extend_from_slice(begin.as_bytes());
        Self { out, is_empty: true, end }
    }

    /// The contents of a variant: the only member of an object.
    fn open_variant(out: &'a mut Vec<u8>, variant: &'static str, begin: &str, end: &'static str) -> Self {
        out.push(b'{');
        push_quoted(out, variant);
        Self::open(out, begin, end)
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
    }

    fn push(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.separate();
        write(self.out, value)
    }

    /// A member whose name needs no escape.
    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.separate();
        push_quoted(self.out, name);
        self.out.push(b':');
        write(self.out, value)
    }

    fn close(self) {
        self.out.extend_from_slice(self.end.as_bytes());
    }
}

/// Appends a string that needs no escape.
fn push_quoted(out: &mut Vec<u8>, plain: &str) {
    debug_assert!(!needs_escape(plain), "{plain:?} needs an escape");
    out.reserve(plain.len() + 3);
    out.push(b'"');
    out.extend_from_slice(plain.as_bytes());
    out.push(b'"');
}

fn needs_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Whole blocks, the last of which may look at bytes again: looking at each of the rest takes longer.
    match (bytes.last_chunk::<16>(), bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(last), ..) => bytes.as_chunks::<16>().0.iter().any(|block| has_special(block)) || has_special(last),
        (None, Some(first), Some(last)) => has_special(first) || has_special(last),
        _ => has_special(bytes),
    }
}

fn has_special(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\'))
}

macro_rules! through_serde_json {
    ($($function:ident($type:ty),)+) => {
        $(fn $function(self, value: $type) -> Result<(), Error> {
            serde_json::to_writer(self.0, &value)
        })+
    };
}

impl<'a> Serializer for CompactWriter<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Container<'a>;
    type SerializeTuple = Container<'a>;
    type SerializeTupleStruct = Container<'a>;
    type SerializeTupleVariant = Container<'a>;
    type SerializeMap = Container<'a>;
    type SerializeStruct = Container<'a>;
    type SerializeStructVariant = Container<'a>;

    through_serde_json! {
        serialize_bool(bool), serialize_char(char), serialize_f32(f32), serialize_f64(f64),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_bytes(&[u8]),
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        if needs_escape(text) {
            return serde_json::to_writer(self.0, text);
        }
        push_quoted(self.0, text);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        push_quoted(self.0, variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut object = Container::open(self.0, "{", "}");
        object.field(variant, value)?;
        object.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Container<'a>, Error> {
        Ok(Container::open(self.0, "[", "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Container<'a>, Error> {
        Ok(Container::open(self.0, "[", "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Container<'a>, Error> {
        Ok(Container::open(self.0, "[", "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Container<'a>, Error> {
        Ok(Container::open_variant(self.0, variant, ":[", "]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Container<'a>, Error> {
        Ok(Container::open(self.0, "{", "}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Container<'a>, Error> {
        if name.starts_with("$serde_json::private") {
            return Err(Error::custom("raw values and numbers of arbitrary precision are not supported"));
        }
        Ok(Container::open(self.0, "{", "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Container<'a>, Error> {
        Ok(Container::open_variant(self.0, variant, ":{", "}}"))
    }
}

macro_rules! elements {
    ($($trait:ident::$function:ident,)+) => {
        $(impl $trait for Container<'_> {
            type Ok = ();
            type Error = Error;

            fn $function<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.push(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })+
    };
}

elements! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! fields {
    ($($trait:ident,)+) => {
        $(impl $trait for Container<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })+
    };
}

fields! { SerializeStruct, SerializeStructVariant, }

impl SerializeMap for Container<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.separate();
        let begin = self.out.len();
        write(self.out, key)?;
        if self.out.get(begin) != Some(&b'"') {
            return Err(Error::custom("a key that is no string"));
        }
        self.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        write(self.out, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::json;

    use super::write;

    fn written(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        write(&mut out, value).expect("a value");
        String::from_utf8(out).expect("text")
    }

    #[derive(Serialize)]
    enum Kind {
        Unit,
        Newtype(u8),
        Tuple(u8, &'static str),
        Struct { a: Option<u8>, b: () },
    }

    #[derive(Serialize)]
    struct Everything {
        text: String,
        kinds: Vec<Kind>,
        numbers: (i64, u64, i128, f64, f64),
        map: BTreeMap<String, Option<bool>>,
        #[serde(flatten)]
        rest: serde_json::Map<String, serde_json::Value>,
    }

    #[test]
    fn the_bytes_are_those_of_serde_json() {
        let texts = [
            "",
            "plain",
            "seven\n.",
            "\"seven..",
            "eight...",
            "eight\n..",
            "nine....\"",
            "\"fifteen bytes.",
            "fifteen bytes.\n",
            "\"0123456789abcdef0123456789abcdef",
            "0123456789abcdef\n0123456789abcdef0",
            "fifteen bytes..",
            "sixteen bytes...",
            "\"",
            "a\\b",
            "\u{0}",
            "0123456789abcde\n",
            "ä€😀",
            "0123456789abcdef0123456789abcdef\u{1f}",
            "\u{7f}\u{80}",
        ];
        for text in texts {
            let value = Everything {
                text: text.to_owned(),
                kinds: vec![
                    Kind::Unit,
                    Kind::Newtype(1),
                    Kind::Tuple(2, "t"),
                    Kind::Struct { a: None, b: () },
                    Kind::Struct { a: Some(3), b: () },
                ],
                numbers: (i64::MIN, u64::MAX, i128::MAX, 0.1, 1e300),
                map: [(text.to_owned(), Some(true)), ("other".to_owned(), None)].into(),
                rest: serde_json::Map::from_iter([("flat".to_owned(), json!([{}, [], null, { text: [text] }]))]),
            };
            assert_eq!(written(&value), serde_json::to_string(&value).expect("a value"));
        }
    }

    #[test]
    fn a_key_that_is_no_string_is_an_error() {
        let refused = write(&mut Vec::new(), &BTreeMap::from([(1, 2)]));
        assert!(refused.is_err());
    }
}
