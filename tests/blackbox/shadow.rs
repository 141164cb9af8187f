//! Shadows: copies of a share of a model's requests for another model. Nobody gets their answers or waits for them, and the owner of
//! the model pays.

mod planned_later;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use events::event::admin::Shadow;
use events_log::LEDGER_FILE;
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::{MockUpstream, TEXT};

use crate::abandoned::{metric, until_metric_is};
use crate::books::{nano, usd};
use crate::commands;
use crate::explain::explained;
use crate::gateway::{Gateway, type_of};
use crate::sealed_content::{files_with, gateway_with_store, objects_in, seal, stored_content};
use crate::target_places::House;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

const COPIES: &str = "ledgerway_shadow_copies_total";
const SOON: Duration = Duration::from_secs(15);
/// The cost of the mock's answer, at the prices of the tests' tenants.
const ANSWER_NANOS: i64 = 1_000_000 + 12 * 3_000 + 9 * 15_000;
/// The cost of a report of 10 tokens of input and 5 of output.
const REPORTED_NANOS: i64 = 1_000_000 + 10 * 3_000 + 5 * 15_000;

fn outcome(word: &str) -> String {
    format!("{COPIES}{{outcome=\"{word}\"}}")
}

/// The shared model's id.
async fn id_of(gateway: &Gateway, name: &str) -> String {
    let found = gateway.operator().get(&format!("/v1/admin/models?name={name}")).await.must(200).json();
    text(&found["items"][0]["id"])
}

/// Copies a share of the requests for one of the tenant's shared models to another one.
async fn copy_to(gateway: &Gateway, tenant: &Tenant, model: &str, shadow: &str, share_percent: u32) -> String {
    let id = id_of(gateway, &tenant.model(model)).await;
    let shadow = json!({ "model": tenant.model(shadow), "share_percent": share_percent });
    gateway.operator().patch(&format!("/v1/admin/models/{id}"), &json!({ "shadow": shadow })).await.must(200);
    id
}

/// The copies in the log that were admitted, by the requests that they are copies of.
async fn copies(gateway: &Gateway) -> BTreeMap<String, Value> {
    let admitted = gateway.events().await.into_iter().filter(|event| type_of(event) == "inference.admitted.v1");
    admitted.filter_map(|event| Some((event["data"]["shadow_of"].as_str()?.to_owned(), event))).collect()
}

