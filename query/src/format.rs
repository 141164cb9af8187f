//! Formats of lists: a page of JSON, or lines of NDJSON or CSV for export, with headers for what a page has beside its items.

use axum::response::{IntoResponse, Response};
use csv::{Terminator, Writer, WriterBuilder};
use events::refusal::Refusal;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;

use crate::error::QueryError;
use crate::parameters::Parameters;
use crate::record::{Cell, Record};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Lines(Lines),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    Ndjson,
    Csv,
}

impl Format {
    pub const NAMES: [&str; 3] = ["json", "ndjson", "csv"];

    /// The parameter `format`; default JSON.
    pub fn take(parameters: &mut Parameters) -> Result<Self, Refusal> {
        match parameters.text("format") {
            None => Ok(Self::Json),
            Some(word) => Self::parse(&word).ok_or_else(|| Refusal::invalid("format", "must be json, ndjson or csv")),
        }
    }

    /// `None` if no format is called so.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Lines(Lines::Ndjson)),
            "csv" => Some(Self::Lines(Lines::Csv)),
            _ => None,
        }
    }
}

impl Lines {
    /// One line per record. `names` has the fields, for a table without rows.
    pub fn answer(self, headers: HeaderMap, names: &Record, records: &[Record]) -> Result<Response, QueryError> {
        match self {
            Self::Ndjson => ndjson(headers, records),
            Self::Csv => csv(headers, names, records),
        }
    }
}

/// NDJSON: one object per line.
pub fn ndjson(headers: HeaderMap, items: &[impl Serialize]) -> Result<Response, QueryError> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, item)?;
        lines.push(b'\n');
    }
    Ok((headers, [(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// CSV as in RFC 4180, with a header row.
pub fn csv(headers: HeaderMap, names: &Record, records: &[Record]) -> Result<Response, QueryError> {
    let table = table(names, records).map_err(|error| QueryError::Answer(error.to_string()))?;
    Ok((headers, [(CONTENT_TYPE, "text/csv; charset=utf-8")], table).into_response())
}

fn table(names: &Record, records: &[Record]) -> Result<Vec<u8>, std::io::Error> {
    let mut table: Writer<Vec<u8>> = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    table.write_record(names.names())?;
    for record in records {
        table.write_record(record.cells().map(text))?;
    }
    table.into_inner().map_err(|error| error.into_error())
}

fn text(cell: &Cell) -> String {
    match cell {
        // A negative amount is not a formula.
        Cell::Whole(number) => number.to_string(),
        Cell::Usd(amount) => amount.to_string(),
        Cell::Json(Value::Null) => String::new(),
        Cell::Json(Value::String(text)) => no_formula(text),
        Cell::Json(value) => no_formula(&value.to_string()),
    }
}

/// Escapes text that a spreadsheet would run as a formula.
fn no_formula(text: &str) -> String {
    const BEGINNINGS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    let apostrophe = if text.trim_start_matches(' ').starts_with(BEGINNINGS) { "'" } else { "" };
    format!("{apostrophe}{text}")
}

#[cfg(test)]
mod tests {
    use events::money::NanoUsdSum;
    use serde_json::json;

    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1"] {
            assert_eq!(no_formula(formula), format!("'{formula}"));
        }
        for plain in ["curl/8", "", "{\"a\":1}", "2026-11-20"] {
            assert_eq!(no_formula(plain), plain);
        }
    }

    fn record(values: &[(&'static str, Cell)]) -> Record {
        let mut record = Record::default();
        values.iter().for_each(|(name, value)| record.put(*name, value.clone()));
        record
    }

    #[test]
    fn what_a_client_wrote_stays_in_its_cell_and_numbers_stay_numbers() {
        let agent = "@evil, \"quoted\"\r\n=2";
        let row = record(&[
            ("actor", "=cmd".into()),
            ("agent", agent.into()),
            ("cost", Cell::Usd(NanoUsdSum::new(-250))),
            ("count", Cell::Whole(-7)),
            ("none", Value::Null.into()),
            ("changes", json!({ "name": "a,\"b\"\n=1" }).into()),
        ]);
        let table = table(&row, std::slice::from_ref(&row)).expect("a table");
        assert!(table.starts_with(b"actor,agent,cost,count,none,changes\r\n'=cmd,") && table.ends_with(b"\r\n"));
        let mut read = csv::Reader::from_reader(&*table);
        let line = read.records().next().expect("a line").expect("a record");
        let cells = [&line[0], &line[1], &line[2], &line[3], &line[4]];
        assert_eq!(cells, ["'=cmd", &format!("'{agent}"), "-0.000000250", "-7", ""]);
        assert_eq!(serde_json::from_str::<Value>(&line[5]).expect("JSON"), json!({ "name": "a,\"b\"\n=1" }));
    }

    #[test]
    fn a_table_without_rows_has_its_names() {
        let names = record(&[("a", Value::Null.into()), ("b", Value::Null.into())]);
        assert_eq!(table(&names, &[]).expect("a table"), b"a,b\r\n");
    }
}
