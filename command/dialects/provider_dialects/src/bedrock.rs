//! AWS Bedrock's Converse and ConverseStream, as an upstream. Its OpenAI-compatible endpoint is of the kind `openai`.

mod answer;
mod authentication;
mod content;
mod exception;
mod family;
mod names;
mod outbound;
mod stream;
mod usage;

use std::borrow::Cow;

use intermediate::chat::{Feature, FeatureSet, Treatment, Treatments};
use intermediate::framing::Framing;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Endpoint, Invocation, Transport, Upstream};

use family::Family;

pub use stream::BedrockReader as Reader;

pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "aws.bedrock",
    transport: Transport::Http(Endpoint {
        path,
        wrong_base_url_ends: &["/converse", "/converse-stream", "/invoke", "/model", "/v1"],
        settings: &["region"],
        headers: &[],
        token_exchange: None,
        authenticate: authentication::authenticate,
    }),
    framing: Framing::EventStream,
    shared_dialect: None,
    has_tokenizers: false,
    takes_allowed_fields: false,
    reports_cache_lifetimes: true,
    out_of_money_sentence: None,
    is_about_set_up: exception::is_about_set_up,
    treatment: |feature| TREATMENTS.of(feature),
    request_body: outbound::request_body,
    read_choices: answer::read_choices,
    read_report: usage::read_report,
    embeddings: None,
};

/// All but letters, digits and `-_.~`: a model may be an ARN, with `:` and `/`.
const MODEL_ESCAPES: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn path(invocation: &Invocation<'_>) -> Cow<'static, str> {
    let model = utf8_percent_encode(invocation.model, &MODEL_ESCAPES);
    let operation = if invocation.streamed { "converse-stream" } else { "converse" };
    format!("/model/{model}/{operation}").into()
}

/// The row for Amazon's models.
const OF_NOVA: Upstream = Upstream { treatment: treatment_by_nova, ..UPSTREAM };

/// The row for the models of others than Anthropic and Amazon.
const OF_OTHERS: Upstream = Upstream { treatment: treatment_by_others, ..UPSTREAM };

/// The row for a model: what is written of a request depends on its maker.
pub fn row(model: &str) -> &'static Upstream {
    match Family::of(model) {
        Family::Claude | Family::Unknown => &UPSTREAM,
        Family::Nova => &OF_NOVA,
        Family::OpenWeights | Family::Gpt | Family::Other => &OF_OTHERS,
    }
}

/// Returns the treatment by Amazon's models: features they have no word for are left out.
const fn treatment_by_nova(feature: Feature) -> Treatment {
    match feature {
        Feature::ReasoningAdaptive | Feature::ReasoningOff | Feature::ReasoningDisplay => Treatment::Ignored,
        feature => TREATMENTS.of(feature),
    }
}

/// Other models have no cache and take no reasoning back either.
const fn treatment_by_others(feature: Feature) -> Treatment {
    match feature {
        Feature::SignedReasoning | Feature::CachePoint => Treatment::Ignored,
        feature => treatment_by_nova(feature),
    }
}

/// The treatment by Claude, and by a model whose maker is not known.
#[rustfmt::skip]
const TREATMENTS: Treatments = Treatments {
    translated: FeatureSet::of(&[
        Feature::TopK, Feature::ToolRequired, Feature::ToolNamed, Feature::OneToolCall, Feature::StrictTools,
        Feature::JsonSchema, Feature::ReasoningEffort, Feature::ReasoningBudget, Feature::ReasoningAdaptive,
        Feature::ReasoningOff, Feature::ReasoningDisplay, Feature::SignedReasoning, Feature::Document,
        Feature::CachePoint, Feature::InlineImage, Feature::ToolImage, Feature::ServiceTier, Feature::ToolError,
    ]),
    // A seed promises nothing, and models take back signed reasoning only.
    ignored: FeatureSet::of(&[
        Feature::ToolHints, Feature::Seed, Feature::EarlierReasoning, Feature::SignedCall, Feature::ImageDetail,
        Feature::User,
    ]),
    refused: FeatureSet::of(&[
        Feature::FrequencyPenalty, Feature::PresencePenalty, Feature::LogitBias, Feature::Logprobs, Feature::Choices,
        Feature::JsonObject, Feature::ImageUrl,
    ]),
}
.checked();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_one_segment_of_the_path() {
        for (model, streamed, wanted) in [
            ("amazon.nova-lite-v1:0", false, "/model/amazon.nova-lite-v1%3A0/converse"),
            ("us.anthropic.claude-sonnet-4-6", true, "/model/us.anthropic.claude-sonnet-4-6/converse-stream"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
                false,
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2c3/converse",
            ),
            ("a b/../é?#%41", true, "/model/a%20b%2F..%2F%C3%A9%3F%23%2541/converse-stream"),
        ] {
            assert_eq!(path(&Invocation { model, streamed, api_version: None, region: None }), wanted);
        }
    }
}