/// The admission of the copy of a request, once the copy has ended.
pub async fn copy_of(gateway: &Gateway, request: &str) -> Value {
    let began = Instant::now();
    loop {
        if let Some(copy) = copies(gateway).await.remove(request)
            && has_ended(&gateway.life(&text(&copy["request_id"])).await)
        {
            return copy;
        }
        assert!(began.elapsed() < SOON, "{request} has no copy");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the hold of a request has ended.
fn has_ended(life: &[Value]) -> bool {
    let ends = ["budget.settled.v1", "budget.released.v1", "budget.expired.v1"];
    life.iter().any(|event| ends.contains(&type_of(event)))
}

/// The `data` of the first event of a type in the life of a request.
async fn data_of(gateway: &Gateway, request: &str, wanted: &str) -> Value {
    let life = gateway.life(request).await;
    let found = life.iter().find(|event| type_of(event) == wanted);
    found.unwrap_or_else(|| panic!("{request} has no {wanted}: {life:?}"))["data"].clone()
}

/// Usage by a dimension: the requests and the cost of each value.
async fn usage(gateway: &Gateway, dimension: &str) -> BTreeMap<String, (u64, i64)> {
    let head = gateway.head().await;
    let path = format!("/v1/usage?group_by={dimension}&min_position={head}");
    let items = gateway.operator().get(&path).await.must(200).json()["items"].clone();
    let item = |item: &Value| {
        let value = item[dimension].as_str().unwrap_or("nobody").to_owned();
        (value, (item["requests"].as_u64().expect("a count"), nano(&item["cost_usd"])))
    };
    items.as_array().expect("items").iter().map(item).collect()
}

fn must_be_sound(gateway: &mut Gateway) {
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

/// Holds: admin.shadow, admin.shadow-payer
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_sent_whose_answer_nobody_gets_and_which_the_platform_pays() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "usage-10-5-15"]).await;
    let limit = json!({ "scope": { "tenant_id": tenant.id }, "requests_per_day": 2 });
    made(gateway.operator(), "/rate-limits", limit).await;
    copy_to(&gateway, &tenant, "ok", "usage-10-5-15", 100).await;
    // The shadow of a shadow gets nothing.
    copy_to(&gateway, &tenant, "usage-10-5-15", "ok", 100).await;

    let mut body = tenant.ask("ok");
    body["metadata"] = json!({ "team": "red" });
    let whole = tenant.app.post(NATIVE, &body).await.must(200);
    assert_eq!(whole.header("x-ledgerway-backend").rsplit('/').next(), Some("ok"));
    let stream = tenant.stream(OPENAI, "ok").await;
    let streamed = stream.request_id();
    let (events, _) = stream.rest().await;
    assert!(events.last().is_some_and(|event| event.is_done()), "{events:?}");
    for (original, is_streamed) in [(whole.request_id(), false), (streamed, true)] {
        let copy = copy_of(&gateway, &original).await;
        let id = text(&copy["request_id"]);
        let admitted = &copy["data"];
        assert_eq!(
            (&admitted["model"], &admitted["streamed"]),
            (&json!(tenant.model("usage-10-5-15")), &json!(is_streamed))
        );
        assert_eq!((&copy["actor"], &admitted["content_policy"]), (&json!("system:shadow"), &json!("none")));
        assert_eq!((&admitted["metadata"], &admitted["body_sha256"]), (&json!({}), &json!("")), "{copy}");
        for owner in ["partner_id", "tenant_id", "user_id", "key_id"] {
            assert_eq!(copy.get(owner), None, "{copy}");
        }
        let completed = data_of(&gateway, &id, "inference.completed.v1").await;
        assert_eq!((nano(&completed["cost_usd"]), completed.get("answer_digest")), (REPORTED_NANOS, None));
        for request in [&original, &id] {
            let said = explained(&gateway, request).await;
            assert_eq!(said["follows"], true, "{said:#}");
        }
        let path = format!("/v1/inferences/{id}?min_position={}", gateway.head().await);
        assert_eq!(gateway.operator().get(&path).await.must(200).json()["shadow_of"], json!(original));
        let list = format!("/v1/inferences?shadow_of={original}&min_position={}", gateway.head().await);
        let listed = gateway.operator().get(&list).await.must(200).json();
        let found: Vec<&Value> =
            listed["items"].as_array().expect("items").iter().map(|item| &item["request_id"]).collect();
        assert_eq!((found, &listed["next_cursor"]), (vec![&json!(id)], &Value::Null));
        let none = gateway.operator().get(&format!("{list}&status=failed")).await.must(200).json();
        assert_eq!(none["items"], json!([]), "filters are combined");
        let of_copy = format!("/v1/inferences?shadow_of={id}");
        assert_eq!(gateway.operator().get(&of_copy).await.must(200).json()["items"], json!([]), "a copy has no copies");
        // The tenant has paid nothing and sees nothing of it.
        let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read", "events:read"] })).await;
        reader.get(&path).await.must(404);
        assert_eq!(reader.get(&list).await.must(200).json()["items"], json!([]));
        let seen = reader.get("/v1/events").await.must(200);
        assert!(!String::from_utf8_lossy(&seen.body).contains(&id), "a tenant sees the platform's copy");
    }
    // Both have the same conversation.
    let asked = |model: &str| -> Vec<Value> {
        upstream.seen().iter().filter(|seen| seen.model() == model).map(|seen| seen.body["messages"].clone()).collect()
    };
    assert_eq!((asked("ok").len(), asked("ok")), (2, asked("usage-10-5-15")));
    assert_eq!(metric(&gateway, &outcome("sent")).await, 2);

    let by_tenant = usage(&gateway, "tenant").await;
    assert_eq!(
        by_tenant,
        [(tenant.id.clone(), (2, 2 * ANSWER_NANOS)), ("nobody".to_owned(), (2, 2 * REPORTED_NANOS))].into()
    );
    let by_model = usage(&gateway, "model").await;
    assert_eq!(by_model[&tenant.model("usage-10-5-15")], (2, 2 * REPORTED_NANOS));
    let (code, screen, _) = commands::run(&["status"], Some(&gateway.data()));
    let row = |line: &&str| line.contains(&usd(2 * REPORTED_NANOS)) && line.ends_with("2 requests  copies for shadows");
    assert!(code == Some(0) && screen.lines().filter(row).count() == 1, "{screen}");
    let budget = gateway.budget(&tenant.budget).await;
    assert_eq!((&budget["settled_usd"], &budget["held_usd"]), (&json!(usd(2 * ANSWER_NANOS)), &json!(usd(0))));
    // A copy is no request of the tenant's under its rate limits either: two of two are its own.
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    must_be_sound(&mut gateway);
}

