//! How long an upstream asks to wait before the next request.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;

/// Longest wait; longer ones are cut, because no hold lasts until tomorrow.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The wait from the headers, or Google's `retryDelay` in the body.
pub(super) fn wait(headers: &HeaderMap, retry_delay: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    of_headers(headers, now).or_else(|| Some(duration(retry_delay?)?.min(RETRY_AFTER_MAX)))
}

/// The wait from `retry-after-ms` or `retry-after` (seconds or an HTTP date).
pub(super) fn of_headers(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let in_ms =
        header("retry-after-ms").and_then(|text| text.split('.').next()?.parse().ok()).map(Duration::from_millis);
    let wait = in_ms.or_else(|| header("retry-after").and_then(|text| duration(text).or_else(|| until(text, now))))?;
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Reads `7`, `1.5`, `17s`, `20ms`, `1m30s`, `6m0s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(digits);
        let unit_end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(unit_end);
        let unit_ms = match unit {
            "" | "s" => 1000,
            "ms" => 1,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(thousandths(number)?.checked_mul(unit_ms)?.div_ceil(1000)))?;
        rest = after;
    }
    Some(total)
}

/// Reads `1.5` as 1500; digits beyond the third are cut.
fn thousandths(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.get(..3).unwrap_or(fraction);
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction)
}

/// The time until an HTTP date; zero if it has passed.
fn until(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or(Duration::ZERO))
}
