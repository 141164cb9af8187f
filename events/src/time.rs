//! Time: one clock port, instants in whole microseconds, and the calendar windows that budgets count in.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Days, Months, NaiveTime, Utc};

use crate::digits::fill;
use crate::named;

/// A clock: the only source of time.
pub trait Clock: Send + Sync {
    /// The wall clock: UTC, whole microseconds.
    fn now(&self) -> DateTime<Utc>;

    /// The time since an arbitrary start. It never goes back, whatever happens to the wall clock, and counts the time that
    /// the machine sleeps, if the platform can tell.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
pub struct SystemClock {
    started: Uptime,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { started: Uptime::now() }
    }
}

/// A reading of the clock that also counts suspended time. [`std::time::Instant`] does not on Linux: a laptop that was
/// opened again would look as if its wall clock had been stepped.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
struct Uptime(Duration);

#[cfg(target_os = "linux")]
impl Uptime {
    fn now() -> Self {
        let read = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(read.tv_sec).unwrap_or(0), u32::try_from(read.tv_nsec).unwrap_or(0));
        Self(Duration::new(seconds, nanos))
    }

    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

#[cfg(not(target_os = "linux"))]
use std::time::Instant as Uptime;

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> DateTime<Utc> {
        // `Utc::now` would compute the date twice: of the time as it is, and of that in microseconds.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        from_micros(i64::try_from(since_1970.as_micros()).unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved. Wall clock and monotonic clock move together unless the wall clock is
/// stepped.
pub struct ManualClock {
    wall_micros: AtomicI64,
    monotonic_micros: AtomicI64,
}

impl ManualClock {
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { wall_micros: AtomicI64::new(now.timestamp_micros()), monotonic_micros: AtomicI64::new(0) }
    }

    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.wall_micros.fetch_add(micros, Ordering::SeqCst);
        self.monotonic_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Steps the wall clock alone, as an administrator or a bad time server would.
    pub fn step_wall(&self, micros: i64) {
        self.wall_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        from_micros(self.wall_micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.monotonic_micros.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

/// The instant at `micros` microseconds since 1970-01-01; a value out of range becomes that day, which no clock shows.
pub fn from_micros(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// RFC 3339, UTC, exactly six fractional digits: `2026-11-20T08:15:30.123456Z`.
pub fn rfc3339(at: DateTime<Utc>) -> String {
    use chrono::Timelike;
    let (day, time) = (at.date_naive(), at.time());
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (digits, number) in [
        (0..4, day.year().unsigned_abs()),
        (5..7, day.month()),
        (8..10, day.day()),
        (11..13, time.hour()),
        (14..16, time.minute()),
        (17..19, time.second()),
        (20..26, time.nanosecond() % 1_000_000_000 / 1000),
    ] {
        fill(&mut text[digits], number.into());
    }
    std::str::from_utf8(&text).expect("digits are ASCII").to_owned()
}

/// Instants on the wire, for `#[serde(with = "…")]`: written with six digits, read in any RFC 3339 form.
pub mod wire {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::rfc3339(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
        super::parse_rfc3339(&String::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("must be an RFC 3339 time such as 2026-11-20T08:15:30.123456Z"))
    }

    /// The same for an instant that may be absent or null.
    pub mod option {
        use chrono::{DateTime, Utc};
        use serde::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => super::serialize(at, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
            #[derive(Deserialize)]
            struct Instant(#[serde(with = "super")] DateTime<Utc>);
            Ok(Option::<Instant>::deserialize(deserializer)?.map(|Instant(at)| at))
        }
    }
}

/// Parses any RFC 3339 time, and cuts it to whole microseconds. `None` if the text is not one.
pub fn parse_rfc3339(text: &str) -> Option<DateTime<Utc>> {
    let at = from_micros(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros());
    // An offset or a leap second can move it out of the four-digit years.
    (0..=9999).contains(&at.year()).then_some(at)
}

named! {
    /// The period after which a budget starts again, in UTC.
    pub enum Period {
        /// Never.
        Total = "total",
        Day = "day",
        /// Begins on Monday.
        Week = "week",
        Month = "month",
    }
}

/// The calendar window around an instant. Both ends are absent for [`Period::Total`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalendarWindow {
    pub start: Option<DateTime<Utc>>,
    /// The first instant after it.
    pub end: Option<DateTime<Utc>>,
}

impl Period {
    pub fn window(self, at: DateTime<Utc>) -> CalendarWindow {
        let today = at.date_naive();
        let (first, next) = match self {
            Self::Total => return CalendarWindow { start: None, end: None },
            Self::Day => (Some(today), today.succ_opt()),
            Self::Week => {
                let monday = today.checked_sub_days(Days::new(today.weekday().num_days_from_monday().into()));
                (monday, monday.and_then(|day| day.checked_add_days(Days::new(7))))
            }
            Self::Month => {
                let first = today.with_day(1);
                (first, first.and_then(|day| day.checked_add_months(Months::new(1))))
            }
        };
        let midnight = |day: chrono::NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        CalendarWindow { start: first.map(midnight), end: next.map(midnight) }
    }

    /// The start of the window around `at`.
    pub fn window_start(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.window(at).start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        parse_rfc3339(text).expect("a valid time")
    }

    /// Holds: admin.periods
    #[test]
    fn windows_begin_at_midnight_on_mondays_and_on_the_first() {
        let friday = at("2026-11-20T08:15:30.123456Z");
        assert_eq!(Period::Total.window_start(friday), None);
        assert_eq!(Period::Day.window_start(friday), Some(at("2026-11-20T00:00:00Z")));
        assert_eq!(Period::Week.window_start(friday), Some(at("2026-11-16T00:00:00Z")));
        assert_eq!(Period::Month.window_start(friday), Some(at("2026-11-01T00:00:00Z")));
        assert_eq!(Period::Month.window(at("2026-12-31T23:59:59.999999Z")).end, Some(at("2027-01-01T00:00:00Z")));
    }

    #[test]
    fn a_time_beyond_four_digits_of_a_year_is_none() {
        assert!(parse_rfc3339("9999-12-31T23:59:59.999999Z").is_some());
        for text in ["9999-12-31T23:59:60Z", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_the_library_writes_them() {
        for micros in [0, 1, 999_999, 1_763_626_530_123_456, 253_402_300_799_999_999] {
            let at = from_micros(micros);
            assert_eq!(rfc3339(at), at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
    }

    /// Holds: http.times
    #[test]
    fn times_have_six_digits_whatever_came_in() {
        assert_eq!(rfc3339(at("2026-11-20T09:15:30+01:00")), "2026-11-20T08:15:30.000000Z");
        assert_eq!(rfc3339(at("2026-11-20T08:15:30.123456789Z")), "2026-11-20T08:15:30.123456Z");
    }
}