/// Holds: admin.shadow
#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_share_is_copied_that_the_log_shows() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500", "usage-10-5-15"]).await;
    let model = copy_to(&gateway, &tenant, "ok", "usage-10-5-15", 30).await.parse().expect("an id");
    let alias = json!({ "name": tenant.model("alias"), "alias": [{ "model": tenant.model("ok") }] });
    made(gateway.operator(), "/models", alias).await;
    let shadow = Shadow { model: tenant.model("usage-10-5-15"), share_percent: 30 };
    let (mut drawn, mut asked) = (BTreeSet::new(), 0_usize);
    while drawn.len() < 12 {
        let reply = tenant.chat(if asked.is_multiple_of(2) { "ok" } else { "alias" }).await.must(200);
        asked += 1;
        if shadow.draws(model, reply.request_id().parse().expect("an id")) {
            drawn.insert(reply.request_id());
        }
    }
    assert!(asked > drawn.len());
    for request in &drawn {
        let copy = copy_of(&gateway, request).await;
        assert_eq!(explained(&gateway, &text(&copy["request_id"])).await["follows"], true);
    }
    assert_eq!(copies(&gateway).await.into_keys().collect::<BTreeSet<_>>(), drawn);

    // Only what was served is copied.
    copy_to(&gateway, &tenant, "e500", "usage-10-5-15", 100).await;
    let before = upstream.seen_of("usage-10-5-15");
    assert!(tenant.chat("e500").await.status >= 500);
    tenant.set_limit("0").await;
    tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((upstream.seen_of("usage-10-5-15"), copies(&gateway).await.len()), (before, drawn.len()));
    must_be_sound(&mut gateway);
}

/// Holds: admin.shadow-payer
#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_a_request_for_a_tenants_own_model_is_charged_within_the_tenant() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "usage-10-5-15"]).await;
    let operator = gateway.operator();
    let of_user = json!({ "scope": { "user_id": tenant.user }, "limit_usd": "5", "period": "total" });
    let of_user = made(operator, "/budgets", of_user).await;
    let target = json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 64 });
    // One shadow is shared, one is the tenant's own.
    let hidden = json!({ "provider_id": tenant.provider, "model": "usage-10-5-15", "default_max_output_tokens": 64 });
    made(operator, "/models", json!({ "name": "hidden", "tenant_id": tenant.id, "targets": [hidden] })).await;
    for (name, shadow) in [("own", tenant.model("usage-10-5-15")), ("own-too", "hidden".to_owned())] {
        let model = json!({ "name": name, "tenant_id": tenant.id, "targets": [target],
                            "shadow": { "model": shadow, "share_percent": 100 } });
        made(operator, "/models", model).await;
        let mut body = tenant.ask("");
        body["model"] = json!(name);
        let original = tenant.app.post(NATIVE, &body).await.must(200).request_id();
        let copy = copy_of(&gateway, &original).await;
        assert_eq!((&copy["tenant_id"], &copy["partner_id"]), (&json!(tenant.id), &json!(tenant.partner)));
        assert_eq!((copy.get("user_id"), copy.get("key_id")), (None, None), "{copy}");
        let said = explained(&gateway, &text(&copy["request_id"])).await;
        assert_eq!(said["follows"], true, "{said:#}");
        let (_, reader) = tenant.new_key(&gateway, json!({ "permissions": ["usage:read"] })).await;
        let path = format!("/v1/inferences/{}?min_position={}", text(&copy["request_id"]), gateway.head().await);
        assert_eq!(reader.get(&path).await.must(200).json()["shadow_of"], json!(original));
    }
    let settled = async |budget: &str| nano(&gateway.budget(budget).await["settled_usd"]);
    assert_eq!(settled(&tenant.budget).await, 2 * (ANSWER_NANOS + REPORTED_NANOS));
    assert_eq!(settled(&of_user).await, 2 * ANSWER_NANOS, "the user's budget has the user's own requests");

    // A copy that the tenant cannot pay is not sent, and the request was answered all the same.
    let left = 2 * (ANSWER_NANOS + REPORTED_NANOS) + 3_500_000;
    tenant.set_limit(&usd(left)).await;
    let mut body = tenant.ask("");
    body["model"] = json!("own");
    body["max_output_tokens"] = json!(64);
    tenant.app.post(NATIVE, &body).await.must(200);
    until_metric_is(&gateway, &outcome("refused"), 1).await;
    assert_eq!(upstream.seen_of("usage-10-5-15"), 2);

    // A shared model cannot name a tenant's own.
    copy_to(&gateway, &tenant, "ok", "usage-10-5-15", 100).await;
    let id = id_of(&gateway, &tenant.model("ok")).await;
    let shadow = json!({ "shadow": { "model": "hidden", "share_percent": 100 } });
    operator.patch(&format!("/v1/admin/models/{id}"), &shadow).await.must(200);
    tenant.set_limit("5").await;
    tenant.chat("ok").await.must(200);
    until_metric_is(&gateway, &outcome("refused"), 2).await;
    must_be_sound(&mut gateway);
}

