//! Sums that cannot overflow. SQLite's integers have 64 bits: beyond them `sum()` is an error and `+` yields a float, which
//! no column accepts. Sums are `i128` here, in columns for [`Exact`] integers, which `exact_add` and `exact_sums` read.
//!
//! 127 bits hold every sum of every log: an event adds at most 2^64 to a sum, and positions have 63 bits.

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Error, Row};

pub use events_log::Exact;

const BYTES: usize = size_of::<i128>();

/// Registers the function `exact_add(a, b)` and the aggregate `exact_sums(a, b, …)`, which [`sums`] reads.
pub fn register(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("exact_add", 2, flags, |values| {
        let (Exact(one), Exact(other)) = (values.get(0)?, values.get(1)?);
        one.checked_add(other).map(Exact).ok_or_else(overflow)
    })?;
    db.create_aggregate_function("exact_sums", -1, flags, ExactSums)
}

/// Reads the result of `exact_sums` with `N` arguments.
pub fn sums<const N: usize>(row: &Row<'_>, column: usize) -> rusqlite::Result<[i128; N]> {
    let bytes = row.get_ref(column)?.as_blob().map_err(Error::from)?;
    let mut sums = [0; N];
    if bytes.len() != N * BYTES {
        return Err(FromSqlError::InvalidBlobSize { expected_size: N * BYTES, blob_size: bytes.len() }.into());
    }
    for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks().0) {
        *sum = i128::from_le_bytes(*bytes);
    }
    Ok(sums)
}

/// Sums several columns with one call for each row, where one aggregate for each column would need as many calls.
struct ExactSums;

impl Aggregate<Vec<i128>, Vec<u8>> for ExactSums {
    fn init(&self, values: &mut Context<'_>) -> rusqlite::Result<Vec<i128>> {
        Ok(vec![0; values.len()])
    }

    fn step(&self, values: &mut Context<'_>, sums: &mut Vec<i128>) -> rusqlite::Result<()> {
        for (column, sum) in sums.iter_mut().enumerate() {
            let Exact(number) = values.get(column)?;
            *sum = sum.checked_add(number).ok_or_else(overflow)?;
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sums: Option<Vec<i128>>) -> rusqlite::Result<Vec<u8>> {
        Ok(sums.unwrap_or_default().into_iter().flat_map(i128::to_le_bytes).collect())
    }
}

fn overflow() -> Error {
    Error::UserFunctionError("a sum does not fit 127 bits".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let db = Connection::open_in_memory().expect("a database");
        register(&db).expect("the functions");
        db.execute_batch("CREATE TABLE t (a ANY NOT NULL, b ANY NOT NULL) STRICT").expect("a table");
        db
    }

    #[test]
    fn numbers_are_integers_as_long_as_they_fit_and_come_back_whole() {
        let db = database();
        let edges = [0, -1, i64::MAX.into(), i64::MIN.into(), i128::from(i64::MAX) + 1, i128::MAX, i128::MIN];
        for number in edges {
            let (kind, read): (String, Exact) = db
                .query_row("SELECT typeof(?1), ?1", [Exact(number)], |row| Ok((row.get(0)?, row.get(1)?)))
                .expect("a row");
            let wanted = if i64::try_from(number).is_ok() { "integer" } else { "text" };
            assert_eq!((kind.as_str(), read.0), (wanted, number));
        }
    }

    #[test]
    fn sums_go_on_where_integers_end() {
        let db = database();
        for (a, b) in [(i128::from(u64::MAX), 1), (u64::MAX.into(), -5), (3, i64::MIN.into())] {
            db.execute("INSERT INTO t (a, b) VALUES (?1, ?2)", [Exact(a), Exact(b)]).expect("a row");
        }
        db.execute("UPDATE t SET a = exact_add(a, ?1), b = exact_add(b, ?2)", [Exact(u64::MAX.into()), Exact(-1)])
            .expect("a change");
        let found: [i128; 2] =
            db.query_row("SELECT exact_sums(a, b) FROM t", [], |row| sums(row, 0)).expect("the sums");
        assert_eq!(found, [5 * i128::from(u64::MAX) + 3, i128::from(i64::MIN) - 7]);
        let by_size = db.query_row("SELECT exact_sums(a) FROM t WHERE a > 9", [], |row| sums::<1>(row, 0));
        assert_eq!(by_size, Ok(found.map(|_| found[0])[..1].try_into().expect("one")), "texts are above all integers");
    }

    #[test]
    fn values_that_are_not_integers_are_refused() {
        let db = database();
        for (sql, what) in [("'12x'", "no digits"), ("1.5", "a float"), ("NULL", "nothing"), ("x'00'", "bytes")] {
            let added = db.query_row(&format!("SELECT exact_add({sql}, 1)"), [], |row| row.get::<_, Exact>(0));
            assert!(added.is_err(), "{what}");
        }
        let too_few = db.query_row("SELECT exact_sums(1)", [], |row| sums::<2>(row, 0));
        assert!(too_few.is_err());
    }
}
