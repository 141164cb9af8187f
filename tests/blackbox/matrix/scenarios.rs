//! The table of scenarios and the table of surfaces. What is asked is in `tests/golden/SURFACE/requests/REQUEST.json`, and what
//! a family is sent for it beside that, in `REQUEST.KIND.json`.

use super::families::{Family, Samples};

pub struct Scenario {
    pub name: &'static str,
    pub request: &'static str,
    pub samples: fn(&Family) -> Samples,
    /// Features that it asks for, as `docs/dialects.md` calls them.
    pub features: &'static [&'static str],
    /// Tools have no row in that page: only a completion cannot have them.
    pub has_tools: bool,
    pub expectation: Expectation,
}

/// The property that an answer must show besides being the sample's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Text,
    TwoCalls,
    Thoughts,
    CachedTokens,
    Length,
    Refusal,
    Error,
}

const TEXT: Scenario = Scenario {
    name: "text",
    request: "plain",
    samples: |family| family.text,
    features: &[],
    has_tools: false,
    expectation: Expectation::Text,
};

pub const SCENARIOS: [Scenario; 12] = [
    TEXT,
    Scenario {
        name: "two tools called",
        request: "tools_offered",
        samples: |family| family.calls,
        has_tools: true,
        expectation: Expectation::TwoCalls,
        ..TEXT
    },
    Scenario { name: "results of two tools", request: "tools_answered", has_tools: true, ..TEXT },
    Scenario { name: "structured output", request: "structured", features: &["output by a JSON Schema"], ..TEXT },
    Scenario {
        name: "an image in the request",
        request: "image_inline",
        features: &["an image in the request"],
        ..TEXT
    },
    Scenario { name: "an image by URL", request: "image_by_url", features: &["an image by URL"], ..TEXT },
    Scenario {
        name: "thinking by effort",
        request: "thinking_effort",
        samples: |family| family.thinking,
        features: &["a reasoning effort"],
        expectation: Expectation::Thoughts,
        ..TEXT
    },
    Scenario {
        name: "thinking by budget",
        request: "thinking_budget",
        samples: |family| family.thinking,
        features: &["a thinking budget"],
        expectation: Expectation::Thoughts,
        ..TEXT
    },
    Scenario { name: "cached tokens", samples: |family| family.cached, expectation: Expectation::CachedTokens, ..TEXT },
    Scenario {
        name: "stop by length",
        request: "capped",
        samples: |family| family.length,
        expectation: Expectation::Length,
        ..TEXT
    },
    Scenario { name: "refusal", samples: |family| family.refusal, expectation: Expectation::Refusal, ..TEXT },
    Scenario { name: "error", samples: |family| family.error, expectation: Expectation::Error, ..TEXT },
];

pub struct Surface {
    pub name: &'static str,
    pub path: &'static str,
    /// The field of a request's output cap.
    pub cap: &'static str,
    /// The cap of a request without one.
    pub cap_default: u64,
    /// Streams tell the usage only if they are asked to.
    pub asks_for_usage: bool,
    pub has_tools: bool,
    /// Its words for the finish reasons `stop`, `length`, `tool_calls` and `content_filter`.
    pub finish: [&'static str; 4],
}

/// `default_max_output_tokens` of the models here.
pub const CAP: u64 = 4096;

const OPENAI: Surface = Surface {
    name: "openai",
    path: "/v1/chat/completions",
    cap: "max_completion_tokens",
    cap_default: CAP,
    asks_for_usage: true,
    has_tools: true,
    finish: ["stop", "length", "tool_calls", "content_filter"],
};

pub const SURFACES: [Surface; 5] = [
    Surface { name: "native", path: "/v1/inference/chat", cap: "max_output_tokens", asks_for_usage: false, ..OPENAI },
    OPENAI,
    Surface {
        name: "responses",
        path: "/v1/responses",
        cap: "max_output_tokens",
        asks_for_usage: false,
        finish: ["completed", "max_output_tokens", "completed", "content_filter"],
        ..OPENAI
    },
    Surface {
        name: "completions",
        path: "/v1/completions",
        cap: "max_tokens",
        cap_default: 16,
        has_tools: false,
        ..OPENAI
    },
    Surface {
        name: "anthropic",
        path: "/v1/messages",
        cap: "max_tokens",
        asks_for_usage: false,
        finish: ["end_turn", "max_tokens", "tool_use", "refusal"],
        ..OPENAI
    },
];

impl Surface {
    /// Returns its word for a finish reason of the ledger.
    pub fn finish(&self, reason: &str) -> &'static str {
        let at = OPENAI.finish.iter().position(|name| *name == reason);
        at.map_or("no such reason", |at| self.finish[at])
    }
}