/// Holds: admin.shadow-terms
#[tokio::test(flavor = "multi_thread")]
async fn what_binds_a_request_binds_its_copy_and_nothing_of_it_is_stored() {
    let ((mut gateway, store), upstream) = (gateway_with_store(), MockUpstream::start().await);
    let setup = Setup { required_terms: json!({ "residency": "eu" }), ..Setup::default() };
    let strict = Tenant::with(&gateway, &upstream, &[], setup).await;
    let free = Tenant::new(&gateway, &upstream, &[]).await;
    let operator = gateway.operator();
    for (name, backend, terms) in [
        ("abroad", "slow-1", json!({ "region": "us", "zero_retention": true })),
        ("near", "slow-2", json!({ "region": "eu-central-1", "zero_retention": true })),
        ("asked", "ok", json!({ "region": "eu-central-1", "zero_retention": true })),
        ("asked-too", "ok", json!({ "region": "eu-central-1", "zero_retention": true })),
    ] {
        if name != "asked-too" {
            strict.price(backend).await;
        }
        let mut target = json!({ "provider_id": strict.provider, "model": backend, "default_max_output_tokens": 64 });
        target.as_object_mut().expect("a target").extend(terms.as_object().expect("terms").clone());
        made(operator, "/models", json!({ "name": strict.model(name), "targets": [target] })).await;
    }
    copy_to(&gateway, &strict, "asked", "abroad", 100).await;
    copy_to(&gateway, &strict, "asked-too", "near", 100).await;
    let asking = |name: &str| strict.ask(name);

    // What the tenant requires, and what a request does.
    strict.app.post(NATIVE, &asking("asked")).await.must(200);
    until_metric_is(&gateway, &outcome("refused"), 1).await;
    let residency = free.app.clone().with("x-ledgerway-residency", "eu");
    residency.post(NATIVE, &asking("asked")).await.must(200);
    until_metric_is(&gateway, &outcome("refused"), 2).await;
    assert_eq!(upstream.seen_of("slow-1"), 0, "a copy left the region");
    let reply = free.app.post(NATIVE, &asking("asked")).await.must(200);
    copy_of(&gateway, &reply.request_id()).await;
    assert_eq!(upstream.seen_of("slow-1"), 1);

    // One that meets them gets the copy, whose admission says what was required.
    let retention = strict.app.clone().with("x-ledgerway-zero-retention", "true");
    let reply = retention.post(NATIVE, &asking("asked-too")).await.must(200);
    let copy = copy_of(&gateway, &reply.request_id()).await;
    let terms = &copy["data"]["route"]["terms"];
    assert_eq!(terms["request"], json!({ "residency": "eu", "zero_retention": true }), "{copy}");
    assert_eq!(explained(&gateway, &text(&copy["request_id"])).await["follows"], true);

    // Of sealed content, the store has the request's own.
    seal(&gateway, &free).await;
    let (_, reader) = free.new_key(&gateway, json!({ "permissions": ["content:read"] })).await;
    let reply = free.app.post(NATIVE, &asking("asked-too")).await.must(200);
    assert_eq!(stored_content(&gateway, &reader, &reply.request_id()).await["answer"], json!(TEXT));
    copy_of(&gateway, &reply.request_id()).await;
    must_be_sound(&mut gateway);
    assert_eq!(objects_in(store.path()), 2);
    let found = files_with(&[store.path(), &gateway.data()], &[TEXT]);
    assert!(found.is_empty(), "{found:?}");
}

