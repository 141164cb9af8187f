//! Questions about requests: the log positions of their events, and the columns of the view.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::ids::{KeyId, RequestId};
use events::money::NanoUsdSum;
use events::time::from_micros;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::projector::Status;
use super::search::{InferenceFilter, search};
use crate::views::exact::Exact;
use crate::views::{PageBounds, Question, SearchResult, View, ViewsError};
use crate::visible::Visible;

const BY_REQUEST: &str = concat!(include_str!("select.sql"), include_str!("by_request.sql"));
const INCIDENTS: &str = include_str!("incidents.sql");
const LAST_USE: &str = include_str!("last_use.sql");

/// A page of requests, newest first. It is shorter if too many requests had to be scanned for those that match.
pub struct InferenceList {
    pub visible: Visible,
    pub filter: InferenceFilter,
    pub page: PageBounds,
}

/// One request; `None` if the caller cannot see it.
pub struct OneInference {
    pub visible: Visible,
    pub request: RequestId,
}

/// A page of requests with the columns that usage is counted from. It includes refused requests.
pub struct Counted {
    pub visible: Visible,
    pub filter: InferenceFilter,
    pub page: PageBounds,
}

/// When each of these keys last requested a model.
pub struct LastRequests {
    pub keys: Vec<KeyId>,
}

/// A request in the view, with the log positions of its events.
#[derive(Clone, Debug)]
pub struct StoredRequest {
    /// Position of its admission or refusal.
    pub position: u64,
    pub id: String,
    pub status: String,
    pub cost: NanoUsdSum,
    pub hold: Option<u64>,
    pub outcome: Option<u64>,
    pub hold_end: Option<u64>,
    /// Positions of failed attempts and corrections.
    pub incidents: Vec<u64>,
}

/// A request whose usage is counted.
#[derive(Clone, Debug)]
pub struct CountedRequest {
    pub position: u64,
    pub recorded_at: DateTime<Utc>,
    /// Partner, tenant, user, key, model, provider, backend and payer; empty if unknown.
    pub dimensions: [String; 8],
    pub is_refused: bool,
    pub cost_nanos: i128,
    /// The corrections that the cost includes.
    pub adjusted_nanos: i128,
    pub outcome: Option<u64>,
}

impl StoredRequest {
    /// Reads a row of `select.sql`.
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            position: row.get(0)?,
            id: row.get(1)?,
            status: row.get(2)?,
            cost: NanoUsdSum::new(row.get::<_, Exact>(3)?.0),
            hold: row.get(4)?,
            outcome: row.get(5)?,
            hold_end: row.get(6)?,
            incidents: Vec::new(),
        })
    }

    fn read_incidents(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
        let mut statement = db.prepare_cached(INCIDENTS)?;
        self.incidents = statement.query_map([&self.id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The positions of all its events.
    pub fn positions(&self) -> Vec<u64> {
        let known = [Some(self.position), self.hold, self.outcome, self.hold_end];
        let mut positions: Vec<u64> = known.into_iter().flatten().chain(self.incidents.iter().copied()).collect();
        positions.sort_unstable();
        positions
    }
}

impl CountedRequest {
    /// Reads a row of `counted.sql`.
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let mut dimensions = <[String; 8]>::default();
        for (column, value) in (2..).zip(&mut dimensions) {
            *value = row.get::<_, Option<String>>(column)?.unwrap_or_default();
        }
        Ok(Self {
            position: row.get(0)?,
            recorded_at: from_micros(row.get(1)?),
            dimensions,
            is_refused: row.get_ref(10)?.as_str()? == Status::Refused.as_str(),
            cost_nanos: row.get::<_, Exact>(11)?.0,
            outcome: row.get(12)?,
            adjusted_nanos: row.get::<_, Exact>(13)?.0,
        })
    }
}

impl Question for InferenceList {
    type Answer = SearchResult<StoredRequest>;
    const VIEWS: &'static [View] = &[View::Inferences];

    fn answer(self, db: &Connection) -> Result<SearchResult<StoredRequest>, ViewsError> {
        let mut result =
            search(db, self.visible, &self.filter, self.page, (|index| index.listed, StoredRequest::read))?;
        result.rows.iter_mut().try_for_each(|request| request.read_incidents(db))?;
        Ok(result)
    }
}

impl Question for OneInference {
    type Answer = Option<StoredRequest>;
    const VIEWS: &'static [View] = &[View::Inferences];

    fn answer(self, db: &Connection) -> Result<Option<StoredRequest>, ViewsError> {
        let parameters = named_params! {
            ":request": self.request.to_string(),
            ":visible_partner": self.visible.partner(), ":visible_tenant": self.visible.tenant(),
        };
        let mut request = db.prepare_cached(BY_REQUEST)?.query_row(parameters, StoredRequest::read).optional()?;
        request.iter_mut().try_for_each(|request| request.read_incidents(db))?;
        Ok(request)
    }
}

impl Question for Counted {
    type Answer = SearchResult<CountedRequest>;
    const VIEWS: &'static [View] = &[View::Inferences];

    fn answer(self, db: &Connection) -> Result<SearchResult<CountedRequest>, ViewsError> {
        search(db, self.visible, &self.filter, self.page, (|index| index.counted, CountedRequest::read))
    }
}

impl Question for LastRequests {
    type Answer = HashMap<KeyId, DateTime<Utc>>;
    const VIEWS: &'static [View] = &[View::Inferences];

    fn answer(self, db: &Connection) -> Result<HashMap<KeyId, DateTime<Utc>>, ViewsError> {
        let mut statement = db.prepare_cached(LAST_USE)?;
        let mut result = HashMap::new();
        for key in self.keys {
            let last: Option<i64> = statement.query_row([key.to_string()], |row| row.get(0)).optional()?;
            result.extend(last.map(|micros| (key, from_micros(micros))));
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::tests::plan;

    #[test]
    fn the_last_use_of_a_key_is_found_by_an_index() {
        let steps = plan::of(include_str!("../../../../migrations/sqlite/views/0004_inferences.sql"), LAST_USE);
        assert_eq!(steps, ["SEARCH rows_inferences USING INDEX inferences_by_key (key_id=?)"]);
    }
}
