//! A request's life as JSON, put together from its row and what happened on the way.

use events::ids::RequestId;
use events::money::NanoUsd;
use events::time::{from_micros, rfc3339};
use projections::views::ViewsError;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::{Map, Value, json};

use super::Filter;
use crate::page::Placed;
use crate::visible::Visible;

const BY_REQUEST: &str = concat!(include_str!("select.sql"), include_str!("by_request.sql"));
/// One statement for each index that can bound the search; all of them end the same.
const BY_TENANT: &str = concat!(include_str!("select.sql"), include_str!("by_tenant.sql"), include_str!("page.sql"));
const BY_PARTNER: &str = concat!(include_str!("select.sql"), include_str!("by_partner.sql"), include_str!("page.sql"));
const BY_POSITION: &str =
    concat!(include_str!("select.sql"), include_str!("by_position.sql"), include_str!("page.sql"));
const INCIDENTS: &str = include_str!("incidents.sql");

/// Newest first; one more than the page where there is another.
pub fn list(db: &Connection, visible: Visible, filter: &Filter) -> Result<Vec<Placed>, ViewsError> {
    let sql = match (visible, &filter.tenant, &filter.partner) {
        (Visible::Tenant(_), _, _) | (_, Some(_), _) => BY_TENANT,
        (Visible::Partner(_), None, _) | (Visible::Platform, None, Some(_)) => BY_PARTNER,
        (Visible::Platform, None, None) => BY_POSITION,
    };
    let mut statement = db.prepare_cached(sql)?;
    let parameters = named_params! {
        ":before": filter.cut.before, ":rows": filter.cut.rows(),
        ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
        ":from": filter.from, ":to": filter.to, ":partner": filter.partner, ":tenant": filter.tenant,
        ":user": filter.user, ":key": filter.key, ":model": filter.model, ":provider": filter.provider,
        ":backend": filter.backend, ":status": filter.status,
    };
    let lives: Vec<LifeRow> = statement.query_map(parameters, LifeRow::read)?.collect::<Result<_, _>>()?;
    lives.iter().map(|life| Ok(Placed { position: life.position, item: life.json(db)? })).collect()
}

/// `None` for what the caller cannot see.
pub fn one(db: &Connection, visible: Visible, request: RequestId) -> Result<Option<Value>, ViewsError> {
    let parameters = named_params! {
        ":request": request.to_string(), ":visible_partner": visible.partner(), ":visible_tenant": visible.tenant(),
    };
    let life = db.prepare_cached(BY_REQUEST)?.query_row(parameters, LifeRow::read).optional()?;
    life.map(|life| life.json(db)).transpose()
}

/// One event of a life: where, when and its data as JSON text.
struct Step {
    position: u64,
    at: Option<i64>,
    data: String,
}

struct LifeRow {
    position: u64,
    request: String,
    recorded_at: i64,
    status: String,
    actor: String,
    partner: Option<String>,
    tenant: Option<String>,
    user: Option<String>,
    key: Option<String>,
    model: String,
    cost: NanoUsd,
    begin: String,
    hold: Option<Step>,
    outcome: Option<Step>,
    hold_end: Option<(String, Step)>,
}

