//! OpenAI Chat Completions and embeddings, as an upstream. Also reads the deviations of compatible servers: DeepSeek,
//! Groq, Mistral, OpenRouter, Perplexity, Together, xAI and others.

mod call_numbers;
pub mod chunk;
pub mod embeddings;
mod outbound;
mod reader;
pub mod server;
mod usage;

use intermediate::chat::{Feature, FeatureSet, Treatments};
use intermediate::framing::Framing;
use intermediate::shared_dialect::SharedDialect;

use super::authentication::bearer;
use super::{Endpoint, Transport, Upstream};

pub use outbound::azure_body;
pub use reader::OpenAiReader as Reader;

pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "openai",
    transport: Transport::Http(Endpoint {
        path: |_| "/chat/completions".into(),
        wrong_base_url_ends: &["/chat/completions", "/completions", "/embeddings", "/responses", "/models"],
        settings: &["server", "output_cap_field"],
        headers: &[],
        token_exchange: None,
        authenticate: bearer,
    }),
    framing: Framing::Sse,
    shared_dialect: Some(SharedDialect::OpenAi),
    has_tokenizers: true,
    takes_allowed_fields: true,
    reports_cache_lifetimes: false,
    out_of_money_sentence: None,
    is_about_set_up: |_| false,
    request_body: outbound::request_body,
    treatment: |feature| TREATMENTS.of(feature),
    read_choices: reader::read_choices,
    read_report: usage::read_report,
    embeddings: Some(embeddings::API),
};

#[rustfmt::skip]
const TREATMENTS: Treatments = Treatments {
    translated: FeatureSet::of(&[
        Feature::Seed, Feature::FrequencyPenalty, Feature::PresencePenalty, Feature::LogitBias, Feature::Logprobs,
        Feature::Choices, Feature::ToolRequired, Feature::ToolNamed, Feature::OneToolCall, Feature::StrictTools,
        Feature::JsonObject, Feature::JsonSchema, Feature::ReasoningEffort, Feature::EarlierReasoning,
        Feature::SignedCall, Feature::ImageUrl, Feature::InlineImage, Feature::ImageDetail, Feature::ToolImage,
        Feature::Document, Feature::ServiceTier, Feature::User,
    ]),
    // Reasoning of another dialect; and the text of a tool's result says that it failed. Many servers refuse to be
    // told that a model must not think.
    ignored: FeatureSet::of(&[
        Feature::ReasoningOff, Feature::ReasoningAdaptive, Feature::ReasoningDisplay, Feature::ToolHints,
        Feature::SignedReasoning, Feature::CachePoint, Feature::ToolError,
    ]),
    refused: FeatureSet::of(&[Feature::TopK, Feature::ReasoningBudget]),
}
.checked();
