//! The callers of a model: the keys with requests for its name, by whole hours.

use rusqlite::{Connection, Row, named_params};

use super::range::Span;
use crate::views::exact;
use crate::views::page::one_more_than;
use crate::views::{Question, View, ViewsError};
use crate::visible::Visible;

const CALLERS: &str = include_str!("callers.sql");

/// The callers of a model, ordered by their owners. At most one more than `limit`.
pub struct Callers {
    pub visible: Visible,
    pub model: String,
    /// Only those of this tenant, if it is given.
    pub tenant: Option<String>,
    /// Seconds since 1970, on the hour.
    pub hours: Span,
    /// The last one of the page before.
    pub after: Option<CallerKey>,
    pub limit: usize,
}

/// Partner, tenant, user and key; empty for the operator's own requests.
pub type CallerKey = [String; 4];

/// The requests of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCaller {
    pub key: CallerKey,
    /// Admitted ones, with those that failed.
    pub requests: i128,
    pub failed: i128,
    pub refused: i128,
    /// The last hour in which it sent one, in seconds since 1970.
    pub last_hour: i64,
}

impl Question for Callers {
    type Answer = Vec<ModelCaller>;
    const VIEWS: &'static [View] = &[View::UsageByHour];

    fn answer(self, db: &Connection) -> Result<Vec<ModelCaller>, ViewsError> {
        let Self { visible, model, tenant, hours, after, limit } = self;
        let mut statement = db.prepare_cached(CALLERS)?;
        let (continues, after) = (after.is_some(), after.unwrap_or_default());
        let rows = statement.query_map(
            named_params! {
                ":visible_partner": visible.partner(),
                ":visible_tenant": visible.tenant(),
                ":model": model,
                ":tenant": tenant,
                ":from": hours.from,
                ":to": hours.to,
                ":continues": continues,
                ":after_0": after[0],
                ":after_1": after[1],
                ":after_2": after[2],
                ":after_3": after[3],
                ":rows": one_more_than(limit),
            },
            caller,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn caller(row: &Row<'_>) -> rusqlite::Result<ModelCaller> {
    let [requests, failed, refused] = exact::sums(row, 4)?;
    let key = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
    Ok(ModelCaller { key, requests, failed, refused, last_hour: row.get(5)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::tests::plan;

    #[test]
    fn callers_are_read_by_their_hours() {
        let steps = plan::of(include_str!("../../../../migrations/sqlite/views/0003_usage_by_hour.sql"), CALLERS);
        let by_hours = "SEARCH rows_usage_by_hour USING PRIMARY KEY (hour>? AND hour<?)";
        assert!(steps.iter().any(|step| step.contains(by_hours)), "{steps:?}");
    }
}
