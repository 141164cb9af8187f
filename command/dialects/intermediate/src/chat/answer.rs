//! The blocks of a response.

use std::borrow::Cow;
use std::fmt;

use events::event::inference::FinishReason;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use crate::json::{self, Kind};

/// Blocks per response, and pieces per event. The bound limits the output, since each is sent with JSON around it.
pub const ANSWER_BLOCKS_MAX: usize = 1024;

/// A call of one of the client's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The arguments as the model wrote them: usually a JSON object, sometimes text that does not parse.
    pub arguments: String,
    /// The provider's proof of the call's origin, to be sent back with it unchanged (Gemini's thought signature).
    pub signature: Option<String>,
}

/// One choice of a response. Most responses have one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AnswerChoice {
    pub output: Vec<OutputBlock>,
    /// `None` if the upstream gave none.
    pub finish_reason: Option<FinishReason>,
    /// Probabilities of the tokens, as OpenAI writes them: a JSON object with `content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Box<RawValue>>,
}

/// One block of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputBlock {
    Text {
        text: String,
    },
    Reasoning {
        text: String,
        /// To be sent back unchanged with the block.
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// Reasoning that the provider encrypted, to be sent back unchanged.
        #[serde(skip_serializing_if = "Option::is_none")]
        redacted: Option<String>,
    },
    ToolCall(ToolCall),
}

/// `{"id","name","arguments"}`, and `signature` if there is one; arguments that do not parse come as `arguments_raw`, with `arguments` null.
impl Serialize for ToolCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arguments = self.parsed();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("arguments", &arguments)?;
        if arguments.is_none() {
            map.serialize_entry("arguments_raw", &self.arguments)?;
        }
        if let Some(signature) = &self.signature {
            map.serialize_entry("signature", signature)?;
        }
        map.end()
    }
}

impl ToolCall {
    /// The arguments as JSON; `None` if they do not parse. Empty arguments are an empty object.
    pub fn parsed(&self) -> Option<&RawValue> {
        let text = self.arguments.trim();
        let text = if text.is_empty() { "{}" } else { text };
        // The arguments become part of the response's JSON. Deep nesting, half a surrogate pair or a number beyond a
        // double would make the whole response unreadable for some clients.
        let is_readable = json::check(text).is_ok() && serde_json::from_str::<Readable>(text).is_ok();
        is_readable.then(|| serde_json::from_str(text).ok())?
    }
}

impl ToolCall {
    /// The arguments as a JSON object, for dialects that take nothing else. Text that is none is wrapped as
    /// `{"arguments_raw"}`, so that a conversation can go on after a model's mistake.
    pub fn arguments_object(&self) -> Option<Cow<'_, RawValue>> {
        if let Some(parsed) = self.parsed().filter(|parsed| json::kind(parsed.get()) == Kind::Object) {
            return Some(Cow::Borrowed(parsed));
        }
        let mut wrapped = br#"{"arguments_raw":"#.to_vec();
        json::push(&mut wrapped, &self.arguments);
        wrapped.push(b'}');
        RawValue::from_string(String::from_utf8(wrapped).ok()?).ok().map(Cow::Owned)
    }
}

/// JSON that any parser accepts. It is checked without building a value, which takes many times the memory of its text.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Holds: inf.arguments-raw
    #[test]
    fn arguments_that_would_spoil_what_they_stand_in_are_given_as_text() {
        let nested = format!("{{\"a\":{}1{}}}", "[".repeat(70), "]".repeat(70));
        for (arguments, parses) in [
            ("", true),
            (r#" {"a":1.50} "#, true),
            (r#"{"a":"\ud83d\ude00"}"#, true),
            (r#"{"a":"\ud800"}"#, false),
            (r#"{"a":"\u0000"}"#, false),
            (r#"{"a":1e999}"#, false),
            (r#"{"a":"#, false),
            (nested.as_str(), false),
        ] {
            let call = ToolCall { id: "c".into(), name: "f".into(), arguments: arguments.to_owned(), signature: None };
            assert_eq!(call.parsed().is_some(), parses, "{arguments}");
            let written = serde_json::to_string(&OutputBlock::ToolCall(call)).unwrap();
            let read: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(read.get("arguments_raw").is_some(), !parses, "{written}");
        }
    }
}
