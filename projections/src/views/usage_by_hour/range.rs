//! The time range of a question, between any two instants. Whole hours are answered from `usage_by_hour`, the rest before
//! and after them from the requests.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use events::time::{from_micros, rfc3339};

pub(super) const SECONDS_PER_HOUR: i64 = 3600;
pub const MICROS_PER_HOUR: i64 = SECONDS_PER_HOUR * 1_000_000;

/// A range of time in microseconds since 1970: `from` is included, `to` is not. `None` leaves that end open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// A half-open interval in any unit: `from` is included, `to` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

/// A range split into whole hours and parts of hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Whole hours, in seconds since 1970.
    pub hours: Span,
    /// The parts of hours at its beginning and at its end, in microseconds. Empty if the range begins or ends on the hour.
    pub edges: [Span; 2],
}

impl Range {
    pub fn parts(self) -> Parts {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(i64::MAX));
        if from >= to {
            return Parts { hours: Span::default(), edges: [Span::default(); 2] };
        }
        // The first hour that begins in the range, and the hour in which the range ends.
        let first = from.div_euclid(MICROS_PER_HOUR) + i64::from(from.rem_euclid(MICROS_PER_HOUR) > 0);
        let last = if self.to.is_none() { i64::MAX / MICROS_PER_HOUR } else { to.div_euclid(MICROS_PER_HOUR) };
        let (hours, early, late) = if first > last {
            (Span::default(), Span { from, to }, Span::default())
        } else {
            let late = if self.to.is_none() { Span::default() } else { Span { from: last * MICROS_PER_HOUR, to } };
            (Span { from: first, to: last }, Span { from, to: first * MICROS_PER_HOUR }, late)
        };
        let seconds = Span { from: hours.from * SECONDS_PER_HOUR, to: hours.to * SECONDS_PER_HOUR };
        Parts { hours: seconds, edges: [early, late].map(|edge| if edge.is_empty() { Span::default() } else { edge }) }
    }
}

impl Span {
    pub const fn is_empty(self) -> bool {
        self.from >= self.to
    }
}

impl Parts {
    /// Whether the range contains a part of an hour.
    pub fn has_partial_hours(&self) -> bool {
        self.edges.iter().any(|edge| !edge.is_empty())
    }
}

/// The first day of a week, which begins on Monday.
pub fn monday_of(day: NaiveDate) -> Option<NaiveDate> {
    day.checked_sub_days(chrono::Days::new(day.weekday().num_days_from_monday().into()))
}

/// Hour, day, week and month of an instant, in the format of the view.
pub fn calendar(at: DateTime<Utc>) -> [String; 4] {
    let hour = from_micros(at.timestamp_micros().div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR);
    let day = at.date_naive();
    let week = monday_of(day).unwrap_or(day).to_string();
    let day = day.to_string();
    let month = day.get(..7).unwrap_or_default().to_owned();
    [rfc3339(hour), day, week, month]
}

#[cfg(test)]
mod tests {
    use events::time::parse_rfc3339;

    use super::*;

    fn shown(micros: i64) -> String {
        rfc3339(from_micros(micros))[11..].trim_end_matches('Z').to_owned()
    }

    fn range(from: Option<&str>, to: Option<&str>) -> Range {
        let micros = |text: &str| parse_rfc3339(&format!("2026-11-20T{text}Z")).expect("a time").timestamp_micros();
        Range { from: from.map(micros), to: to.map(micros) }
    }

    /// Whole hours and both edges, as times of the day.
    fn parts(from: &str, to: &str) -> [Option<(String, String)>; 3] {
        let Parts { hours, edges } = range(Some(from), Some(to)).parts();
        let hours = Span { from: hours.from * 1_000_000, to: hours.to * 1_000_000 };
        [hours, edges[0], edges[1]].map(|span| (!span.is_empty()).then(|| (shown(span.from), shown(span.to))))
    }

    fn span(from: &str, to: &str) -> Option<(String, String)> {
        Some((format!("{from}.000000"), format!("{to}.000000")))
    }

    #[test]
    fn parts_of_hours_are_the_edges_of_a_range() {
        for (from, to, wanted) in [
            ("08:00:00", "10:00:00", [span("08:00:00", "10:00:00"), None, None]),
            ("08:30:00", "10:00:00", [span("09:00:00", "10:00:00"), span("08:30:00", "09:00:00"), None]),
            ("08:00:00", "10:15:00", [span("08:00:00", "10:00:00"), None, span("10:00:00", "10:15:00")]),
            ("08:30:00", "09:15:00", [None, span("08:30:00", "09:00:00"), span("09:00:00", "09:15:00")]),
            ("08:30:00", "08:45:00", [None, span("08:30:00", "08:45:00"), None]),
            ("08:30:00", "09:00:00", [None, span("08:30:00", "09:00:00"), None]),
            ("09:00:00", "09:15:00", [None, None, span("09:00:00", "09:15:00")]),
            ("09:00:00", "09:00:00", [None, None, None]),
            ("09:15:00", "08:30:00", [None, None, None]),
        ] {
            assert_eq!(parts(from, to), wanted, "{from} to {to}");
        }
        let open = range(Some("08:30:00"), None).parts();
        assert!(open.hours.to > 9_000_000_000 && open.edges[1].is_empty() && !open.edges[0].is_empty(), "{open:?}");
        assert!(
            !range(None, None).parts().has_partial_hours()
                && !range(None, Some("00:00:00")).parts().has_partial_hours()
        );
    }

    #[test]
    fn an_instant_has_its_hour_its_day_its_week_and_its_month() {
        let at = parse_rfc3339("2027-01-03T23:59:59.999999Z").expect("a time");
        assert_eq!(calendar(at), ["2027-01-03T23:00:00.000000Z", "2027-01-03", "2026-12-28", "2027-01"]);
    }
}
