//! The provider's clock and the gateway's.

use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::report::{Check, Finding};
use crate::provider_clock::{SKEW_MAX_S, seconds_ahead};

/// Compares the provider's time with the gateway's.
pub fn of_clock(headers: &HeaderMap, at: DateTime<Utc>) -> Finding {
    let Some(ahead) = seconds_ahead(headers, at) else {
        return Finding::not_checked(Check::Clock, "the answer does not say what time it is");
    };
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    match ahead.unsigned_abs() {
        seconds @ 0..=5 => Finding::ok(Check::Clock, format!("within {} s of the provider's", seconds.max(1))),
        seconds if ahead.abs() <= SKEW_MAX_S => {
            Finding::ok(Check::Clock, format!("{seconds} s {direction} the provider's"))
        }
        seconds => Finding::problem(
            Check::Clock,
            format!("this machine's clock is {seconds} s {direction} the provider's"),
            "synchronize the clock of this machine (NTP): signatures and certificates depend on it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::DATE;

    use super::*;

    #[test]
    fn a_clock_that_is_more_than_a_minute_off_is_a_problem_in_both_directions() {
        let at: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().expect("a time");
        let found = |date: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_str(date).expect("a value"));
            }
            of_clock(&headers, at)
        };
        let ok = |detail: &str| Finding::ok(Check::Clock, detail);
        assert_eq!(found(Some("Sun, 22 Nov 2026 12:00:01 GMT")), ok("within 1 s of the provider's"));
        assert_eq!(found(Some("Sun, 22 Nov 2026 11:59:00 GMT")), ok("60 s ahead of the provider's"));
        for (date, says) in
            [("Sun, 22 Nov 2026 11:58:59 GMT", "61 s ahead"), ("Sun, 22 Nov 2026 13:00:00 GMT", "3600 s behind")]
        {
            let finding = found(Some(date));
            assert!(finding.is_problem() && format!("{finding:?}").contains(says), "{finding:?}");
        }
        for date in [None, Some("yesterday"), Some("")] {
            assert!(!found(date).is_problem());
        }
    }
}
