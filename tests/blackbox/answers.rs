//! Answers, whole and streamed, and what the log says of them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testing::upstream::{MockUpstream, TEXT};

use crate::books::nano;
use crate::client::Sse;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

const OPENAI_TOO: &str = "/oai/v1/chat/completions";
const ANSWER: [&str; 9] =
    ["backend", "cost_usd", "finish_reason", "ledger", "model", "output", "price_version", "request_id", "usage"];
const USAGE: [&str; 6] = [
    "input_cache_read_tokens", "input_cache_write_tokens", "input_uncached_tokens", "output_reasoning_tokens",
    "output_text_tokens", "source",
];

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn at<'a>(log: &'a [Value], position: &Value) -> &'a Value {
    let position = position.as_u64().and_then(|position| usize::try_from(position).ok()).expect("a position");
    &log[position - 1]
}

fn sha256(text: &str) -> String {
    let mut command = Command::new("sha256sum");
    let mut summing = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    summing.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    let said = String::from_utf8(summing.wait_with_output().expect("its output").stdout).expect("text");
    said.split_whitespace().next().expect("a sum").to_owned()
}

/// A model of the tenant's that the simulator serves, with a price for each class.
pub async fn simulated(gateway: &Gateway, tenant: &Tenant, name: &str, backend: &str) {
    let provider = made(gateway.operator(), "/providers", json!({ "name": name, "kind": "simulator" })).await;
    let price = json!({ "provider_id": provider, "model": backend, "input_usd_per_mtok": "3",
                        "cache_read_usd_per_mtok": "0.3", "output_usd_per_mtok": "15", "reasoning_usd_per_mtok": "20",
                        "request_usd": "0.001" });
    made(gateway.operator(), "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": backend, "max_output_tokens": 1024 }]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "targets": targets })).await;
}

/// Holds: inf.native, inf.headers, inf.frontend-name, inf.metadata, http.position, event.versions, event.body-digest,
/// Holds: event.streams, event.actors, query.inferences
#[tokio::test(flavor = "multi_thread")]
async fn a_native_answer_says_what_it_was_and_the_log_says_the_same() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut body = tenant.ask("ok");
    body["metadata"] = json!({ "team": "red" });
    let body = format!(" {body} ");
    let reply = tenant.app.send(Method::POST, NATIVE, body.clone()).await.expect("an answer").must(200);
    let answer = reply.json();
    assert_eq!(fields(&answer), ANSWER.into());
    assert_eq!(fields(&answer["usage"]), USAGE.into());
    assert_eq!(answer["output"], json!([{ "type": "text", "text": TEXT }]));
    assert_eq!((&answer["model"], &answer["request_id"]), (&json!(tenant.model("ok")), &json!(reply.request_id())));
    assert_eq!(answer["backend"], json!({ "provider": tenant.name, "model": "ok" }));
    assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
    assert_eq!(reply.header("x-ledgerway-cost-usd"), answer["cost_usd"]);

    let (log, life) = (gateway.events().await, gateway.life(&reply.request_id()).await);
    let [admitted, reserved, completed, settled] = &life[..] else { panic!("{life:?}") };
    let ledger = &answer["ledger"];
    assert_eq!(
        (&ledger["admitted_position"], &ledger["held_usd"]),
        (&admitted["position"], &reserved["data"]["held_usd"])
    );
    assert_eq!((&ledger["settled_position"], &json!(reply.position())), (&settled["position"], &settled["position"]));
    assert_eq!((&answer["cost_usd"], &answer["usage"]), (&settled["data"]["charged_usd"], &completed["data"]["usage"]));
    for event in &life {
        let family = type_of(event).split_once('.').expect("a family").0.replace("budget", "hold");
        assert_eq!(event["stream"], format!("{family}-{}", reply.request_id()));
        assert_eq!((&event["actor"], &event["key_id"]), (&json!(tenant.key), &json!(tenant.key)));
    }

    let said = &admitted["data"];
    assert_eq!((&said["metadata"], &said["body_sha256"]), (&json!({ "team": "red" }), &json!(sha256(&body))));
    let versions = &said["versions"];
    let backend = format!("{}/ok", tenant.provider);
    assert_eq!(answer["price_version"], versions["prices"][&backend]);
    for (position, name, of) in [
        (&versions["model"], "model.created.v1", "name"),
        (&versions["key"], "key.created.v1", "key_id"),
        (&versions["prices"][&backend], "price.created.v1", "provider_id"),
        (&versions["budgets"][&tenant.budget], "budget.opened.v1", "budget_id"),
    ] {
        let (event, ours) = (at(&log, position), [&tenant.key, &tenant.provider, &tenant.budget, &tenant.model("ok")]);
        assert_eq!(type_of(event), name);
        assert!(ours.iter().any(|id| event["data"][of] == ***id), "{event}");
        let kind = name.split_once('.').expect("a family").0;
        assert!(event["stream"].as_str().is_some_and(|stream| stream.starts_with(&format!("{kind}-"))), "{event}");
    }
    let path = format!("/v1/inferences/{}?min_position={}", reply.request_id(), reply.position());
    let shown = gateway.operator().get(&path).await.must(200).json();
    for (name, value) in
        [("key_id", json!(tenant.key)), ("cost_usd", answer["cost_usd"].clone()), ("attempts", json!(1))]
    {
        assert_eq!(shown[name], value, "{name}: {shown}");
    }
    assert_eq!((&shown["versions"], &shown["price_version"]), (versions, &answer["price_version"]), "{shown}");
}

