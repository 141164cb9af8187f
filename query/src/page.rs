//! Pages of lists, newest first, divided by position. A cursor has the name of its list and the position of the last item, so
//! that pages stay the same when items are added, and a cursor of another list is refused.

use events::hex;
use events::refusal::Refusal;
use http::{HeaderMap, HeaderValue};
use openapi::headers::HeaderSpec;
use openapi::schema;
use projections::views::PageBounds;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::parameters::Parameters;

pub const LIMIT_DEFAULT: usize = 100;
pub const LIMIT_MAX: usize = 1000;

/// The headers as they are described.
pub const AS_OF_POSITION_HEADER: HeaderSpec =
    ("x-ledgerway-as-of-position", schema::count, "For NDJSON and CSV: the log position that the page reflects");
pub const NEXT_CURSOR_HEADER: HeaderSpec = (
    "x-ledgerway-next-cursor",
    schema::string,
    "For NDJSON and CSV: the cursor of the next page; absent on the last one",
);

/// The requested page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The name of the list in its cursors.
    pub list: &'static str,
    /// Only items below a position; 1 to 1000 of them.
    pub bounds: PageBounds,
}

impl PageRequest {
    /// Reads `limit` and `cursor`.
    pub fn take(parameters: &mut Parameters, list: &'static str) -> Result<Self, Refusal> {
        let cursor = parameters.text("cursor");
        let before = cursor.map(|text| position_of(list, &text)).transpose()?.unwrap_or(i64::MAX);
        Ok(Self { list, bounds: PageBounds { before, limit: parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)? } })
    }

    /// The page of `rows`, which have one more if there is another page, and the cursor of the next one: after the page, or
    /// where the search for the rows ended.
    pub fn page<T>(
        self,
        mut rows: Vec<T>,
        until: Option<u64>,
        position: impl Fn(&T) -> u64,
    ) -> (Vec<T>, Option<String>) {
        let more = rows.len() > self.bounds.limit;
        rows.truncate(self.bounds.limit);
        let last = rows.last().filter(|_| more).map(position);
        (rows, last.or(until).map(|position| self.below(position)))
    }

    /// The cursor for items below `position`.
    fn below(self, position: u64) -> String {
        format!("{}-{position}", self.list)
    }
}

/// The position in a cursor. Each cursor has one spelling only.
fn position_of(list: &str, cursor: &str) -> Result<i64, Refusal> {
    let digits = cursor.strip_prefix(list).and_then(|rest| rest.strip_prefix('-'));
    let position =
        digits.and_then(|digits| digits.parse().ok().filter(|at: &i64| *at >= 0 && at.to_string() == digits));
    position.ok_or_else(foreign)
}

pub fn foreign() -> Refusal {
    Refusal::invalid("cursor", "is not a cursor of this list")
}

/// A cursor with the last item of a page, as JSON in hexadecimal digits.
pub fn cursor_of(list: &str, last: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(format!("{list}-{}", hex::lower(&serde_json::to_vec(last)?)))
}

/// The last item in such a cursor.
pub fn last_of<T: Serialize + DeserializeOwned>(list: &str, cursor: &str) -> Result<T, Refusal> {
    let digits = cursor.strip_prefix(list).and_then(|rest| rest.strip_prefix('-'));
    let last: T =
        digits.and_then(hex::bytes).and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(foreign)?;
    // A cursor of this list is the same when it is written again.
    if cursor_of(list, &last).is_ok_and(|written| written == cursor) { Ok(last) } else { Err(foreign()) }
}

/// The position and the next cursor of a response: fields of a page, or headers of lines.
pub struct PageMeta {
    pub as_of_position: u64,
    pub next_cursor: Option<String>,
}

impl PageMeta {
    pub fn page<T>(self, items: Vec<T>) -> Page<T> {
        let Self { as_of_position, next_cursor } = self;
        Page { as_of_position, items, next_cursor }
    }

    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AS_OF_POSITION_HEADER.0, HeaderValue::from(self.as_of_position));
        if let Some(cursor) = self.next_cursor.and_then(|cursor| HeaderValue::try_from(cursor).ok()) {
            headers.insert(NEXT_CURSOR_HEADER.0, cursor);
        }
        headers
    }
}

/// A page as JSON.
#[derive(Debug, Serialize)]
pub struct Page<T = Value> {
    pub as_of_position: u64,
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested(query: &str) -> Result<PageRequest, Refusal> {
        PageRequest::take(&mut Parameters::parse(query)?, "audit")
    }

    #[test]
    fn a_cursor_has_one_text() {
        for position in ["0", "9223372036854775807"] {
            let request = requested(&format!("cursor=audit-{position}")).expect("a cursor");
            assert_eq!(request.bounds.before.to_string(), position);
            assert_eq!(request.below(7), "audit-7");
        }
        for other in
            ["", "5", "audit-", "audit-%2B5", "audit-05", "audit--1", "audit-5%20", "audit-9223372036854775808"]
        {
            let refusal = requested(&format!("cursor={other}")).expect_err(other);
            assert_eq!(refusal.details["field"], "cursor", "{other}");
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_none() {
        assert!(
            requested("cursor=keys-5").is_err()
                && requested("cursor=audits-5").is_err()
                && requested("cursor=audi-5").is_err()
        );
    }

    #[test]
    fn a_page_that_was_not_looked_through_goes_on_where_the_search_ended() {
        let request = PageRequest { list: "audit", bounds: PageBounds { before: 100, limit: 2 } };
        let page = |rows: &[u64], until| request.page(rows.to_vec(), until, |row| *row);
        assert_eq!(page(&[9, 8, 7], None), (vec![9, 8], Some("audit-8".to_owned())));
        assert_eq!(page(&[9, 8], None), (vec![9, 8], None));
        assert_eq!(page(&[9], Some(3)), (vec![9], Some("audit-3".to_owned())));
        assert_eq!(page(&[], Some(3)), (vec![], Some("audit-3".to_owned())));
    }
}
