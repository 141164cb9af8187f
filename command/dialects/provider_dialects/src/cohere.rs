//! Cohere's chat API (`/v2/chat`) and embeddings (`/v2/embed`), as an upstream.
//!
//! Cohere's tool plan, "a chain-of-thought style reflection and plan", is reasoning here. Citations are left out: no
//! surface has a place for them.

mod answer;
mod embeddings;
mod outbound;
mod usage;

use intermediate::chat::{Feature, FeatureSet, Treatments};
use intermediate::framing::Framing;

use super::authentication::bearer;
use super::{Endpoint, Transport, Upstream};

pub use answer::CohereReader as Reader;

pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "cohere",
    transport: Transport::Http(Endpoint {
        path: |_| "/v2/chat".into(),
        wrong_base_url_ends: &["/v2/chat", "/v2/embed", "/v2", "/v1", "/chat/completions"],
        settings: &[],
        headers: &[],
        token_exchange: None,
        authenticate: bearer,
    }),
    framing: Framing::Sse,
    shared_dialect: None,
    has_tokenizers: false,
    takes_allowed_fields: false,
    reports_cache_lifetimes: false,
    // The quota of a trial key, which lasts until the next month. The limit per minute ends in "/ minute".
    out_of_money_sentence: Some("API calls / month"),
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
        Feature::TopK, Feature::Seed, Feature::FrequencyPenalty, Feature::PresencePenalty, Feature::ToolRequired,
        Feature::ToolNamed, Feature::OneToolCall, Feature::StrictTools, Feature::JsonObject, Feature::JsonSchema,
        Feature::ReasoningEffort, Feature::ReasoningOff, Feature::ReasoningBudget, Feature::EarlierReasoning,
        Feature::ImageUrl, Feature::InlineImage, Feature::ImageDetail,
    ]),
    // Reasoning and calls of another dialect; and the text of a tool's result says that it failed.
    ignored: FeatureSet::of(&[
        Feature::ReasoningDisplay, Feature::ReasoningAdaptive, Feature::ToolHints, Feature::SignedReasoning,
        Feature::SignedCall, Feature::CachePoint, Feature::ToolError, Feature::User,
    ]),
    // Cohere gives probabilities for pieces of text of several tokens, without the text of each.
    refused: FeatureSet::of(&[
        Feature::Logprobs, Feature::LogitBias, Feature::Choices, Feature::Document, Feature::ToolImage,
        Feature::ServiceTier,
    ]),
}
.checked();
