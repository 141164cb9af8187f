//! Parameters that the model of a target refuses: requests to it are sent without them, and clients are told.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Reply;
use crate::fitting_targets::{STRATEGIES, backend, model, on_all_surfaces, tenant};
use crate::gateway::Gateway;
use crate::tenant::{OPENAI, made};

const IGNORED: &str = "x-ledgerway-ignored";

fn sent(upstream: &MockUpstream) -> Value {
    upstream.seen().pop().expect("a request").body
}

fn has_sampling(body: &Value) -> [bool; 2] {
    ["temperature", "top_p"].map(|name| body.get(name).is_some())
}

/// Holds: inf.refused-parameters
#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_refuses_is_left_out_and_named_by_every_strategy_and_surface() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let refuses = json!({ "refused_parameters": ["temperature", "max_completion_tokens"] });
    for strategy in STRATEGIES {
        model(&gateway, &tenant, strategy, strategy, [refuses.clone(), refuses.clone()]).await;
        for (path, mut body) in on_all_surfaces(&tenant.model(strategy), "hello") {
            (body["temperature"], body["top_p"]) = (json!(0.5), json!(0.9));
            for streamed in [false, true] {
                body["stream"] = json!(streamed);
                let reply = tenant.app.post(path, &body).await.must(200);
                assert_eq!(reply.header(IGNORED), "temperature", "{strategy} {path} {streamed}");
                let sent = sent(&upstream);
                assert_eq!(has_sampling(&sent), [false, true], "{strategy} {path} {streamed}: {sent}");
                assert_eq!((&sent["max_tokens"], sent.get("max_completion_tokens")), (&json!(16), None), "{path}");
            }
        }
    }
}

/// Holds: inf.refused-parameters
#[tokio::test(flavor = "multi_thread")]
async fn another_target_gets_what_the_first_one_refuses() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let price = json!({ "provider_id": tenant.provider, "model": "e500", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    made(gateway.operator(), "/prices", price).await;
    let target = |backend: &str, refused: &[&str]| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64, "refused_parameters": refused });
    let ask = async |name: &str, targets: [Value; 2]| -> Reply {
        made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "targets": targets })).await;
        let messages = json!([{ "role": "user", "content": "hello" }]);
        let body = json!({ "model": tenant.model(name), "temperature": 0.5, "top_p": 0.9, "messages": messages });
        tenant.app.post(OPENAI, &body).await.must(200)
    };
    let reply = ask("first", [target("e500", &["temperature", "top_p"]), target("ok", &["seed"])]).await;
    assert_eq!((backend(&reply), reply.header(IGNORED)), ("ok", ""));
    assert_eq!(has_sampling(&sent(&upstream)), [true, true]);
    let reply = ask("second", [target("e500", &[]), target("ok", &["temperature", "top_p"])]).await;
    assert_eq!((backend(&reply), reply.header(IGNORED)), ("ok", "temperature, top_p"));
    assert_eq!(has_sampling(&sent(&upstream)), [false, false]);
}

/// Holds: inf.refused-parameters
#[tokio::test(flavor = "multi_thread")]
async fn refused_parameters_are_checked_and_shown() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    let body = |refused: Value| {
        let target = json!({ "provider_id": tenant.provider, "model": "ok", "refused_parameters": refused });
        json!({ "name": tenant.model("refusing"), "targets": [target] })
    };
    for (wrong, field) in
        [(json!(["stop"]), "targets[0].refused_parameters[0]"), (json!("top_p"), "targets[0].refused_parameters")]
    {
        let refused = gateway.operator().post("/v1/admin/models", &body(wrong)).await.must(400).json();
        assert_eq!(refused["error"]["details"]["field"], field, "{refused}");
    }
    let id = made(gateway.operator(), "/models", body(json!(["top_p", "temperature"]))).await;
    let path = format!("/v1/admin/models/{id}");
    let shown = gateway.operator().get(&path).await.must(200).json();
    assert_eq!(shown["targets"][0]["refused_parameters"], json!(["temperature", "top_p"]));
    let changed = gateway.operator().patch(&path, &json!({ "targets": shown["targets"] })).await.must(200).json();
    assert_eq!(changed["targets"], shown["targets"]);
}

/// A server that ignores a name of the cap must not be sent it by what a tenant says of a shared provider's models.
///
/// Holds: inf.refused-parameters
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_model_does_not_change_the_name_of_the_cap_at_a_shared_provider() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = tenant(&gateway, &upstream).await;
    for (server, stated_by_shared) in
        [(json!("deepseek"), json!(null)), (json!(null), json!(["max_completion_tokens"]))]
    {
        let path = format!("/v1/admin/providers/{}", tenant.provider);
        gateway.operator().patch(&path, &json!({ "server": server })).await.must(200);
        let target = |refused: Value| json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 64, "refused_parameters": refused });
        let name = if server.is_null() { "by-target" } else { "by-server" };
        made(
            gateway.operator(),
            "/models",
            json!({ "name": tenant.model(name), "targets": [target(stated_by_shared)] }),
        )
        .await;
        let own = json!({ "name": format!("own-{name}"), "tenant_id": tenant.id, "targets": [target(json!(["max_tokens"]))] });
        made(gateway.operator(), "/models", own).await;
        let body = json!({ "model": format!("own-{name}"), "max_completion_tokens": 16, "messages": [{ "role": "user", "content": "hello" }] });
        tenant.app.post(OPENAI, &body).await.must(200);
        let sent = sent(&upstream);
        assert_eq!((&sent["max_tokens"], sent.get("max_completion_tokens")), (&json!(16), None), "{name}: {sent}");
    }
}
