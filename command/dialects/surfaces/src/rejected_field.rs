//! The client's name for a parameter that an upstream rejects, and the words by which Claude Code knows to send the request again
//! without it.

use events::refusal::{ErrorCode, Refusal};
use intermediate::chat::Feature;

use crate::{ErrorForm, Surface};

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
    // The upstreams that name a parameter are those of its dialect.
    if matches!(surface, Surface::OpenAi | Surface::OpenAiEmbeddings) {
        return None;
    }
    if matches!(param, "max_tokens" | "max_completion_tokens") {
        return match surface {
            Surface::Native | Surface::Responses => Some("max_output_tokens"),
            _ => Some("max_tokens"),
        };
    }
    let fields = |surface: Surface| move |feature: &Feature| (surface.spec().field_of)(*feature).map(parameter_of);
    let openai = fields(Surface::OpenAi);
    // Several features may have one parameter, such as `thinking`, and fields of their own on the surface.
    let mut found = Feature::ALL.iter().filter(|feature| openai(feature) == Some(param)).filter_map(fields(surface));
    let field = found.next()?;
    found.all(|other| other == field).then_some(field)
}

/// The parameter that has this field: a rejection names `response_format`, and not its type.
fn parameter_of(field: &'static str) -> &'static str {
    field.trim_end_matches(".type")
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
            (Surface::OpenAi, "top_logprobs"),
            (Surface::OpenAi, "n"),
            (Surface::Anthropic, "messages"),
            (Surface::Anthropic, "thinking"),
            (Surface::Anthropic, "service_tier"),
        ] {
            let refusal = rejected(surface, param);
            assert_eq!((&*refusal.message, refusal.details.get("field")), ("Unsupported value.", None), "{param}");
        }
        let other = Refusal::new(ErrorCode::UpstreamError, "m").with("upstream_param", "reasoning_effort");
        assert_eq!(with_client_field(Surface::Anthropic, other.clone()), other);
    }
}
