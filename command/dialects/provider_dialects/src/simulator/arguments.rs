//! Makes the arguments of a tool call from the tool's schema: always the same, and roughly valid.

use serde_json::{Map, Value, json};

/// Levels of nested schemas that are followed.
const DEPTH_MAX: usize = 8;

/// The arguments as JSON text of an object.
pub fn satisfying(schema: Option<&Value>) -> String {
    match value(schema.unwrap_or(&Value::Null), DEPTH_MAX) {
        object @ Value::Object(_) => object.to_string(),
        _ => "{}".to_owned(),
    }
}

fn value(schema: &Value, depth: usize) -> Value {
    let first_of = |name: &str| schema.get(name)?.as_array()?.first().cloned();
    if let Some(fixed) = schema.get("const").or_else(|| schema.get("default")).cloned().or_else(|| first_of("enum")) {
        return fixed;
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Some(choice) = first_of("anyOf").or_else(|| first_of("oneOf")) {
        return value(&choice, depth - 1);
    }
    let kind = schema.get("type").map(|kind| first_of("type").unwrap_or_else(|| kind.clone()));
    match kind.as_ref().and_then(Value::as_str) {
        Some("string") => json!("text"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("array") => schema.get("items").map_or(json!([]), |items| json!([value(items, depth - 1)])),
        Some("null") => Value::Null,
        _ => object(schema, depth),
    }
}

fn object(schema: &Value, depth: usize) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let made = properties.into_iter().flatten().map(|(name, schema)| (name.clone(), value(schema, depth - 1)));
    Value::Object(made.collect::<Map<_, _>>())
}
