//! Aliases: names that stand for other models, and from a date on for further ones.

use std::time::Duration;

use chrono::TimeDelta;
use events::time::{Clock, SystemClock, rfc3339};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::time::{Instant, sleep};

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{OPENAI, Tenant, made, text};

/// So many seconds from now.
fn at(seconds: i64) -> String {
    rfc3339(SystemClock::new().now() + TimeDelta::seconds(seconds))
}

/// The alias `name` of the tenant's shared models, with its steps by the backends' names.
async fn alias(gateway: &Gateway, tenant: &Tenant, name: &str, steps: &[(&str, Option<&str>)]) -> String {
    let step = |(model, from): &(&str, Option<&str>)| json!({ "model": tenant.model(model), "from": from });
    let steps: Vec<Value> = steps.iter().map(step).collect();
    made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "alias": steps })).await
}

fn backend(reply: &Reply) -> String {
    reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default().to_owned()
}

/// Returns the log's record of a request's admission; its explanation has to follow.
async fn admitted(gateway: &Gateway, reply: &Reply) -> Value {
    let id = reply.request_id();
    let explained = gateway.operator().get(&format!("/v1/inferences/{id}/explain")).await.must(200).json();
    assert_eq!(explained["follows"], true, "{explained}");
    gateway.life(&id).await[0]["data"].clone()
}

/// Holds: admin.aliases
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_served_by_the_model_that_it_stands_for_under_its_own_name() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1"]).await;
    let id = alias(&gateway, &tenant, "current", &[("ok", None)]).await;
    let name = tenant.model("current");
    let reply = tenant.openai("current").await.must(200);
    assert_eq!((reply.json()["model"].clone(), backend(&reply)), (json!(name), "ok".to_owned()));
    let admission = admitted(&gateway, &reply).await;
    assert_eq!((&admission["model"], &admission["route"]["stands_for"]), (&json!(name), &json!(tenant.model("ok"))));
    let named = admission["versions"]["alias"].as_u64().expect("a position");
    assert!(named > admission["versions"]["model"].as_u64().expect("a position"), "{admission}");
    // One that is served by its own targets names no alias.
    let direct = admitted(&gateway, &tenant.openai("ok").await.must(200)).await;
    assert_eq!((&direct["versions"]["alias"], &direct["route"]["stands_for"]), (&Value::Null, &Value::Null));

    let head = gateway.head().await;
    let usage = format!("/v1/usage?group_by=model&min_position={head}&model={name}");
    let usage = gateway.operator().get(&usage).await.must(200).json();
    assert_eq!((&usage["items"][0]["model"], &usage["items"][0]["requests"]), (&json!(name), &json!(1)), "{usage}");
    let item = |name: String| {
        let app = tenant.app.clone();
        async move { app.get(&format!("/v1/models/{name}")).await.must(200).json() }
    };
    let (one, target) = (item(name.clone()).await, item(tenant.model("ok")).await);
    assert_eq!((&one["id"], &one["stands_for"]), (&json!(name), &json!(tenant.model("ok"))), "{one}");
    assert_eq!((&one["price"], &one["context_window"]), (&target["price"], &target["context_window"]));
    assert_eq!(target["stands_for"], Value::Null);
    let asked = json!({ "request": { "messages": [{ "role": "user", "content": "hello" }] } });
    let explained = gateway.operator().post(&format!("/v1/admin/models/{id}/explain"), &asked).await.must(200).json();
    assert_eq!((&explained["model"], &explained["stands_for"]), (&json!(name), &json!(tenant.model("ok"))));
    assert_eq!(explained["targets"][0]["model"], "ok");
    tenant.app.post("/v1/messages/count_tokens", &tenant.ask("current")).await.must(200);

    // What the model says, the alias says too.
    let of = gateway.operator().get(&format!("/v1/admin/models?name={}", tenant.model("ok"))).await.must(200).json();
    let of = format!("/v1/admin/models/{}", text(&of["items"][0]["id"]));
    let dates = json!({ "deprecated_at": "2026-01-01T00:00:00Z", "retires_at": "2126-01-01T00:00:00Z" });
    gateway.operator().patch(&of, &dates).await.must(200);
    assert_eq!(tenant.chat("current").await.must(200).header("deprecation"), "@1767225600");
    assert_eq!(item(name.clone()).await["retires_at"], "2126-01-01T00:00:00.000000Z");
    // Dates of its own take the place of those of the model, all of them; near one, the time of the decision is recorded.
    let own = format!("/v1/admin/models/{id}");
    let dates = json!({ "deprecated_at": at(900), "retires_at": at(1800) });
    gateway.operator().patch(&own, &dates).await.must(200);
    let reply = tenant.openai("current").await.must(200);
    assert_eq!(
        (reply.header("deprecation"), &item(name.clone()).await["deprecated_at"]),
        ("", &dates["deprecated_at"])
    );
    assert_ne!(admitted(&gateway, &reply).await["route"]["decided_at"], Value::Null);
    gateway.operator().patch(&own, &json!({ "deprecated_at": null, "retires_at": null })).await.must(200);
    gateway.operator().patch(&of, &json!({ "retires_at": at(-1) })).await.must(200);
    let refused = tenant.chat("current").await.must_be(404, "MODEL_NOT_FOUND").json();
    let details = &refused["error"]["details"];
    let said = [&details["model"], &details["stands_for"]];
    assert_eq!(said, [&json!(tenant.model("current")), &json!(tenant.model("ok"))], "{refused}");
    assert_ne!(details["retired_at"], Value::Null);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}

