//! Several changes in one request: all of them or none, each decided as if those before it were made.

use events::event::admin::Permission;
use events::ids::ProviderId;
use events::refusal::ErrorCode;
use http::HeaderValue;
use serde_json::{Value, json};

use super::lab::{Lab, Reply, json_type};
use crate::admin::CHANGES_MAX;

const PATH: &str = "/v1/admin/apply";
const TENANT: &str = "ten_00000000000000000000000000000001";
const PROVIDER: &str = "prv_00000000000000000000000000000002";

fn create(path: &str, body: Value) -> Value {
    json!({ "method": "POST", "path": format!("/v1/admin{path}"), "body": body })
}

fn create_as(stand_in: &str, path: &str, body: Value) -> Value {
    let mut change = create(path, body);
    change["id_as"] = stand_in.into();
    change
}

async fn apply(lab: &Lab, changes: &[Value]) -> Reply {
    lab.send(&lab.operator(), "POST", PATH, &json!({ "changes": changes })).await
}

/// The index of the change that was refused, and the code.
async fn refused(lab: &Lab, changes: &[Value]) -> (Option<u64>, ErrorCode) {
    let before = lab.events().await.len();
    let refusal = apply(lab, changes).await.refused();
    assert_eq!(lab.events().await.len(), before, "{refusal:?}");
    (refusal.details.get("change").and_then(Value::as_u64), refusal.code)
}

/// Holds: admin.apply
#[tokio::test]
async fn each_change_finds_those_before_it_and_all_are_recorded_together() {
    let lab = Lab::new().await;
    let partner = lab.tenancy.partner;
    let before = lab.events().await.len();
    let rule = json!({ "when": format!("tenant == '{TENANT}'"), "targets": [format!("{PROVIDER}/echo")] });
    let target = json!({ "provider_id": PROVIDER, "model": "echo" });
    let model = json!({ "name": "m", "tenant_id": TENANT, "strategy": "rules", "rules": [rule], "targets": [target] });
    let changes = [
        create_as(TENANT, "/tenants", json!({ "name": "t", "slug": "t" })),
        create_as(PROVIDER, "/providers", json!({ "name": "p", "kind": "simulator", "tenant_id": TENANT })),
        create("/models", model),
        create("/budgets", json!({ "scope": { "tenant_id": TENANT }, "limit_usd": "5", "period": "day" })),
        json!({ "method": "PATCH", "path": format!("/v1/admin/partners/{partner}"), "body": { "name": "renamed" } }),
    ];
    let reply = apply(&lab, &changes).await;
    let position = reply.position;
    let body = reply.must(200);
    let recorded = lab.events().await.split_off(before);
    let (ids, kinds): (Vec<String>, Vec<&str>) =
        recorded.iter().map(|event| (event.stream.id.clone(), event.stream.kind.as_str())).unzip();
    assert_eq!(kinds, ["tenant", "provider", "model", "budget", "partner"]);
    assert!(recorded.iter().all(|event| event.context.request_id == recorded[0].context.request_id));
    assert_eq!((position, &body["position"]), (Some(recorded[4].position), &json!(recorded[4].position)));
    for (change, event) in body["changes"].as_array().unwrap().iter().zip(&recorded) {
        let made = json!({ "kind": event.stream.kind.as_str(), "id": event.stream.id, "position": event.position });
        assert_eq!(change, &made);
    }
    let payloads: Vec<String> = recorded.iter().map(|event| event.event.payload().unwrap()).collect();
    assert!(!payloads.concat().contains("0000000000000000"), "{payloads:?}");
    assert!(payloads[2].contains(&format!("tenant == '{}'", ids[0])), "{}", payloads[2]);
    assert!(payloads[2].contains(&format!("\"{}/echo\"", ids[1])), "{}", payloads[2]);
    // The next request goes by them, as by any other change.
    let tables = lab.admin.tables.load();
    assert!(tables.route(Some(ids[0].parse().unwrap()), "m").is_some());
    drop(tables);
    let ends = [("models", &ids[2]), ("providers", &ids[1]), ("tenants", &ids[0])];
    let ends = ends.map(|(path, id)| json!({ "method": "DELETE", "path": format!("/v1/admin/{path}/{id}") }));
    apply(&lab, &ends).await.must(200);
    // What has ended ends once more without an event, and is told with its position.
    let again = apply(&lab, &ends).await.must(200);
    assert_eq!(again["changes"][2]["position"], json!(position.unwrap() + 3));
    assert_eq!(lab.events().await.len(), before + 8);
}

