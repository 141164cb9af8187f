//! Rules: conditions on a request that decide which targets serve it, and what the log says of that.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

struct Routed<'a> {
    gateway: &'a Gateway,
    tenant: &'a Tenant,
}

impl Routed<'_> {
    fn target(&self, backend: &str) -> String {
        format!("{}/{backend}", self.tenant.provider)
    }

    /// A model with these rules, and the targets `ok`, `slow-1` and `slow-2` in this order.
    async fn model(&self, name: &str, rules: Value) -> String {
        let target = |(priority, backend): (usize, &str)| {
            json!({ "provider_id": self.tenant.provider, "model": backend, "priority": priority,
                    "default_max_output_tokens": 64 })
        };
        let targets: Vec<Value> = ["ok", "slow-1", "slow-2"].into_iter().enumerate().map(target).collect();
        let body = json!({ "name": self.tenant.model(name), "strategy": "rules", "targets": targets, "rules": rules });
        made(self.gateway.operator(), "/models", body).await
    }

    /// The backend that serves a request, and what the explanation says of its route.
    async fn serves(&self, path: &str, body: &Value) -> (String, Value) {
        let reply = self.tenant.app.post(path, body).await.must(200);
        let explained = self.gateway.operator().get(&format!("/v1/inferences/{}/explain", reply.request_id())).await;
        let route = explained.must(200).json()["route"].clone();
        assert_eq!(route["follows"], true, "{route}");
        (reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default().to_owned(), route)
    }
}

/// Holds: admin.routing-rules
#[tokio::test(flavor = "multi_thread")]
async fn the_first_rule_that_holds_decides_and_the_log_shows_why() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "slow-2"]).await;
    let cheap = json!({ "provider_id": tenant.provider, "model": "slow-2", "input_usd_per_mtok": "1",
                        "output_usd_per_mtok": "5" });
    made(gateway.operator(), "/prices", cheap).await;
    let routed = Routed { gateway: &gateway, tenant: &tenant };
    let [ok, slow_1, slow_2] = ["ok", "slow-1", "slow-2"].map(|backend| routed.target(backend));
    let rules = json!([
        { "when": "language == \"de\"", "targets": [slow_1] },
        { "when": "metadata.team == \"batch\"", "targets": [slow_1, slow_2], "strategy": "cost" },
        { "when": "input_tokens > 1000 || request_type == \"code\"", "targets": [slow_2, ok] },
    ]);
    routed.model("ruled", rules).await;
    let ask = |content: &str| {
        let mut body = tenant.ask("ruled");
        body["messages"][0]["content"] = json!(content);
        body
    };

    let (backend, route) = routed.serves(OPENAI, &ask("Bitte sage mir, wie das Wetter morgen in Lissabon wird.")).await;
    assert_eq!((backend.as_str(), &route["rule"], &route["features"]["language"]), ("slow-1", &json!(0), &json!("de")));
    assert_eq!(route["targets"][1]["left_out"], "not_in_rule", "{route}");
    let mut of_batch = ask("Tell me about the weather in Lisbon tomorrow, please.");
    of_batch["metadata"] = json!({ "team": "batch" });
    let (backend, route) = routed.serves(OPENAI, &of_batch).await;
    assert_eq!((backend.as_str(), &route["rule"], &route["strategy"]), ("slow-2", &json!(1), &json!("cost")));
    let (backend, route) = routed.serves(OPENAI, &ask("Refactor this, please: let x = 1;")).await;
    assert_eq!((backend.as_str(), &route["rule"]), ("slow-2", &json!(2)));
    assert_eq!((&route["features"]["request_type"], &route["strategy"]), (&json!("code"), &json!("rules")));
    // A rule whose strategy is `priority` goes by the targets' own, not by the order in which it names them.
    let by_priority = json!([{ "when": "true", "targets": [slow_2, slow_1], "strategy": "priority" }]);
    routed.model("by-priority", by_priority).await;
    assert_eq!(routed.serves(OPENAI, &tenant.ask("by-priority")).await.0, "slow-1");
    routed.model("all-by-cost", json!([{ "when": "true", "strategy": "cost" }])).await;
    let (backend, route) = routed.serves(OPENAI, &tenant.ask("all-by-cost")).await;
    assert_eq!((backend.as_str(), &route["strategy"], &route["rule"]), ("slow-2", &json!("cost"), &json!(0)));
    let (backend, route) = routed.serves(NATIVE, &ask("Tell me about the weather in Lisbon tomorrow, please.")).await;
    assert_eq!((backend.as_str(), &route["rule"], &route["strategy"]), ("ok", &Value::Null, &json!("priority")));
}

