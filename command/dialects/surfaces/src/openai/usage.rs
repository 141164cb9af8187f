//! Converts disjoint token classes to OpenAI's inclusive counts.

use events::usage::TokenClasses;
use serde::Serialize;

/// Usage in OpenAI's format.
#[derive(Serialize)]
pub struct UsageOut {
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
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<&TokenClasses> for UsageOut {
    fn from(tokens: &TokenClasses) -> Self {
        Self {
            prompt_tokens: tokens.input(),
            completion_tokens: tokens.output(),
            total_tokens: tokens.input().saturating_add(tokens.output()),
            prompt_tokens_details: PromptDetails {
                cached_tokens: tokens.input_cache_read_tokens,
                cache_write_tokens: tokens.input_cache_write_tokens,
            },
            completion_tokens_details: CompletionDetails { reasoning_tokens: tokens.output_reasoning_tokens },
        }
    }
}