/// Holds: inf.openai, inf.models, inf.headers, inf.frontend-name
#[tokio::test(flavor = "multi_thread")]
async fn both_openai_paths_answer_as_openai_does() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    for path in [OPENAI, OPENAI_TOO] {
        let reply = tenant.app.post(path, &tenant.ask("ok")).await.must(200);
        let answer = reply.json();
        assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!(tenant.model("ok"))));
        let choice = &answer["choices"][0];
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(TEXT), &json!("stop")));
        let usage = |name: &str| answer["usage"][name].as_u64().expect("tokens");
        assert_eq!(usage("total_tokens"), usage("prompt_tokens") + usage("completion_tokens"));
        assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
        assert!(nano(&json!(reply.header("x-ledgerway-cost-usd"))) > 0);
    }
    let (_, narrow) = tenant.new_key(&gateway, json!({ "models": ["*/other"] })).await;
    for path in ["/v1/models", "/oai/v1/models"] {
        let listed = narrow.get(path).await.must(200).json();
        let [model] = &listed["data"].as_array().expect("models")[..] else { panic!("{listed}") };
        for (name, value) in [
            ("id", json!(tenant.model("other"))),
            ("object", json!("model")),
            ("provider", json!(tenant.name)),
            ("context_window", json!(8192)),
            ("max_output_tokens", json!(1024)),
        ] {
            assert_eq!(model[name], value, "{name}: {model}");
        }
        assert_eq!(model["price"]["input_usd_per_mtok"], "3.000000000", "{model}");
    }
}

/// Holds: inf.native-stream, inf.openai-stream, inf.headers, inf.frontend-name, http.position
#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_in_the_form_of_their_surface() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let stream = tenant.stream(NATIVE, "ok").await;
    let (head, request) = (stream.headers.clone(), stream.request_id());
    let (events, _) = stream.rest().await;
    let life = gateway.life(&request).await;
    assert_eq!(head["x-ledgerway-position"], life[0]["position"].to_string());
    assert!(head.contains_key("x-ledgerway-backend") && !head.contains_key("x-ledgerway-cost-usd"));
    let (last, deltas) = events.split_last().expect("events");
    assert!(deltas.iter().all(|delta| delta.event == "output.delta" && delta.json()["index"] == 0), "{deltas:?}");
    let text: String = deltas.iter().filter_map(|delta| delta.json()["text"].as_str().map(str::to_owned)).collect();
    assert_eq!((text.as_str(), last.event.as_str()), (TEXT, "completed"));
    let completed = last.json();
    assert_eq!(fields(&completed), ANSWER.iter().copied().filter(|name| *name != "output").collect());
    assert_eq!(
        (&completed["model"], &completed["cost_usd"]),
        (&json!(tenant.model("ok")), &life[3]["data"]["charged_usd"])
    );

    for include_usage in [true, false] {
        let mut body = tenant.ask_streamed("ok");
        body["stream_options"] = json!({ "include_usage": include_usage });
        let (chunks, _) = tenant.app.stream(OPENAI, &body).await.expect("a stream").rest().await;
        let (done, chunks) = chunks.split_last().expect("chunks");
        assert!(done.is_done() && chunks.iter().all(|chunk| chunk.json()["object"] == "chat.completion.chunk"));
        assert!(chunks.iter().all(|chunk| chunk.json()["model"] == tenant.model("ok")), "{chunks:?}");
        let with_usage = |chunk: &&Sse| chunk.json()["usage"].is_object();
        assert_eq!(chunks.iter().filter(with_usage).count(), usize::from(include_usage));
        if include_usage {
            let last = chunks.last().expect("a chunk").json();
            assert_eq!((&last["choices"], last["usage"]["total_tokens"].is_u64()), (&json!([]), true), "{last}");
        }
    }
}