/// Holds: admin.aliases
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_switched_at_its_date() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1"]).await;
    let from = at(3);
    alias(&gateway, &tenant, "switched", &[("ok", None), ("slow-1", Some(&from)), ("none", Some(&at(9000)))]).await;
    let (began, mut before) = (Instant::now(), 0);
    loop {
        let asked_at = rfc3339(SystemClock::new().now());
        let reply = tenant.openai("switched").await.must(200);
        let admission = admitted(&gateway, &reply).await;
        assert_eq!(admission["route"]["stands_for"], tenant.model(&backend(&reply)));
        let decided_at = text(&admission["route"]["decided_at"]);
        assert_eq!(decided_at >= from, backend(&reply) == "slow-1", "{admission}");
        if backend(&reply) == "slow-1" {
            break;
        }
        before += u32::from(asked_at < from);
        assert!(began.elapsed() < Duration::from_secs(30), "it is not switched");
        sleep(Duration::from_millis(300)).await;
    }
    assert!(before > 0, "it was switched before a request came");
}

/// Holds: admin.aliases
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_stands_for_one_model_with_targets_that_its_owner_sees() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1"]).await;
    let other = Tenant::new(&gateway, &upstream, &[]).await;
    let operator = gateway.operator();
    let steps = |steps: Value| json!({ "name": tenant.model("refused"), "alias": steps });
    let ok = tenant.model("ok");
    alias(&gateway, &tenant, "first", &[("ok", None)]).await;
    let mut with_targets = steps(json!([{ "model": ok }]));
    with_targets["targets"] = json!([{ "provider_id": tenant.provider, "model": "ok" }]);
    let mut with_prefix = steps(json!([{ "model": ok }]));
    with_prefix["system_prefix"] = json!("Be brief.");
    let mut with_strategy = steps(json!([{ "model": ok }]));
    with_strategy["strategy"] = json!("cost");
    let mut with_affinity = steps(json!([{ "model": ok }]));
    with_affinity["affinity"] = json!("session");
    let (early, late) = ("2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    for (body, field) in [
        (steps(json!([])), "targets"),
        (with_targets, "targets"),
        (with_prefix, "system_prefix"),
        (with_strategy, "strategy"),
        (with_affinity, "affinity"),
        (steps(json!([{ "model": ok, "from": early }])), "alias[0].from"),
        (steps(json!([{ "model": ok }, { "model": "x" }])), "alias[1].from"),
        (
            steps(json!([{ "model": ok }, { "model": "x", "from": late }, { "model": "y", "from": early }])),
            "alias[2].from",
        ),
        (
            steps(json!([{ "model": ok }, { "model": "x", "from": late }, { "model": "y", "from": late }])),
            "alias[2].from",
        ),
        (steps(json!([{ "model": tenant.model("refused") }])), "alias[0].model"),
        (steps(json!([{ "model": tenant.model("first") }])), "alias[0].model"),
        (steps(json!([{ "model": "two words" }])), "alias[0].model"),
        (steps(json!([{ "model": ok, "until": early }])), "alias[0].until"),
        (steps(json!(vec![json!({ "model": ok }); 33])), "alias"),
    ] {
        let refused = operator.post("/v1/admin/models", &body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }

    // Nothing has the name yet; then a model has, which cannot become an alias itself.
    alias(&gateway, &tenant, "early", &[("later", None)]).await;
    let refused = tenant.chat("early").await.must_be(404, "MODEL_NOT_FOUND").json();
    assert_eq!(refused["error"]["details"]["stands_for"], tenant.model("later"), "{refused}");
    tenant.app.get(&format!("/v1/models/{}", tenant.model("early"))).await.must(404);
    tenant.add_model("later", &["slow-1"]).await;
    assert_eq!(backend(&tenant.chat("early").await.must(200)), "slow-1");
    let later = operator.get(&format!("/v1/admin/models?name={}", tenant.model("later"))).await.must(200).json();
    let path = format!("/v1/admin/models/{}", text(&later["items"][0]["id"]));
    let becomes_alias = json!({ "targets": [], "alias": [{ "model": ok }] });
    let refused = operator.patch(&path, &becomes_alias).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(refused["error"]["details"]["field"], "alias", "{refused}");
    assert!(refused.to_string().contains(&tenant.model("early")), "{refused}");
    assert_eq!(backend(&tenant.chat("early").await.must(200)), "slow-1");
    // One that nothing stands for becomes one.
    alias(&gateway, &tenant, "early-2", &[("later", None)]).await;
    let early = operator.get(&format!("/v1/admin/models?name={}", tenant.model("early-2"))).await.must(200).json();
    operator.delete(&format!("/v1/admin/models/{}", text(&early["items"][0]["id"]))).await.must(200);
    let early = operator.get(&format!("/v1/admin/models?name={}", tenant.model("early"))).await.must(200).json();
    let early = format!("/v1/admin/models/{}", text(&early["items"][0]["id"]));
    operator.patch(&early, &json!({ "alias": [{ "model": ok }] })).await.must(200);
    operator.patch(&path, &becomes_alias).await.must(200);
    assert_eq!(backend(&tenant.chat("later").await.must(200)), "ok");
    // Nor does a new alias get a name that others stand for.
    alias(&gateway, &tenant, "earlier", &[("last", None)]).await;
    let last = json!({ "name": tenant.model("last"), "alias": [{ "model": ok }] });
    operator.post("/v1/admin/models", &last).await.must_be(400, "INVALID_REQUEST");

    // A tenant's alias names shared models and its own, and never those of another tenant.
    let target = json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 64 });
    let secret = json!({ "name": "secret", "tenant_id": tenant.id, "targets": [target] });
    made(operator, "/models", secret).await;
    for (owner, may_see_it) in [(&tenant, 200), (&other, 404)] {
        for (name, model, status) in [("mine", "secret", may_see_it), ("shared", &*ok, 200)] {
            let own = json!({ "name": name, "tenant_id": owner.id, "alias": [{ "model": model }] });
            made(operator, "/models", own).await;
            let mut body = owner.ask("");
            body["model"] = json!(name);
            let reply = owner.app.post(OPENAI, &body).await;
            assert_eq!(reply.status, status, "{name} of {}", owner.name);
        }
    }

    // What a key may use is the name that clients send.
    let name = tenant.model("first");
    let (_, of_alias) = tenant.new_key(&gateway, json!({ "models": [name] })).await;
    of_alias.post(OPENAI, &tenant.ask("first")).await.must(200);
    of_alias.post(OPENAI, &tenant.ask("ok")).await.must(403);
    let (_, of_target) = tenant.new_key(&gateway, json!({ "models": [ok] })).await;
    // What a name stands for is not told to those who may not use it.
    for name in ["first", "early"] {
        for path in [OPENAI, "/v1/messages/count_tokens"] {
            let refused = of_target.post(path, &tenant.ask(name)).await.must(403);
            assert!(!refused.json().to_string().contains(&tenant.model("later")), "{name}");
        }
    }
}