/// Holds: admin.apply
#[tokio::test]
async fn a_change_that_is_refused_leaves_none_of_the_others() {
    let lab = Lab::new().await;
    let tenant = |slug: &str| create("/tenants", json!({ "name": "t", "slug": slug }));
    let provider = |name: &str| create("/providers", json!({ "name": name, "kind": "simulator" }));
    let live = lab.make("/providers", json!({ "name": "live", "kind": "simulator" })).await;
    lab.make("/tenants", json!({ "name": "t", "slug": "taken" })).await;
    let absent = json!({ "method": "DELETE", "path": "/v1/admin/models/mdl_00000000000000000000000000000009" });
    for (last, code) in [
        // Which only the log knows, the tables, or the changes before.
        (tenant("taken"), ErrorCode::Conflict),
        (provider("live"), ErrorCode::Conflict),
        (tenant("new"), ErrorCode::Conflict),
        (absent, ErrorCode::NotFound),
        (create("/users", json!({ "name": "u", "tenant_id": TENANT })), ErrorCode::NotFound),
        (create("/tenants", json!({ "nmae": "t" })), ErrorCode::InvalidRequest),
    ] {
        assert_eq!(refused(&lab, &[tenant("new"), provider("new"), last.clone()]).await, (Some(2), code), "{last}");
    }
    // The name of what ends earlier in the request is free later in it, and not before.
    let end = json!({ "method": "DELETE", "path": format!("/v1/admin/providers/{live}") });
    assert_eq!(refused(&lab, &[provider("live"), end.clone()]).await, (Some(0), ErrorCode::Conflict));
    apply(&lab, &[end, provider("live")]).await.must(200);
    let refusal = apply(&lab, &[tenant("new"), tenant("taken")]).await.refused();
    assert_eq!((&refusal.details["field"], &*refusal.message), (&json!("slug"), "another tenant has that slug"));
}

/// Holds: admin.apply, admin.idempotency
#[tokio::test]
async fn a_retry_of_several_changes_gets_the_same_reply_and_changes_nothing() {
    let lab = Lab::new().await;
    let send = async |name: &str| {
        let mut headers = json_type();
        headers.insert("idempotency-key", HeaderValue::from_static("once"));
        let body = json!({ "changes": [create("/partners", json!({ "name": name })), create("/partners", json!({ "name": "b" }))] });
        lab.request(&lab.operator(), "POST", PATH, body.to_string().into_bytes(), headers).await
    };
    let first = send("a").await.must(200);
    let events = lab.events().await.len();
    assert_eq!(send("a").await.must(200), first);
    assert_eq!(send("other").await.refused().code, ErrorCode::IdempotencyKeyReused);
    assert_eq!(lab.events().await.len(), events);
}

