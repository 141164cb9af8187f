//! Every resource from `POST` to `DELETE`.

use events::event::admin::Model;
use events::event::{Actor, Change, Context, Event, Resource, Stream, StreamKind};
use events_log::{Append, Basis};
use serde_json::{Value, json};

use super::lab::Lab;

/// Paths, each with a body that creates a resource and one that changes it.
async fn examples(lab: &Lab) -> Vec<(&'static str, Value, Value)> {
    let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    let upstream = json!({"name": "up", "kind": "openai", "base_url": "https://up.example.com/v1"});
    let upstream = lab.make("/providers", upstream).await;
    let target = json!({"provider_id": provider, "model": "echo"});
    let tenant = lab.tenancy.tenant.to_string();
    vec![
        ("/partners", json!({"name": "Alpha"}), json!({"name": "Beta"})),
        ("/tenants", json!({"name": "Alpha"}), json!({"name": "Beta"})),
        ("/users", json!({"name": "Ada", "email": "ada@example.com", "roles": ["auditor"]}), json!({"name": "Eva"})),
        ("/keys", json!({"name": "app", "models": ["sim-*"]}), json!({"models": null, "permissions": []})),
        (
            "/providers",
            json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1/", "api_key": "k",
                   "headers": {"OpenAI-Organization": "org"}}),
            json!({"timeout_ms": 5, "api_key": "other"}),
        ),
        (
            "/provider-keys",
            json!({"provider_id": upstream, "name": "second", "api_key": "k2", "weight": 3}),
            json!({"tokens_per_minute": 5, "api_key": "other"}),
        ),
        ("/models", json!({"name": "a/b", "targets": [target]}), json!({"name": "a/c"})),
        (
            "/prices",
            json!({"provider_id": provider, "model": "echo", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15"}),
            json!({"request_usd": "0.001"}),
        ),
        (
            "/budgets",
            json!({"scope": {"tenant_id": tenant}, "limit_usd": "5", "period": "month"}),
            json!({"limit_usd": "7"}),
        ),
        (
            "/rate-limits",
            json!({"scope": {"tenant_id": tenant}, "requests_per_minute": 3}),
            json!({"requests_per_minute": 4}),
        ),
        (
            "/audit-searches",
            json!({"name": "refusals", "tenant_id": tenant, "filter": {"severity": "warning"}}),
            json!({"filter": {"action": "access.denied", "from": "2026-11-20"}}),
        ),
    ]
}

/// Holds: admin.crud, admin.reply, admin.events
#[tokio::test]
async fn every_resource_is_made_changed_and_ended_and_each_leaves_an_event() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    for (path, body, change) in examples(&lab).await {
        let before = lab.events().await.len();
        let made = lab.made(path, body.clone()).await;
        let one = format!("/v1/admin{path}/{}", made["id"].as_str().unwrap());
        assert!(made["created_at"].is_string() && made["ended_at"].is_null(), "{path}: {made}");
        let changed = lab.send(&operator, "PATCH", &one, &change).await;
        let position = changed.position.unwrap();
        let changed = changed.must(200);
        for (field, value) in change.as_object().unwrap() {
            if let Some(shown) = changed.get(field).filter(|_| !field.ends_with("usd")) {
                assert_eq!(shown, value, "{path}: {field}");
            }
        }
        assert_eq!(changed["created_at"], made["created_at"], "{path}");
        assert_eq!(usize::try_from(position).unwrap(), before + 2, "{path}");
        let ended = lab.send(&operator, "DELETE", &one, &json!({})).await;
        assert_eq!(ended.position, Some(position + 1), "{path}");
        let ended = ended.must(200);
        assert!(ended["ended_at"].is_string(), "{path}: {ended}");
        let again = lab.send(&operator, "DELETE", &one, &json!({})).await;
        assert_eq!((again.position, again.must(200)), (Some(position + 1), ended), "{path}: a second DELETE");
        assert_eq!(lab.send(&operator, "PATCH", &one, &change).await.status, 409, "{path}: a change after the end");
        assert_eq!(lab.events().await.len(), before + 3, "{path}");
    }
}

#[tokio::test]
async fn a_resource_with_many_changes_is_loaded_correctly() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    let target = json!({"provider_id": provider, "model": "echo"});
    let made = lab.made("/models", json!({"name": "m", "targets": [target]})).await;
    let id = made["id"].as_str().unwrap();
    let state = lab.admin.tables.load().model(id.parse().unwrap()).unwrap().value.clone();
    let changed =
        |number: usize| Event::from(Change::changed(Model { name: format!("m-{number}"), ..Model::clone(&state) }));
    let append = Append {
        stream: Stream::new(StreamKind::Model, id),
        expected_sequence: 1,
        events: (0..5_000).map(changed).collect(),
        context: Context::of(Actor::Operator),
        side: vec![],
        idempotency: None,
        basis: Basis::default(),
    };
    assert!(lab.admin.log.append(append).await.is_ok());
    let one = format!("/v1/admin/models/{id}");
    let last = lab.send(&operator, "PATCH", &one, &json!({"system_prefix": "x"})).await.must(200);
    assert_eq!((&last["name"], &last["created_at"]), (&json!("m-4999"), &made["created_at"]));
    assert_eq!(lab.events().await.last().unwrap().sequence, 5_002);
    lab.send(&operator, "DELETE", &one, &json!({})).await.must(200);
    assert_eq!(lab.send(&operator, "PATCH", &one, &json!({"system_prefix": "y"})).await.status, 409);
}

