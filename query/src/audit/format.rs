//! The forms that the audit is given in: a page of JSON, or lines for those who keep it elsewhere, with the cursor of the
//! next page in a header.

use std::collections::HashMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use events::ids::RequestId;
use events::log::ClientAddress;
use events::wire::Refusal;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::entries::Entry;
use crate::error::QueryError;
use crate::page::{Page, Place};
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

    pub fn answer(self, entries: &[Entry], origins: &Origins, place: Place) -> Result<Response, QueryError> {
        match self {
            Self::Json => {
                let Place { as_of_position, next_cursor } = place;
                let items = entries.iter().map(|entry| item(entry, origins)).collect();
                Ok(Json(Page { as_of_position, items, next_cursor }).into_response())
            }
            Self::Ndjson => {
                let lines: String = entries.iter().map(|entry| format!("{}\n", item(entry, origins))).collect();
                Ok((place.headers(), [(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
            }
            Self::Csv => {
                let table = csv(entries, origins).map_err(|error| QueryError::Answer(error.to_string()))?;
                Ok((place.headers(), [(CONTENT_TYPE, "text/csv; charset=utf-8")], table).into_response())
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
        let cells = [
            entry.position.to_string(),
            entry.recorded_at.clone(),
            entry.actor.clone(),
            entry.action.clone(),
            entry.resource.clone(),
            entry.severity.clone(),
            entry.outcome.clone(),
            entry.request_id.map(|id| id.to_string()).unwrap_or_default(),
            origin.map(|origin| origin.ip.clone()).unwrap_or_default(),
            user_agent.to_owned(),
            entry.changes.to_string(),
        ];
        table.write_record(cells.map(cell))?;
    }
    table.into_inner().map_err(|error| error.into_error())
}

/// Whatever a client wrote, no cell is a formula, which a spreadsheet would run.
fn cell(text: String) -> String {
    const BEGINNINGS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    if text.trim_start_matches(' ').starts_with(BEGINNINGS) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1"] {
            assert_eq!(cell(formula.to_owned()), format!("'{formula}"));
        }
        for plain in ["curl/8", "", "{\"a\":1}", "2026-11-20"] {
            assert_eq!(cell(plain.to_owned()), plain);
        }
    }

    #[test]
    fn what_a_client_wrote_stays_in_its_cell() {
        let request: RequestId = uuid::Uuid::from_u128(7).into();
        let entry = Entry {
            position: 7,
            recorded_at: "2026-11-20T08:00:00.000000Z".to_owned(),
            actor: "=cmd".to_owned(),
            action: "key.created".to_owned(),
            resource: "key/=1".to_owned(),
            severity: "info".to_owned(),
            outcome: "success".to_owned(),
            request_id: Some(request),
            changes: json!({ "name": "a,\"b\"\n=1" }),
        };
        let agent = "@evil, \"quoted\"\r\n=2".to_owned();
        let origin = ClientAddress { request_id: request, ip: "127.0.0.1".to_owned(), user_agent: Some(agent.clone()) };
        let table = csv(&[entry], &HashMap::from([(request, origin)])).expect("a table");
        let mut read = csv::Reader::from_reader(&*table);
        let record = read.records().next().expect("a line").expect("a record");
        assert_eq!((&record[2], &record[4], &record[9]), ("'=cmd", "key/=1", &*format!("'{agent}")));
        assert_eq!(serde_json::from_str::<Value>(&record[10]).expect("JSON"), json!({ "name": "a,\"b\"\n=1" }));
    }
}