/// Holds: admin.shadow-bounds
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_fails_or_never_answers_disturbs_nobody() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "1")]);
    let (mut gateway, upstream) = (gateway, MockUpstream::start().await);
    let setup = Setup { timeout_ms: 60_000, ..Setup::default() };
    let tenant =
        Tenant::with(&gateway, &upstream, &["ok", "slow-2", "hang", "e500", "close", "slow-1500"], setup).await;
    for shadow in ["e500", "close"] {
        copy_to(&gateway, &tenant, "slow-2", shadow, 100).await;
        let reply = tenant.chat("slow-2").await.must(200);
        let copy = text(&copy_of(&gateway, &reply.request_id()).await["request_id"]);
        data_of(&gateway, &copy, "inference.failed.v1").await;
        assert_eq!(explained(&gateway, &copy).await["follows"], true);
    }
    // Nobody waits for one that is slow.
    copy_to(&gateway, &tenant, "slow-2", "slow-1500", 100).await;
    let began = Instant::now();
    let reply = tenant.chat("slow-2").await.must(200);
    assert!(began.elapsed() < Duration::from_millis(1000), "{:?}", began.elapsed());
    copy_of(&gateway, &reply.request_id()).await;
    assert!(began.elapsed() >= Duration::from_millis(1500));

    copy_to(&gateway, &tenant, "ok", "hang", 100).await;
    let before = metric(&gateway, &outcome("sent")).await;
    for _ in 0..100 {
        tenant.chat("ok").await.must(200);
    }
    // Sixteen of a model run, and as many wait as fill up 64.
    until_metric_is(&gateway, &outcome("dropped"), 36).await;
    until_metric_is(&gateway, &outcome("sent"), before + 16).await;
    assert_eq!(upstream.seen_of("hang"), 16);
    // The copies of another model have room.
    let reply = tenant.chat("slow-2").await.must(200);
    copy_of(&gateway, &reply.request_id()).await;

    // A shutdown waits for copies as long as for other calls, and ends their requests.
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
    gateway.start_again();
    assert!(gateway.books().await.open_holds().is_empty());
    must_be_sound(&mut gateway);
}

/// Holds: admin.shadow-bounds
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_shadows_never_answer_leaves_room_for_the_platforms_copies() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "1")]);
    let (mut gateway, upstream) = (gateway, MockUpstream::start().await);
    let setup = Setup { timeout_ms: 60_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["ok", "hang", "usage-10-5-15"], setup).await;
    let target = json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 64 });
    let shadow = json!({ "model": tenant.model("hang"), "share_percent": 100 });
    // As many as would fill all places that run, if each model had its sixteen.
    for number in 0..4 {
        let name = format!("own-{number}");
        let model = json!({ "name": name, "tenant_id": tenant.id, "targets": [target], "shadow": shadow });
        made(gateway.operator(), "/models", model).await;
        let mut body = tenant.ask("");
        body["model"] = json!(name);
        for _ in 0..16 {
            tenant.app.post(NATIVE, &body).await.must(200);
        }
    }
    until_metric_is(&gateway, &outcome("sent"), 32).await;
    copy_to(&gateway, &tenant, "ok", "usage-10-5-15", 100).await;
    let original = tenant.chat("ok").await.must(200).request_id();
    copy_of(&gateway, &original).await;
    assert_eq!(upstream.seen_of("hang"), 32, "half of what all tenants have");
    must_be_sound(&mut gateway);
}

