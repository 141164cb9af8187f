//! Anthropic's Messages API, as a surface. Responses have Anthropic's fields only.

mod betas;
mod billing_line;
mod canonical;
mod client;
mod content;
mod count;
mod described;
mod errors;
mod headers;
mod known;
mod priceable;
mod stream;
mod unsupported;
mod usage;
mod write;

use bytes::BytesMut;
use events::refusal::Refusal;
use intermediate::chat::Feature;
use intermediate::json;
use intermediate::shared_dialect::SharedDialect;

use super::sse::put_event;
use super::{BrokenStream, ErrorForm, SurfaceSpec};

pub use billing_line::is_billing_block;
pub use client::{AnthropicBodyPositions as Request, SystemPosition};
pub use count::{COUNTING, CountRequest};
pub use errors::{WORDING, error};
pub use headers::BETA;
/// The name by which a provider allows values of that header.
pub use priceable::BETAS as BETA_FIELD;
pub use stream::{MessageWriter as Writer, put_end};
pub use unsupported::VENDOR;

pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "anthropic",
    paths: &[("/v1/messages", "create_message")],
    roots: &["/v1/messages"],
    summary: "Creates a message (Anthropic-compatible)",
    describe: described::describe,
    unpriced_fields: || priceable::names().collect(),
    read_headers: headers::read,
    shared_dialect: Some(SharedDialect::Anthropic),
    error_form: ErrorForm::Anthropic,
    // It is edited, or translated for the targets that need it.
    keeps_body: true,
    has_error_reason: false,
    answer: write::message,
    field_of,
    put_error,
    // The dialect has an event for this.
    keep_alive: "event: ping\ndata: {\"type\": \"ping\"}\n\n",
};

const fn field_of(feature: Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::TopK => "top_k",
        Feature::ToolRequired | Feature::ToolNamed => "tool_choice.type",
        Feature::OneToolCall => "tool_choice.disable_parallel_tool_use",
        Feature::StrictTools => "tools[].strict",
        Feature::JsonSchema => "output_config.format",
        Feature::ReasoningEffort => "output_config.effort",
        Feature::ReasoningBudget => "thinking.budget_tokens",
        Feature::ReasoningAdaptive | Feature::ReasoningOff => "thinking.type",
        Feature::ReasoningDisplay => "thinking.display",
        Feature::ToolHints => "tools[]",
        Feature::EarlierReasoning => "messages[].content[].thinking",
        Feature::SignedReasoning => "messages[].content[].signature",
        Feature::Document => "messages[].content[].source",
        Feature::CachePoint => "cache_control",
        Feature::ImageUrl | Feature::InlineImage => "messages[].content[].source",
        Feature::ToolImage => "messages[].content[].content",
        Feature::ToolError => "messages[].content[].is_error",
        Feature::ServiceTier => "service_tier",
        Feature::User => "metadata.user_id",
        Feature::Seed
        | Feature::FrequencyPenalty
        | Feature::PresencePenalty
        | Feature::LogitBias
        | Feature::Logprobs
        | Feature::Choices
        | Feature::JsonObject
        | Feature::SignedCall
        | Feature::ImageDetail => return None,
    })
}

fn put_error(refusal: &Refusal, stream: &BrokenStream<'_>, out: &mut BytesMut) {
    put_event(out, "error", &json::written(&error(refusal, stream.request_id)));
}
