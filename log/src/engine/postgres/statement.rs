//! A statement that is put together from parts, with its values. Equal parts give equal texts, which the session prepares once.

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{Arguments, Encode, Postgres, Type};

use crate::LogError;

/// Can be sent more than once.
#[derive(Default)]
pub(super) struct Statement {
    text: String,
    values: PgArguments,
    count: usize,
}

impl Statement {
    /// Adds a part of the text. Each `?` in it stands for the next value.
    pub(super) fn add(&mut self, part: &str) {
        for piece in part.split_inclusive('?') {
            match piece.strip_suffix('?') {
                Some(before) => {
                    self.count += 1;
                    self.text.push_str(before);
                    self.text.push('$');
                    self.text.push_str(&self.count.to_string());
                }
                None => self.text.push_str(piece),
            }
        }
    }

    /// Adds the next value.
    pub(super) fn bind<'q, T: Encode<'q, Postgres> + Type<Postgres> + 'q>(&mut self, value: T) -> Result<(), LogError> {
        let added = Arguments::add(&mut self.values, value);
        added.map_err(|error| LogError::Stored(format!("a value cannot be sent to the database: {error}")))
    }

    /// The rows that it returns.
    pub(super) async fn rows(&self, connection: &mut PgConnection) -> Result<Vec<PgRow>, sqlx::Error> {
        sqlx::query_with(&self.text, self.values.clone()).fetch_all(connection).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_through_all_parts() {
        let mut statement = Statement::default();
        statement.add("SELECT ?, ?::text");
        statement.add(" FROM ? WHERE a = 1");
        assert_eq!(statement.text, "SELECT $1, $2::text FROM $3 WHERE a = 1");
    }
}