/// Holds: inf.tools, inf.native-stream, inf.finish-reason, admin.provider-kinds
#[tokio::test(flavor = "multi_thread")]
async fn tools_are_called_and_their_results_are_taken() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    simulated(&gateway, &tenant, "echo", "echo").await;
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let mut body = tenant.ask("echo");
    body["messages"][0]["content"] = json!("ask the weather");
    body["tools"] = json!([{ "name": "weather", "description": "The weather", "parameters": schema }]);
    for choice in [json!("auto"), json!("required"), json!({ "name": "weather" })] {
        body["tool_choice"] = choice.clone();
        let answer = tenant.app.post(NATIVE, &body).await.must(200).json();
        let call = &answer["output"][0];
        assert_eq!((&call["type"], &call["name"]), (&json!("tool_call"), &json!("weather")), "{choice}: {answer}");
        assert!(call["id"].is_string() && call["arguments"]["city"].is_string(), "{answer}");
        assert_eq!(answer["finish_reason"], "tool_calls");
    }
    body["tool_choice"] = json!("none");
    let plain = tenant.app.post(NATIVE, &body).await.must(200).json();
    assert_eq!((&plain["output"][0]["type"], &plain["finish_reason"]), (&json!("text"), &json!("stop")));

    body["tool_choice"] = json!("auto");
    body["stream"] = json!(true);
    let (events, _) = tenant.app.stream(NATIVE, &body).await.expect("a stream").rest().await;
    let calls: Vec<Value> = events.iter().filter(|event| event.event == "output.tool_call").map(Sse::json).collect();
    let arguments: String = calls.iter().filter_map(|call| call["arguments_delta"].as_str()).collect();
    assert!(serde_json::from_str::<Value>(&arguments).is_ok_and(|value| value["city"].is_string()), "{calls:?}");
    assert_eq!((&calls[0]["index"], &calls[0]["name"]), (&json!(0), &json!("weather")));
    let call = json!({ "type": "tool_call", "id": "c", "name": "weather", "arguments": { "city": "Paris" } });
    let result = json!({ "type": "tool_result", "id": "c", "content": { "degrees": 12 }, "is_error": false });
    let messages = json!([{ "role": "user", "content": "hello" }, { "role": "assistant", "content": [call] },
                          { "role": "tool", "content": [result] }]);
    tenant.app.post(NATIVE, &json!({ "model": tenant.model("echo"), "messages": messages })).await.must(200);
}

