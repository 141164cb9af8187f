//! Strategies that a tenant or a request has chosen: who may, what becomes of rules, and what the log shows.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::{Client, Reply};
use crate::explain::explained;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

/// A gateway with a tenant, whose `slow-2` is cheaper than `ok` and `slow-1`, and a key that may choose.
struct Choosing {
    gateway: Gateway,
    _upstream: MockUpstream,
    tenant: Tenant,
    chooser: Client,
}

impl Choosing {
    async fn start() -> Self {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-1", "slow-2"]).await;
        let cheap = json!({ "provider_id": tenant.provider, "model": "slow-2", "input_usd_per_mtok": "1",
                            "output_usd_per_mtok": "5" });
        made(gateway.operator(), "/prices", cheap).await;
        let permissions = json!({ "permissions": ["models:use", "routing:choose"] });
        let (_, chooser) = tenant.new_key(&gateway, permissions).await;
        Self { gateway, _upstream: upstream, tenant, chooser }
    }

    /// A model whose targets are tried in the order `ok`, `slow-1`, `slow-2` by priority, and of which `slow-1` is the best.
    async fn model(&self, name: &str, more: Value) -> String {
        let target = |(priority, backend): (usize, &str)| {
            json!({ "provider_id": self.tenant.provider, "model": backend, "priority": priority,
                    "quality": if backend == "slow-1" { 90 } else { 10 }, "default_max_output_tokens": 64 })
        };
        let targets: Vec<Value> = ["ok", "slow-1", "slow-2"].into_iter().enumerate().map(target).collect();
        let mut model = json!({ "name": self.tenant.model(name), "targets": targets });
        for (field, value) in more.as_object().expect("fields") {
            model[field] = value.clone();
        }
        made(self.gateway.operator(), "/models", model).await
    }

    async fn set_default(&self, strategy: Value) {
        let path = format!("/v1/admin/tenants/{}", self.tenant.id);
        self.gateway.operator().patch(&path, &json!({ "default_strategy": strategy })).await.must(200);
    }

    /// The backend that served, the strategy, and who chose it; `explain` agrees.
    async fn shown(&self, reply: Reply) -> [String; 3] {
        let reply = reply.must(200);
        let said = explained(&self.gateway, &reply.request_id()).await;
        assert_eq!(said["follows"], true, "{said:#}");
        let of_route = |name: &str| said["route"][name].as_str().unwrap_or_default().to_owned();
        let backend = reply.header("x-ledgerway-backend").rsplit('/').next().unwrap_or_default().to_owned();
        [backend, of_route("strategy"), of_route("chosen_by")]
    }
}

/// Holds: admin.default-strategy
#[tokio::test(flavor = "multi_thread")]
async fn a_model_can_leave_its_strategy_to_the_tenant() {
    let choosing = Choosing::start().await;
    let tenant = &choosing.tenant;
    choosing.model("left", json!({ "strategy": "tenant_default" })).await;
    choosing.model("own", json!({ "strategy": "priority" })).await;
    let shown = async |name: &str| choosing.shown(tenant.chat(name).await).await;
    assert_eq!(shown("left").await, ["ok", "priority", "model"]);
    choosing.set_default(json!("cost")).await;
    assert_eq!(shown("left").await, ["slow-2", "cost", "tenant"]);
    assert_eq!(shown("own").await, ["ok", "priority", "model"]);
    // The list of models shows what is tried first.
    let listed = tenant.app.get(&format!("/v1/models/{}", tenant.model("left"))).await.must(200).json();
    assert_eq!(listed["price"]["input_usd_per_mtok"], "1.000000000", "{listed}");
    choosing.set_default(json!("performance")).await;
    assert_eq!(shown("left").await[1..], ["latency", "tenant"]);
    choosing.set_default(json!(null)).await;
    assert_eq!(shown("left").await, ["ok", "priority", "model"]);
    let path = format!("/v1/admin/tenants/{}", tenant.id);
    for wrong in ["rules", "tenant_default", "best"] {
        let body = json!({ "default_strategy": wrong });
        let refused = choosing.gateway.operator().patch(&path, &body).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], "default_strategy", "{refused}");
    }
}

