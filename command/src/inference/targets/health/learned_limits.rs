//! Limits in the heads of a provider's responses: OpenAI's `x-ratelimit-…`, which many others have, Anthropic's
//! `anthropic-ratelimit-…`, and `retry-after`. A provider may send anything: only whole numbers of seconds, requests
//! and tokens are taken, and nothing that is said twice.

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde::Serialize;

/// The most digits of a number.
const DIGITS_MAX: usize = 15;
/// No longer wait is believed: a day.
const RETRY_AFTER_SECONDS_MAX: u64 = 24 * 3600;

events::named! {
    /// The unit that a limit counts.
    pub enum LimitOf {
        Requests = "requests",
        Tokens = "tokens",
        InputTokens = "input_tokens",
        OutputTokens = "output_tokens",
    }
}

/// A limit and what is left of it, as far as the provider says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quota {
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
}

/// The limits in one response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnedLimits {
    quotas: [Quota; LimitOf::ALL.len()],
    retry_after_seconds: Option<u64>,
}

/// When something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenAt<T> {
    pub value: T,
    pub at: DateTime<Utc>,
}

/// The limits learned last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownLimits {
    quotas: [Option<SeenAt<Quota>>; LimitOf::ALL.len()],
    pub retry_after_seconds: Option<SeenAt<u64>>,
}

/// The value that a header is about.
#[derive(Clone, Copy)]
enum About {
    Limit(LimitOf),
    Remaining(LimitOf),
}

