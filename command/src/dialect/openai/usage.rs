//! OpenAI's inclusive counts and our disjoint classes, both ways.

use events::usage::TokenClasses;
use serde::Serialize;

use crate::dialect::json;

/// Above this a count is no count. It keeps every sum far from 64 bits.
const COUNT_MAX: u64 = 1_000_000_000_000;

/// A reported count: whole, or a float without a fraction to speak of (Cohere writes `12.0`), rounded up. `None` for
/// what is absent, null, negative or absurd: not reported is not zero.
pub fn count(usage: &str, name: &str) -> Option<u64> {
    let text = json::field(usage, name)?;
    let count = json::integer(text).or_else(|| rounded_up(text))?;
    (count <= COUNT_MAX).then_some(count)
}

fn rounded_up(text: &str) -> Option<u64> {
    let number: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range has just been checked")]
    (0.0..=1e12).contains(&number).then(|| number.ceil() as u64)
}

/// The classes of an OpenAI-shaped report. `None` where the two sides are not both there, or everything is zero.
pub fn classes(usage: &str) -> Option<TokenClasses> {
    let prompt = count(usage, "prompt_tokens")?;
    let total = count(usage, "total_tokens");
    let completion = count(usage, "completion_tokens").or_else(|| total?.checked_sub(prompt))?;
    if prompt == 0 && completion == 0 {
        return None;
    }
    let mut classes = input_classes(usage, prompt);
    let details = json::field(usage, "completion_tokens_details");
    let reasoning = details.and_then(|details| count(details, "reasoning_tokens")).unwrap_or(0);
    classes.output_reasoning_tokens = reasoning;
    // xAI leaves reasoning out of the completion, and only the total tells. What exceeds the whole cannot be in it.
    let is_beside = reasoning > completion || (reasoning > 0 && total == Some(prompt + completion + reasoning));
    classes.output_text_tokens = if is_beside { completion } else { completion - reasoning };
    Some(classes)
}

/// The input side alone, for streams that report the prompt first.
pub fn reported_input(usage: &str) -> Option<TokenClasses> {
    count(usage, "prompt_tokens").filter(|prompt| *prompt > 0).map(|prompt| input_classes(usage, prompt))
}

fn input_classes(usage: &str, prompt: u64) -> TokenClasses {
    let details = json::field(usage, "prompt_tokens_details");
    let detail = |name| details.and_then(|details| count(details, name));
    let read = detail("cached_tokens").or_else(|| count(usage, "prompt_cache_hit_tokens")).unwrap_or(0);
    let written = detail("cache_write_tokens").unwrap_or(0);
    TokenClasses {
        // Parts that exceed the whole are not in it: that is the dearer reading.
        input_uncached_tokens: prompt.checked_sub(read + written).unwrap_or(prompt),
        input_cache_read_tokens: read,
        input_cache_write_tokens: written,
        ..TokenClasses::default()
    }
}

/// Usage as an OpenAI client reads it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(usage: &str) -> Option<[u64; 5]> {
        classes(usage).map(|c| {
            [
                c.input_uncached_tokens,
                c.input_cache_read_tokens,
                c.input_cache_write_tokens,
                c.output_text_tokens,
                c.output_reasoning_tokens,
            ]
        })
    }

    /// Holds: inf.token-classes
    #[test]
    fn inclusive_counts_become_disjoint() {
        for (usage, wanted) in [
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":20}}"#,
                [60, 40, 0, 30, 20],
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":50}}"#,
                [10, 40, 50, 50, 0],
            ),
            // xAI: reasoning beside the completion
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":30}}"#,
                [10, 0, 0, 5, 30],
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":17,"completion_tokens_details":{"reasoning_tokens":2}}"#,
                [10, 0, 0, 5, 2],
            ),
            // DeepSeek
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#,
                [6, 4, 0, 5, 0],
            ),
            // parts that exceed the whole: the dearer reading
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":40}}"#,
                [10, 40, 0, 5, 0],
            ),
            // null and absent details, floats, no completion
            (r#"{"prompt_tokens":10.0,"completion_tokens":4.2,"prompt_tokens_details":null}"#, [10, 0, 0, 5, 0]),
            (r#"{"prompt_tokens":10,"total_tokens":15}"#, [10, 0, 0, 5, 0]),
        ] {
            assert_eq!(of(usage), Some(wanted), "{usage}");
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        for usage in [
            "{}",
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
            r#"{"prompt_tokens":null,"completion_tokens":3}"#,
            r#"{"prompt_tokens":-5,"completion_tokens":3}"#,
            r#"{"prompt_tokens":1e30,"completion_tokens":3}"#,
            r#"{"prompt_tokens":99999999999999999999,"completion_tokens":3}"#,
        ] {
            assert_eq!(of(usage), None, "{usage}");
        }
    }
}
