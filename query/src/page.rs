//! A page of a list: newest first, cut by position. A cursor is the position of the last item that was seen.

use axum::Json;
use events::wire::Refusal;
use serde::Serialize;
use serde_json::Value;

use crate::parameters::Parameters;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Items below this position.
    pub before: i64,
    /// Items on the page, 1 to 1000.
    pub limit: usize,
}

impl Cut {
    /// From `limit` and `cursor`.
    pub fn take(parameters: &mut Parameters) -> Result<Self, Refusal> {
        let before = parameters.cursor()?.unwrap_or(i64::MAX);
        Ok(Self { before, limit: parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)? })
    }

    /// For `LIMIT`: one more than the page, which says whether there is another.
    pub fn rows(self) -> i64 {
        i64::try_from(self.limit).map_or(i64::MAX, |limit| limit + 1)
    }
}

/// A page as it goes out.
#[derive(Debug, Serialize)]
pub struct Page {
    pub as_of_position: u64,
    pub items: Vec<Value>,
    pub next_cursor: Option<String>,
}

/// An item with the position that the list is cut by.
pub struct Placed {
    pub position: u64,
    pub item: Value,
}

impl Page {
    /// Everything there is.
    pub fn whole(as_of_position: u64, items: Vec<Value>) -> Json<Self> {
        Json(Self { as_of_position, items, next_cursor: None })
    }

    /// `rows`: the page, and one more where there is another.
    pub fn cut(as_of_position: u64, mut rows: Vec<Placed>, cut: Cut) -> Json<Self> {
        let more = rows.len() > cut.limit;
        rows.truncate(cut.limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.position.to_string());
        let items = rows.into_iter().map(|row| row.item).collect();
        Json(Self { as_of_position, items, next_cursor })
    }
}
