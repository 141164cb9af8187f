//! Anthropic Messages, version 2023-06-01, as an upstream.

mod answer;
mod outbound;
mod pattern;
pub(super) mod schema;
mod stream;
mod usage;

use events::event::admin::Provider;
use http::HeaderName;
use intermediate::chat::{Feature, FeatureSet, Treatments};
use intermediate::framing::Framing;
use intermediate::shared_dialect::SharedDialect;

use super::address::host_of;
use super::authentication::add;
use super::{Endpoint, ProviderKind, Transport, Upstream};

pub use answer::read_choices;
pub use outbound::{ClaudeThinking, effort, hosted_body, thinking};
pub use stream::AnthropicReader as Reader;

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
        authenticate: |request, key, _, _| add(request, HeaderName::from_static("x-api-key"), key.reveal()),
    }),
    framing: Framing::Sse,
    shared_dialect: Some(SharedDialect::Anthropic),
    has_tokenizers: false,
    takes_allowed_fields: true,
    reports_cache_lifetimes: true,
    // Its type is just `invalid_request_error`.
    out_of_money_sentence: Some("credit balance is too low"),
    is_about_set_up: |_| false,
    request_body: outbound::request_body,
    treatment: |feature| TREATMENTS.of(feature),
    read_choices: answer::read_choices,
    embeddings: None,
    read_report: usage::read_report,
};

/// The host of Anthropic itself. It answers 400 to a thought without a signature, for as long as the conversation has it.
/// Other servers of this dialect, most of which sign nothing, are sent such thoughts.
const OWN_HOST: &str = "api.anthropic.com";

/// True if the provider takes no thought without a signature.
pub fn takes_signed_thoughts_alone(provider: &Provider) -> bool {
    let is_own = |base_url| host_of(base_url) == Some(OWN_HOST);
    ProviderKind::named(&provider.kind) == Some(ProviderKind::Anthropic)
        && provider.base_url.as_deref().is_some_and(is_own)
}

#[rustfmt::skip]
const TREATMENTS: Treatments = Treatments {
    translated: FeatureSet::of(&[
        Feature::TopK, Feature::ToolRequired, Feature::ToolNamed, Feature::OneToolCall, Feature::StrictTools,
        Feature::JsonSchema, Feature::ReasoningEffort, Feature::ReasoningBudget, Feature::ReasoningAdaptive,
        Feature::ReasoningOff, Feature::ReasoningDisplay, Feature::SignedReasoning, Feature::Document,
        Feature::CachePoint, Feature::ImageUrl, Feature::InlineImage, Feature::ToolImage, Feature::ToolError,
        Feature::User,
    ]),
    // A seed promises nothing, and Anthropic takes back signed reasoning only.
    ignored: FeatureSet::of(&[
        Feature::ToolHints, Feature::Seed, Feature::EarlierReasoning, Feature::SignedCall, Feature::ImageDetail,
    ]),
    refused: FeatureSet::of(&[
        Feature::FrequencyPenalty, Feature::PresencePenalty, Feature::LogitBias, Feature::Logprobs, Feature::Choices,
        Feature::JsonObject, Feature::ServiceTier,
    ]),
}
.checked();

#[cfg(test)]
mod tests {
    use events::event::admin::ProviderKindName;
    use events::ids::ProviderId;

    use super::*;

    #[test]
    fn only_anthropics_own_host_takes_signed_thoughts_alone() {
        for (kind, base_url, wanted) in [
            ("anthropic", "https://api.anthropic.com", true),
            ("anthropic", "https://api.anthropic.com:443/x", true),
            ("anthropic", "https://api.anthropic.com.example.com", false),
            ("anthropic", "https://proxy.example.com/api.anthropic.com", false),
            ("anthropic", "http://127.0.0.1:11434", false),
            ("openai", "https://api.anthropic.com", false),
        ] {
            let id: ProviderId = format!("prv_{:032x}", 1).parse().expect("an id");
            let provider = Provider {
                base_url: Some(base_url.to_owned()),
                ..Provider::new(id, "p", ProviderKindName::literal(kind))
            };
            assert_eq!(takes_signed_thoughts_alone(&provider), wanted, "{kind} {base_url}");
        }
    }
}
