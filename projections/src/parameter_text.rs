//! The texts of parameters, read strictly. Queries read their query strings with it, and administration what is kept of one.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use events::named::NamedValue;
use events::refusal::Refusal;
use events::time::parse_rfc3339;

/// An RFC 3339 time, or a date: the instant at which it begins in UTC.
pub fn time(name: &str, text: &str) -> Result<DateTime<Utc>, Refusal> {
    let at = parse_rfc3339(text).or_else(|| Some(date(text)?.and_time(NaiveTime::MIN).and_utc()));
    let reason = "must be an RFC 3339 time such as 2026-11-20T08:00:00Z, or a date such as 2026-11-20";
    at.ok_or_else(|| Refusal::invalid(name, reason))
}

/// `2026-11-20` and no other form: years are written with four digits.
pub fn date(text: &str) -> Option<NaiveDate> {
    let date: NaiveDate = text.parse().ok()?;
    (text.len() == 10 && date.to_string() == text).then_some(date)
}

/// One of these words.
pub fn word<T: Copy>(name: &str, text: &str, words: &[NamedValue<T>]) -> Result<T, Refusal> {
    let known = words.iter().find(|word| word.name == text);
    known.map(|word| word.value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|word| word.name).collect();
        Refusal::invalid(name, format!("must be one of {}", words.join(", ")))
    })
}

/// A list of these words, comma-separated; each once, however often it is named.
pub fn words<T: Copy>(name: &str, text: &str, words: &[NamedValue<T>]) -> Result<Vec<T>, Refusal> {
    let named: BTreeSet<&str> = text.split(',').map(str::trim).collect();
    named.into_iter().map(|one| word(name, one, words)).collect()
}
