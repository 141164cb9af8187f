//! A rejection by an upstream, which names a parameter of its own dialect, in the words of the client: its field, and what programs look for
//! before they send the request again without it.

use events::refusal::{ErrorCode, Refusal};
use intermediate::chat::Feature;

use crate::{ErrorForm, Surface};

/// The parameters by which upstreams of OpenAI's dialect reject a request, and what they ask for.
const PARAMETERS: [(&str, Feature); 14] = [
    ("frequency_penalty", Feature::FrequencyPenalty),
    ("logit_bias", Feature::LogitBias),
    ("logprobs", Feature::Logprobs),
    ("n", Feature::Choices),
    ("parallel_tool_calls", Feature::OneToolCall),
    ("presence_penalty", Feature::PresencePenalty),
    ("reasoning_effort", Feature::ReasoningEffort),
    ("response_format", Feature::JsonSchema),
    ("seed", Feature::Seed),
    ("service_tier", Feature::ServiceTier),
    ("tool_choice", Feature::ToolNamed),
    ("top_k", Feature::TopK),
    ("top_logprobs", Feature::Logprobs),
    ("user", Feature::User),
];

/// The refusal with the client's name for the parameter that the upstream rejects, if that is another one.
pub fn with_client_field(surface: Surface, refusal: Refusal) -> Refusal {
    let param = refusal.details.get("upstream_param").filter(|_| refusal.code == ErrorCode::UpstreamRejected);
    let Some(param) = param.and_then(|param| param.as_str()) else { return refusal };
    let Some(field) = client_field(surface, param).filter(|field| *field != param) else { return refusal };
    // Claude Code leaves the effort out of what it sends next if it finds these words, which are Anthropic's.
    let is_effort = surface.spec().error_form == ErrorForm::Anthropic && param == "reasoning_effort";
    let words = if is_effort { "this model does not support the effort parameter as it was sent: " } else { "" };
    let message = format!("{field}: {words}{}", refusal.message);
    Refusal { message, ..refusal }.with("field", field)
}

fn client_field(surface: Surface, param: &str) -> Option<&'static str> {
    if matches!(param, "max_tokens" | "max_completion_tokens") {
        return match surface {
            Surface::Native | Surface::Responses => Some("max_output_tokens"),
            Surface::Anthropic | Surface::Completions => Some("max_tokens"),
            // Its clients know both names.
            Surface::OpenAi | Surface::OpenAiEmbeddings => None,
        };
    }
    let (_, feature) = PARAMETERS.iter().find(|(name, _)| *name == param)?;
    // The type is a part of what the parameter has.
    (surface.spec().field_of)(*feature).map(|field| field.trim_end_matches(".type"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rejected(surface: Surface, param: &str) -> Refusal {
        let refusal = Refusal::new(ErrorCode::UpstreamRejected, "Unsupported value.").with("upstream_param", param);
        with_client_field(surface, refusal)
    }

    #[test]
    fn the_field_is_the_clients_own() {
        for (surface, param, field) in [
            (Surface::Anthropic, "reasoning_effort", "output_config.effort"),
            (Surface::Anthropic, "response_format", "output_config.format"),
            (Surface::Anthropic, "max_completion_tokens", "max_tokens"),
            (Surface::Anthropic, "user", "metadata.user_id"),
            (Surface::Responses, "reasoning_effort", "reasoning.effort"),
            (Surface::Responses, "max_completion_tokens", "max_output_tokens"),
            (Surface::Native, "reasoning_effort", "reasoning.effort"),
            (Surface::Native, "max_tokens", "max_output_tokens"),
        ] {
            let refusal = rejected(surface, param);
            assert_eq!(refusal.details["field"], json!(field), "{surface:?} {param}");
            assert!(refusal.message.starts_with(&format!("{field}: ")), "{}", refusal.message);
            assert!(refusal.message.ends_with("Unsupported value."), "{}", refusal.message);
        }
    }

    #[test]
    fn claude_code_finds_the_words_by_which_it_leaves_the_effort_out() {
        let words = "does not support the effort parameter";
        assert!(rejected(Surface::Anthropic, "reasoning_effort").message.contains(words));
        assert!(!rejected(Surface::Responses, "reasoning_effort").message.contains(words));
        assert!(!rejected(Surface::Anthropic, "response_format").message.contains(words));
    }

    #[test]
    fn what_has_the_same_name_or_an_unknown_one_stays_as_it_is() {
        for (surface, param) in [
            (Surface::OpenAi, "reasoning_effort"),
            (Surface::OpenAi, "response_format"),
            (Surface::OpenAi, "max_completion_tokens"),
            (Surface::Anthropic, "messages"),
            (Surface::Anthropic, "service_tier"),
        ] {
            let refusal = rejected(surface, param);
            assert_eq!((&*refusal.message, refusal.details.get("field")), ("Unsupported value.", None), "{param}");
        }
        let other = Refusal::new(ErrorCode::UpstreamError, "m").with("upstream_param", "reasoning_effort");
        assert_eq!(with_client_field(Surface::Anthropic, other.clone()), other);
    }
}
