//! Converts disjoint token classes to Anthropic's counts, which are disjoint as well.

use events::usage::TokenClasses;
use serde::Serialize;

/// Usage in Anthropic's format.
#[derive(Default, Serialize)]
pub struct AnthropicUsage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: CacheCreation,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<AnthropicOutputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use: Option<ServerToolUse>,
}

/// Cache writes by lifetime. They sum to those of the usage: other lifetimes count as the next shorter one.
#[derive(Default, Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Serialize)]
struct AnthropicOutputDetails {
    thinking_tokens: u64,
}

#[derive(Serialize)]
struct ServerToolUse {
    web_search_requests: u64,
}

impl From<&TokenClasses> for AnthropicUsage {
    fn from(tokens: &TokenClasses) -> Self {
        let written = tokens.input_cache_write_tokens;
        let by_ttl = |ttl: &str| tokens.input_cache_write_by_ttl.get(ttl).copied().unwrap_or(0);
        let for_an_hour = by_ttl("1h").saturating_add(by_ttl("12h")).min(written);
        let thinking_tokens = tokens.output_reasoning_tokens;
        Self {
            // Images, audio and citations have no counts of their own.
            input_tokens: tokens.input().saturating_sub(tokens.cache_read()).saturating_sub(written),
            cache_creation_input_tokens: written,
            cache_read_input_tokens: tokens.cache_read(),
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: written - for_an_hour,
                ephemeral_1h_input_tokens: for_an_hour,
            },
            output_tokens: tokens.output(),
            output_tokens_details: (thinking_tokens > 0).then_some(AnthropicOutputDetails { thinking_tokens }),
            server_tool_use: (tokens.searches > 0).then_some(ServerToolUse { web_search_requests: tokens.searches }),
        }
    }
}
