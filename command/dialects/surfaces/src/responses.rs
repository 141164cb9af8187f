//! OpenAI's Responses API, as a surface. It is stateless: no response is kept, so what refers to an earlier one is
//! refused, and `store` is false in every answer. Items that a client sends back are read as the parts of one turn.

mod described;
mod echo;
mod item;
mod proof;
mod read;
mod response;
mod stream;

use bytes::{BufMut, BytesMut};
use events::refusal::Refusal;
use intermediate::chat::Feature;
use intermediate::json;
use serde_json::{Map, Value};

use super::{BrokenStream, ErrorForm, SurfaceSpec, no_headers, openai};

pub use read::ResponsesRequest as Request;
pub use stream::ResponsesWriter as Writer;

pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "responses",
    paths: &[("/v1/responses", "create_response"), ("/oai/v1/responses", "create_response_oai")],
    roots: &["/v1/responses", "/oai/v1/responses"],
    summary: "Creates a response (OpenAI-compatible)",
    describe: described::describe,
    unpriced_fields: Vec::new,
    shared_dialect: None,
    error_form: ErrorForm::OpenAi,
    read_headers: no_headers,
    keeps_body: false,
    has_error_reason: true,
    answer: response::answer,
    field_of,
    put_error,
    keep_alive: crate::KEEP_ALIVE_COMMENT,
};

const fn field_of(feature: Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::Logprobs => "include",
        Feature::ToolRequired | Feature::ToolNamed => "tool_choice",
        Feature::OneToolCall => "parallel_tool_calls",
        Feature::StrictTools => "tools[].strict",
        Feature::JsonObject | Feature::JsonSchema => "text.format.type",
        Feature::ReasoningEffort => "reasoning.effort",
        Feature::EarlierReasoning => "input[].summary",
        Feature::SignedReasoning | Feature::SignedCall => "input[].encrypted_content",
        Feature::Document => "input[].content[].file_data",
        Feature::ImageUrl | Feature::InlineImage => "input[].content[].image_url",
        Feature::ImageDetail => "input[].content[].detail",
        Feature::ToolImage => "input[].output",
        Feature::ServiceTier => "service_tier",
        Feature::User => "user",
        Feature::TopK
        | Feature::Seed
        | Feature::FrequencyPenalty
        | Feature::PresencePenalty
        | Feature::LogitBias
        | Feature::Choices
        | Feature::ReasoningBudget
        | Feature::ReasoningAdaptive
        | Feature::ReasoningOff
        | Feature::ReasoningDisplay
        | Feature::ToolHints
        | Feature::ToolError
        | Feature::CachePoint => return None,
    })
}

/// Writes `error`. It has `code`, `message` and `param` twice: at the top as OpenAI documents the event, and in `error`,
/// where OpenAI's packages look before they raise an exception.
fn put_error(refusal: &Refusal, stream: &BrokenStream<'_>, out: &mut BytesMut) {
    let mut error = openai::error(refusal);
    let inside = error.as_object_mut().and_then(|error| error.get("error")).and_then(Value::as_object);
    let member = |name: &str| inside.and_then(|error| error.get(name)).cloned().unwrap_or_default();
    let mut event = Map::new();
    for (name, value) in [
        ("type", "error".into()),
        ("sequence_number", stream.events.into()),
        ("code", member("code")),
        ("message", member("message")),
        ("param", member("param")),
        ("error", inside.cloned().map_or(Value::Null, Value::Object)),
    ] {
        event.insert(name.to_owned(), value);
    }
    out.put_slice(b"event: error\ndata: ");
    out.put_slice(&json::written(&event));
    out.put_slice(b"\n\n");
}
