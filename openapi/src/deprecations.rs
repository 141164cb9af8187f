//! Deprecated routes: one table, from which come the headers `Deprecation` (RFC 9745) and `Sunset` (RFC 8594) of every
//! response of such a route, and `deprecated` in the document. `docs/versioning.md` has the policy.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The deprecated routes; there are none.
pub const DEPRECATIONS: &[Deprecation] = &[];

pub const DEPRECATION_HEADER: HeaderName = HeaderName::from_static("deprecation");
pub const SUNSET_HEADER: HeaderName = HeaderName::from_static("sunset");

/// A route that will be removed.
#[derive(Clone, Debug)]
pub struct Deprecation {
    pub method: Method,
    pub path: &'static str,
    /// The day of the release that deprecated it, in UTC.
    pub since: NaiveDate,
    /// The first day on which it may be gone.
    pub sunset: NaiveDate,
}

impl Deprecation {
    pub fn of<'a>(table: &'a [Self], method: &Method, path: &str) -> Option<&'a Self> {
        table.iter().find(|deprecation| deprecation.method == *method && deprecation.path == path)
    }

    /// `@1767225600`, and `Thu, 01 Jan 2026 00:00:00 GMT`.
    pub fn headers(&self) -> HeaderMap {
        let [since, sunset] = [self.since, self.sunset].map(|day| day.and_time(NaiveTime::MIN).and_utc());
        deprecation_headers(since, Some(sunset))
    }
}

/// The headers of what is deprecated since then, with the time from which it may be gone, if that is known.
pub fn deprecation_headers(since: DateTime<Utc>, sunset: Option<DateTime<Utc>>) -> HeaderMap {
    let since = (DEPRECATION_HEADER, format!("@{}", since.timestamp()));
    let sunset = sunset.map(|sunset| (SUNSET_HEADER, sunset.format("%a, %d %b %Y %H:%M:%S GMT").to_string()));
    let headers = [since].into_iter().chain(sunset);
    headers.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least number of days from the release that deprecates a route to its removal.
    const NOTICE_DAYS_MIN: i64 = 180;

    fn gives_notice(deprecation: &Deprecation) -> bool {
        (deprecation.sunset - deprecation.since).num_days() >= NOTICE_DAYS_MIN
    }

    #[test]
    fn nothing_goes_without_half_a_year_of_notice() {
        let since = NaiveDate::from_ymd_opt(2027, 1, 1).expect("a day");
        let after =
            |days| Deprecation { method: Method::GET, path: "/old", since, sunset: since + chrono::Days::new(days) };
        assert!(gives_notice(&after(180)) && !gives_notice(&after(179)));
        for deprecation in DEPRECATIONS {
            assert!(gives_notice(deprecation), "{deprecation:?}");
        }
    }
}
