//! The JSON Schema of the files, for editors. It is made of the schemas that the admin API publishes of its bodies.

use serde_json::{Map, Value, json};

use super::document_labels::LABELS;
use super::kind::Kind;
use super::references::{KEY_ID, REFERENCES, TextForm};
use super::secret_source::{API_KEY, ENV, FILE, SECRET_HEADERS};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of a file.
pub fn schema() -> Value {
    let sections = Kind::IN_FILES.map(|kind| {
        let list = json!({ "type": ["array", "null"], "items": item(kind) });
        (kind.section().to_owned(), list)
    });
    let mut labels = Kind::Model.format().schema()["properties"][LABELS].take();
    labels["description"] = json!("The labels of each resource of this document, beside its own");
    let properties: Map<String, Value> = [(LABELS.to_owned(), labels)].into_iter().chain(sections).collect();
    json!({
        "$schema": DIALECT,
        "title": "Configuration of ledgerway apply",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn item(kind: Kind) -> Value {
    let mut schema = kind.format().schema();
    put_names(&mut schema);
    if schema["properties"][API_KEY].is_object() {
        let described = schema["properties"][API_KEY]["description"].take();
        schema["properties"][API_KEY] = api_key(&described);
        schema["properties"][SECRET_HEADERS]["additionalProperties"] = json!({ "oneOf": secret_sources() });
    }
    if let (Some(name), Value::Array(required)) = (kind.required_name(), &mut schema["required"]) {
        required.push(name.into());
        schema["properties"][name]["type"] = json!("string");
    }
    schema
}

fn api_key(described: &Value) -> Value {
    let [variable, file] = secret_sources();
    json!({ "description": described, "oneOf": [variable, file, { "type": "null" }] })
}

/// Where a secret is.
fn secret_sources() -> [Value; 2] {
    let source = |name: &str, meaning: &str| {
        json!({
            "type": "object", "required": [name], "additionalProperties": false,
            "properties": { name: { "type": "string", "minLength": 1, "description": meaning } },
        })
    };
    let variable = source(ENV, "Name of the variable that has it, where apply runs");
    let file = source(FILE, "Path of the file that has it, from the folder of this file");
    [variable, file]
}

/// Replaces the ids of other resources by their names, at any depth.
fn put_names(schema: &mut Value) {
    match TextForm::of(schema) {
        TextForm::Whole => {}
        TextForm::Backend => return *schema = backend(),
        TextForm::Condition => return put_tenants(schema),
    }
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(put_names),
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                put_properties(properties);
            }
            if let Some(Value::Array(required)) = members.get_mut("required") {
                for name in required {
                    let reference = REFERENCES.iter().find(|reference| *name == reference.id_field);
                    reference.into_iter().for_each(|reference| *name = reference.field.into());
                }
            }
            members.values_mut().for_each(put_names);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn put_properties(properties: &mut Map<String, Value>) {
    properties.remove(KEY_ID);
    for reference in &REFERENCES {
        let Some(mut ids) = properties.remove(reference.id_field) else { continue };
        let name = name(reference.kind);
        let field = if reference.is_list {
            ids["items"] = name;
            ids
        } else {
            one_name(name, &ids)
        };
        properties.insert(reference.field.to_owned(), field);
    }
}

/// A name in place of an id: where the id may be null, the name may be.
fn one_name(mut name: Value, id: &Value) -> Value {
    if id["type"].as_array().is_some_and(|types| types.contains(&json!("null"))) && name["type"].is_string() {
        name["type"] = json!([name["type"], "null"]);
    }
    name
}

/// The name of a resource of this kind.
fn name(kind: Kind) -> Value {
    let by = |how: &str| json!({ "type": "string", "description": how });
    match kind {
        Kind::Partner => by("The partner's slug"),
        Kind::Tenant => by("PARTNER/TENANT by their slugs, or the tenant's slug alone"),
        Kind::User => by("PARTNER/TENANT/USER by their slugs, or the user's slug alone"),
        Kind::Team => by("PARTNER/TENANT/TEAM by their slugs, or the team's slug alone"),
        _ => provider(),
    }
}

fn provider() -> Value {
    let by_tenant = json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": { "name": { "type": "string" }, "tenant": { "type": ["string", "null"] } },
    });
    json!({ "description": "The provider's name; or its name and the tenant that owns it", "oneOf": [{ "type": "string" }, by_tenant] })
}

/// A model at a provider.
fn backend() -> Value {
    json!({
        "type": "object", "required": ["provider", "model"], "additionalProperties": false,
        "description": "The provider and the model of one of the model's targets",
        "properties": { "provider": provider(), "model": { "type": "string", "minLength": 1 } },
    })
}

/// A condition names tenants, and what it is in a body is bounded, not what it is here.
fn put_tenants(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    members.remove("maxLength");
    let described = members.get("description").and_then(Value::as_str).unwrap_or_default();
    let described =
        format!("{described}. tenant_id(\"PARTNER/TENANT\"), or the tenant's slug alone, is the id of a tenant");
    members.insert("description".to_owned(), described.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_names_where_bodies_have_ids() {
        let schema = schema();
        assert!(!schema.to_string().contains("[0-9a-f]{32}"), "{schema}");
        let properties = |section: &str| &schema["properties"][section]["items"]["properties"];
        let target = &properties("models")["targets"]["items"];
        assert!(target["properties"]["provider"]["oneOf"].is_array(), "{target}");
        assert_eq!(target["required"], json!(["provider", "model"]));
        let rule = &properties("models")["rules"]["items"]["properties"];
        assert_eq!(rule["targets"]["items"]["required"], json!(["provider", "model"]));
        assert!(rule["when"].to_string().contains("tenant_id(") && rule["when"]["maxLength"].is_null(), "{rule}");
        assert_eq!(properties("tenants")["partner"]["type"], json!(["string", "null"]));
        assert_eq!(properties("providers")["api_key"]["oneOf"][0]["required"], json!(["env"]));
        let header = &properties("providers")["secret_headers"]["additionalProperties"];
        assert_eq!(header["oneOf"][1]["required"], json!(["file"]));
        assert_eq!(schema["properties"]["partners"]["items"]["required"], json!(["name", "slug"]));
        let scope = &properties("budgets")["scope"]["properties"];
        assert_eq!(scope.as_object().map(|scope| scope.len()), Some(5), "{scope}");
    }
}
