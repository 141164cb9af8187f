//! What a request consumed, in disjoint token classes: their sum is everything that was billed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Token counts by class. No token is in two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClasses {
    pub input_uncached_tokens: u64,
    pub input_cache_read_tokens: u64,
    pub input_cache_write_tokens: u64,
    /// Cache writes by lifetime (`5m`, `1h`, …) where the provider tells them apart; they sum to the class above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input_cache_write_by_ttl: BTreeMap<String, u64>,
    pub output_text_tokens: u64,
    pub output_reasoning_tokens: u64,
}

/// Where the counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider reported them.
    Provider,
    /// We counted what went through: ⌈UTF-8 bytes / 4⌉ a class, never above the hold.
    Counted,
    /// Neither: the hold was charged.
    Unknown,
}

/// Consumption of one request and where the figures come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(flatten)]
    pub tokens: TokenClasses,
    pub source: UsageSource,
}

impl TokenClasses {
    /// All classes, in the order of the fields.
    pub const fn each(&self) -> [u64; 5] {
        [
            self.input_uncached_tokens,
            self.input_cache_read_tokens,
            self.input_cache_write_tokens,
            self.output_text_tokens,
            self.output_reasoning_tokens,
        ]
    }

    pub const fn input(&self) -> u64 {
        self.input_uncached_tokens
            .saturating_add(self.input_cache_read_tokens)
            .saturating_add(self.input_cache_write_tokens)
    }

    pub const fn output(&self) -> u64 {
        self.output_text_tokens.saturating_add(self.output_reasoning_tokens)
    }
}
