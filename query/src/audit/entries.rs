//! Entries of the audit, as they stand in the view.

use std::collections::HashMap;

use events::ids::RequestId;
use events::log::ClientAddress;
use projections::views::ViewsError;
use projections::visible::Visible;
use rusqlite::{Connection, Row, named_params};
use serde_json::Value;

use super::Filter;
use crate::edge::edge;
use crate::names::Names;
use crate::page::Looked;
use crate::record::{Cell, Record};
use crate::since::Instants;

/// Entries that one page looks at.
const LOOKED_AT_MAX: i64 = 50_000;
const INSTANTS: Instants = Instants { next: include_str!("next.sql"), last: include_str!("last.sql") };

/// The two statements that read by one index. What they look at comes in its order, a row at a time, until enough of it
/// counts: asked to order it once more, SQLite would look at all of it first.
#[derive(Clone, Copy)]
struct Index {
    /// Entries that count.
    rows: &'static str,
    /// Where the search ended, and how many entries it went over.
    edge: &'static str,
}

/// One for each index; all of them end the same.
macro_rules! index {
    ($name:literal) => {
        Index {
            rows: concat!(include_str!("select.sql"), include_str!($name), include_str!("page.sql")),
            edge: concat!(include_str!("../edge/select.sql"), include_str!($name)),
        }
    };
}

const BY_RESOURCE: Index = index!("by_resource.sql");
const BY_TENANT: Index = index!("by_tenant.sql");
const BY_POSITION: Index = index!("by_position.sql");

/// One line of the audit.
#[derive(Default)]
pub struct Entry {
    pub position: u64,
    pub recorded_at: String,
    pub actor: String,
    pub action: String,
    pub resource: String,
    pub severity: String,
    pub outcome: String,
    pub request_id: Option<RequestId>,
    pub changes: Value,
}

/// Where requests came from, out of the erasable side table.
pub type Origins = HashMap<RequestId, ClientAddress>;

impl Entry {
    /// Of whom and what it speaks.
    pub fn ids(&self) -> [String; 2] {
        [self.actor.clone(), self.resource_id().to_owned()]
    }

    fn resource_id(&self) -> &str {
        self.resource.split_once('/').map_or("", |(_, id)| id)
    }

    pub fn item(&self, origins: &Origins, names: &Names) -> Record {
        let origin = self.request_id.and_then(|request| origins.get(&request));
        let mut item = Record::default();
        item.put("position", self.position);
        item.put("recorded_at", self.recorded_at.as_str());
        item.put("actor", self.actor.as_str());
        item.put("action", self.action.as_str());
        item.put("resource", self.resource.as_str());
        item.put("severity", self.severity.as_str());
        item.put("outcome", self.outcome.as_str());
        item.put("request_id", self.request_id.map(|id| id.to_string()));
        item.put("ip", origin.map(|origin| origin.ip.as_str()));
        item.put("user_agent", origin.and_then(|origin| origin.user_agent.as_deref()));
        item.put("changes", Cell::Json(self.changes.clone()));
        item.put("actor_name", names.get(&self.actor));
        item.put("resource_name", names.get(self.resource_id()));
        item
    }
}

/// Newest first; one more than the page where there is another.
pub fn list(db: &Connection, visible: Visible, filter: &Filter) -> Result<Looked<Entry>, ViewsError> {
    let index = match (&filter.resource_id, visible) {
        (Some(_), _) => BY_RESOURCE,
        (None, Visible::Tenant(_)) => BY_TENANT,
        (None, Visible::Partner(_) | Visible::Platform) => BY_POSITION,
    };
    let first = filter.from.as_ref().map(|from| INSTANTS.first_since(db, from)).transpose()?.unwrap_or(0);
    let end = filter.to.as_ref().map(|to| INSTANTS.first_since(db, to)).transpose()?.unwrap_or(i64::MAX);
    let before = filter.cut.before.min(end);
    let parameters = named_params! {
        ":first": first, ":before": before, ":looked_at": LOOKED_AT_MAX, ":rows": filter.cut.rows(),
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
        ":actor": filter.actor, ":action": filter.action, ":resource": filter.resource,
        ":resource_id": filter.resource_id, ":severity": filter.severity, ":q": filter.words,
    };
    let mut statement = db.prepare_cached(index.rows)?;
    let mut rows = statement.query(parameters)?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    if entries.len() > filter.cut.limit {
        return Ok(Looked { rows: entries, until: None });
    }
    let until = edge(db, index.edge, LOOKED_AT_MAX, parameters)?;
    Ok(Looked { rows: entries, until })
}

fn entry(row: &Row<'_>) -> Result<Entry, ViewsError> {
    let changes: String = row.get(8)?;
    let request: Option<String> = row.get(7)?;
    Ok(Entry {
        position: row.get(0)?,
        recorded_at: row.get(1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        resource: row.get(4)?,
        severity: row.get(5)?,
        outcome: row.get(6)?,
        request_id: request.and_then(|id| id.parse().ok()),
        changes: serde_json::from_str(&changes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Cut;
    use crate::tests::plan;

    const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0005_audit.sql");

    #[test]
    fn an_index_bounds_the_search_for_a_resource_or_a_tenant() {
        for (index, bound) in [
            (BY_RESOURCE, "audit_by_resource (resource_id=? AND position>? AND position<?)"),
            (BY_TENANT, "audit_by_tenant (tenant_id=? AND position>? AND position<?)"),
            (BY_POSITION, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ] {
            for sql in [index.rows, index.edge] {
                let steps = plan::of(SCHEMA, sql);
                assert!(steps.iter().any(|step| step.contains(bound)), "{steps:?}");
                assert!(steps.len() == 3 && steps[0].starts_with("CO-ROUTINE"), "nothing is sorted or kept: {steps:?}");
            }
        }
    }

    #[test]
    fn words_that_are_rare_are_found_a_bounded_part_at_a_time() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch(SCHEMA).expect("the schema");
        db.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
             INSERT INTO audit (position, recorded_at, actor, action, resource, resource_id, severity, outcome, changes)
             SELECT i, printf('%09d', i), iif(i = 5, 'Rare', 'usual'), 'a', 'key/k', 'k', 'info', 'success', '{}' FROM n",
        )
        .expect("entries");
        let filter = |before, from: Option<&str>| Filter {
            from: from.map(str::to_owned),
            to: None,
            actor: None,
            action: None,
            resource: None,
            resource_id: None,
            severity: None,
            words: Some("rare".to_owned()),
            cut: Cut { list: "audit", before, limit: 10 },
        };
        let (mut before, mut ends) = (i64::MAX, Vec::new());
        let found = loop {
            let looked = list(&db, Visible::Platform, &filter(before, None)).expect("a page");
            let Some(until) = looked.until else { break looked.rows };
            before = i64::try_from(until).expect("a position");
            ends.push(until);
        };
        assert_eq!((ends, found.len()), (vec![70_001, 20_001], 1));
        let recent = list(&db, Visible::Platform, &filter(i64::MAX, Some("000110000"))).expect("a page");
        assert_eq!((recent.rows.len(), recent.until), (0, None), "a time bounds the search");
    }
}