/// Holds: inf.chosen-strategy
#[tokio::test(flavor = "multi_thread")]
async fn a_request_chooses_where_its_key_may() {
    let choosing = Choosing::start().await;
    let (tenant, chooser) = (&choosing.tenant, &choosing.chooser);
    choosing.model("own", json!({ "strategy": "priority" })).await;
    choosing.model("left", json!({ "strategy": "tenant_default" })).await;
    choosing.set_default(json!("cost")).await;
    for model in ["own", "left"] {
        for (strategy, shown) in
            [("cost", ["slow-2", "cost", "request"]), ("quality", ["slow-1", "quality", "request"])]
        {
            for path in [NATIVE, OPENAI] {
                let asking = chooser.clone().with("x-ledgerway-strategy", strategy);
                assert_eq!(choosing.shown(asking.post(path, &tenant.ask(model)).await).await, shown, "{path} {model}");
            }
        }
    }
    let asking = |app: &Client, strategy: &str| app.clone().with("x-ledgerway-strategy", strategy);
    let reply = asking(chooser, "weighted").post(NATIVE, &tenant.ask("own")).await;
    assert_eq!(choosing.shown(reply).await, ["ok", "weighted", "request"]);
    let head = choosing.gateway.head().await;
    let refused = asking(&tenant.app, "cost").post(NATIVE, &tenant.ask("own")).await.must_be(403, "FORBIDDEN").json();
    assert_eq!(refused["error"]["details"]["permission"], "routing:choose", "{refused}");
    asking(&tenant.app, "cost").post(OPENAI, &tenant.ask("own")).await.must_be(403, "forbidden");
    let admitted = choosing.gateway.events().await;
    let since = admitted.iter().filter(|event| event["position"].as_u64() > Some(head));
    assert!(since.clone().all(|event| event["type"] != "inference.admitted.v1"));
    for wrong in ["rules", "tenant_default", "COST", ""] {
        let refused = asking(chooser, wrong).post(NATIVE, &tenant.ask("own")).await.must_be(400, "INVALID_REQUEST");
        assert_eq!(refused.json()["error"]["details"]["field"], "x-ledgerway-strategy", "{wrong}");
    }
}

/// Holds: inf.chosen-strategy
#[tokio::test(flavor = "multi_thread")]
async fn a_requested_strategy_orders_the_targets_that_a_rule_permits() {
    let choosing = Choosing::start().await;
    let tenant = &choosing.tenant;
    let named = |backend: &str| format!("{}/{backend}", tenant.provider);
    let rules = json!([{ "when": "streaming", "targets": [named("ok")] },
                       { "when": "metadata.team == \"a\"", "targets": [named("ok"), named("slow-1")] }]);
    let id = choosing.model("ruled", json!({ "strategy": "rules", "rules": rules })).await;
    let cheapest = choosing.chooser.clone().with("x-ledgerway-strategy", "cost");
    let best = choosing.chooser.clone().with("x-ledgerway-strategy", "quality");
    let mut of_team = tenant.ask("ruled");
    of_team["metadata"] = json!({ "team": "a" });
    let asked = best.post(OPENAI, &of_team).await;
    assert_eq!(choosing.shown(asked).await, ["slow-1", "quality", "request"]);
    // The cheapest of all is none of those that the rule names.
    assert_eq!(choosing.shown(cheapest.post(OPENAI, &of_team).await).await, ["ok", "cost", "request"]);
    assert_eq!(choosing.shown(choosing.chooser.post(OPENAI, &of_team).await).await, ["ok", "rules", "model"]);
    // Where no rule holds, it orders all.
    let asked = cheapest.post(OPENAI, &tenant.ask("ruled")).await;
    assert_eq!(choosing.shown(asked).await, ["slow-2", "cost", "request"]);

    let body = json!({ "request": { "messages": [{ "role": "user", "content": "hello" }] }, "strategy": "cost" });
    let path = format!("/v1/admin/models/{id}/explain");
    let said = choosing.gateway.operator().post(&path, &body).await.must(200).json();
    assert_eq!(
        (&said["strategy"], &said["chosen_by"], &said["targets"][0]["model"]),
        (&json!("cost"), &json!("request"), &json!("slow-2")),
        "{said}"
    );
}
