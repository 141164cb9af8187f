//! The values of `anthropic-beta` that change no price by themselves. Any other may: it can switch on a longer context at
//! another rate, a faster mode, tools that Anthropic runs and bills, or another model that takes over.

/// Each either changes the form of requests and responses only, or permits a field or a kind of tool that `priceable`
/// judges by itself.
#[rustfmt::skip]
pub const HARMLESS: [&str; 28] = [
    // The form of what is written or streamed.
    "dev-full-thinking-2025-05-14",
    "fine-grained-tool-streaming-2025-05-14",
    "model-context-window-exceeded-2025-08-26",
    "redact-thinking-2026-02-12",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
    "token-efficient-tools-2025-02-19",
    // Output and thinking within max_tokens.
    "adaptive-thinking-2026-01-28",
    "effort-2025-11-24",
    "interleaved-thinking-2025-05-14",
    "max-tokens-3-5-sonnet-2024-07-15",
    "output-128k-2025-02-19",
    "structured-outputs-2025-11-13",
    "structured-outputs-2025-12-15",
    "task-budgets-2026-03-13",
    // Fields and tools that are judged where they stand: cache_control, context_management, tools.
    "cache-diagnosis-2026-04-07",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-management-2025-06-27",
    "extended-cache-ttl-2025-04-11",
    "prompt-caching-2024-07-31",
    "prompt-caching-scope-2026-01-05",
    // Messages of the role system between others.
    "mid-conversation-system-2026-04-07",
    // Since then part of the API, or of another one.
    "message-batches-2024-09-24",
    "pdfs-2024-09-25",
    "token-counting-2024-11-01",
    // What Claude Code calls itself.
    "claude-code-20250219",
];
