//! Anthropic Messages, version 2023-06-01, as an upstream.

mod answer;
mod outbound;
pub(super) mod schema;
mod stream;
mod usage;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderName, Request};
use hub::chat::{Feature, Treatment};
use hub::framing::Framing;
use hub::shared_dialect::SharedDialect;
use secrets::Secret;

use super::authentication::{KeyFault, add};
use super::{Endpoint, Invocation, Transport, Upstream};

pub use answer::read_choices;
pub use outbound::{ClaudeThinking, effort, hosted_body, thinking};
pub use stream::Reader;

pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "anthropic",
    transport: Transport::Http(Endpoint {
        path: |_| "/v1/messages".into(),
        wrong_base_url_ends: &["/v1/messages", "/v1"],
        settings: &[],
        // This version still takes `temperature` and `top_p`, which clients may send. A client of the same dialect may
        // name another.
        headers: &[("anthropic-version", "2023-06-01")],
        token_exchange: None,
        authenticate,
    }),
    framing: Framing::Sse,
    shared_dialect: Some(SharedDialect::Anthropic),
    has_tokenizers: false,
    takes_allowed_fields: true,
    // Its type is just `invalid_request_error`.
    out_of_money_sentence: Some("credit balance is too low"),
    is_about_set_up: |_| false,
    request_body: outbound::request_body,
    treatment,
    read_choices: answer::read_choices,
    embeddings: None,
    read_report: usage::read_report,
};

const fn treatment(feature: Feature) -> Treatment {
    match feature {
        Feature::TopK
        | Feature::ToolRequired
        | Feature::ToolNamed
        | Feature::OneToolCall
        | Feature::StrictTools
        | Feature::JsonSchema
        | Feature::ReasoningEffort
        | Feature::ReasoningBudget
        | Feature::ReasoningAdaptive
        | Feature::ReasoningOff
        | Feature::ReasoningDisplay
        | Feature::SignedReasoning
        | Feature::Document
        | Feature::CachePoint
        | Feature::ImageUrl
        | Feature::InlineImage
        | Feature::ToolImage
        | Feature::ToolError
        | Feature::User => Treatment::Translated,
        // A seed promises nothing, and Anthropic takes back signed reasoning only.
        Feature::ToolHints | Feature::Seed | Feature::EarlierReasoning | Feature::SignedCall | Feature::ImageDetail => {
            Treatment::Ignored
        }
        Feature::FrequencyPenalty
        | Feature::PresencePenalty
        | Feature::LogitBias
        | Feature::Logprobs
        | Feature::Choices
        | Feature::JsonObject => Treatment::Refused,
    }
}

fn authenticate(
    request: &mut Request<Bytes>,
    key: &Secret,
    _: &Invocation<'_>,
    _: DateTime<Utc>,
) -> Result<(), KeyFault> {
    add(request, HeaderName::from_static("x-api-key"), key.reveal())
}
