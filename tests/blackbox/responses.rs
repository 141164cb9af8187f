//! OpenAI's Responses API, whole and streamed, in front of providers of every kind.

use serde_json::{Value, json};
use testing::upstream::{MockUpstream, TEXT};

use crate::books::nano;
use crate::client::Sse;
use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant, made};

const RESPONSES: &str = "/v1/responses";
const RESPONSES_TOO: &str = "/oai/v1/responses";

fn ask(tenant: &Tenant, model: &str) -> Value {
    json!({ "model": tenant.model(model), "input": "hello", "instructions": "Be brief." })
}

/// A model of the tenant's that the simulator serves.
async fn simulated(gateway: &Gateway, tenant: &Tenant, name: &str, backend: &str) {
    let provider = made(gateway.operator(), "/providers", json!({ "name": name, "kind": "simulator" })).await;
    let price = json!({ "provider_id": provider, "model": backend, "input_usd_per_mtok": "3",
                        "output_usd_per_mtok": "15", "reasoning_usd_per_mtok": "20" });
    made(gateway.operator(), "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": backend, "max_output_tokens": 1024 }]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "targets": targets })).await;
}

/// The events of a stream, each named as its type and numbered in sequence.
async fn streamed(tenant: &Tenant, mut body: Value) -> Vec<Value> {
    body["stream"] = json!(true);
    let (events, _) = tenant.app.stream(RESPONSES, &body).await.expect("a stream").rest().await;
    assert!(!events.iter().any(Sse::is_done), "{events:?}");
    let read: Vec<Value> = events.iter().map(Sse::json).collect();
    for (number, (event, data)) in events.iter().zip(&read).enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(event.event), &json!(number)), "{data}");
    }
    read
}

fn last(events: &[Value]) -> &Value {
    events.last().expect("an event")
}

/// Holds: inf.responses, inf.headers, inf.frontend-name
#[tokio::test(flavor = "multi_thread")]
async fn both_paths_answer_as_openai_does_whatever_the_provider_speaks() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = Tenant::with(&gateway, &upstream, &["ok"], Setup { kind, ..Setup::default() }).await;
        for path in [RESPONSES, RESPONSES_TOO] {
            let reply = tenant.app.post(path, &ask(&tenant, "ok")).await.must(200);
            let answer = reply.json();
            let digits = reply.request_id().trim_start_matches("req_").to_owned();
            for (name, value) in [
                ("id", json!(format!("resp_{digits}"))),
                ("object", json!("response")),
                ("status", json!("completed")),
                ("model", json!(tenant.model("ok"))),
                ("instructions", json!("Be brief.")),
                ("store", json!(false)),
                ("error", json!(null)),
                ("tools", json!([])),
            ] {
                assert_eq!(answer[name], value, "{name} through {kind}: {answer}");
            }
            let message = &answer["output"][0];
            assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
            assert_eq!(message["content"][0]["text"], TEXT, "{answer}");
            let usage = |name: &str| answer["usage"][name].as_u64().expect("tokens");
            assert_eq!(usage("total_tokens"), usage("input_tokens") + usage("output_tokens"));
            assert!(nano(&json!(reply.header("x-ledgerway-cost-usd"))) > 0);
        }
    }
    gateway.books().await;
}

/// Holds: inf.responses-stream, inf.frontend-name
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_whole_response_when_it_is_paid() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = Tenant::with(&gateway, &upstream, &["ok"], Setup { kind, ..Setup::default() }).await;
        let events = streamed(&tenant, ask(&tenant, "ok")).await;
        let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(kinds[..2], ["response.created", "response.in_progress"]);
        let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        let response = &last(&events)["response"];
        assert_eq!((text.as_str(), &last(&events)["type"]), (TEXT, &json!("response.completed")));
        assert_eq!(response["output"][0]["content"][0]["text"], TEXT);
        assert_eq!((&response["model"], &response["id"]), (&json!(tenant.model("ok")), &events[0]["response"]["id"]));
        let id = response["id"].as_str().expect("an id").replace("resp_", "req_");
        let life = gateway.life(&id).await;
        assert_eq!(life[2]["data"]["usage"]["output_text_tokens"], response["usage"]["output_tokens"], "{response}");
    }
    gateway.books().await;
}

