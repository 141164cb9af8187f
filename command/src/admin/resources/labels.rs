//! `labels`: names with values, by which operators and their tools group what they manage.

use events::event::admin::Labels;
use openapi::schema;
use serde_json::json;

use crate::admin::declaration::{Member, defaulting};
use crate::admin::field_type::FieldType;
use crate::admin::fields::{Field, FieldError};
use crate::credential_like::is_key;

const FORM: &str = "must have names of at most 63 of a-z, 0-9, -, _, . and /, which begin with a letter or a digit";
const KEY: &str = "looks like a key, and events contain labels: leave it out";

pub fn labels() -> Member {
    let value = schema::text(Labels::VALUE_LEN_MAX);
    let shape = schema::map_named(Labels::NAME_LEN_MAX, value, Some(Labels::LEN_MAX));
    defaulting("labels", FieldType::new(shape, read), json!({})).reset_by_null().meaning(
        "By which you group what you manage, such as {\"managed-by\": \"git\"}. Given in a change, they replace all. Events contain \
         them, so use no personal data and no secrets",
    )
}

fn read(field: Field) -> Result<Labels, FieldError> {
    let pairs = field.map(Labels::LEN_MAX, |name, value| {
        if !Labels::is_name(name) {
            return Err(value.error(FORM));
        }
        let text = value.text(Labels::VALUE_LEN_MAX)?;
        if is_key(&text) { Err(value.error(KEY)) } else { Ok(text) }
    })?;
    Ok(pairs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::admin::declaration::Members;
    use crate::admin::fields::Fields;

    fn read_back(labels: &Value) -> Result<Labels, FieldError> {
        let body = json!({ "labels": labels }).to_string();
        let given = Members(vec![super::labels()]).read_creation(Fields::of_body(body.as_bytes()).unwrap())?;
        Ok(given.get("labels").unwrap().unwrap())
    }

    #[test]
    fn labels_are_names_with_short_texts() {
        let long = "x".repeat(63);
        for fine in [
            json!({}),
            json!({ "managed-by": "git" }),
            json!({ "ledgerway.io/team_1": "Größe 4" }),
            json!({ &*long: long }),
        ] {
            let read = read_back(&fine).unwrap();
            assert_eq!(json!(read), fine);
        }
    }

    #[test]
    fn other_labels_are_refused_by_their_names() {
        let (long, many) =
            ("x".repeat(64), (0..17).map(|at| (format!("n{at}"), json!("v"))).collect::<serde_json::Map<_, _>>());
        let cases = [
            (json!({ "Team": "a" }), "labels.Team"),
            (json!({ "-a": "a" }), "labels.-a"),
            (json!({ "": "a" }), "labels."),
            (json!({ &*long: "a" }), &*format!("labels.{long}")),
            (json!({ "a": long }), "labels.a"),
            (json!({ "a": "" }), "labels.a"),
            (json!({ "a": "sk-proj-4b1f7a90c2d38e65" }), "labels.a"),
            (json!({ "a": "b\nc" }), "labels.a"),
            (json!({ "a": 1 }), "labels.a"),
            (json!(["a"]), "labels"),
            (Value::Object(many), "labels"),
        ];
        for (wrong, field) in cases {
            assert_eq!(read_back(&wrong).unwrap_err().field, field, "{wrong}");
        }
    }
}
