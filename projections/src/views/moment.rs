//! Which earlier state of the views is asked for: `--as-of` of `ledgerway replay`, and `as_of` of queries.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::time::parse_rfc3339;
use events_log::{Head, LogError, Reader};

/// The least step of a recorded time.
const MICROSECOND: Duration = Duration::from_micros(1);

/// An earlier state of the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Position(u64),
    /// The last event recorded at this time or before.
    Time(DateTime<Utc>),
}

/// The log does not go so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// There is no such position.
    Beyond(Head),
    /// The time is in the future.
    Future(Head),
}

impl Moment {
    /// Reads a position, or a time as in RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // A longer number is beyond every log.
            return Some(Self::Position(text.parse().unwrap_or(u64::MAX)));
        }
        parse_rfc3339(text).map(Self::Time)
    }

    /// The position in this log. `now` is the time by the clock.
    pub fn position(self, log: &dyn Reader, now: DateTime<Utc>) -> Result<Result<u64, NotRecorded>, LogError> {
        let head = log.head()?;
        Ok(match self {
            Self::Position(position) if position > head.position => Err(NotRecorded::Beyond(head)),
            Self::Position(position) => Ok(position),
            Self::Time(at) if at > now && head.recorded_at.is_none_or(|newest| at > newest) => {
                Err(NotRecorded::Future(head))
            }
            // Times have whole microseconds.
            Self::Time(at) => Ok(log.first_since(at + MICROSECOND)?.saturating_sub(1).min(head.position)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_position_and_all_else_must_be_a_time() {
        let time = |text| Moment::Time(parse_rfc3339(text).expect("a time"));
        for (text, read) in [
            ("0", Moment::Position(0)),
            ("0012", Moment::Position(12)),
            ("99999999999999999999", Moment::Position(u64::MAX)),
            ("2026-11-20T08:15:30Z", time("2026-11-20T08:15:30Z")),
            ("2026-11-20T09:15:30.5+01:00", time("2026-11-20T08:15:30.5Z")),
        ] {
            assert_eq!(Moment::parse(text), Some(read), "{text}");
        }
        for wrong in ["", "-1", "+1", "1.5", "yesterday", "2026-11-20", "2026-11-20T08:15:30", " 1"] {
            assert_eq!(Moment::parse(wrong), None, "{wrong}");
        }
    }
}
