//! Spans as an OTLP request in JSON, which every collector accepts at `/v1/traces`.

use http::HeaderValue;
use serde_json::{Value, json};

use super::span::{Attribute, Kind, Span, TraceId};

/// All spans of one request.
pub struct RequestSpans {
    pub trace: TraceId,
    pub state: Option<HeaderValue>,
    pub spans: Vec<Span>,
}

pub fn request(service: &str, batch: &[RequestSpans]) -> Value {
    let spans: Vec<Value> =
        batch.iter().flat_map(|request| request.spans.iter().map(|span| span_of(request, span))).collect();
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", service), ("service.version", version)];
    let resource: Vec<Value> =
        resource.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "ledgerway", "version": version }, "spans": spans }],
    }] })
}

fn span_of(request: &RequestSpans, span: &Span) -> Value {
    let attributes: Vec<Value> =
        span.attributes.iter().map(|(key, value)| json!({ "key": key, "value": value_of(value) })).collect();
    let mut json = json!({
        "traceId": request.trace.to_string(),
        "spanId": span.id.to_string(),
        "name": span.name,
        "kind": match span.kind { Kind::Internal => 1, Kind::Server => 2, Kind::Client => 3 },
        "startTimeUnixNano": span.begin_unix_nanos.to_string(),
        "endTimeUnixNano": span.end_unix_nanos.to_string(),
        "attributes": attributes,
        "status": if span.has_failed { json!({ "code": 2 }) } else { json!({}) },
        "flags": super::SAMPLED,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = Value::from(parent.to_string());
    }
    if let Some(state) = request.state.as_ref().and_then(|state| state.to_str().ok()) {
        json["traceState"] = Value::from(state);
    }
    json
}

fn value_of(attribute: &Attribute) -> Value {
    let text = |text: &String| json!({ "stringValue": text });
    match attribute {
        Attribute::Text(value) => text(value),
        // Protobuf's JSON writes 64-bit integers as strings.
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
        Attribute::Texts(values) => json!({ "arrayValue": { "values": values.iter().map(text).collect::<Vec<_>>() } }),
    }
}
