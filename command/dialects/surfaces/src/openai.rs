//! OpenAI Chat Completions, as a surface. Responses have OpenAI's fields only.

mod canonical;
mod client;
mod described;
mod errors;
mod known;
mod unsupported;
mod usage;
mod write;

use bytes::BytesMut;
use events::refusal::Refusal;
use intermediate::chat::Feature;
use intermediate::json;
use intermediate::shared_dialect::SharedDialect;

use super::priceable;
use super::sse::put_data;
use super::{BrokenStream, ErrorForm, SurfaceSpec, no_headers};

pub use client::{CapPosition, OpenAiBodyPositions as Request};
pub use errors::{WORDING, error};
pub use unsupported::VENDOR;
pub use usage::OpenAiUsage;
pub use write::{ChatChunkWriter as Writer, END, put_usage_chunk};

pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "openai",
    paths: &[
        ("/v1/chat/completions", "create_chat_completion"),
        ("/oai/v1/chat/completions", "create_chat_completion_oai"),
    ],
    roots: &["/oai/", "/v1/chat/", "/v1/models"],
    summary: "Creates a chat completion (OpenAI-compatible)",
    describe: described::describe,
    unpriced_fields: || priceable::names().collect(),
    read_headers: no_headers,
    shared_dialect: Some(SharedDialect::OpenAi),
    error_form: ErrorForm::OpenAi,
    // It is edited, or translated for the targets that need it.
    keeps_body: true,
    has_error_reason: false,
    answer: write::completion,
    field_of,
    put_error,
    keep_alive: crate::KEEP_ALIVE_COMMENT,
};

const fn field_of(feature: Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::Seed => "seed",
        Feature::FrequencyPenalty => "frequency_penalty",
        Feature::PresencePenalty => "presence_penalty",
        Feature::LogitBias => "logit_bias",
        Feature::Logprobs => "logprobs",
        Feature::Choices => "n",
        Feature::ToolRequired | Feature::ToolNamed => "tool_choice",
        Feature::OneToolCall => "parallel_tool_calls",
        Feature::StrictTools => "tools[].function.strict",
        Feature::JsonObject | Feature::JsonSchema => "response_format.type",
        Feature::ReasoningEffort => "reasoning_effort",
        Feature::ReasoningBudget | Feature::ReasoningAdaptive | Feature::ReasoningOff => "thinking",
        Feature::EarlierReasoning => "messages[].reasoning_content",
        Feature::ImageUrl | Feature::InlineImage => "messages[].content[].image_url",
        Feature::ImageDetail => "messages[].content[].image_url.detail",
        Feature::ToolImage => "messages[].content",
        Feature::ServiceTier => "service_tier",
        Feature::User => "user",
        Feature::TopK => "top_k",
        Feature::SignedCall => "messages[].tool_calls[].extra_content",
        Feature::CachePoint => "cache_control",
        Feature::Document => "messages[].content[].file",
        Feature::ReasoningDisplay | Feature::ToolHints | Feature::SignedReasoning | Feature::ToolError => return None,
    })
}

pub fn put_error(refusal: &Refusal, _: &BrokenStream<'_>, out: &mut BytesMut) {
    put_data(out, &json::written(&error(refusal)));
}
