//! One change a case, made to the same small document.

use serde_json::{Value, json};

use super::broken;

fn document() -> Value {
    json!({
        "paths": { "/things/{id}": {
            "get": { "responses": { "200": { "content": { "text/plain": {} } } } },
            "post": {
                "parameters": [
                    { "name": "id", "in": "path", "required": true, "schema": { "type": "string", "pattern": "^a$" } },
                    { "name": "q", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 9 } },
                ],
                "requestBody": { "content": { "application/json": { "schema": {
                    "type": "object", "required": ["name"], "additionalProperties": true,
                    "properties": {
                        "name": { "type": "string", "maxLength": 10 },
                        "kind": { "type": "string", "enum": ["a", "b"] },
                        "note": { "type": ["string", "null"] },
                    },
                } } } },
                "responses": {
                    "200": {
                        "headers": { "x-request-id": { "schema": { "type": "string" } } },
                        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } },
                    },
                    "409": { "content": { "application/json": { "schema": { "oneOf": [
                        { "$ref": "#/components/schemas/Taken" }, { "$ref": "#/components/schemas/Gone" },
                    ] } } } },
                },
            },
        } },
        "components": { "schemas": {
            "Thing": {
                "type": "object", "required": ["id", "tags"],
                "properties": {
                    "id": { "type": "string", "pattern": "^a$" },
                    "tags": { "type": "array", "items": { "type": "string" } },
                    "note": { "type": "string" },
                },
            },
            "Taken": { "type": "object", "required": ["code"], "properties": { "code": { "enum": ["TAKEN"] } } },
            "Gone": { "type": "object", "required": ["code"],
                      "properties": { "code": { "enum": ["GONE"], "pattern": "^GONE$" } } },
        } },
    })
}

const POST: &str = "/paths/~1things~1{id}/post";

/// With what stands at `place` put in the place of what stood there; `null` takes it away.
fn changed(place: &str, value: Value) -> Value {
    let mut document = document();
    let (parent, name) = place.rsplit_once('/').expect("a place");
    let name = &name.replace("~1", "/");
    match document.pointer_mut(parent).expect(parent) {
        Value::Object(fields) if value.is_null() => drop(fields.remove(name).expect("what is taken away")),
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
        Value::Array(items) if value.is_null() => drop(items.remove(name.parse().expect("an index"))),
        Value::Array(items) => items.insert(name.parse().expect("an index"), value),
        other => panic!("{place}: {other}"),
    }
    document
}

#[track_caller]
fn breaks(place: &str, value: Value) {
    let found = broken(&document(), &changed(place, value));
    assert_eq!(found.len(), 1, "{place}: {found:?}");
}

#[track_caller]
fn holds(place: &str, value: Value) {
    assert_eq!(broken(&document(), &changed(place, value)), Vec::<String>::new(), "{place}");
}

#[test]
fn the_same_document_breaks_nobody() {
    assert_eq!(broken(&document(), &document()), Vec::<String>::new());
}

#[test]
fn what_is_gone_breaks() {
    for place in [
        "/paths/~1things~1{id}/get".to_owned(),
        format!("{POST}/parameters/1"),
        format!("{POST}/responses/409"),
        format!("{POST}/responses/200/headers/x-request-id"),
        format!("{POST}/responses/409/content/application~1json/schema/oneOf/1"),
        format!("{POST}/requestBody/content/application~1json/schema/properties/note"),
        "/paths/~1things~1{id}/get/responses/200/content/text~1plain".to_owned(),
        "/components/schemas/Thing/properties/note".to_owned(),
        "/components/schemas/Thing/required/1".to_owned(),
    ] {
        breaks(&place, Value::Null);
    }
    // Both of its methods.
    assert_eq!(broken(&document(), &changed("/paths/~1things~1{id}", Value::Null)).len(), 2);
}

#[test]
fn what_is_asked_for_anew_breaks() {
    let body = format!("{POST}/requestBody");
    breaks(&format!("{body}/required"), json!(true));
    breaks(&format!("{body}/content/application~1json/schema/required/1"), json!("note"));
    breaks(&format!("{body}/content/application~1json/schema/additionalProperties"), json!(false));
    breaks(&format!("{POST}/parameters/2"), json!({ "name": "x", "in": "query", "required": true }));
    breaks(&format!("{POST}/parameters/1/required"), json!(true));
    breaks(&format!("{POST}/security"), json!([{ "bearer": [] }]));
}

#[test]
fn what_is_taken_more_narrowly_breaks() {
    let fields = format!("{POST}/requestBody/content/application~1json/schema/properties");
    breaks(&format!("{fields}/kind/enum/1"), Value::Null);
    breaks(&format!("{fields}/name/enum"), json!(["x"]));
    breaks(&format!("{fields}/name/pattern"), json!("^x$"));
    breaks(&format!("{fields}/name/maxLength"), json!(9));
    breaks(&format!("{fields}/name/minLength"), json!(2));
    breaks(&format!("{fields}/note/type"), json!("string"));
    breaks(&format!("{POST}/parameters/0/schema/pattern"), json!("^b$"));
    breaks(&format!("{POST}/parameters/1/schema/maximum"), json!(8));
    breaks(&format!("{POST}/parameters/1/schema/minimum"), json!(2));
}

#[test]
fn what_is_answered_with_another_meaning_breaks() {
    let fields = "/components/schemas/Thing/properties";
    breaks(&format!("{fields}/id/pattern"), json!("^b$"));
    breaks(&format!("{fields}/id/format"), json!("date"));
    breaks(&format!("{fields}/note/type"), json!(["string", "null"]));
    breaks(&format!("{fields}/tags/items/type"), json!("integer"));
    breaks("/components/schemas/Gone/properties/code/pattern", json!("^WENT$"));
}

#[test]
fn what_is_added_or_taken_more_widely_breaks_nobody() {
    let fields = format!("{POST}/requestBody/content/application~1json/schema/properties");
    holds("/paths/~1new", json!({ "get": {} }));
    holds(&format!("{POST}/parameters/2"), json!({ "name": "x", "in": "query" }));
    holds(&format!("{POST}/parameters/0/schema/pattern"), Value::Null);
    holds(&format!("{POST}/parameters/1/schema/maximum"), json!(10));
    holds(&format!("{POST}/responses/200/headers/x-new"), json!({ "schema": { "type": "string" } }));
    holds(&format!("{POST}/responses/503"), json!({}));
    let forms = format!("{POST}/responses/409/content/application~1json/schema/oneOf");
    holds(&format!("{forms}/2"), json!({ "type": "object", "properties": { "code": { "enum": ["NEW"] } } }));
    holds(&format!("{fields}/kind/enum/2"), json!("c"));
    holds(&format!("{fields}/new"), json!({ "type": "string" }));
    holds(&format!("{fields}/name/type"), json!(["string", "integer"]));
    holds("/components/schemas/Thing/properties/new", json!({ "type": "string" }));
    holds("/components/schemas/Thing/required/2", json!("note"));
}
