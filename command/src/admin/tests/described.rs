//! The published schemas have the fields that bodies and replies have.

use std::collections::BTreeSet;

use events::event::StreamKind;
use events::event::admin::{
    AuditSearch, Budget, Key, Model, Partner, Price, Provider, ProviderKey, RateLimit, Team, Tenant, User,
};
use openapi::Shape;
use serde_json::{Value, json};

use crate::admin::administered::Administered;
use crate::admin::declaration::Declaration;
use crate::admin::fields::read_paths;
use crate::admin::tests::lab::Lab;

fn declarations() -> Vec<(&'static str, &'static Declaration)> {
    fn of<A: Administered>() -> (&'static str, &'static Declaration) {
        (A::PATH, A::DECLARATION)
    }
    vec![
        of::<Partner>(),
        of::<Tenant>(),
        of::<User>(),
        of::<Team>(),
        of::<Key>(),
        of::<Provider>(),
        of::<ProviderKey>(),
        of::<Model>(),
        of::<Price>(),
        of::<Budget>(),
        of::<RateLimit>(),
        of::<AuditSearch>(),
    ]
}

fn properties(shape: &Shape) -> Value {
    serde_json::to_value(shape).unwrap()["properties"].clone()
}

/// The names of an object's fields, and those of the objects in it and in its lists. A scope, whose only field chooses its kind,
/// is read as a whole.
fn published(shape: &Shape) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, field) in properties(shape).as_object().unwrap() {
        names.insert(name.clone());
        if let Some(items) = field["items"]["properties"].as_object() {
            names.extend(items.keys().map(|item| format!("{name}[].{item}")));
        }
        if let Some(members) = field["properties"].as_object().filter(|_| field.get("maxProperties").is_none()) {
            names.extend(members.keys().map(|member| format!("{name}.{member}")));
        }
    }
    names
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// The published example, with ids that exist.
async fn example(lab: &Lab, declared: &Declaration) -> Value {
    let provider =
        lab.make("/providers", json!({ "name": format!("of {}", declared.kind.as_str()), "kind": "simulator" })).await;
    let upstream = json!({ "name": format!("up of {}", declared.kind.as_str()), "kind": "openai", "base_url": "https://up.example.com/v1" });
    let upstream = lab.make("/providers", upstream).await;
    let text = declared.example.to_string().replace("prv_0000000000000000000000000000000b", &provider);
    let text = text.replace("prv_0000000000000000000000000000000c", &upstream);
    let tenant = lab.tenancy.tenant.to_string();
    serde_json::from_str(&text.replace("ten_00000000000000000000000000000001", &tenant)).unwrap()
}

#[tokio::test]
async fn the_published_bodies_have_the_fields_that_are_read_and_no_others() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    for (path, declared) in declarations() {
        let mut body = example(&lab, declared).await;
        if declared.kind == StreamKind::Model {
            body["shadow"] = json!({ "model": "next", "share_percent": 10 });
        }
        read_paths::take();
        let made = lab.send(&operator, "POST", path, &body).await.must(201);
        let mut read = read_paths::take();
        if declared.kind == StreamKind::Model {
            // No model has both targets and an alias.
            let alias = json!({ "name": "alias", "alias": [{ "model": body["name"] }] });
            lab.send(&operator, "POST", path, &alias).await.must(201);
            // One with a canary has a target beside it.
            let provider = &body["targets"][0]["provider_id"];
            let other = json!({ "provider_id": provider, "model": "lorem" });
            let canary = json!({ "provider_id": provider, "model": "lorem", "share_percent": 5, "by": "request" });
            let tried = json!({ "name": "tried", "targets": [body["targets"][0], other], "canary": canary });
            lab.send(&operator, "POST", path, &tried).await.must(201);
            read.extend(read_paths::take());
        }
        assert_eq!(read, published(&declared.creation()), "POST {path}");
        let mut replied = always(&declared.reply());
        replied.extend((declared.kind == StreamKind::Key).then(|| "secret".to_owned()));
        assert_eq!(keys(&made), replied, "POST {path}");

        let one = format!("{path}/{}", made["id"].as_str().unwrap());
        let changed = lab.send(&operator, "PATCH", &one, &json!({})).await.must(200);
        assert_eq!(read_paths::take(), keys(&properties(&declared.change())), "PATCH {path}");
        assert_eq!(keys(&changed), always(&declared.reply()), "PATCH {path}");

        let mut unknown = body;
        unknown["colour"] = json!("red");
        assert_eq!(lab.send(&operator, "POST", path, &unknown).await.wrong_field(), "colour");
    }
}

/// The fields that a reply always has.
fn always(shape: &Shape) -> BTreeSet<String> {
    let names = serde_json::to_value(shape).unwrap()["required"].take();
    serde_json::from_value(names).unwrap()
}

#[tokio::test]
async fn fields_missing_from_the_schema_of_a_change_cannot_be_changed() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    for (path, declared) in declarations() {
        let body = example(&lab, declared).await;
        let id = lab.send(&operator, "POST", path, &body).await.must(201)["id"].as_str().unwrap().to_owned();
        let creation = keys(&properties(&declared.creation()));
        for fixed in creation.difference(&keys(&properties(&declared.change()))) {
            let change = json!({ fixed.as_str(): body.get(fixed) });
            let reply = lab.send(&operator, "PATCH", &format!("{path}/{id}"), &change).await;
            assert_eq!(reply.wrong_field(), *fixed, "{path}");
        }
    }
}