/// Targets that the rule does not name are never asked, even if all that it names fail.
/// Holds: admin.routing-rules
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_kept_when_its_targets_fail() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e503", "slow-1"]).await;
    let target =
        |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
    let body = json!({ "name": tenant.model("strict"), "strategy": "rules",
        "targets": [target("ok"), target("e503"), target("slow-1")],
        "rules": [{ "when": "tools", "targets": [format!("{}/e503", tenant.provider)] },
                  { "when": "!tools", "targets": [format!("{}/e503", tenant.provider), format!("{}/slow-1", tenant.provider)] }] });
    made(gateway.operator(), "/models", body).await;
    let mut with_tools = tenant.ask("strict");
    with_tools["tools"] =
        json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    tenant.app.post(OPENAI, &with_tools).await.must_be(502, "upstream_error");
    let reply = tenant.app.post(OPENAI, &tenant.ask("strict")).await.must(200);
    assert!(reply.header("x-ledgerway-backend").ends_with("/slow-1"));
    let mut asked: Vec<String> = upstream.seen().iter().map(|call| call.model().to_owned()).collect();
    // A call that failed is made once more before the next target is.
    asked.dedup();
    assert_eq!(asked, ["e503", "slow-1"]);
}

/// Holds: admin.routing-rules
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_read_is_refused_with_its_place() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let model = |rules: Value| {
        json!({ "name": tenant.model("refused"), "strategy": "rules", "rules": rules,
                "targets": [{ "provider_id": tenant.provider, "model": "ok" }] })
    };
    let ok = format!("{}/ok", tenant.provider);
    for (rules, field, words) in [
        (json!([]), "rules", "at least one rule"),
        (json!([{ "when": "input_tokens >", "targets": [ok] }]), "rules[0].when", "line 1, column 15"),
        (
            json!([{ "when": "true", "targets": [ok] }, { "when": "colour == 1", "targets": [ok] }]),
            "rules[1].when",
            "names colour",
        ),
        (json!([{ "when": "true", "targets": ["prv_1/other"] }]), "rules[0].targets[0]", "not a target of this model"),
        (json!([{ "when": "true", "targets": [ok], "then": 1 }]), "rules[0].then", ""),
        (json!([{ "when": "true", "strategy": "rules" }]), "rules[0].strategy", ""),
    ] {
        let refused =
            gateway.operator().post("/v1/admin/models", &model(rules)).await.must_be(400, "INVALID_REQUEST").json();
        let details = refused["error"].to_string();
        assert!(details.contains(field) && details.contains(words), "{field}: {details}");
    }
}

