//! The values of the copy: read from the views, and written as text that PostgreSQL takes.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use events::log::Exact;
use events::money::{NanoUsd, NanoUsdSum};
use events::time::{from_micros, parse_rfc3339, rfc3339};
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, ValueRef};
use serde::de::DeserializeOwned;

/// The first time that PostgreSQL can store.
const YEAR_ONE: DateTime<Utc> = match NaiveDate::from_ymd_opt(1, 1, 1) {
    Some(day) => NaiveDateTime::new(day, NaiveTime::MIN).and_utc(),
    None => DateTime::UNIX_EPOCH,
};

/// The kind of a column's values, and how the views store them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    /// An integer of a larger range, cut to that of [`Kind::Integer`].
    Saturating,
    /// An integer of up to 127 bits.
    Count,
    /// Microseconds since 1970.
    Instant,
    /// RFC 3339.
    InstantText,
    /// One amount, in nano-dollars.
    Amount,
    /// One amount, as a text in dollars.
    AmountText,
    /// A sum of amounts, in nano-dollars.
    Sum,
    /// A JSON array of fractions, as texts.
    Fractions,
    /// A JSON array of integers of up to 64 bits without a sign, each cut to the range of [`Kind::Integer`].
    Integers,
}

/// A value. Rows are compared by it, and keys are ordered by it, which is the order of PostgreSQL and of SQLite.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Integer(i64),
    Count(i128),
    /// Microseconds since 1970.
    Instant(i64),
    /// Nano-dollars.
    Dollars(i128),
    Text(String),
    /// Numbers as texts.
    List(Vec<String>),
}

/// The values of a row, in the order of its table's columns.
pub type Values = Vec<Value>;

impl Kind {
    /// Its type in PostgreSQL.
    pub const fn in_postgres(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer | Self::Saturating => "bigint",
            Self::Count => "numeric(38,0)",
            Self::Instant | Self::InstantText => "timestamptz",
            Self::Amount | Self::AmountText => "numeric(20,9)",
            Self::Sum => "numeric(38,9)",
            Self::Fractions => "numeric[]",
            Self::Integers => "bigint[]",
        }
    }

    /// Reads a value of the views.
    pub fn read(self, row: &Row<'_>, column: usize) -> Result<Value, rusqlite::Error> {
        let stored = row.get_ref(column)?;
        if stored == ValueRef::Null {
            return Ok(Value::Null);
        }
        let wrong =
            |error: FromSqlError| rusqlite::Error::FromSqlConversionFailure(column, stored.data_type(), error.into());
        self.value(stored).map_err(wrong)
    }

    fn value(self, stored: ValueRef<'_>) -> Result<Value, FromSqlError> {
        let exact = || Exact::column_result(stored).map(|Exact(number)| number);
        Ok(match self {
            Self::Text => Value::Text(text(stored)?),
            Self::Integer => Value::Integer(stored.as_i64()?),
            Self::Saturating => Value::Integer(i64::try_from(exact()?).unwrap_or(i64::MAX)),
            Self::Count => Value::Count(exact()?),
            Self::Instant => Value::Instant(stored.as_i64()?),
            Self::InstantText => Value::Instant(instant(stored.as_str()?)?.timestamp_micros()),
            Self::Amount | Self::Sum => Value::Dollars(exact()?),
            Self::AmountText => {
                let amount: NanoUsd = stored.as_str()?.parse().map_err(|error| FromSqlError::Other(Box::new(error)))?;
                Value::Dollars(amount.nanos().into())
            }
            Self::Fractions => Value::List(array(stored)?),
            Self::Integers => Value::List(array(stored)?.into_iter().map(capped).collect()),
        })
    }
}

/// A text without the one character that PostgreSQL cannot store. Different texts stay different, and in their order, because keys
/// have texts that clients choose.
fn text(stored: ValueRef<'_>) -> Result<String, FromSqlError> {
    let text = stored.as_str()?;
    Ok(if text.contains(['\0', '\u{1}']) {
        text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}")
    } else {
        text.to_owned()
    })
}

/// A time that PostgreSQL can store: it has no year 0.
fn instant(text: &str) -> Result<DateTime<Utc>, FromSqlError> {
    let at = parse_rfc3339(text).ok_or(FromSqlError::InvalidType)?;
    Ok(at.max(YEAR_ONE))
}

fn array<T: DeserializeOwned>(stored: ValueRef<'_>) -> Result<Vec<T>, FromSqlError> {
    serde_json::from_str(stored.as_str()?).map_err(|error| FromSqlError::Other(Box::new(error)))
}

