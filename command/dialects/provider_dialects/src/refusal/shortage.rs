//! The headers of a response that tell the rest of a key's rate limits: OpenAI's `x-ratelimit-…`, which many others
//! have, and Anthropic's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::retry_after::{RETRY_AFTER_MAX, duration};

/// A key is short if it has less than one part in so many of a limit left.
const SHORT_BELOW: u64 = 20;
/// Unix times are larger than this many seconds; waits are smaller.
const SECONDS_OF_A_WAIT_MAX: i64 = 1_000_000_000;

/// The headers of one limit: what it is, what is left of it, and when it is whole again.
struct Limit([&'static str; 3]);

const LIMITS: [Limit; 6] = [
    Limit(["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]),
    Limit(["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]),
    Limit([
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ]),
    Limit([
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ]),
    Limit([
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ]),
    Limit([
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ]),
];

/// How long the key that a response is for has little or nothing left; of several limits, the longest time, at most
/// [`RETRY_AFTER_MAX`]. `None` if the headers name no limit that is nearly used up.
pub fn shortage(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    LIMITS.iter().filter_map(|limit| limit.shortage(headers, now)).max()
}

/// True if nothing is left of one of the limits.
pub(super) fn is_used_up(headers: &HeaderMap) -> bool {
    LIMITS.iter().any(|Limit([_, remaining, _])| {
        headers.get(*remaining).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok()) == Some(0)
    })
}

impl Limit {
    fn shortage(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
        let [limit, remaining, reset] = self.0.map(|name| headers.get(name)?.to_str().ok().map(str::trim));
        let left: u64 = remaining?.parse().ok()?;
        let is_short = match limit.and_then(|limit| limit.parse::<u64>().ok()) {
            Some(limit) => left < limit.div_ceil(SHORT_BELOW),
            None => left == 0,
        };
        let wait = is_short.then(|| wait(reset?, now)).flatten()?;
        (!wait.is_zero()).then(|| wait.min(RETRY_AFTER_MAX))
    }
}

/// Reads `6m0s`, `12ms`, `7`, a Unix time in seconds or milliseconds, or an RFC 3339 time.
fn wait(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let at = match text.parse::<i64>() {
        Ok(seconds) if seconds < SECONDS_OF_A_WAIT_MAX => None,
        Ok(seconds) if seconds < SECONDS_OF_A_WAIT_MAX * 1000 => DateTime::from_timestamp(seconds, 0),
        Ok(millis) => DateTime::from_timestamp_millis(millis),
        Err(_) => DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()),
    };
    match at {
        Some(at) => Some((at - now).to_std().unwrap_or(Duration::ZERO)),
        None => duration(text),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn short(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let pairs = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"))
        });
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        shortage(&pairs.collect(), now)
    }

    fn requests(limit: &str, remaining: &str, reset: &str) -> Option<Duration> {
        short(&[
            ("x-ratelimit-limit-requests", limit),
            ("x-ratelimit-remaining-requests", remaining),
            ("x-ratelimit-reset-requests", reset),
        ])
    }

    #[test]
    fn a_key_is_short_below_a_twentieth_of_its_limit() {
        let minute = Some(Duration::from_mins(1));
        for (limit, remaining, wanted) in [
            ("100", "5", None),
            ("100", "4", minute),
            ("100", "0", minute),
            ("3", "1", None),
            ("3", "0", minute),
            ("0", "0", None),
            ("many", "1", None),
            ("many", "0", minute),
            ("100", "-1", None),
        ] {
            assert_eq!(requests(limit, remaining, "1m0s"), wanted, "{remaining} of {limit}");
        }
        assert_eq!(short(&[("x-ratelimit-remaining-tokens", "0")]), None, "nobody says until when");
    }

    #[test]
    fn a_reset_is_a_span_or_a_time() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (reset, wanted) in [
            ("7", seconds(7)),
            ("6m0s", seconds(360)),
            ("12ms", Some(Duration::from_millis(12))),
            ("1800000009", seconds(9)),
            ("1800000009000", seconds(9)),
            ("2027-01-15T08:00:30Z", seconds(30)),
            ("1799999999", None),
            ("2020-01-01T00:00:00Z", None),
            ("9223372036854775807", None),
            ("-3", None),
            ("99h", Some(RETRY_AFTER_MAX)),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(requests("10", "0", reset), wanted, "{reset}");
        }
    }

    #[test]
    fn of_several_limits_the_one_that_lasts_longest_counts() {
        let of_anthropic = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2027-01-15T08:59:59Z"),
            ("anthropic-ratelimit-input-tokens-limit", "1000"),
            ("anthropic-ratelimit-input-tokens-remaining", "10"),
            ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T08:00:05Z"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "2027-01-15T08:00:20Z"),
        ];
        assert_eq!(short(&of_anthropic), Some(Duration::from_secs(20)));
    }
}