/// Holds: admin.apply
#[tokio::test]
async fn a_caller_without_the_right_to_one_of_the_changes_makes_none() {
    let lab = Lab::new().await;
    let tenant = lab.make("/tenants", json!({ "name": "t" })).await;
    let caller = lab.key(&tenant, json!(["tenant_admin"]), &[Permission::AdminAccess]).await;
    let before = lab.events().await.len();
    let user = create("/users", json!({ "name": "u" }));
    let scope = json!({ "tenant_id": tenant });
    let budget = create("/budgets", json!({ "scope": scope, "limit_usd": "5", "period": "day" }));
    let refusal = lab.send(&caller, "POST", PATH, &json!({ "changes": [user, budget] })).await.refused();
    assert_eq!((refusal.code, &refusal.details["change"]), (ErrorCode::Forbidden, &json!(1)));
    assert_eq!(lab.events().await.len(), before);
    let user = create("/users", json!({ "name": "u" }));
    lab.send(&caller, "POST", PATH, &json!({ "changes": [user] })).await.must(200);
    // A change that takes the right away has its effect on those after it.
    let owner = caller.chain.user.unwrap();
    let end = json!({ "method": "DELETE", "path": format!("/v1/admin/users/{owner}") });
    let before = lab.events().await.len();
    let changes = json!({ "changes": [end, create("/users", json!({ "name": "v" }))] });
    let refusal = lab.send(&caller, "POST", PATH, &changes).await.refused();
    assert_eq!((refusal.details.get("change"), lab.events().await.len()), (Some(&json!(1)), before));
}

#[tokio::test]
async fn changes_that_would_take_much_memory_together_are_refused() {
    let lab = Lab::new().await;
    let target = json!({ "provider_id": PROVIDER, "model": "echo" });
    let prefix = "\u{1f4d2}".repeat(100_000);
    let model = |number: usize| {
        let name = format!("m{number}");
        create("/models", json!({ "name": name, "system_prefix": prefix, "targets": [target.clone()] }))
    };
    let changes: Vec<Value> = [create_as(PROVIDER, "/providers", json!({ "name": "p", "kind": "simulator" }))]
        .into_iter()
        .chain((0..45).map(model))
        .collect();
    assert_eq!(refused(&lab, &changes).await, (None, ErrorCode::InvalidRequest));
    let made = apply(&lab, &changes[..31]).await.must(200);
    // What is there counts as much as what it becomes.
    let ids = made["changes"].as_array().unwrap()[1..].iter().map(|change| change["id"].as_str().unwrap());
    let labelled = |id| {
        let path = format!("/v1/admin/models/{id}");
        json!({ "method": "PATCH", "path": path, "body": { "labels": { "team": "a" } } })
    };
    let labels: Vec<Value> = ids.map(labelled).collect();
    assert_eq!(refused(&lab, &labels).await, (None, ErrorCode::InvalidRequest));
    apply(&lab, &labels[..15]).await.must(200);
}

/// More than one look-up of streams reads at a time.
#[tokio::test]
async fn many_changes_are_recorded_in_their_order_without_a_gap() {
    let lab = Lab::new().await;
    let before = lab.events().await.len();
    let changes: Vec<Value> =
        (0..250).map(|number| create("/tenants", json!({ "name": format!("t{number}") }))).collect();
    let body = apply(&lab, &changes).await.must(200);
    let recorded = lab.events().await.split_off(before);
    assert_eq!(recorded.len(), changes.len());
    for ((number, event), change) in recorded.iter().enumerate().zip(body["changes"].as_array().unwrap()) {
        assert_eq!(
            (change["id"].as_str(), change["position"].as_u64()),
            (Some(&*event.stream.id), Some(event.position))
        );
        assert!(event.event.payload().unwrap().contains(&format!("\"t{number}\"")));
    }
}

/// Both belong to a new tenant, whose data key is new, too.
///
/// Holds: admin.apply, admin.sealed
#[tokio::test]
async fn the_keys_of_several_providers_are_sealed_together_and_open() {
    let lab = Lab::new().await;
    let provider = |name: &str, owner: Option<&str>| {
        let base_url = "https://api.example.com/v1";
        let api_key = format!("secret-{name}");
        let body =
            json!({ "name": name, "kind": "openai", "base_url": base_url, "api_key": api_key, "tenant_id": owner });
        create("/providers", body)
    };
    let tenant = create_as(TENANT, "/tenants", json!({ "name": "t" }));
    let changes = [tenant, provider("a", Some(TENANT)), provider("b", None), provider("c", Some(TENANT))];
    let made = apply(&lab, &changes).await.must(200);
    for (at, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let id: ProviderId = made["changes"][at]["id"].as_str().unwrap().parse().unwrap();
        let opened = lab.admin.vault.open(None, id, 1).await.unwrap().unwrap();
        assert_eq!(opened.reveal(), format!("secret-{name}"));
    }
    // Nobody waits for the permit of a request that has ended.
    lab.send(&lab.operator(), "POST", PATH, &json!({ "changes": [provider("a", None)] })).await.must(200);
}