/// A number as a bigint: larger ones would be times beyond all ages, or more requests than a log has positions.
fn capped(number: u64) -> String {
    number.min(i64::MAX.unsigned_abs()).to_string()
}

impl Value {
    /// The text that PostgreSQL reads and shows; `None` is null.
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::List(numbers) => Some(format!("{{{}}}", numbers.join(","))),
            Self::Integer(number) => Some(number.to_string()),
            Self::Count(number) => Some(number.to_string()),
            Self::Instant(micros) => Some(rfc3339(from_micros(*micros))),
            Self::Dollars(nanos) => Some(NanoUsdSum::new(*nanos).to_string()),
            Self::Text(text) => Some(text.clone()),
        }
    }

    /// The value of a text that [`Self::shown`] wrote.
    pub fn parse(kind: Kind, shown: Option<String>) -> Result<Self, UnreadableValue> {
        let Some(shown) = shown else { return Ok(Self::Null) };
        let parsed = match kind {
            Kind::Text => return Ok(Self::Text(shown)),
            Kind::Integer | Kind::Saturating => shown.parse().ok().map(Self::Integer),
            Kind::Count => shown.parse().ok().map(Self::Count),
            Kind::Instant | Kind::InstantText => parse_rfc3339(&shown).map(|at| Self::Instant(at.timestamp_micros())),
            Kind::Amount | Kind::AmountText | Kind::Sum => {
                shown.parse().ok().map(|dollars: NanoUsdSum| Self::Dollars(dollars.nanos()))
            }
            Kind::Fractions | Kind::Integers => list(&shown).map(Self::List),
        };
        parsed.ok_or(UnreadableValue { kind, shown })
    }
}

fn list(shown: &str) -> Option<Vec<String>> {
    let inner = shown.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))?;
    Some(if inner.is_empty() { Vec::new() } else { inner.split(',').map(str::to_owned).collect() })
}

/// A value of the copy that nothing of this program wrote.
#[derive(Debug, thiserror::Error)]
#[error("{shown:?} is no value of the kind {kind:?}")]
pub struct UnreadableValue {
    kind: Kind,
    shown: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (kind, value, shown) in [
            (Kind::Text, Value::Text("a, b".to_owned()), "a, b"),
            (Kind::Integer, Value::Integer(-7), "-7"),
            (Kind::Count, Value::Count(i128::from(u64::MAX) + 1), "18446744073709551616"),
            (Kind::Instant, Value::Instant(1), "1970-01-01T00:00:00.000001Z"),
            (Kind::Amount, Value::Dollars(-1), "-0.000000001"),
            (Kind::Sum, Value::Dollars(i128::from(i64::MAX) * 10), "92233720368.547758070"),
        ] {
            assert_eq!(value.shown().as_deref(), Some(shown));
            assert_eq!(Value::parse(kind, Some(shown.to_owned())).expect("a value"), value);
        }
        for numbers in [vec![], vec!["7".to_owned()], vec!["0.5".to_owned(), "1".to_owned()]] {
            let list = Value::List(numbers);
            assert_eq!(Value::parse(Kind::Fractions, list.shown()).expect("a list"), list);
        }
        assert_eq!(Value::Null.shown(), None);
        for (kind, wrong) in [(Kind::Integer, "x"), (Kind::Sum, "1e3"), (Kind::Instant, "today"), (Kind::Integers, "7")]
        {
            assert!(Value::parse(kind, Some(wrong.to_owned())).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn texts_lose_the_character_that_postgresql_cannot_store_but_stay_different_and_in_order() {
        let in_order =
            ["a", "a\0", "a\0\0", "a\0\u{1}", "a\0b", "a\u{1}", "a\u{1}\u{1}", "a\u{1}b", "a\u{2}", "a!", "a\u{fffd}"];
        let texts = in_order.map(|text| Kind::Text.value(ValueRef::Text(text.as_bytes())).expect("a text"));
        assert!(texts.is_sorted_by(|one, next| one < next), "{texts:?}");
        assert!(texts.iter().all(|text| text.shown().is_some_and(|text| !text.contains('\0'))), "{texts:?}");
    }

    #[test]
    fn a_time_in_the_year_0_is_the_first_one_that_postgresql_can_store() {
        let at = Kind::InstantText.value(ValueRef::Text(b"0000-06-01T00:00:00.000000Z")).expect("a time");
        assert_eq!(at.shown().as_deref(), Some("0001-01-01T00:00:00.000000Z"));
    }
}