impl LifeRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let hold_end_type: Option<String> = row.get(19)?;
        Ok(Self {
            position: row.get(0)?,
            request: row.get(1)?,
            recorded_at: row.get(2)?,
            status: row.get(3)?,
            actor: row.get(4)?,
            partner: row.get(5)?,
            tenant: row.get(6)?,
            user: row.get(7)?,
            key: row.get(8)?,
            model: row.get(9)?,
            cost: NanoUsd::new(row.get(10)?),
            begin: row.get(11)?,
            hold: step(row.get(12)?, None, row.get(13)?),
            outcome: step(row.get(14)?, row.get(15)?, row.get(16)?),
            hold_end: hold_end_type.zip(step(row.get(17)?, row.get(18)?, row.get(20)?)),
        })
    }

    /// What began it (its admission or refusal), who asked, what became of it, and the money.
    fn json(&self, db: &Connection) -> Result<Value, ViewsError> {
        let mut life = match serde_json::from_str(&self.begin)? {
            Value::Object(begin) => begin,
            _ => Map::new(),
        };
        for (name, value) in self.outcome_fields()? {
            // The outcome repeats the model that was asked for; all the rest is its own.
            life.insert(name, value);
        }
        let incidents = incidents(db, &self.request)?;
        let mut put = |name: &str, value: Value| life.insert(name.to_owned(), value);
        put("request_id", self.request.as_str().into());
        put("status", self.status.as_str().into());
        put("actor", self.actor.as_str().into());
        put("partner_id", self.partner.as_deref().into());
        put("tenant_id", self.tenant.as_deref().into());
        put("user_id", self.user.as_deref().into());
        put("key_id", self.key.as_deref().into());
        put("model", self.model.as_str().into());
        put("recorded_at", rfc3339(from_micros(self.recorded_at)).into());
        put("position", self.position.into());
        put("cost_usd", self.cost.to_string().into());
        put("hold", self.hold.as_ref().map(Step::json).transpose()?.unwrap_or_default());
        put("outcome_position", self.outcome.as_ref().map(|outcome| outcome.position).into());
        put("ended_at", self.outcome.as_ref().and_then(|outcome| outcome.at).map(|at| rfc3339(from_micros(at))).into());
        put("settlement", self.settlement()?);
        put("positions", self.positions(&incidents).into());
        put("attempts_failed", of_type(&incidents, "inference.attempt_failed"));
        put("adjustments", of_type(&incidents, "budget.adjusted"));
        Ok(Value::Object(life))
    }

    fn outcome_fields(&self) -> Result<Map<String, Value>, ViewsError> {
        match self.outcome.as_ref().map(|outcome| serde_json::from_str(&outcome.data)).transpose()? {
            Some(Value::Object(fields)) => Ok(fields),
            Some(_) | None => Ok(Map::new()),
        }
    }

    /// The hold's end with its `type`.
    fn settlement(&self) -> Result<Value, ViewsError> {
        let Some((name, end)) = &self.hold_end else { return Ok(Value::Null) };
        let mut json = end.json()?;
        if let Some(fields) = json.as_object_mut() {
            fields.insert("type".to_owned(), name.as_str().into());
        }
        Ok(json)
    }

    /// Of all of its events.
    fn positions(&self, incidents: &[Incident]) -> Vec<u64> {
        let known = [self.hold.as_ref(), self.outcome.as_ref(), self.hold_end.as_ref().map(|(_, end)| end)];
        let known = known.into_iter().flatten().map(|step| step.position);
        let mut positions: Vec<u64> = std::iter::once(self.position).chain(known).collect();
        positions.extend(incidents.iter().map(|incident| incident.step.position));
        positions.sort_unstable();
        positions
    }
}

fn step(position: Option<u64>, at: Option<i64>, data: Option<String>) -> Option<Step> {
    position.zip(data).map(|(position, data)| Step { position, at, data })
}

impl Step {
    /// The event's data with its position, and when it was recorded.
    fn json(&self) -> Result<Value, ViewsError> {
        let mut json: Value = serde_json::from_str(&self.data)?;
        if let Some(fields) = json.as_object_mut() {
            fields.insert("position".to_owned(), self.position.into());
            if let Some(at) = self.at {
                fields.insert("recorded_at".to_owned(), rfc3339(from_micros(at)).into());
            }
        }
        Ok(json)
    }
}

struct Incident {
    name: String,
    step: Step,
    json: Value,
}

fn incidents(db: &Connection, request: &str) -> Result<Vec<Incident>, ViewsError> {
    let mut statement = db.prepare_cached(INCIDENTS)?;
    let mut rows = statement.query([request])?;
    let mut incidents = Vec::new();
    while let Some(row) = rows.next()? {
        let step = Step { position: row.get(0)?, at: Some(row.get(1)?), data: row.get(3)? };
        let json = step.json()?;
        incidents.push(Incident { name: row.get(2)?, step, json });
    }
    Ok(incidents)
}

fn of_type(incidents: &[Incident], name: &str) -> Value {
    let of_type = incidents.iter().filter(|incident| incident.name == name);
    json!(of_type.map(|incident| incident.json.clone()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::plan;

    const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0004_inferences.sql");

    #[test]
    fn no_list_looks_at_more_than_its_tenant_or_partner_and_none_sorts() {
        for (sql, bound) in [
            (BY_TENANT, "inferences_by_tenant (tenant_id=? AND position<?)"),
            (BY_PARTNER, "inferences_by_partner (partner_id=? AND position<?)"),
            (BY_POSITION, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ] {
            let steps = plan::of(SCHEMA, sql);
            assert!(steps.len() == 1 && steps[0].contains(bound), "{steps:?}");
        }
    }
}
