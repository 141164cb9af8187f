//! The usage of a request, in disjoint token classes: their sum is everything that is billed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::named;

/// Token counts by class. No token counts in two classes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClasses {
    pub input_uncached_tokens: u64,
    pub input_cache_read_tokens: u64,
    pub input_cache_write_tokens: u64,
    /// Cache writes by lifetime (`5m`, `1h`, …) if the provider reports them; they sum to the class above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input_cache_write_by_ttl: BTreeMap<String, u64>,
    pub output_text_tokens: u64,
    pub output_reasoning_tokens: u64,
}

named! {
    /// The source of the counts.
    pub enum UsageSource {
        /// The provider reported them.
        Provider = "provider",
        /// The gateway counted what went through: ⌈UTF-8 bytes / 4⌉ per class, never above the hold.
        Counted = "counted",
        /// Neither: the policy for unknown usage decides the charge.
        Unknown = "unknown",
    }
}

/// The usage of one request, and the source of its counts.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_add_up_to_input_and_output() {
        let tokens = TokenClasses {
            input_uncached_tokens: 1,
            input_cache_read_tokens: 20,
            input_cache_write_tokens: 300,
            output_text_tokens: 4_000,
            output_reasoning_tokens: 50_000,
            ..TokenClasses::default()
        };
        assert_eq!((tokens.input(), tokens.output()), (321, 54_000));
        assert_eq!(tokens.each(), [1, 20, 300, 4_000, 50_000]);
    }
}
