//! Google's Gemini API (`generateContent`, `batchEmbedContents`), as an upstream. Its `/v1beta/openai` speaks OpenAI's
//! dialect: that is the kind `openai`.

mod answer;
mod candidate;
mod embeddings;
mod logprobs;
pub mod model;
mod outbound;
mod stream;
mod usage;

use http::HeaderName;
use intermediate::chat::{Feature, FeatureSet, Treatments};
use intermediate::framing::Framing;

use super::authentication::add;
use super::{Endpoint, Transport, Upstream};

pub use stream::GeminiReader as Reader;

pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "gcp.gemini",
    transport: Transport::Http(Endpoint {
        path: |invocation| model::path(invocation.model, model::method(invocation.streamed)).into(),
        wrong_base_url_ends: &["/models", "/openai"],
        settings: &[],
        headers: &[],
        token_exchange: None,
        authenticate: |request, key, _, _| add(request, HeaderName::from_static("x-goog-api-key"), key.reveal()),
    }),
    framing: Framing::Sse,
    shared_dialect: None,
    has_tokenizers: false,
    takes_allowed_fields: false,
    reports_cache_lifetimes: false,
    // Its status is that of a rate limit.
    out_of_money_sentence: Some("credits are depleted"),
    is_about_set_up: |_| false,
    treatment: |feature| TREATMENTS.of(feature),
    request_body: outbound::request_body,
    read_choices: answer::read_choices,
    read_report: usage::read_report,
    embeddings: Some(embeddings::API),
};

/// Signatures of texts and thoughts begin with this where clients keep them: another dialect would refuse them as false.
/// Signatures of calls do not, because clients of Google's OpenAI endpoint exchange them as they are.
const SIGNED_BY_GEMINI: &str = "gemini:";

#[rustfmt::skip]
const TREATMENTS: Treatments = Treatments {
    translated: FeatureSet::of(&[
        Feature::TopK, Feature::Seed, Feature::FrequencyPenalty, Feature::PresencePenalty, Feature::Logprobs,
        Feature::Choices, Feature::ToolRequired, Feature::ToolNamed, Feature::OneToolCall, Feature::JsonObject,
        Feature::JsonSchema, Feature::ReasoningEffort, Feature::ReasoningOff, Feature::ReasoningBudget,
        Feature::SignedReasoning, Feature::SignedCall, Feature::Document, Feature::ImageUrl, Feature::InlineImage,
        Feature::ToolImage, Feature::ToolError,
    ]),
    // The schema of a tool is sent whether it is strict or not; prompts are cached without a mark; and thoughts
    // without a signature are summaries, which Google asks nobody to send back.
    ignored: FeatureSet::of(&[
        Feature::StrictTools, Feature::ReasoningAdaptive, Feature::ReasoningDisplay, Feature::ToolHints,
        Feature::EarlierReasoning, Feature::CachePoint, Feature::ImageDetail, Feature::User,
    ]),
    refused: FeatureSet::of(&[Feature::LogitBias, Feature::ServiceTier]),
}
.checked();