/// Holds: admin.shadow-bounds
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_copies_are_large_leaves_room_for_the_platforms_bodies() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "1")]);
    let (mut gateway, upstream) = (gateway, MockUpstream::start().await);
    let setup = Setup { timeout_ms: 60_000, limit_usd: "1000", context_window: 1_000_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["ok", "hang", "usage-10-5-15"], setup).await;
    let target = json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 64 });
    let hang = json!({ "provider_id": tenant.provider, "model": "hang", "default_max_output_tokens": 64 });
    made(gateway.operator(), "/models", json!({ "name": "hangs", "tenant_id": tenant.id, "targets": [hang] })).await;
    let shadow = json!({ "model": "hangs", "share_percent": 100 });
    let model = json!({ "name": "own", "tenant_id": tenant.id, "targets": [target], "shadow": shadow });
    made(gateway.operator(), "/models", model).await;
    let mut body = tenant.ask("");
    body["model"] = json!("own");
    body["messages"][0]["content"] = json!("word ".repeat(220_000));
    // A little more than a mebibyte each, so that less than 32 have room.
    for _ in 0..32 {
        tenant.app.post(NATIVE, &body).await.must(200);
    }
    assert!(metric(&gateway, &outcome("dropped")).await > 0, "the tenant's room is full");
    let shadow = json!({ "model": tenant.model("usage-10-5-15"), "share_percent": 100 });
    let shared = json!({ "name": tenant.model("shared"), "targets": [target], "shadow": shadow });
    made(gateway.operator(), "/models", shared).await;
    body["model"] = json!(tenant.model("shared"));
    let original = tenant.app.post(NATIVE, &body).await.must(200).request_id();
    copy_of(&gateway, &original).await;
    must_be_sound(&mut gateway);
}

/// Holds: admin.shadow
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_the_platform_pays_is_sent_to_another_target_if_the_first_one_fails() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500", "usage-10-5-15"]).await;
    tenant.add_model("fails-first", &["e500", "usage-10-5-15"]).await;
    copy_to(&gateway, &tenant, "ok", "fails-first", 100).await;
    let original = tenant.chat("ok").await.must(200).request_id();
    let copy = text(&copy_of(&gateway, &original).await["request_id"]);
    let completed = data_of(&gateway, &copy, "inference.completed.v1").await;
    assert_eq!(
        (&completed["backend"]["model"], nano(&completed["cost_usd"])),
        (&json!("usage-10-5-15"), REPORTED_NANOS)
    );
    let failed = data_of(&gateway, &copy, "inference.attempt_failed.v1").await;
    assert_eq!((&failed["backend"]["model"], &failed["status"]), (&json!("e500"), &json!(500)), "{failed}");
    let said = explained(&gateway, &copy).await;
    assert_eq!(said["follows"], true, "{said:#}");
    must_be_sound(&mut gateway);
}

/// The copy of another tenant's request waits for the only target of a shared model, which has no room, and this is changed meanwhile.
/// Returns what the copy's life ends with.
async fn while_a_copy_waits(change: impl AsyncFnOnce(&mut House, &Tenant)) -> (House, Value) {
    let mut house = House::new(1, &["gate"]).await;
    house.tenant.price("ok").await;
    house.tenant.add_model("ok", &["ok"]).await;
    copy_to(&house.gateway, &house.tenant, "ok", "limited", 100).await;
    house.ask("occupies");
    house.until_seen(1).await;
    let other = Tenant::new(&house.gateway, &house.upstream, &[]).await;
    let original = other.app.post(NATIVE, &house.tenant.ask("ok")).await.must(200).request_id();
    house.until_waiting(1).await;
    change(&mut house, &other).await;
    house.upstream.open_gate();
    for reply in house.all_answered().await {
        reply.must(200);
    }
    let copy = text(&copy_of(&house.gateway, &original).await["request_id"]);
    let said = explained(&house.gateway, &copy).await;
    assert_eq!(said["follows"], true, "{said:#}");
    let end = house.end(&copy).await;
    (house, end)
}

/// Holds: admin.shadow
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_the_platform_pays_waits_for_a_target_behind_requests_of_clients_and_is_sent() {
    let (house, end) = while_a_copy_waits(async |house, _| {
        house.ask("came later");
        house.until_waiting(2).await;
    })
    .await;
    assert_eq!(end["backend"]["model"], json!("gate"), "{end}");
    assert!(end["queued_ms"].as_u64().is_some(), "{end}");
    let seen = house.upstream.seen();
    let at_gate = seen.iter().filter(|call| call.model() == "gate").map(|call| &call.body["messages"][0]["content"]);
    assert_eq!(at_gate.collect::<Vec<_>>(), ["occupies", "came later", "hello"]);
    house.must_verify();
}

