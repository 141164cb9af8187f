//! A request as a row of a table: the fields of its JSON that fit into one.

use events::money::NanoUsd;
use events::usage::TokenClasses;
use serde_json::Value;

use crate::record::{Cell, Record};

/// The columns before those of tokens and units, in their order.
const BEFORE_TOKENS: [&str; 21] = [
    "request_id", "position", "recorded_at", "ended_at", "status", "actor", "partner_id", "partner_name", "tenant_id",
    "tenant_name", "user_id", "user_name", "key_id", "key_name", "model", "provider", "backend", "provider_key_id",
    "payer", "dialect", "streamed",
];
/// The columns after them.
const AFTER_TOKENS: [&str; 16] = [
    "service_tier", "usage_source", "cost_usd", "held_usd", "charged_usd", "price_version", "max_output_tokens",
    "finish_reason", "latency_ms", "first_token_ms", "attempts", "code", "reason", "upstream_request_id", "metadata",
    "shadow_of",
];

/// The row for a request's JSON; for null, the columns without values.
pub fn row(request: &Value) -> Record {
    let mut record = Record::default();
    for column in BEFORE_TOKENS.into_iter().chain(TokenClasses::NAMES).chain(AFTER_TOKENS) {
        record.put(column, cell(column, request));
    }
    record
}

/// The value of a column: the request's field of that name, unless it is at another place.
fn cell(column: &str, request: &Value) -> Cell {
    match column {
        "backend" => {
            let (provider, model) = (request["backend"]["provider"].as_str(), request["backend"]["model"].as_str());
            provider.zip(model).map(|(provider, model)| format!("{provider}/{model}")).into()
        }
        "provider" | "provider_key_id" => request["backend"][column].clone().into(),
        "usage_source" => request["usage"]["source"].clone().into(),
        "service_tier" => request["usage"][column].clone().into(),
        _ if TokenClasses::NAMES.contains(&column) => request["usage"][column].clone().into(),
        "cost_usd" => usd(&request[column]),
        "held_usd" => usd(&request["hold"][column]),
        "charged_usd" => usd(&request["settlement"][column]),
        _ => request[column].clone().into(),
    }
}

/// An amount of money. Corrections can raise a cost beyond the range of one amount: such a cost remains text.
fn usd(amount: &Value) -> Cell {
    let parsed: Option<NanoUsd> = amount.as_str().and_then(|amount| amount.parse().ok());
    parsed.map_or_else(|| amount.clone().into(), |amount| Cell::Usd(amount.into()))
}

#[cfg(test)]
mod tests {
    use events::money::NanoUsdSum;
    use serde_json::{Map, json};

    use super::*;
    use crate::inferences::request_json;

    /// The `data` of the golden event of this type.
    fn data(event: &str) -> Value {
        let path = format!("{}/../tests/golden/events/{event}.v1.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a golden event");
        serde_json::from_str::<Value>(&text).expect("JSON")["data"].take()
    }

    /// A misspelt column would be empty for every request.
    #[test]
    fn every_column_is_a_field_of_a_request() {
        let schema = serde_json::to_value(request_json::shape()).expect("JSON");
        let properties = schema["properties"].as_object().expect("properties");
        let mut request: Map<String, Value> = properties.keys().map(|name| (name.clone(), json!("1"))).collect();
        for event in ["inference.admitted", "inference.failed", "inference.completed"] {
            request.extend(data(event).as_object().expect("an object").clone());
        }
        // The sample is of a provider that bills neither media nor units.
        let rare = TokenClasses::NAMES.into_iter().chain(["service_tier"]).map(|name| (name.to_owned(), json!(1)));
        request["usage"].as_object_mut().expect("usage").extend(rare);
        // Nor has it several keys.
        request["backend"]["provider_key_id"] = json!("pky_1");
        request
            .extend([("hold".to_owned(), data("budget.reserved")), ("settlement".to_owned(), data("budget.settled"))]);
        let row = row(&request.into());
        let empty: Vec<&str> = row
            .names()
            .zip(row.cells())
            .filter(|(_, cell)| **cell == Cell::Json(Value::Null))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(empty, Vec::<&str>::new());
    }

    #[test]
    fn a_request_is_one_row_whose_missing_fields_are_empty() {
        let request = json!({
            "request_id": "req_1", "status": "completed", "cost_usd": "-0.000000250", "streamed": false,
            "backend": { "provider": "sim", "model": "echo", "provider_key_id": "pky_1" }, "usage": { "output_text_tokens": 9 },
            "metadata": { "team": "red" }, "key_id": null,
        });
        let row = row(&request);
        let cells: Vec<(&str, &Cell)> =
            row.names().zip(row.cells()).filter(|(_, cell)| **cell != Cell::Json(Value::Null)).collect();
        let wanted: [(&str, Cell); 9] = [
            ("request_id", "req_1".into()),
            ("status", "completed".into()),
            ("provider", "sim".into()),
            ("backend", "sim/echo".into()),
            ("provider_key_id", "pky_1".into()),
            ("streamed", json!(false).into()),
            ("output_text_tokens", json!(9).into()),
            ("cost_usd", Cell::Usd(NanoUsdSum::new(-250))),
            ("metadata", json!({ "team": "red" }).into()),
        ];
        assert_eq!(cells, wanted.iter().map(|(name, cell)| (*name, cell)).collect::<Vec<_>>());
    }
}
