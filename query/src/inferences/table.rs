//! A request as a row of a table: the fields of its JSON that fit into one.

use events::money::{NanoUsd, NanoUsdSum};
use serde_json::Value;

use crate::record::{Cell, Record};

/// The source of a column.
enum Column {
    /// The value at this path of the JSON.
    At(&'static str),
    /// The amount of money at this path.
    Usd(&'static str),
    /// `provider/model`.
    Backend,
}

const COLUMNS: [(&str, Column); 38] = [
    ("request_id", Column::At("/request_id")),
    ("position", Column::At("/position")),
    ("recorded_at", Column::At("/recorded_at")),
    ("ended_at", Column::At("/ended_at")),
    ("status", Column::At("/status")),
    ("actor", Column::At("/actor")),
    ("partner_id", Column::At("/partner_id")),
    ("partner_name", Column::At("/partner_name")),
    ("tenant_id", Column::At("/tenant_id")),
    ("tenant_name", Column::At("/tenant_name")),
    ("user_id", Column::At("/user_id")),
    ("user_name", Column::At("/user_name")),
    ("key_id", Column::At("/key_id")),
    ("key_name", Column::At("/key_name")),
    ("model", Column::At("/model")),
    ("provider", Column::At("/backend/provider")),
    ("backend", Column::Backend),
    ("dialect", Column::At("/dialect")),
    ("streamed", Column::At("/streamed")),
    ("input_uncached_tokens", Column::At("/usage/input_uncached_tokens")),
    ("input_cache_read_tokens", Column::At("/usage/input_cache_read_tokens")),
    ("input_cache_write_tokens", Column::At("/usage/input_cache_write_tokens")),
    ("output_text_tokens", Column::At("/usage/output_text_tokens")),
    ("output_reasoning_tokens", Column::At("/usage/output_reasoning_tokens")),
    ("usage_source", Column::At("/usage/source")),
    ("cost_usd", Column::Usd("/cost_usd")),
    ("held_usd", Column::Usd("/hold/held_usd")),
    ("charged_usd", Column::Usd("/settlement/charged_usd")),
    ("price_version", Column::At("/price_version")),
    ("max_output_tokens", Column::At("/max_output_tokens")),
    ("finish_reason", Column::At("/finish_reason")),
    ("latency_ms", Column::At("/latency_ms")),
    ("first_token_ms", Column::At("/first_token_ms")),
    ("attempts", Column::At("/attempts")),
    ("code", Column::At("/code")),
    ("reason", Column::At("/reason")),
    ("upstream_request_id", Column::At("/upstream_request_id")),
    ("metadata", Column::At("/metadata")),
];

/// The row for a request's JSON; for null, the columns without values.
pub fn row(request: &Value) -> Record {
    let mut record = Record::default();
    for (name, column) in COLUMNS {
        record.put(name, column.of(request));
    }
    record
}

impl Column {
    fn of(&self, request: &Value) -> Cell {
        let text = |place: &str| request.pointer(place).and_then(Value::as_str);
        match self {
            Self::At(place) => request.pointer(place).cloned().unwrap_or_default().into(),
            Self::Usd(place) => {
                let amount: Option<NanoUsd> = text(place).and_then(|amount| amount.parse().ok());
                // Corrections can raise a cost beyond the range of one amount.
                amount.map(|amount| Cell::from(NanoUsdSum::from(amount))).unwrap_or_else(|| text(place).into())
            }
            Self::Backend => {
                let (provider, model) = (text("/backend/provider"), text("/backend/model"));
                provider.zip(model).map(|(provider, model)| format!("{provider}/{model}")).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_one_row_whose_missing_fields_are_empty() {
        let request = json!({
            "request_id": "req_1", "status": "completed", "cost_usd": "-0.000000250", "streamed": false,
            "backend": { "provider": "sim", "model": "echo" }, "usage": { "output_text_tokens": 9 },
            "metadata": { "team": "red" }, "key_id": null,
        });
        let row = row(&request);
        let cells: Vec<(&str, &Cell)> = row.names().zip(row.cells()).filter(|(_, cell)| **cell != Cell::Null).collect();
        let wanted: [(&str, Cell); 8] = [
            ("request_id", "req_1".into()),
            ("status", "completed".into()),
            ("provider", "sim".into()),
            ("backend", "sim/echo".into()),
            ("streamed", json!(false).into()),
            ("output_text_tokens", json!(9).into()),
            ("cost_usd", NanoUsdSum::new(-250).into()),
            ("metadata", json!({ "team": "red" }).into()),
        ];
        assert_eq!(cells, wanted.iter().map(|(name, cell)| (*name, cell)).collect::<Vec<_>>());
    }
}
