//! The time range of a query.

use chrono::{NaiveDate, NaiveTime};
use events::refusal::Refusal;
use events::time::{from_micros, rfc3339};
use projections::parameter_text::date;
use projections::views::usage_by_hour::{MICROS_PER_HOUR, Range, monday_of};

use crate::parameters::Parameters;

/// The last instant of the year 9999, the end of RFC 3339's range.
const MICROS_MAX: i64 = 253_402_300_799_999_999;

/// The intersection of `from` and `to` with the filters `hour`, `day`, `week` and `month`.
pub fn take(parameters: &mut Parameters) -> Result<Range, Refusal> {
    let mut micros = |name| Ok::<_, Refusal>(parameters.time(name)?.map(|at| at.timestamp_micros()));
    let mut range = Range { from: micros("from")?, to: micros("to")? };
    if let Some(hour) = parameters.time("hour")? {
        let from = hour.timestamp_micros().div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR;
        narrow(&mut range, from, from + MICROS_PER_HOUR);
    }
    type Days = fn(&str) -> Option<(NaiveDate, NaiveDate)>;
    let calendars: [(&str, &str, Days); 3] = [
        ("day", "must be a day such as 2026-11-20", day),
        ("week", "must be a day of the week, such as 2026-11-16", week),
        ("month", "must be a month such as 2026-11", month),
    ];
    for (name, reason, days) in calendars {
        if let Some(text) = parameters.text(name) {
            let (first, next) = days(&text).ok_or_else(|| Refusal::invalid(name, reason))?;
            narrow(&mut range, midnight(first), midnight(next));
        }
    }
    Ok(range)
}

fn narrow(range: &mut Range, from: i64, to: i64) {
    range.from = Some(range.from.map_or(from, |ours| ours.max(from)));
    let to = to.min(MICROS_MAX);
    range.to = Some(range.to.map_or(to, |ours| ours.min(to)));
}

/// The bounds as RFC 3339 times.
pub fn shown(range: Range) -> [Option<String>; 2] {
    [range.from, range.to].map(|micros| micros.map(|micros| rfc3339(from_micros(micros))))
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

fn midnight(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(query: &str) -> Range {
        take(&mut Parameters::parse(query).expect("parameters")).expect("a range")
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
    }

    #[test]
    fn an_answer_says_the_range_that_it_is_for() {
        assert_eq!(shown(range("")), [None, None]);
        let day = shown(range("day=2026-11-20&from=2026-11-20T08:30:00%2B01:00"));
        assert_eq!(day.map(Option::unwrap_or_default), ["2026-11-20T07:30:00.000000Z", "2026-11-21T00:00:00.000000Z"]);
        for last in ["hour=9999-12-31T23:00:00Z", "day=9999-12-31", "week=9999-12-31", "month=9999-12"] {
            assert_eq!(shown(range(last))[1].as_deref(), Some("9999-12-31T23:59:59.999999Z"), "{last}");
        }
    }
}