/// Holds: inf.token-classes, inf.usage-source, inf.finish-reason, admin.provider-kinds
#[tokio::test(flavor = "multi_thread")]
async fn every_token_is_counted_in_one_class_and_charged_at_its_price() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::with(&gateway, &upstream, &[], Setup { limit_usd: "9000000000", ..Setup::default() }).await;
    let reported = "echo?input_tokens=100&cached_tokens=40&reasoning_tokens=2&output_tokens=7";
    simulated(&gateway, &tenant, "reported", reported).await;
    simulated(&gateway, &tenant, "silent", "echo?no_usage=1").await;
    let answer = tenant.chat("reported").await.must(200).json();
    let tokens = |class: &str| answer["usage"][class].as_i64().expect("tokens");
    let (input, cached) = (tokens("input_uncached_tokens"), tokens("input_cache_read_tokens"));
    let (text, reasoning) = (tokens("output_text_tokens"), tokens("output_reasoning_tokens"));
    assert_eq!((input, cached, tokens("input_cache_write_tokens"), reasoning), (60, 40, 0, 2), "{answer}");
    assert_eq!(answer["usage"]["source"], "provider");
    let nanos = 1_000_000 + input * 3_000 + cached * 300 + text * 15_000 + reasoning * 20_000;
    assert_eq!(nano(&answer["cost_usd"]), nanos, "{answer}");

    let counted = tenant.chat("silent").await.must(200).json();
    assert_eq!(counted["usage"]["source"], "counted");
    assert!(counted["usage"]["output_text_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{counted}");

    // What is reported costs more than money can count: nobody knows what it was.
    let absurd = "echo?input_tokens=20000000";
    simulated(&gateway, &tenant, "absurd", absurd).await;
    let dear = json!({ "input_usd_per_mtok": "1000000000" });
    let prices = gateway.operator().get("/v1/admin/prices").await.must(200).json();
    let price = prices["items"].as_array().expect("prices").iter().find(|price| price["model"] == absurd);
    let one = format!("/v1/admin/prices/{}", price.and_then(|price| price["id"].as_str()).expect("its price"));
    gateway.operator().patch(&one, &dear).await.must(200);
    let unknown = tenant.chat("absurd").await.must(200).json();
    assert_eq!(unknown["usage"]["source"], "unknown");
    assert_eq!(unknown["cost_usd"], unknown["ledger"]["held_usd"]);
}

/// Gemini's compatible endpoint reports an answer that it thought about in this form: the thoughts are in the total
/// alone.
///
/// Holds: inf.token-classes
#[tokio::test(flavor = "multi_thread")]
async fn what_a_total_has_above_its_parts_is_charged_as_reasoning() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let thinking = "usage-20-198-623";
    let tenant = Tenant::new(&gateway, &upstream, &[thinking]).await;
    let whole = tenant.chat(thinking).await.must(200).json();
    let mut body = tenant.ask_streamed(thinking);
    body["stream_options"] = json!({ "include_usage": true });
    let streamed = tenant.app.stream(OPENAI, &body).await.expect("a stream");
    let (request, nanos) = (streamed.request_id(), 1_000_000 + 20 * 3_000 + 198 * 15_000 + 405 * 20_000);
    streamed.rest().await;
    for request in [request, text(&whole["request_id"])] {
        let life = gateway.life(&request).await;
        let usage = &life[2]["data"]["usage"];
        assert_eq!((&usage["output_text_tokens"], &usage["output_reasoning_tokens"]), (&json!(198), &json!(405)));
        assert_eq!((nano(&life[2]["data"]["cost_usd"]), nano(&life[3]["data"]["charged_usd"])), (nanos, nanos));
    }
}

