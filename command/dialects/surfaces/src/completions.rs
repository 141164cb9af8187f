//! OpenAI's legacy Completions API, as a surface. The prompt becomes one message of the user, because providers serve
//! chats: the answer replies to the prompt, where a base model would continue it. Reasoning and tool calls have no field
//! in a response, and are left out.

mod described;
mod read;
mod write;

use intermediate::chat::Feature;

use super::{ErrorForm, SurfaceSpec, no_headers, openai};

pub use read::CompletionRequest as Request;
pub use write::CompletionChunkWriter as Writer;

pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "completions",
    paths: &[("/v1/completions", "create_completion"), ("/oai/v1/completions", "create_completion_oai")],
    roots: &["/v1/completions", "/oai/v1/completions"],
    summary: "Creates a completion of a prompt (OpenAI's legacy API)",
    describe: described::describe,
    unpriced_fields: Vec::new,
    shared_dialect: None,
    error_form: ErrorForm::OpenAi,
    read_headers: no_headers,
    keeps_body: false,
    has_error_reason: false,
    answer: write::completion,
    field_of,
    put_error: openai::put_error,
    keep_alive: crate::KEEP_ALIVE_COMMENT,
};

const fn field_of(feature: Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::Seed => "seed",
        Feature::FrequencyPenalty => "frequency_penalty",
        Feature::PresencePenalty => "presence_penalty",
        Feature::LogitBias => "logit_bias",
        Feature::Choices => "n",
        Feature::User => "user",
        Feature::TopK
        | Feature::ServiceTier
        | Feature::Logprobs
        | Feature::ToolRequired
        | Feature::ToolNamed
        | Feature::OneToolCall
        | Feature::StrictTools
        | Feature::JsonObject
        | Feature::JsonSchema
        | Feature::ReasoningEffort
        | Feature::ReasoningBudget
        | Feature::ReasoningAdaptive
        | Feature::ReasoningOff
        | Feature::ReasoningDisplay
        | Feature::ToolHints
        | Feature::EarlierReasoning
        | Feature::SignedReasoning
        | Feature::SignedCall
        | Feature::Document
        | Feature::CachePoint
        | Feature::ImageUrl
        | Feature::InlineImage
        | Feature::ImageDetail
        | Feature::ToolImage
        | Feature::ToolError => return None,
    })
}