/// The explanation says what a request then does; nothing is sent or recorded.
/// Holds: admin.model-explain
#[tokio::test(flavor = "multi_thread")]
async fn a_model_explains_a_request_that_is_not_sent() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "slow-2"]).await;
    let routed = Routed { gateway: &gateway, tenant: &tenant };
    let [slow_1, slow_2] = ["slow-1", "slow-2"].map(|backend| routed.target(backend));
    let id = routed.model("asked", json!([{ "when": "streaming", "targets": [slow_2, slow_1] }])).await;
    let path = format!("/v1/admin/models/{id}/explain");
    let (operator, head) = (gateway.operator(), gateway.head().await);
    let body = |streaming: bool| {
        json!({ "path": OPENAI, "request": { "messages": [{ "role": "user", "content": "Tell me about Lisbon" }],
                                             "stream": streaming } })
    };
    let explained = operator.post(&path, &body(true)).await.must(200).json();
    let targets: Vec<(&str, &Value, &Value)> = explained["targets"]
        .as_array()
        .expect("targets")
        .iter()
        .map(|target| (target["model"].as_str().expect("a model"), &target["rank"], &target["left_out"]))
        .collect();
    assert_eq!(
        targets,
        [
            ("slow-2", &json!(1), &Value::Null),
            ("slow-1", &json!(2), &Value::Null),
            ("ok", &Value::Null, &json!("not_in_rule"))
        ]
    );
    assert_eq!((&explained["strategy"], &explained["rule"]), (&json!("rules"), &json!(0)), "{explained}");
    let words = format!(
        "rules: {name}/slow-2 (place 0), {name}/slow-1 (place 1); left out: {name}/ok (the rule that holds does not name it)",
        name = tenant.name
    );
    assert_eq!(explained["in_words"], words);
    let explained = operator.post(&path, &body(false)).await.must(200).json();
    assert_eq!((&explained["targets"][0]["model"], &explained["rule"]), (&json!("ok"), &Value::Null), "{explained}");
    assert_eq!((gateway.head().await, upstream.seen().len()), (head, 0));

    for (wrong, field) in [
        (json!({}), "request"),
        (json!({ "request": [] }), "request"),
        (json!({ "request": {} }), "request.messages"),
        (json!({ "request": { "messages": [] }, "path": "/v1/models" }), "path"),
        (json!({ "request": { "messages": [] }, "surface": "openai" }), "surface"),
    ] {
        let refused = operator.post(&path, &wrong).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    operator.post("/v1/admin/models/mdl_00000000000000000000000000000009/explain", &body(true)).await.must(404);
    let (_, admin) = tenant.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    admin.post(&path, &body(true)).await.must_be(403, "FORBIDDEN");
    tenant.app.post(&path, &body(true)).await.must(403);
    operator.delete(&format!("/v1/admin/models/{id}")).await.must(200);
    operator.post(&path, &body(true)).await.must(404);
}

/// Shortcomings of targets that the rule does not name are not the client's concern.
/// Holds: admin.routing-rules
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_without_a_target_that_can_serve_says_so() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let target =
        |backend: &str, max: u64| json!({ "provider_id": tenant.provider, "model": backend, "max_output_tokens": max });
    let model = json!({ "name": tenant.model("unpriced"), "strategy": "rules", "targets": [target("ok", 10), target("without-price", 1000)],
                        "rules": [{ "when": "true", "targets": [format!("{}/without-price", tenant.provider)] }] });
    made(gateway.operator(), "/models", model).await;
    let mut body = tenant.ask("unpriced");
    body["max_tokens"] = json!(100);
    let refused = tenant.app.post(OPENAI, &body).await.must_be(422, "model_unpriced").json();
    assert!(
        refused["error"]["message"].as_str().is_some_and(|message| message.starts_with("rules[0] of this model holds")),
        "{refused}"
    );
}

/// Where nothing of the content is kept, nothing that says something of it is.
/// Holds: content.none
#[tokio::test(flavor = "multi_thread")]
async fn without_content_the_log_has_the_rule_and_not_what_it_went_by() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "slow-2"]).await;
    let routed = Routed { gateway: &gateway, tenant: &tenant };
    routed.model("ruled", json!([{ "when": "input_tokens > 0", "targets": [routed.target("slow-1")] }])).await;
    let policy = json!({ "content_policy": "none" });
    gateway.operator().patch(&format!("/v1/admin/tenants/{}", tenant.id), &policy).await.must(200);
    let reply = tenant.app.post(OPENAI, &tenant.ask("ruled")).await.must(200);
    assert!(reply.header("x-ledgerway-backend").ends_with("/slow-1"));
    let path = format!("/v1/inferences/{}/explain", reply.request_id());
    let route = gateway.operator().get(&path).await.must(200).json()["route"].clone();
    assert_eq!(
        (&route["features"], &route["rule"], &route["follows"]),
        (&Value::Null, &json!(0), &Value::Null),
        "{route}"
    );
}