/// Holds: admin.apply-based-on
#[tokio::test]
async fn changes_that_are_based_on_what_is_not_recorded_are_wrong() {
    let lab = Lab::new().await;
    let partner = json!({ "changes": [create("/partners", json!({ "name": "p" }))], "based_on": 1_000_000 });
    assert_eq!(lab.send(&lab.operator(), "POST", PATH, &partner).await.wrong_field(), "based_on");
}

/// Holds: admin.apply-based-on
#[tokio::test]
async fn a_change_of_what_others_have_ended_since_says_so() {
    let lab = Lab::new().await;
    let partner = lab.make("/partners", json!({ "name": "p" })).await;
    let path = format!("/v1/admin/partners/{partner}");
    let before = lab.events().await.len();
    lab.send(&lab.operator(), "DELETE", &path, &json!({})).await.must(200);
    let change = json!({ "method": "PATCH", "path": path, "body": { "name": "q" } });
    let asked = json!({ "changes": [change], "based_on": before });
    let refusal = lab.send(&lab.operator(), "POST", PATH, &asked).await.refused();
    assert_eq!(
        (refusal.code, &refusal.details["changed_at"]),
        (ErrorCode::Conflict, &json!(before + 1)),
        "{refusal:?}"
    );
}

/// Holds: admin.apply
#[tokio::test]
async fn what_is_no_list_of_changes_is_refused_where_it_is() {
    let lab = Lab::new().await;
    let partner = || create("/partners", json!({ "name": "p" }));
    let own = format!("/v1/admin/partners/{}", lab.tenancy.partner);
    let patch = || json!({ "method": "PATCH", "path": own, "body": { "name": "p" } });
    let stand_in = "par_00000000000000000000000000000001";
    for (changes, field) in [
        (json!([]), "changes"),
        (json!(vec![partner(); CHANGES_MAX + 1]), "changes"),
        (json!([partner(), { "method": "PUT", "path": own }]), "changes[1].method"),
        (json!([partner(), { "method": "POST", "path": own }]), "changes[1].path"),
        (json!([{ "method": "DELETE", "path": "/v1/admin/partners" }]), "changes[0].path"),
        (json!([create("/keys", json!({ "name": "k" }))]), "changes[0].path"),
        (json!([{ "method": "POST", "path": "/v1/admin/apply" }]), "changes[0].path"),
        (json!([patch(), partner(), patch()]), "changes[2].path"),
        (json!([{ "method": "POST", "path": "/v1/admin/partners", "body": [] }]), "changes[0].body"),
        (json!([create_as("x", "/partners", json!({}))]), "changes[0].id_as"),
        (json!([create_as(TENANT, "/partners", json!({}))]), "changes[0].id_as"),
        (
            json!([create_as(stand_in, "/partners", json!({})), create_as(stand_in, "/partners", json!({}))]),
            "changes[1].id_as",
        ),
    ] {
        let before = lab.events().await.len();
        let reply = lab.send(&lab.operator(), "POST", PATH, &json!({ "changes": changes })).await;
        assert_eq!(reply.wrong_field(), field);
        assert_eq!(lab.events().await.len(), before);
    }
    // Two ends of one resource cannot be put into one.
    let end = json!({ "method": "DELETE", "path": own });
    let refusal = apply(&lab, &[partner(), end.clone(), end]).await.refused();
    let details = (refusal.details.get("field"), refusal.details.get("reason"), refusal.details.get("change"));
    let reason = json!("is changed twice: leave one out, or put both into one");
    assert_eq!(details, (Some(&json!("changes[2].path")), Some(&reason), None));
}
