//! Ollama's own API (`/api/chat`, `/api/embed`), as an upstream. Its `/v1` speaks OpenAI's dialect: that is the kind `openai`.

mod answer;
mod embeddings;
mod outbound;
mod usage;

use intermediate::chat::{Feature, FeatureSet, Treatments};
use intermediate::framing::Framing;

use super::authentication::bearer;
use super::{Endpoint, Transport, Upstream};

pub use answer::OllamaReader as Reader;

pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "ollama",
    transport: Transport::Http(Endpoint {
        path: |_| "/api/chat".into(),
        wrong_base_url_ends: &["/api/chat", "/api/embed", "/api", "/v1"],
        settings: &[],
        headers: &[],
        token_exchange: None,
        // Ollama itself needs no key; a proxy before it may.
        authenticate: bearer,
    }),
    framing: Framing::Lines,
    shared_dialect: None,
    has_tokenizers: false,
    takes_allowed_fields: false,
    reports_cache_lifetimes: false,
    out_of_money_sentence: None,
    is_about_set_up: |_| false,
    treatment: |feature| TREATMENTS.of(feature),
    request_body: outbound::request_body,
    read_choices: answer::read_choices,
    read_report: usage::read_report,
    embeddings: Some(embeddings::API),
};

#[rustfmt::skip]
const TREATMENTS: Treatments = Treatments {
    translated: FeatureSet::of(&[
        Feature::TopK, Feature::Seed, Feature::FrequencyPenalty, Feature::PresencePenalty, Feature::JsonObject,
        Feature::JsonSchema, Feature::OneToolCall, Feature::ReasoningEffort, Feature::ReasoningOff,
        Feature::EarlierReasoning, Feature::InlineImage,
    ]),
    // The schema of a tool is sent whether it is strict or not, and the text of a tool's result says that it failed.
    ignored: FeatureSet::of(&[
        Feature::StrictTools, Feature::ReasoningDisplay, Feature::ReasoningAdaptive, Feature::ToolHints,
        Feature::SignedReasoning, Feature::SignedCall, Feature::CachePoint, Feature::ImageDetail, Feature::ToolError,
        Feature::User,
    ]),
    refused: FeatureSet::of(&[
        Feature::LogitBias, Feature::Logprobs, Feature::Choices, Feature::ToolRequired, Feature::ToolNamed,
        Feature::ReasoningBudget, Feature::ImageUrl, Feature::Document, Feature::ToolImage, Feature::ServiceTier,
    ]),
}
.checked();