/// An upstream of one tenant must not take what its partner's other tenants have left.
///
/// Holds: inf.implausible-usage, inf.usage-source
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_cannot_be_is_recorded_and_not_charged_nor_counted() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (absurd, beyond) = ("usage-1000000000000-9-1000000000009", "usage-12-9-4000000000000000");
    for (kind, model) in [("openai", absurd), ("openai", beyond), ("anthropic", absurd)] {
        let tenant = Tenant::with(&gateway, &upstream, &[model, "ok"], Setup { kind, ..Setup::default() }).await;
        let of_partner = json!({ "scope": { "partner_id": tenant.partner }, "tokens_per_day": 4000 });
        made(gateway.operator(), "/rate-limits", of_partner).await;
        let whole = tenant.chat(model).await.must(200);
        let answer = whole.json();
        assert_eq!(
            (&answer["usage"]["source"], &answer["cost_usd"]),
            (&json!("unknown"), &answer["ledger"]["held_usd"])
        );
        let left: u64 = whole.header("x-ratelimit-remaining").parse().expect("a number");
        assert!((3000..4000).contains(&left), "{left}: what was reserved counts, and no more");
        let stream = tenant.stream(OPENAI, model).await;
        let streamed = stream.request_id();
        stream.rest().await;
        for request in [whole.request_id(), streamed] {
            let life = gateway.life(&request).await;
            let said = &life[2]["data"];
            let figures: u64 =
                model.split('-').skip(1).map(|number| number.parse::<u64>().expect("a number")).max().expect("one");
            let reported = said["provider_usage"].as_object().expect("what was reported");
            let wanted = if kind == "openai" { figures } else { 1_000_000_000_000 };
            assert!(reported.values().any(|value| *value == wanted), "{said}");
            assert_eq!((type_of(&life[2]), &said["usage"]["source"]), ("inference.completed.v1", &json!("unknown")));
            assert_eq!(life[3]["data"]["charged_usd"], life[3]["data"]["held_usd"]);
            assert!(life[3]["data"].get("overrun_usd").is_none());
        }
        // Others of the partner are served, by the budget and by the limit.
        tenant.chat("ok").await.must(200);
        let metrics = gateway.client(None).get("/metrics").await.must(200);
        let counted = format!("ledgerway_implausible_usage_total{{provider=\"{}\"}} 2", tenant.name);
        assert!(String::from_utf8_lossy(&metrics.body).contains(&counted), "{counted}");
        let log = gateway.stderr();
        let line = log.lines().find(|line| line.contains("implausible usage") && line.contains(&whole.request_id()));
        assert!(line.is_some_and(|line| line.contains(&format!("{}/{model}", tenant.name))), "{line:?}");
    }
}

/// Readers of an event may take no more than 128 levels, so that a report leaves most of them to what is around it.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_usage_is_recorded_as_json_up_to_thirty_two_levels_and_as_text_beyond() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said"]).await;
    for (depth, is_json) in [(1, true), (32, true), (33, false), (60, false)] {
        let inside = format!("{}0{}", r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1));
        let report = format!(r#"{{"prompt_tokens":40,"completion_tokens":7,"total_tokens":47,"more":{inside}}}"#);
        let message = r#"{"role":"assistant","content":"Yes."}"#;
        let choice = format!(r#"{{"index":0,"finish_reason":"stop","message":{message}}}"#);
        let answer = format!(r#"{{"id":"x","object":"chat.completion","choices":[{choice}],"usage":{report}}}"#);
        upstream.says("application/json", answer);
        let request_id = tenant.chat("said").await.must(200).request_id();
        let life = gateway.life(&request_id).await;
        let completed = life.iter().find(|event| type_of(event) == "inference.completed.v1").expect("its end");
        let wanted = if is_json { serde_json::from_str(&report).expect("JSON") } else { Value::String(report) };
        assert_eq!(completed["data"]["provider_usage"], wanted, "{depth} levels");
        assert_eq!(completed["data"]["usage"]["output_text_tokens"], 7, "{depth} levels");
    }
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: inf.finish-reason, event.life
#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_come_to_its_end_says_why() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500", "paced-300"]).await;
    let failed = tenant.chat("e500").await.must(502).request_id();
    let mut stream = tenant.stream(NATIVE, "paced-300").await;
    let left = stream.request_id();
    stream.next().await.expect("an event").expect("a whole stream");
    drop(stream);
    gateway.books_when_all_ended(Duration::from_secs(10)).await;
    for (request, name, reason, end) in [
        (failed, "inference.failed.v1", "error", "budget.released.v1"),
        (left, "inference.aborted.v1", "cancelled", "budget.settled.v1"),
    ] {
        let life = gateway.life(&request).await;
        let [.., outcome, last] = &life[..] else { panic!("{life:?}") };
        assert_eq!((type_of(outcome), &outcome["data"]["finish_reason"]), (name, &json!(reason)), "{outcome}");
        assert_eq!(type_of(last), end);
    }
}

/// Holds: admin.no-budget, bin.operator-infers, event.actors, http.tenant-choice, http.authorization
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_infers_as_a_tenant_and_without_a_budget_nothing_is_short() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let by_default = gateway.operator().post(NATIVE, &tenant.ask("ok")).await.must(200).request_id();
    let chosen = gateway.operator().clone().with("x-tenant-id", &tenant.id);
    let chosen = chosen.post(NATIVE, &tenant.ask("ok")).await.must(200).request_id();
    let log = gateway.events().await;
    let setup = log.iter().find(|event| type_of(event) == "tenant.created.v1").expect("the tenant default");
    assert!(setup["actor"].as_str().is_some_and(|actor| actor.starts_with("system:")), "{setup}");
    for (request, owner, budgets) in [(by_default, setup["tenant_id"].clone(), 0), (chosen, json!(tenant.id), 1)] {
        let life = gateway.life(&request).await;
        assert_eq!((&life[0]["actor"], &life[0]["tenant_id"]), (&json!("operator"), &owner));
        assert!(life.iter().all(|event| event.get("key_id").is_none()), "{life:?}");
        assert_eq!(life[1]["data"]["budgets"].as_array().map(Vec::len), Some(budgets), "{}", life[1]);
    }
    gateway.client(None).with("x-api-key", &tenant.secret).post(NATIVE, &tenant.ask("ok")).await.must(200);
}

