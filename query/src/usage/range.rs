//! The time that a question is about: any instants. Whole hours of it are answered from `usage_by_hour`, and what is left
//! before and behind them from the requests themselves.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use events::time::{from_micros, rfc3339};
use events::wire::Refusal;

use crate::parameters::{Parameters, date};

const SECONDS_AN_HOUR: i64 = 3600;
const MICROS_A_SECOND: i64 = 1_000_000;
const MICROS_AN_HOUR: i64 = SECONDS_AN_HOUR * MICROS_A_SECOND;
/// The last instant of the year 9999, behind which RFC 3339 has no dates.
const MICROS_MAX: i64 = 253_402_300_799_999_999;

/// Microseconds since 1970, from the first to before the second; `None` where there is no end to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// From the first to before the second, in whatever unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

/// A range, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Whole hours, in seconds since 1970.
    pub hours: Span,
    /// What lies in an hour of which the range has not all, in microseconds: at its beginning and at its end. Empty where
    /// the range begins or ends with an hour.
    pub edges: [Span; 2],
}

impl Range {
    /// From `from` and `to`, and from the filters `hour`, `day`, `week` and `month`: what all of them have in common.
    pub fn take(parameters: &mut Parameters) -> Result<Self, Refusal> {
        let mut micros = |name| Ok::<_, Refusal>(parameters.time(name)?.map(|at| at.timestamp_micros()));
        let mut range = Self { from: micros("from")?, to: micros("to")? };
        if let Some(hour) = parameters.time("hour")? {
            let from = hour.timestamp().div_euclid(SECONDS_AN_HOUR) * MICROS_AN_HOUR;
            range.narrow(from, from + MICROS_AN_HOUR);
        }
        type Days = fn(&str) -> Option<(NaiveDate, NaiveDate)>;
        let calendars: [(&str, &str, Days); 3] = [
            ("day", "must be like 2026-11-20", day),
            ("week", "must be a day of the week, like 2026-11-16", week),
            ("month", "must be like 2026-11", month),
        ];
        for (name, reason, days) in calendars {
            if let Some(text) = parameters.text(name) {
                let (first, next) = days(&text).ok_or_else(|| Refusal::invalid(name, reason))?;
                range.narrow(midnight(first), midnight(next));
            }
        }
        Ok(range)
    }

    fn narrow(&mut self, from: i64, to: i64) {
        self.from = Some(self.from.map_or(from, |ours| ours.max(from)));
        let to = to.min(MICROS_MAX);
        self.to = Some(self.to.map_or(to, |ours| ours.min(to)));
    }

    /// As an answer says it.
    pub fn shown(self) -> [Option<String>; 2] {
        [self.from, self.to].map(|micros| micros.map(|micros| rfc3339(from_micros(micros))))
    }

    pub fn parts(self) -> Parts {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(i64::MAX));
        if from >= to {
            return Parts { hours: Span::default(), edges: [Span::default(); 2] };
        }
        // The first hour that begins in the range, and the one that the range ends in.
        let first = from.div_euclid(MICROS_AN_HOUR) + i64::from(from.rem_euclid(MICROS_AN_HOUR) > 0);
        let last = if self.to.is_none() { i64::MAX / MICROS_AN_HOUR } else { to.div_euclid(MICROS_AN_HOUR) };
        let (hours, early, late) = if first > last {
            (Span::default(), Span { from, to }, Span::default())
        } else {
            let late = if self.to.is_none() { Span::default() } else { Span { from: last * MICROS_AN_HOUR, to } };
            (Span { from: first, to: last }, Span { from, to: first * MICROS_AN_HOUR }, late)
        };
        let seconds = Span { from: hours.from * SECONDS_AN_HOUR, to: hours.to * SECONDS_AN_HOUR };
        Parts { hours: seconds, edges: [early, late].map(|edge| if edge.is_empty() { Span::default() } else { edge }) }
    }
}

impl Span {
    pub const fn is_empty(self) -> bool {
        self.from >= self.to
    }
}

impl Parts {
    /// Whether there is an hour of which the range has a part alone.
    pub fn has_edges(&self) -> bool {
        self.edges.iter().any(|edge| !edge.is_empty())
    }
}

fn day(text: &str) -> Option<(NaiveDate, NaiveDate)> {
    let day = date(text)?;
    Some((day, day.succ_opt()?))
}