impl LearnedLimits {
    /// Reads a head. Most headers are passed over at their first bytes.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut learned = Self::default();
        let mut refuted = 0_u16;
        for (name, value) in headers {
            let Some(about) = about(name.as_str()) else {
                if name == RETRY_AFTER {
                    let is_first = learned.retry_after_seconds.is_none() && headers.get_all(name).iter().count() == 1;
                    let seconds = whole_number(value.as_bytes()).filter(|seconds| *seconds <= RETRY_AFTER_SECONDS_MAX);
                    learned.retry_after_seconds = seconds.filter(|_| is_first);
                }
                continue;
            };
            let (slot, bit) = learned.slot(about);
            // Two answers are none, also if they come under the names of two dialects.
            if refuted & bit == 0 {
                *slot = whole_number(value.as_bytes());
            } else {
                *slot = None;
            }
            refuted |= bit;
        }
        learned
    }

    /// The value's place, and its bit.
    fn slot(&mut self, about: About) -> (&mut Option<u64>, u16) {
        let (of, is_remaining) = match about {
            About::Limit(of) => (of as usize, false),
            About::Remaining(of) => (of as usize, true),
        };
        let quota = &mut self.quotas[of];
        if is_remaining { (&mut quota.remaining, 0x100 << of) } else { (&mut quota.limit, 1 << of) }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl KnownLimits {
    pub fn learn(&mut self, learned: &LearnedLimits, at: DateTime<Utc>) {
        for (known, quota) in self.quotas.iter_mut().zip(learned.quotas) {
            if quota != Quota::default() {
                *known = Some(SeenAt { value: quota, at });
            }
        }
        if let Some(value) = learned.retry_after_seconds {
            self.retry_after_seconds = Some(SeenAt { value, at });
        }
    }

    pub fn quotas(&self) -> impl Iterator<Item = (LimitOf, SeenAt<Quota>)> {
        LimitOf::ALL.iter().zip(self.quotas).filter_map(|(of, seen)| Some((*of, seen?)))
    }
}

fn about(name: &str) -> Option<About> {
    if let Some(rest) = name.strip_prefix("x-ratelimit-") {
        return Some(match rest {
            "limit-requests" => About::Limit(LimitOf::Requests),
            "limit-tokens" => About::Limit(LimitOf::Tokens),
            "remaining-requests" => About::Remaining(LimitOf::Requests),
            "remaining-tokens" => About::Remaining(LimitOf::Tokens),
            _ => return None,
        });
    }
    Some(match name.strip_prefix("anthropic-ratelimit-")? {
        "requests-limit" => About::Limit(LimitOf::Requests),
        "requests-remaining" => About::Remaining(LimitOf::Requests),
        "tokens-limit" => About::Limit(LimitOf::Tokens),
        "tokens-remaining" => About::Remaining(LimitOf::Tokens),
        "input-tokens-limit" => About::Limit(LimitOf::InputTokens),
        "input-tokens-remaining" => About::Remaining(LimitOf::InputTokens),
        "output-tokens-limit" => About::Limit(LimitOf::OutputTokens),
        "output-tokens-remaining" => About::Remaining(LimitOf::OutputTokens),
        _ => return None,
    })
}

/// Digits and nothing else.
fn whole_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn learned(headers: &[(&'static str, &str)]) -> KnownLimits {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let mut known = KnownLimits::default();
        known.learn(&LearnedLimits::read(&map), from_micros(7));
        known
    }

    fn quotas(headers: &[(&'static str, &str)]) -> Vec<(LimitOf, Option<u64>, Option<u64>)> {
        learned(headers).quotas().map(|(of, SeenAt { value, .. })| (of, value.limit, value.remaining)).collect()
    }

    #[test]
    fn the_limits_of_both_dialects_are_read() {
        let openai = [
            ("content-type", "application/json"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-requests", "6ms"),
        ];
        let wanted = vec![(LimitOf::Requests, Some(10_000), Some(9_999)), (LimitOf::Tokens, None, Some(0))];
        assert_eq!(quotas(&openai), wanted);
        let anthropic = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-input-tokens-remaining", "7"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("retry-after", "12"),
        ];
        let wanted = vec![
            (LimitOf::Requests, Some(50), None),
            (LimitOf::InputTokens, None, Some(7)),
            (LimitOf::OutputTokens, Some(8_000), None),
        ];
        assert_eq!(quotas(&anthropic), wanted);
        assert_eq!(learned(&anthropic).retry_after_seconds, Some(SeenAt { value: 12, at: from_micros(7) }));
    }

    #[test]
    fn what_is_no_whole_number_is_passed_over() {
        for hostile in [
            "", " 5", "5 ", "+5", "-1", "5.0", "1e9", "0x10", "five", "5,5", "\u{661}", "1000000000000000",
            "18446744073709551616", "<script>", "\u{ff}",
        ] {
            let headers = [("x-ratelimit-limit-requests", hostile), ("retry-after", hostile)];
            assert_eq!(learned(&headers), KnownLimits::default(), "{hostile:?}");
        }
        let longest = [("x-ratelimit-limit-tokens", "999999999999999")];
        assert_eq!(quotas(&longest), [(LimitOf::Tokens, Some(999_999_999_999_999), None)]);
        for (wait, wanted) in [("86400", Some(86_400)), ("86401", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)] {
            let seconds = learned(&[("retry-after", wait)]).retry_after_seconds.map(|seen| seen.value);
            assert_eq!(seconds, wanted, "{wait}");
        }
    }

    #[test]
    fn what_is_said_twice_is_not_believed() {
        let name = "x-ratelimit-remaining-requests";
        assert_eq!(quotas(&[(name, "5"), (name, "6")]), []);
        assert_eq!(quotas(&[(name, "5"), (name, "6"), (name, "7")]), []);
        assert_eq!(quotas(&[(name, "5"), ("anthropic-ratelimit-requests-remaining", "5")]), []);
        assert_eq!(learned(&[("retry-after", "1"), ("retry-after", "2")]), KnownLimits::default());
    }

    #[test]
    fn a_response_without_limits_leaves_those_that_are_known() {
        let mut known = learned(&[("x-ratelimit-limit-requests", "5"), ("retry-after", "3")]);
        let before = known;
        assert!(LearnedLimits::read(&HeaderMap::new()).is_empty());
        known.learn(&LearnedLimits::default(), from_micros(9));
        assert_eq!(known, before);
    }
}