#[tokio::test]
async fn generations_of_a_key_survive_other_changes() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    let key = format!("/v1/admin/keys/{}", lab.make("/keys", json!({"name": "app"})).await);
    let rename = |name: &'static str| (format!("PATCH {key}"), json!({ "name": name }));
    let rotate = || (format!("POST {key}/rotate"), json!({}));
    for (what, body) in [rename("a"), rotate(), rename("b"), rotate(), rotate(), rename("c"), rename("d"), rotate()] {
        let (method, path) = what.split_once(' ').unwrap();
        lab.send(&operator, method, path, &body).await.must(200);
    }
    let generations: Vec<u32> = lab.events().await.iter().filter_map(|recorded| generation(&recorded.event)).collect();
    assert_eq!(generations, [2, 3, 4, 5]);
}

fn generation(event: &Event) -> Option<u32> {
    if let Event::Resource(Resource::KeyRotated(rotated)) = event { Some(rotated.generation) } else { None }
}

/// Holds: admin.price-defaults, admin.timeouts, admin.keys, bin.default-tenancy
#[tokio::test]
async fn what_is_absent_is_filled_in() {
    let lab = Lab::new().await;
    let user = lab.made("/users", json!({"name": "Ada"})).await;
    assert_eq!(user["tenant_id"], lab.tenancy.tenant.to_string());
    let key = lab.made("/keys", json!({"name": "app"})).await;
    assert_eq!((&key["user_id"], &key["permissions"]), (&json!(lab.tenancy.user.to_string()), &json!(["models:use"])));
    let provider = lab.made("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    assert_eq!((&provider["timeout_ms"], &provider["idle_timeout_ms"]), (&json!(120_000), &json!(30_000)));
    let price =
        json!({"provider_id": provider["id"], "model": "echo", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15"});
    let price = lab.made("/prices", price).await;
    for (class, usd) in [("cache_read", "3"), ("cache_write", "3"), ("reasoning", "15")] {
        assert_eq!(price[format!("{class}_usd_per_mtok")], format!("{usd}.000000000"), "{class}");
    }
    assert_eq!(price["request_usd"], "0.000000000");
}

/// Holds: event.nothing-personal
#[tokio::test]
async fn names_and_emails_are_in_no_event() {
    let lab = Lab::new().await;
    let user = lab.made("/users", json!({"name": "Ada Lovelace", "email": "ada@example.com"})).await;
    assert_eq!((&user["name"], &user["email"]), (&json!("Ada Lovelace"), &json!("ada@example.com")));
    let one = format!("/v1/admin/users/{}", user["id"].as_str().unwrap());
    let changed = lab.send(&lab.operator(), "PATCH", &one, &json!({"email": null})).await.must(200);
    assert_eq!((&changed["name"], &changed["email"]), (&json!("Ada Lovelace"), &Value::Null));
    for recorded in lab.events().await {
        let payload = recorded.event.payload().unwrap();
        assert!(!payload.contains("Lovelace") && !payload.contains("example.com"), "{payload}");
    }
}

/// Holds: admin.model-names
#[tokio::test]
async fn a_models_name_is_unique_among_what_a_key_can_see() {
    let lab = Lab::new().await;
    let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    let model = |name: &str| json!({"name": name, "targets": [{"provider_id": provider, "model": "echo"}]});
    let own = |name: &str| {
        let mut own = model(name);
        own["tenant_id"] = json!(lab.tenancy.tenant.to_string());
        own
    };
    let operator = lab.operator();
    let first = lab.make("/models", model("small")).await;
    assert_eq!(lab.send(&operator, "POST", "/v1/admin/models", &model("small")).await.status, 409);
    lab.make("/models", own("small")).await;
    assert_eq!(lab.send(&operator, "POST", "/v1/admin/models", &own("small")).await.status, 409);
    let one = format!("/v1/admin/models/{first}");
    lab.send(&operator, "PATCH", &one, &json!({"name": "large"})).await.must(200);
    let second = lab.make("/models", model("small")).await;
    lab.send(&operator, "DELETE", &format!("/v1/admin/models/{second}"), &json!({})).await.must(200);
    lab.send(&operator, "PATCH", &one, &json!({"name": "small"})).await.must(200);
}

/// Holds: query.audit-origin
#[tokio::test]
async fn every_change_records_its_origin_beside_the_log() {
    let lab = Lab::new().await;
    lab.made("/partners", json!({"name": "Alpha"})).await;
    let request = lab.events().await.last().unwrap().context.request_id.unwrap();
    let found = lab.admin.log.read(move |reader| reader.client_addresses(&[request])).await.unwrap();
    assert_eq!(found[&request].ip, "127.0.0.1");
    assert_eq!(found[&request].user_agent.as_deref(), Some("tests"));
}
