//! The range of times that a command is asked for: `--from` and `--to`.

use chrono::{DateTime, Utc};
use events::time::{Clock, SystemClock, parse_rfc3339};

use super::Failure;

/// From `from` on and before `to`; without them, from the beginning of the log and up to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

impl TimeRange {
    /// Refuses a range that is empty, or that has not passed.
    pub fn read(from: Option<&str>, to: Option<&str>) -> Result<Self, Failure> {
        let (from, to) = (time("--from", from)?, time("--to", to)?);
        let now = SystemClock::new().now();
        if to.is_some_and(|to| to > now) {
            return Err(Failure::NotBegun("--to is in the future: leave it out for all events up to now".to_owned()));
        }
        if from.is_some_and(|from| from > now) {
            return Err(Failure::NotBegun("--from is in the future: no events are in the range".to_owned()));
        }
        if from.zip(to).is_some_and(|(from, to)| to <= from) {
            return Err(Failure::NotBegun("--to must be after --from".to_owned()));
        }
        Ok(Self { from, to })
    }
}

fn time(flag: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    parse_rfc3339(text).map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Failure::NotBegun(format!("{flag} is {shown:?}, but must be a time, for example {flag} 2026-11-01T00:00:00Z"))
    })
}
