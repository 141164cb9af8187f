//! Reads the value of one flag: what it says, or the problem with it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cli::settings::{boolean, truncated};
use events::fraction::Fraction;

use super::ListenAddress;
use crate::http::{CorsOrigins, TrustedProxies};

/// Enough for two bodies of the largest size.
const MEMORY_MIB_MIN: usize = 66;
const MEMORY_MIB_MAX: usize = 1_048_576;
const REQUESTS_PER_HOUR_MAX: u64 = 1_000_000_000;

/// Reads one of these words.
pub fn word<T>(
    text: &str,
    parse: fn(&str) -> Option<T>,
    words: impl Iterator<Item = &'static str>,
) -> Result<T, String> {
    parse(text).ok_or_else(|| {
        let known = match words.collect::<Vec<_>>()[..] {
            [one, other] => format!("{one} or {other}"),
            ref words => format!("one of {}", words.join(", ")),
        };
        format!("is {:?}, but must be {known}", truncated(text))
    })
}

pub fn listen(text: &str) -> Result<ListenAddress, String> {
    ListenAddress::parse(text).ok_or_else(|| format!("is {:?}, which is not an address with a port", truncated(text)))
}

pub fn data(dir: &Path) -> Result<PathBuf, String> {
    if dir.as_os_str().is_empty() { Err("is empty".to_owned()) } else { Ok(dir.to_owned()) }
}

/// Reads a boolean flag that is on unless it is turned off: empty is as unset.
pub fn boolean_or_on(text: &str) -> Result<bool, String> {
    if text.is_empty() { Ok(true) } else { boolean(text) }
}

/// Reads a whole number of `things`.
pub fn whole<N: FromStr + PartialOrd + Display>(
    text: &str,
    things: &str,
    bounds: RangeInclusive<N>,
) -> Result<N, String> {
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
        let (value, min, max) = (truncated(text), bounds.start(), bounds.end());
        format!("is {value:?}, but must be a whole number of {things} from {min} to {max}")
    })
}

/// Reads a share of something.
pub fn share(text: &str) -> Result<Fraction, String> {
    text.parse().map_err(|_| {
        let value = truncated(text);
        format!("is {value:?}, but must be a fraction above 0 and up to 1, with up to nine digits after its point")
    })
}

/// Reads MiB; returns bytes.
pub fn memory(text: &str) -> Result<usize, String> {
    whole(text, "MiB", MEMORY_MIB_MIN..=MEMORY_MIB_MAX).map(|mib| mib * 1024 * 1024)
}

pub fn seconds(text: &str, bounds: RangeInclusive<u64>) -> Result<Duration, String> {
    whole(text, "seconds", bounds).map(Duration::from_secs)
}

/// Reads a rate limit; empty means none.
pub fn requests_per_hour(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = whole(text, "requests per hour", 1..=REQUESTS_PER_HOUR_MAX);
    read.map(Some).map_err(|problem| format!("{problem}, or unset"))
}

pub fn cors(text: &str) -> Result<Option<CorsOrigins>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let wrong = |wrong| format!("has {:?}, which is not an origin (scheme, host and port, no path)", truncated(wrong));
    CorsOrigins::parse(text).map(Some).map_err(wrong)
}

pub fn trusted_proxies(text: &str) -> Result<TrustedProxies, String> {
    if text.trim().is_empty() {
        return Ok(TrustedProxies::default());
    }
    TrustedProxies::parse(text).map_err(|wrong| {
        format!("has {:?}, which is neither an IP address nor a network such as 10.0.0.0/8", truncated(wrong))
    })
}
