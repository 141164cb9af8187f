//! Thinking budgets and minimum lengths beyond the output cap are held, or refused if nothing bounds them.

use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::books::nano;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};

const MESSAGES: &str = "/v1/messages";
/// The price of a token of reasoning, which is the most expensive output, in nano-dollars.
const OUTPUT_NANOS: i64 = 20_000;
const CAP: i64 = 16;
const BUDGET: i64 = 100_000;

/// A short request with these fields beside the others.
fn ask_with(tenant: &Tenant, path: &str, fields: &Value) -> Value {
    let mut body = tenant.ask("ok");
    body[if path == NATIVE { "max_output_tokens" } else { "max_tokens" }] = json!(CAP);
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    body
}

/// Holds: event.reserved-output
#[tokio::test(flavor = "multi_thread")]
async fn a_thinking_budget_above_the_cap_is_held() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let of = |kind| Setup { kind, ..Setup::default() };
    let openai = Tenant::with(&gateway, &upstream, &["ok"], of("openai")).await;
    let anthropic = Tenant::with(&gateway, &upstream, &["ok"], of("anthropic")).await;
    let gemini = Tenant::with(&gateway, &upstream, &["ok"], of("gemini")).await;
    for (tenant, path, fields, beyond) in [
        (&openai, OPENAI, json!({ "thinking": { "type": "enabled", "budget_tokens": BUDGET } }), BUDGET),
        (&openai, OPENAI, json!({ "thinking": { "max_tokens": BUDGET } }), BUDGET),
        (&openai, OPENAI, json!({ "reasoning": { "max_tokens": BUDGET } }), BUDGET),
        (&openai, OPENAI, json!({ "reasoning": { "budget_tokens": BUDGET } }), BUDGET),
        (&openai, OPENAI, json!({ "thinking_token_budget": BUDGET }), BUDGET),
        (&openai, OPENAI, json!({ "thinking_budget": BUDGET }), BUDGET),
        (&openai, OPENAI, json!({ "reasoning_budget": BUDGET }), BUDGET),
        (&openai, OPENAI, json!({ "max_thinking_tokens": BUDGET }), BUDGET),
        (&openai, OPENAI, json!({ "chat_template_kwargs": { "thinking_budget": BUDGET } }), BUDGET),
        (&openai, OPENAI, json!({ "min_tokens": BUDGET }), BUDGET - CAP),
        (&openai, OPENAI, json!({ "min_thinking_tokens": BUDGET }), BUDGET - CAP),
        // Servers count these beside the cap, whether they are below it or not.
        (&openai, OPENAI, json!({ "thinking_budget": 7 }), 7),
        (&anthropic, MESSAGES, json!({ "thinking_budget": BUDGET }), BUDGET),
        (&anthropic, MESSAGES, json!({ "reasoning": { "max_tokens": BUDGET } }), BUDGET),
        (&gemini, NATIVE, json!({ "reasoning": { "budget_tokens": BUDGET } }), BUDGET),
    ] {
        let asked = ask_with(tenant, path, &fields);
        let request = tenant.app.post(path, &asked).await.must(200).request_id();
        let life = gateway.life(&request).await;
        let data = |kind: &str| &life.iter().find(|event| event["type"] == kind).expect(kind)["data"];
        let admitted = data("inference.admitted.v1");
        let recorded = (&admitted["max_output_tokens"], &admitted["output_tokens_beyond_cap"]);
        assert_eq!(recorded, (&json!(CAP), &json!(beyond)), "{path} {fields}");
        let held = nano(&data("budget.reserved.v1")["held_usd"]);
        assert!(held >= (CAP + beyond) * OUTPUT_NANOS, "{path} {fields}: {held}");
        let bound = gateway.operator().get(&format!("/v1/inferences/{request}/explain")).await.must(200).json();
        let bound = &bound["bound"];
        let follows = (&bound["follows"], &bound["output_tokens_beyond_cap"]);
        assert_eq!(follows, (&json!(true), &json!(beyond)), "{path} {fields}: {bound}");
    }
    // What is below the cap adds nothing.
    let mut below = openai.ask("ok");
    (below["max_tokens"], below["thinking"]) = (json!(200), json!({ "budget_tokens": 199 }));
    let request = openai.app.post(OPENAI, &below).await.must(200).request_id();
    assert_eq!(gateway.life(&request).await[0]["data"].get("output_tokens_beyond_cap"), None);
    // A budget that cannot pay for the thoughts refuses them before anything is sent.
    openai.set_limit("0.05").await;
    let sent = upstream.seen().len();
    let asked = |fields: Value| ask_with(&openai, OPENAI, &fields);
    openai.app.post(OPENAI, &asked(json!({ "thinking_budget": BUDGET }))).await.must(429);
    assert_eq!(upstream.seen().len(), sent);
    openai.app.post(OPENAI, &asked(json!({}))).await.must(200);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0), "{}", gateway.verify().1);
}

/// Holds: event.reserved-output
#[tokio::test(flavor = "multi_thread")]
async fn a_thinking_budget_that_cannot_be_read_or_sets_no_bound_is_refused_by_name() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let model = tenant.model("ok");
    let send = async |fields: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}],{fields}}}"#);
        tenant.app.send(Method::POST, OPENAI, body).await.expect("an answer")
    };
    for (value, status) in [("\"100000\"", 400), ("1e5", 400), ("0.5", 400), ("100000001", 400), ("-1", 422)] {
        for (fields, path) in [
            (format!(r#""thinking_budget":{value}"#), "thinking_budget"),
            (format!(r#""reasoning":{{"max_tokens":{value}}}"#), "reasoning.max_tokens"),
            (
                format!(r#""chat_template_kwargs":{{"reasoning_budget":{value}}}"#),
                "chat_template_kwargs.reasoning_budget",
            ),
        ] {
            let refused = send(&fields).await.must(status).json();
            assert_eq!(refused["error"]["param"], path, "{fields}: {refused}");
        }
    }
    assert_eq!(upstream.seen_of("ok"), 0);
    // Whoever runs the provider can vouch for a budget without a bound.
    let provider = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&provider, &json!({ "allowed_fields": ["thinking_budget"] })).await.must(200);
    send(r#""thinking_budget":-1"#).await.must(200);
    assert_eq!(upstream.seen().pop().expect("a request").body["thinking_budget"], json!(-1));
}