/// Holds: inf.responses, inf.responses-stream, inf.tools
#[tokio::test(flavor = "multi_thread")]
async fn functions_are_called_and_their_outputs_are_taken() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    simulated(&gateway, &tenant, "thinker", "echo?reasoning_tokens=6").await;
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let mut body = ask(&tenant, "thinker");
    body["tools"] = json!([{ "type": "function", "name": "weather", "parameters": schema, "strict": true }]);
    body["tool_choice"] = json!({ "type": "function", "name": "weather" });
    let answer = tenant.app.post(RESPONSES, &body).await.must(200).json();
    let output = answer["output"].as_array().expect("items").clone();
    let call = output.iter().find(|item| item["type"] == "function_call").expect("a call");
    let arguments = call["arguments"].as_str().expect("text");
    assert!(serde_json::from_str::<Value>(arguments).is_ok_and(|value| value["city"].is_string()), "{call}");
    assert_eq!((&call["name"], &answer["tools"]), (&json!("weather"), &body["tools"]));

    let events = streamed(&tenant, body.clone()).await;
    let of = |kind: &'static str| events.iter().filter(move |event| event["type"] == kind);
    let streamed_arguments: String =
        of("response.function_call_arguments.delta").filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(of("response.function_call_arguments.done").next().expect("its end")["arguments"], streamed_arguments);
    assert_eq!(last(&events)["type"], "response.completed");

    // The whole output goes back as it is.
    let mut input = vec![json!({ "role": "user", "content": "hello" })];
    input.extend(output.iter().cloned());
    input.push(json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "12 degrees" }));
    body["input"] = json!(input);
    body["tool_choice"] = json!("none");
    let then = tenant.app.post(RESPONSES, &body).await.must(200).json();
    assert_eq!(then["status"], "completed", "{then}");
    gateway.books().await;
}

/// Holds: inf.responses, inf.finish-reason
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_its_cap_has_ended_is_incomplete() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    simulated(&gateway, &tenant, "long", "lorem?output_tokens=50").await;
    let mut body = ask(&tenant, "long");
    body["max_output_tokens"] = json!(5);
    let answer = tenant.app.post(RESPONSES, &body).await.must(200).json();
    let events = streamed(&tenant, body).await;
    assert_eq!(last(&events)["type"], "response.incomplete");
    for response in [&answer, &last(&events)["response"]] {
        assert_eq!(response["status"], "incomplete", "{response}");
        assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(
            (&response["output"][0]["status"], &response["max_output_tokens"]),
            (&json!("incomplete"), &json!(5))
        );
    }
}

/// Holds: inf.responses-stream, http.stream-error
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_ends_with_one_numbered_error() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    simulated(&gateway, &tenant, "breaks", "lorem?output_tokens=50&cut_after=5").await;
    let events = streamed(&tenant, ask(&tenant, "breaks")).await;
    let error = last(&events);
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("upstream_error")), "{error}");
    assert!(error["message"].is_string() && error["error"]["message"] == error["message"], "{error}");
    assert!(events.iter().any(|event| event["type"] == "response.output_text.delta"), "{events:?}");
}

/// Holds: inf.responses, http.openai-errors
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_state_or_has_no_counterpart_is_refused_by_its_name() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut refused = 0;
    for (name, value, param) in [
        ("store", json!(true), "store"),
        ("previous_response_id", json!("resp_1"), "previous_response_id"),
        ("conversation", json!("conv_1"), "conversation"),
        ("background", json!(true), "background"),
        ("truncation", json!("auto"), "truncation"),
        ("tools", json!([{ "type": "web_search" }]), "tools[0].type"),
        ("input", json!([{ "type": "item_reference", "id": "msg_1" }]), "input[0].type"),
        ("max_tokens", json!(9), "max_tokens"),
        ("no_such_field", json!(1), "no_such_field"),
    ] {
        let mut body = ask(&tenant, "ok");
        body[name] = value;
        let error = tenant.app.post(RESPONSES, &body).await.must(400).json()["error"].clone();
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(param)), "{error}");
        refused += 1;
    }
    let mut body = ask(&tenant, "ok");
    body["service_tier"] = json!("priority");
    tenant.app.post(RESPONSES, &body).await.must(422);
    assert_eq!((refused, upstream.seen().len()), (9, 0), "nothing was sent");
    let mut empty = ask(&tenant, "ok");
    empty["store"] = json!(false);
    empty["previous_response_id"] = json!(null);
    empty["no_such_field"] = json!([]);
    tenant.app.post(RESPONSES, &empty).await.must(200);
}