/// Holds: admin.caps
#[tokio::test(flavor = "multi_thread")]
async fn a_target_says_how_much_is_asked_for_and_what_goes_in_front() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let listed = gateway.operator().get("/v1/admin/models").await.must(200).json();
    let one = format!("/v1/admin/models/{}", listed["items"][0]["id"].as_str().expect("an id"));
    gateway.operator().patch(&one, &json!({ "system_prefix": "Be brief." })).await.must(200);
    for (asked, sent) in [(None, Some(256)), (Some(900), Some(900)), (Some(1025), None)] {
        let (mut body, before) = (tenant.ask("ok"), upstream.seen().len());
        if let Some(asked) = asked {
            body["max_output_tokens"] = json!(asked);
        }
        let status = tenant.app.post(NATIVE, &body).await.status;
        assert_eq!(status, if sent.is_some() { 200 } else { 400 }, "{asked:?}");
        let seen = upstream.seen();
        assert_eq!(seen.len() - before, usize::from(sent.is_some()));
        if let Some(sent) = sent {
            let body = &seen[before].body;
            let cap = ["max_tokens", "max_completion_tokens"].iter().find_map(|name| body[name].as_u64());
            assert_eq!((cap, &body["messages"][0]["content"]), (Some(sent), &json!("Be brief.")), "{body}");
        }
    }
}

/// Ollama has no field for it, and models call several tools all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_one_tool_call_gets_one_and_pays_for_all() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::with(&gateway, &upstream, &["said"], Setup { kind: "ollama", ..Setup::default() }).await;
    let call = |city| json!({ "function": { "name": "weather", "arguments": { "city": city } } });
    let calls = json!({ "role": "assistant", "content": "", "tool_calls": [call("Rome"), call("Oslo")] });
    let said =
        json!({ "message": calls, "done": true, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 30 });
    upstream.says("application/x-ndjson", format!("{said}\n"));
    let mut body = tenant.ask("said");
    body["tools"] =
        json!([{ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } }]);
    for (parallel, wanted) in [(true, 2), (false, 1)] {
        body["parallel_tool_calls"] = json!(parallel);
        body["stream"] = json!(false);
        let reply = tenant.app.post(OPENAI, &body).await.must(200);
        let (id, answer) = (reply.request_id(), reply.json());
        let calls = answer["choices"][0]["message"]["tool_calls"].as_array().expect("calls");
        assert_eq!((calls.len(), calls[0]["function"]["arguments"].as_str()), (wanted, Some(r#"{"city":"Rome"}"#)));
        let life = gateway.life(&id).await;
        assert_eq!(life[2]["data"]["usage"]["output_text_tokens"], 30, "{life:?}");

        body["stream"] = json!(true);
        let (chunks, _) = tenant.app.stream(OPENAI, &body).await.expect("a stream").rest().await;
        let chunks: Vec<Value> = chunks.iter().filter(|chunk| !chunk.is_done()).map(Sse::json).collect();
        let names =
            chunks.iter().filter(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["name"].is_string());
        assert_eq!(names.count(), wanted, "{chunks:?}");
    }
    gateway.books().await;
}
