//! Converts disjoint token classes to OpenAI's inclusive counts.

use events::usage::TokenClasses;
use serde::Serialize;

/// Usage in OpenAI's format.
#[derive(Serialize)]
pub struct OpenAiUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

impl From<&TokenClasses> for OpenAiUsage {
    /// Audio and images are shown where there are any, cached or not.
    fn from(tokens: &TokenClasses) -> Self {
        let any = |tokens: u64| (tokens > 0).then_some(tokens);
        Self {
            prompt_tokens: tokens.input(),
            completion_tokens: tokens.output(),
            total_tokens: tokens.input().saturating_add(tokens.output()),
            prompt_tokens_details: PromptDetails {
                cached_tokens: tokens.cache_read(),
                cache_write_tokens: tokens.input_cache_write_tokens,
                audio_tokens: any(tokens.input_audio_tokens.saturating_add(tokens.input_cache_read_audio_tokens)),
                image_tokens: any(tokens.input_image_tokens.saturating_add(tokens.input_cache_read_image_tokens)),
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: tokens.output_reasoning_tokens,
                audio_tokens: any(tokens.output_audio_tokens),
                image_tokens: any(tokens.output_image_tokens),
            },
        }
    }
}
