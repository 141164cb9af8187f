//! The values of `anthropic-beta` that change no price by themselves. Any other may: it is left out where the provider does
//! not allow it. A request that needs it is then refused by Anthropic, which costs nothing.
//!
//! Left out for what they do: `oauth-2025-04-20`, which is for callers without an API key, and `context-1m-2025-08-07`,
//! by which prompts of more than 200,000 tokens had another price. Anthropic has retired the latter on 2026-04-30; models
//! that have a longer context since then need no beta for it, and have one price.

/// True if a provider can be sent this value.
pub fn changes_no_price(beta: &str) -> bool {
    HARMLESS.contains(&beta)
}

/// Each either changes the form of requests and responses only, or permits a field, a block or a kind of tool that is
/// judged by itself, in `priceable` and `content`. Without the beta, Anthropic refuses a body that has such a field.
#[rustfmt::skip]
pub const HARMLESS: [&str; 58] = [
    // The form of what is written or streamed.
    "dev-full-thinking-2025-05-14",
    "fine-grained-tool-streaming-2025-05-14",
    "model-context-window-exceeded-2025-08-26",
    "redact-thinking-2026-02-12",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
    "token-efficient-tools-2025-02-19",
    // Output and thinking within max_tokens.
    "adaptive-thinking-2026-01-28",
    "effort-2025-11-24",
    "interleaved-thinking-2025-05-14",
    "max-tokens-3-5-sonnet-2024-07-15",
    "mid-conversation-output-config-2026-07-01",
    "output-128k-2025-02-19",
    "output-300k-2026-03-24",
    "structured-outputs-2025-11-13",
    "structured-outputs-2025-12-15",
    "task-budgets-2026-03-13",
    // Fields and blocks that are judged where they stand: cache_control, compaction, container, context_management,
    // fallbacks, mcp_servers, speed, thread, and images and documents that the provider has stored.
    "cache-diagnosis-2026-04-07",
    "compact-2026-01-12",
    "context-management-2025-06-27",
    "extended-cache-ttl-2025-04-11",
    "fast-mode-2026-02-01",
    "files-api-2025-04-14",
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "mcp-servers-2025-12-04",
    "message-threads-2026-08-12",
    "prompt-caching-2024-07-31",
    "prompt-caching-scope-2026-01-05",
    "server-side-fallback-2026-06-01",
    "server-side-fallback-2026-07-01",
    "skills-2025-10-02",
    // A credit for the prompt that another model has declined: the report has it at the price of a cache's reads.
    "fallback-credit-2026-06-01",
    "fallback-credit-2026-07-01",
    // Tools that are judged where they are defined. References to a tool count as its definition.
    "advanced-tool-use-2025-11-20",
    "advisor-tool-2026-03-01",
    "code-execution-2025-05-22",
    "code-execution-2025-08-25",
    "code-execution-web-tools-2026-02-09",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "inline-tools-2026-09-15",
    "mid-conversation-tool-changes-2026-07-01",
    "tool-search-tool-2025-10-19",
    "web-fetch-2025-09-10",
    "web-search-2025-03-05",
    // Messages of the role system between others.
    "mid-conversation-system-2026-04-07",
    "mid-conversation-system-clear-at-2026-08-21",
    // A verdict on the tool calls of the answer, with which Claude Code replaces requests of its own.
    "dangerous-tool-use-2026-09-03",
    // The client's name for its user.
    "user-profiles-2026-03-24",
    "user-profiles-2026-08-18",
    // Since then part of the API, or of another one.
    "managed-agents-2026-04-01",
    "message-batches-2024-09-24",
    "pdfs-2024-09-25",
    "token-counting-2024-11-01",
    // What Claude Code calls itself.
    "claude-code-20250219",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_beta_is_there_twice() {
        let mut all = HARMLESS.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), HARMLESS.len());
    }
}
