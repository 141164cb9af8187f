//! Requests and their lives: where in the log their events stand, and what the view knows of them by itself.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::ids::KeyId;
use events::time::from_micros;
use rusqlite::{Connection, OptionalExtension};

use crate::views::{Question, View, ViewsError};

const LAST_USE: &str = include_str!("last_use.sql");

/// When each of these keys last asked for a model.
pub struct LastUses {
    pub keys: Vec<KeyId>,
}

impl Question for LastUses {
    type Answer = HashMap<KeyId, DateTime<Utc>>;
    const VIEWS: &'static [View] = &[View::Inferences];

    fn answer(self, db: &Connection) -> Result<HashMap<KeyId, DateTime<Utc>>, ViewsError> {
        let mut statement = db.prepare_cached(LAST_USE)?;
        let mut found = HashMap::new();
        for key in self.keys {
            let last: Option<i64> = statement.query_row([key.to_string()], |row| row.get(0)).optional()?;
            found.extend(last.map(|micros| (key, from_micros(micros))));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::tests::plan;

    #[test]
    fn the_last_use_of_a_key_is_found_by_an_index() {
        let steps = plan::of(include_str!("../../../../migrations/sqlite/views/0004_inferences.sql"), LAST_USE);
        assert_eq!(steps, ["SEARCH inferences USING INDEX inferences_by_key (key_id=?)"]);
    }
}
