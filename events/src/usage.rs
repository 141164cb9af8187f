//! The usage of a request, in disjoint token classes: their sum is everything that is billed by the token. Units are
//! counted beside them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::named;

/// Token counts by class, and units that are billed beside them. No token counts in two classes. What few providers bill
/// is absent on the wire where there is none.
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
    /// Audio in the prompt that was not read from a cache.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub input_audio_tokens: u64,
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub input_cache_read_audio_tokens: u64,
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub output_audio_tokens: u64,
    /// Images in the prompt that were not read from a cache.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub input_image_tokens: u64,
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub input_cache_read_image_tokens: u64,
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub output_image_tokens: u64,
    /// Text of sources that the provider read beside the prompt.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub citation_tokens: u64,
    /// Searches that the provider ran.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub searches: u64,
    /// Images in the request that are billed by their number.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub input_images: u64,
}

named! {
    /// A service tier with prices of its own. What else providers call a tier costs the base price.
    #[derive(PartialOrd, Ord)]
    pub enum ServiceTier {
        /// Answered later, in a batch.
        Batch = "batch",
        /// Answered when there is room.
        Flex = "flex",
        Priority = "priority",
    }
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
    /// The tier that served the request, from the response; absent if it has no prices of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    pub source: UsageSource,
}

impl Usage {
    /// The usage of a request that no tier served.
    pub const fn new(tokens: TokenClasses, source: UsageSource) -> Self {
        Self { tokens, service_tier: None, source }
    }
}

/// Names and reads what is counted, in one order.
macro_rules! counted {
    ($($field:ident,)+) => {
        /// The names of all classes and units. Those that most providers bill come first.
        pub const NAMES: [&'static str; 14] = [$(stringify!($field)),+];

        /// All classes and units, in the order of [`Self::NAMES`].
        pub const fn each(&self) -> [u64; Self::NAMES.len()] {
            [$(self.$field),+]
        }
    };
}

impl TokenClasses {
    counted! {
        input_uncached_tokens,
        input_cache_read_tokens,
        input_cache_write_tokens,
        output_text_tokens,
        output_reasoning_tokens,
        input_audio_tokens,
        input_cache_read_audio_tokens,
        output_audio_tokens,
        input_image_tokens,
        input_cache_read_image_tokens,
        output_image_tokens,
        citation_tokens,
        searches,
        input_images,
    }

    /// How many of the names, from the first, are of classes that most providers bill; and how many are of others.
    pub const COMMON: usize = 5;
    pub const RARE: usize = Self::NAMES.len() - Self::COMMON;

    /// The classes that most providers bill, in the order of the names.
    pub const fn common(&self) -> [u64; Self::COMMON] {
        let [uncached, cache_read, cache_write, text, reasoning, ..] = self.each();
        [uncached, cache_read, cache_write, text, reasoning]
    }

    /// The others, in the order of the names.
    pub fn rare(&self) -> [u64; Self::RARE] {
        let [_, _, _, _, _, rare @ ..] = self.each();
        rare
    }

    /// Everything that the provider read: the prompt, cached or not, of any kind, and citations.
    pub const fn input(&self) -> u64 {
        self.input_uncached_tokens
            .saturating_add(self.input_cache_read_tokens)
            .saturating_add(self.input_cache_write_tokens)
            .saturating_add(self.input_audio_tokens)
            .saturating_add(self.input_cache_read_audio_tokens)
            .saturating_add(self.input_image_tokens)
            .saturating_add(self.input_cache_read_image_tokens)
            .saturating_add(self.citation_tokens)
    }

    /// Everything that was read from a cache, of any kind.
    pub const fn cache_read(&self) -> u64 {
        self.input_cache_read_tokens
            .saturating_add(self.input_cache_read_audio_tokens)
            .saturating_add(self.input_cache_read_image_tokens)
    }

    pub const fn output(&self) -> u64 {
        self.output_text_tokens
            .saturating_add(self.output_reasoning_tokens)
            .saturating_add(self.output_audio_tokens)
            .saturating_add(self.output_image_tokens)
    }

    /// The same input without an output.
    #[must_use]
    pub fn without_output(self) -> Self {
        Self {
            output_text_tokens: 0,
            output_reasoning_tokens: 0,
            output_audio_tokens: 0,
            output_image_tokens: 0,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every class has its own power of ten.
    fn all() -> TokenClasses {
        TokenClasses {
            input_uncached_tokens: 1,
            input_cache_read_tokens: 20,
            input_cache_write_tokens: 300,
            input_cache_write_by_ttl: BTreeMap::new(),
            output_text_tokens: 4_000,
            output_reasoning_tokens: 50_000,
            input_audio_tokens: 600_000,
            input_cache_read_audio_tokens: 7_000_000,
            output_audio_tokens: 80_000_000,
            input_image_tokens: 900_000_000,
            input_cache_read_image_tokens: 1_000_000_000,
            output_image_tokens: 20_000_000_000,
            citation_tokens: 300_000_000_000,
            searches: 4_000_000_000_000,
            input_images: 50_000_000_000_000,
        }
    }

    #[test]
    fn classes_add_up_to_input_and_output_and_units_to_neither() {
        let tokens = all();
        assert_eq!((tokens.input(), tokens.output()), (301_907_600_321, 20_080_054_000));
        let written = serde_json::to_value(&tokens).expect("JSON");
        for (name, count) in TokenClasses::NAMES.into_iter().zip(tokens.each()) {
            assert_eq!(written[name], count, "{name}");
        }
        assert_eq!(written.as_object().expect("an object").len(), TokenClasses::NAMES.len());
        assert_eq!(tokens.cache_read(), 1_007_000_020);
        let input = tokens.without_output();
        assert_eq!((input.input(), input.output(), input.searches), (301_907_600_321, 0, 4_000_000_000_000));
    }

    #[test]
    fn what_few_providers_bill_is_absent_where_there_is_none() {
        let usage =
            Usage::new(TokenClasses { input_uncached_tokens: 1, ..TokenClasses::default() }, UsageSource::Counted);
        let text = r#"{"input_uncached_tokens":1,"input_cache_read_tokens":0,"input_cache_write_tokens":0,"output_text_tokens":0,"output_reasoning_tokens":0,"source":"counted"}"#;
        assert_eq!(serde_json::to_string(&usage).expect("JSON"), text);
        let all = Usage { service_tier: Some(ServiceTier::Flex), ..Usage::new(all(), UsageSource::Provider) };
        for usage in [usage, all] {
            let text = serde_json::to_string(&usage).expect("JSON");
            assert_eq!(serde_json::from_str::<Usage>(&text).expect("usage"), usage, "{text}");
        }
    }
}
