//! The clock of a provider, as its answers tell it.

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::DATE;

/// The largest difference between the clocks that no provider minds. Signatures for AWS are good for five minutes, and a clock
/// that is a minute off drifts further.
pub const SKEW_MAX_S: i64 = 60;

/// The seconds that a time is ahead of the one in an answer, negative if it is behind; `None` if the answer does not say what time it is.
pub fn seconds_ahead(headers: &HeaderMap, at: DateTime<Utc>) -> Option<i64> {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    let theirs = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok())?;
    Some((at - theirs.with_timezone(&Utc)).num_seconds())
}
