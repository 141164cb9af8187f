//! Entries of the audit, as they stand in the view.

use events::ids::RequestId;
use projections::views::ViewsError;
use rusqlite::{Connection, Row, named_params};
use serde_json::Value;

use super::Filter;
use crate::visible::Visible;

/// One statement for each index that can bound the search; all of them end the same.
const BY_RESOURCE: &str =
    concat!(include_str!("select.sql"), include_str!("by_resource.sql"), include_str!("page.sql"));
const BY_TENANT: &str = concat!(include_str!("select.sql"), include_str!("by_tenant.sql"), include_str!("page.sql"));
const BY_POSITION: &str =
    concat!(include_str!("select.sql"), include_str!("by_position.sql"), include_str!("page.sql"));

/// One line of the audit.
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

/// Newest first; one more than the page where there is another.
pub fn list(db: &Connection, visible: Visible, filter: &Filter) -> Result<Vec<Entry>, ViewsError> {
    let sql = match (&filter.resource_id, visible) {
        (Some(_), _) => BY_RESOURCE,
        (None, Visible::Tenant(_)) => BY_TENANT,
        (None, Visible::Partner(_) | Visible::Platform) => BY_POSITION,
    };
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(named_params! {
        ":before": filter.cut.before, ":rows": filter.cut.rows(),
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
        ":from": filter.from, ":to": filter.to, ":actor": filter.actor, ":action": filter.action,
        ":resource": filter.resource, ":resource_id": filter.resource_id, ":severity": filter.severity,
        ":q": filter.words,
    })?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
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
    use crate::tests::plan;

    const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0005_audit.sql");

    #[test]
    fn an_index_bounds_the_search_for_a_resource_or_a_tenant() {
        for (sql, index) in [(BY_RESOURCE, "audit_by_resource"), (BY_TENANT, "audit_by_tenant")] {
            let steps = plan::of(SCHEMA, sql);
            assert!(steps.len() == 1 && steps[0].contains(index), "{steps:?}");
        }
    }
}