/// Holds: admin.shadow-terms, inf.last-look
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_of_a_tenant_that_is_deleted_while_the_copy_of_its_request_waits() {
    let (house, end) = while_a_copy_waits(async |house, other| {
        house.gateway.operator().delete(&format!("/v1/admin/tenants/{}", other.id)).await.must(200);
    })
    .await;
    assert_eq!((&end["code"], &end["reason"]), (&json!("FORBIDDEN"), &json!("no_longer_allowed")), "{end}");
    assert_eq!(house.upstream.seen_of("gate"), 1, "the conversation of a deleted tenant was sent");
    house.must_verify();
}

/// Holds: admin.shadow
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_process_dies_is_settled_after_the_restart() {
    let (mut gateway, upstream) =
        (Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "2")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "hang"]).await;
    copy_to(&gateway, &tenant, "ok", "hang", 100).await;
    let original = tenant.chat("ok").await.must(200).request_id();
    while upstream.seen_of("hang") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.kill();
    gateway.start_again();
    gateway.books_when_all_ended(Duration::from_secs(20)).await;
    let copy = text(&copy_of(&gateway, &original).await["request_id"]);
    assert_eq!(gateway.types_of(&copy).await.last().map(String::as_str), Some("budget.expired.v1"));
    assert_eq!(explained(&gateway, &copy).await["follows"], true);
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");

    // A copy of something that was never asked is no copy.
    for (forged, said) in [
        ("json_set(payload, '$.shadow_of', 'req_00000000000000000000000000000001')", "was not admitted before"),
        (
            "json_set(payload, '$.shadow_of', (SELECT aggregate_id FROM events WHERE event_type = 'inference.admitted' \
          AND payload ->> '$.shadow_of' IS NOT NULL))",
            "was not admitted before",
        ),
    ] {
        let ledger = gateway.data().join(LEDGER_FILE);
        let kept = std::fs::read(&ledger).expect("the ledger");
        let db = Connection::open(&ledger).expect("the ledger");
        db.execute_batch("DROP TRIGGER events_are_never_changed").expect("unlocked");
        let forge = format!(
            "UPDATE events SET payload = {forged} WHERE event_type = 'inference.admitted' AND payload ->> '$.shadow_of' IS NOT NULL"
        );
        assert_eq!(db.execute(&forge, []).expect("changed"), 1);
        drop(db);
        let (code, words) = gateway.verify();
        assert!(code != Some(0) && words.contains(said), "{code:?} {words}");
        std::fs::write(&ledger, kept).expect("written");
    }
}

/// Holds: admin.shadow
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_another_model_and_an_alias_has_none() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let target = json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 64 });
    let with = |shadow: Value| json!({ "name": tenant.model("new"), "targets": [target], "shadow": shadow });
    let of_alias = json!({ "name": tenant.model("new"), "alias": [{ "model": tenant.model("ok") }],
                           "shadow": { "model": "next", "share_percent": 1 } });
    for (body, field) in [
        (with(json!({ "model": tenant.model("new"), "share_percent": 1 })), "shadow.model"),
        (with(json!({ "model": "two words", "share_percent": 1 })), "shadow.model"),
        (with(json!({ "share_percent": 1 })), "shadow.model"),
        (with(json!({ "model": "next" })), "shadow.share_percent"),
        (with(json!({ "model": "next", "share_percent": 0 })), "shadow.share_percent"),
        (with(json!({ "model": "next", "share_percent": 101 })), "shadow.share_percent"),
        (with(json!({ "model": "next", "share_percent": 1, "by": "tenant" })), "shadow.by"),
        (of_alias, "shadow"),
    ] {
        let refused = gateway.operator().post("/v1/admin/models", &body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    // A name that no model has is one that may come: until then, nothing is sent.
    let id = made(gateway.operator(), "/models", with(json!({ "model": "next", "share_percent": 100 }))).await;
    tenant.chat("new").await.must(200);
    until_metric_is(&gateway, &outcome("refused"), 1).await;
    let path = format!("/v1/admin/models/{id}");
    let shown = gateway.operator().get(&path).await.must(200).json();
    assert_eq!(shown["shadow"], json!({ "model": "next", "share_percent": 100 }));
    assert_eq!(
        gateway.operator().patch(&path, &json!({ "shadow": null })).await.must(200).json()["shadow"],
        Value::Null
    );
    tenant.chat("new").await.must(200);
    assert_eq!(metric(&gateway, COPIES).await, 1);
}