fn week(text: &str) -> Option<(NaiveDate, NaiveDate)> {
    let monday = monday_of(date(text)?)?;
    Some((monday, monday.checked_add_days(chrono::Days::new(7))?))
}

fn month(text: &str) -> Option<(NaiveDate, NaiveDate)> {
    let first = date(&format!("{text}-01"))?;
    Some((first, first.checked_add_months(chrono::Months::new(1))?))
}

/// Weeks begin on Monday.
fn monday_of(day: NaiveDate) -> Option<NaiveDate> {
    day.checked_sub_days(chrono::Days::new(day.weekday().num_days_from_monday().into()))
}

fn midnight(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
}

/// Hour, day, week and month of an instant, as the view writes them.
pub fn calendar(at: DateTime<Utc>) -> [String; 4] {
    let hour = from_micros(at.timestamp_micros().div_euclid(MICROS_AN_HOUR) * MICROS_AN_HOUR);
    let day = at.date_naive();
    let week = monday_of(day).unwrap_or(day).to_string();
    let day = day.to_string();
    let month = day.get(..7).unwrap_or_default().to_owned();
    [rfc3339(hour), day, week, month]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asker::QueryString;

    fn range(query: &str) -> Range {
        Range::take(&mut Parameters::parse(&QueryString(query.to_owned())).expect("parameters")).expect("a range")
    }

    fn shown(micros: i64) -> String {
        rfc3339(from_micros(micros))[11..].trim_end_matches('Z').to_owned()
    }

    /// Whole hours and both edges, as times of the day.
    fn parts(query: &str) -> [Option<(String, String)>; 3] {
        let Parts { hours, edges } = range(query).parts();
        let hours = Span { from: hours.from * MICROS_A_SECOND, to: hours.to * MICROS_A_SECOND };
        [hours, edges[0], edges[1]].map(|span| (!span.is_empty()).then(|| (shown(span.from), shown(span.to))))
    }

    fn span(from: &str, to: &str) -> Option<(String, String)> {
        Some((format!("{from}.000000"), format!("{to}.000000")))
    }

    #[test]
    fn hours_of_which_the_range_has_a_part_alone_are_its_edges() {
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
            assert_eq!(parts(&format!("from=2026-11-20T{from}Z&to=2026-11-20T{to}Z")), wanted, "{from} to {to}");
        }
        let open = range("from=2026-11-20T08:30:00Z").parts();
        assert!(open.hours.to > 9_000_000_000 && open.edges[1].is_empty() && !open.edges[0].is_empty(), "{open:?}");
        assert!(!range("").parts().has_edges() && !range("to=2026-11-20").parts().has_edges());
    }

    #[test]
    fn a_day_a_week_and_a_month_are_what_the_calendar_says() {
        for (named, from, to) in [
            ("hour=2026-11-20T08:59:59Z", "2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z"),
            ("day=2026-11-20", "2026-11-20", "2026-11-21"),
            ("week=2026-11-16", "2026-11-16", "2026-11-23"),
            ("week=2026-11-22", "2026-11-16", "2026-11-23"),
            ("week=2027-01-01", "2026-12-28", "2027-01-04"),
            ("month=2026-12", "2026-12-01", "2027-01-01"),
            ("month=2026-12&day=2026-12-31&from=2026-12-31T12:00:00Z", "2026-12-31T12:00:00Z", "2027-01-01"),
        ] {
            assert_eq!(range(named), range(&format!("from={from}&to={to}")), "{named}");
        }
        let at = events::time::parse_rfc3339("2027-01-03T23:59:59.999999Z").expect("a time");
        assert_eq!(calendar(at), ["2027-01-03T23:00:00.000000Z", "2027-01-03", "2026-12-28", "2027-01"]);
    }

    #[test]
    fn an_answer_says_the_range_that_it_is_for() {
        assert_eq!(range("").shown(), [None, None]);
        let day = range("day=2026-11-20&from=2026-11-20T08:30:00%2B01:00").shown();
        assert_eq!(day.map(Option::unwrap_or_default), ["2026-11-20T07:30:00.000000Z", "2026-11-21T00:00:00.000000Z"]);
        for last in ["hour=9999-12-31T23:00:00Z", "day=9999-12-31", "week=9999-12-31", "month=9999-12"] {
            assert_eq!(range(last).shown()[1].as_deref(), Some("9999-12-31T23:59:59.999999Z"), "{last}");
        }
    }
}
