//! What an answer is made of.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

/// A call of one of the client's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON text, as the model wrote it: mostly an object, sometimes nothing that parses.
    pub arguments: String,
}

/// One piece of an answer, in the order in which it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputBlock {
    Text(String),
    Reasoning {
        text: String,
        /// To be sent back unchanged with the block.
        signature: Option<String>,
        /// A thought that the provider gave encrypted, to be sent back unchanged.
        redacted: Option<String>,
    },
    ToolCall(ToolCall),
}

/// `{"type":"text","text"}`, `{"type":"reasoning","text","signature"?,"redacted"?}`,
/// `{"type":"tool_call","id","name","arguments"}`; arguments that do not parse come as `arguments_raw`, with
/// `arguments` null.
impl Serialize for OutputBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Text(text) => {
                map.serialize_entry("type", "text")?;
                map.serialize_entry("text", text)?;
            }
            Self::Reasoning { text, signature, redacted } => {
                map.serialize_entry("type", "reasoning")?;
                map.serialize_entry("text", text)?;
                if let Some(signature) = signature {
                    map.serialize_entry("signature", signature)?;
                }
                if let Some(redacted) = redacted {
                    map.serialize_entry("redacted", redacted)?;
                }
            }
            Self::ToolCall(call) => {
                map.serialize_entry("type", "tool_call")?;
                map.serialize_entry("id", &call.id)?;
                map.serialize_entry("name", &call.name)?;
                match call.parsed() {
                    Some(arguments) => map.serialize_entry("arguments", arguments)?,
                    None => {
                        map.serialize_entry("arguments", &())?;
                        map.serialize_entry("arguments_raw", &call.arguments)?;
                    }
                }
            }
        }
        map.end()
    }
}

impl ToolCall {
    /// The arguments as JSON; `None` where they do not parse. A call without arguments has an empty object.
    pub fn parsed(&self) -> Option<&RawValue> {
        let text = self.arguments.trim();
        serde_json::from_str(if text.is_empty() { "{}" } else { text }).ok()
    }
}
