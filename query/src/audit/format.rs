//! The forms that the audit is given in: a page of JSON, or lines for those who keep it elsewhere. Lines have no
//! cursor of their own: it is the position of the last one.

use std::collections::HashMap;

use axum::response::{IntoResponse, Response};
use events::ids::RequestId;
use events::log::ClientAddress;
use events::wire::Refusal;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::entries::Entry;
use crate::error::QueryError;
use crate::page::{Cut, Page, Placed};
use crate::parameters::Parameters;

const COLUMNS: [&str; 11] = [
    "position",
    "recorded_at",
    "actor",
    "action",
    "resource",
    "severity",
    "outcome",
    "request_id",
    "ip",
    "user_agent",
    "changes",
];

type Origins = HashMap<RequestId, ClientAddress>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Ndjson,
    Csv,
}

impl Format {
    pub fn take(parameters: &mut Parameters) -> Result<Self, Refusal> {
        match parameters.text("format").as_deref() {
            None | Some("json") => Ok(Self::Json),
            Some("ndjson") => Ok(Self::Ndjson),
            Some("csv") => Ok(Self::Csv),
            Some(_) => Err(Refusal::invalid("format", "must be json, ndjson or csv")),
        }
    }

    /// `entries`: the page, and one more where there is another.
    pub fn answer(
        self,
        as_of_position: u64,
        mut entries: Vec<Entry>,
        origins: &Origins,
        cut: Cut,
    ) -> Result<Response, QueryError> {
        if self != Self::Json {
            entries.truncate(cut.limit);
        }
        match self {
            Self::Json => {
                let placed = |entry: Entry| Placed { position: entry.position, item: item(&entry, origins) };
                Ok(Page::cut(as_of_position, entries.into_iter().map(placed).collect(), cut).into_response())
            }
            Self::Ndjson => {
                let lines: String = entries.iter().map(|entry| format!("{}\n", item(entry, origins))).collect();
                Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
            }
            Self::Csv => {
                let table = csv(&entries, origins).map_err(|error| QueryError::Answer(error.to_string()))?;
                Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8")], table).into_response())
            }
        }
    }
}

fn item(entry: &Entry, origins: &Origins) -> Value {
    let origin = entry.request_id.and_then(|request| origins.get(&request));
    json!({
        "position": entry.position, "recorded_at": entry.recorded_at, "actor": entry.actor, "action": entry.action,
        "resource": entry.resource, "severity": entry.severity, "outcome": entry.outcome,
        "request_id": entry.request_id, "changes": entry.changes,
        "ip": origin.map(|origin| origin.ip.as_str()),
        "user_agent": origin.and_then(|origin| origin.user_agent.as_deref()),
    })
}

fn csv(entries: &[Entry], origins: &Origins) -> Result<Vec<u8>, std::io::Error> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(COLUMNS)?;
    for entry in entries {
        let origin = entry.request_id.and_then(|request| origins.get(&request));
        let user_agent = origin.and_then(|origin| origin.user_agent.as_deref()).unwrap_or_default();
        table.write_record([
            entry.position.to_string(),
            entry.recorded_at.clone(),
            entry.actor.clone(),
            entry.action.clone(),
            cell(&entry.resource),
            entry.severity.clone(),
            entry.outcome.clone(),
            entry.request_id.map(|id| id.to_string()).unwrap_or_default(),
            origin.map(|origin| origin.ip.clone()).unwrap_or_default(),
            cell(user_agent),
            entry.changes.to_string(),
        ])?;
    }
    table.into_inner().map_err(|error| error.into_error())
}

/// A client's own text: never a formula, which a spreadsheet would run.
fn cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_text_is_never_a_formula() {
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("curl/8"), "curl/8");
    }
}
