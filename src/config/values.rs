//! Reads the value of one flag: what it says, or the problem with it.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli::settings::{ServeMode, boolean, truncated};
use events::ledger::UnknownUsage;

use super::ListenAddress;
use crate::http::{CorsOrigins, TrustedProxies};

/// Enough for two bodies of the largest size.
const MEMORY_MIB_MIN: u64 = 66;
const MEMORY_MIB_MAX: u64 = 1_048_576;
const REQUESTS_PER_HOUR_MAX: u64 = 1_000_000_000;

pub fn mode(text: &str) -> Result<ServeMode, String> {
    ServeMode::parse(text).ok_or_else(|| {
        let words: Vec<&str> = ServeMode::words().collect();
        format!("is {:?}, but must be one of {}", truncated(text), words.join(", "))
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

pub fn unknown_usage(text: &str) -> Result<UnknownUsage, String> {
    UnknownUsage::parse(text).ok_or_else(|| format!("is {:?}, but must be charge_hold or release", truncated(text)))
}

/// Reads a whole number of `things`.
pub fn whole(text: &str, things: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
        let (value, min, max) = (truncated(text), bounds.start(), bounds.end());
        format!("is {value:?}, but must be a whole number of {things} from {min} to {max}")
    })
}

/// Reads MiB; returns bytes.
pub fn memory(text: &str) -> Result<usize, String> {
    let mib = whole(text, "MiB", MEMORY_MIB_MIN..=MEMORY_MIB_MAX)?;
    usize::try_from(mib * 1024 * 1024).map_err(|error| error.to_string())
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
