//! Rejections by an upstream that the client can mend: told to the client, to nobody else, and asked of nobody else.

use serde_json::{Value, json};
use testing::upstream::{CODE, MESSAGE, MockUpstream, PARAM, UpstreamByHand};

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, PROVIDER_SECRET, Setup, Tenant};

const HEADER_SECRET: &str = "Team-Header-Value-93a1c4";
const SHORT_HEADER_SECRET: &str = "s3cr3t7";

async fn life(gateway: &Gateway, request: &str) -> Value {
    let head = gateway.head().await;
    gateway.operator().get(&format!("/v1/inferences/{request}?min_position={head}")).await.must(200).json()
}

fn must_say_why(reply: &Reply, is_openai: bool) {
    let error = reply.json()["error"].clone();
    assert_eq!(error["message"], MESSAGE, "{error}");
    assert_eq!(reply.header("x-should-retry"), "false");
    if is_openai {
        assert_eq!(error["type"], "invalid_request_error", "{error}");
    } else {
        assert_eq!((&error["code"], &error["details"]["reason"]), (&json!("UPSTREAM_REJECTED"), &json!("status")));
    }
}

/// Holds: http.upstream-rejected, http.openai-errors, http.should-retry
#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_rejects_is_a_400_that_says_why_and_costs_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let backends = ["reject-400", "reject-413", "reject-422", "ok"];
        let tenant = Tenant::with(&gateway, &upstream, &backends, Setup { kind, ..Setup::default() }).await;
        for status in [400, 413, 422] {
            let model = format!("reject-{status}");
            let (native, openai) = (tenant.chat(&model).await.must(400), tenant.openai(&model).await.must(400));
            must_say_why(&native, false);
            must_say_why(&openai, true);
            let (details, error) = (native.json()["error"]["details"].clone(), openai.json()["error"].clone());
            assert_eq!(details["upstream_status"], status);
            let (code, param) = if kind == "openai" { (json!(CODE), json!(PARAM)) } else { Default::default() };
            assert_eq!((&details["upstream_code"], &details["upstream_param"]), (&code, &param), "{details}");
            assert_eq!((&error["code"], &error["param"]), (&code, &param), "{error}");
            for path in [NATIVE, OPENAI] {
                let stream = tenant.stream(path, &model).await;
                assert_eq!(stream.status, 400, "{model} of {kind}");
            }
            assert_eq!(upstream.seen_of(&model), 4, "asked again for {model} of {kind}");
            let life = life(&gateway, &native.request_id()).await;
            assert_eq!((&life["code"], &life["status"]), (&json!("UPSTREAM_REJECTED"), &json!("failed")), "{life}");
            assert_eq!(life["settlement"]["type"], "budget.released", "{life}");
            assert_eq!(life["attempts_failed"][0]["upstream_code"], code, "{life}");
            assert!(!life.to_string().contains("maximum context"), "its words are recorded: {life}");
        }
        upstream.forget();
    }
    assert!(gateway.books().await.open_holds().is_empty());
}

/// Holds: http.upstream-rejected
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_asked_what_one_upstream_rejects() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["reject-400", "e500", "ok"]).await;
    tenant.add_model("first", &["reject-400", "ok"]).await;
    tenant.add_model("later", &["e500", "reject-400", "ok"]).await;
    for model in ["first", "later"] {
        must_say_why(&tenant.chat(model).await.must(400), false);
    }
    assert_eq!(upstream.seen_of("ok"), 0);
}

/// Holds: http.upstream-rejected, http.stream-error
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_inside_an_answer_is_the_same_before_its_first_word_and_an_event_after_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let backends = ["rejectinside", "rejectlate"];
        let tenant = Tenant::with(&gateway, &upstream, &backends, Setup { kind, ..Setup::default() }).await;
        for path in [NATIVE, OPENAI] {
            let whole = tenant.app.post(path, &tenant.ask("rejectinside")).await.must(400);
            assert_eq!(whole.json()["error"]["message"], MESSAGE);
            assert_eq!(tenant.stream(path, "rejectinside").await.status, 400);
            let stream = tenant.stream(path, "rejectlate").await;
            let (status, request) = (stream.status, stream.request_id());
            let (events, _) = stream.rest().await;
            let last = events.last().expect("an event").json();
            assert_eq!((status, &last["error"]["message"]), (200, &json!(MESSAGE)), "{events:?}");
            assert!(events.len() > 1, "{events:?}");
            let life = life(&gateway, &request).await;
            assert_eq!(life["code"], "UPSTREAM_REJECTED", "{life}");
            assert_eq!(life["settlement"]["type"], "budget.settled", "what went through is charged: {life}");
        }
    }
    assert!(gateway.books().await.open_holds().is_empty());
}

/// Holds: http.upstream-words
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_an_upstream_repeats_in_a_rejection_reach_nobody() {
    let (gateway, upstream) = (Gateway::start_with(&[("RUST_LOG", "debug")]), MockUpstream::start().await);
    for kind in ["openai", "anthropic"] {
        let tenant = Tenant::with(&gateway, &upstream, &["rejectleak"], Setup { kind, ..Setup::default() }).await;
        let path = format!("/v1/admin/providers/{}", tenant.provider);
        let headers = json!({ "headers": { "x-team": HEADER_SECRET, "x-part": SHORT_HEADER_SECRET } });
        gateway.operator().patch(&path, &headers).await.must(200);
        for reply in [tenant.chat("rejectleak").await, tenant.openai("rejectleak").await] {
            let said = reply.must(400).json()["error"].clone();
            let message = said["message"].as_str().expect("a message");
            assert!(message.starts_with("The request is wrong: "), "{message}");
            assert!(message.chars().count() <= 1000, "{message}");
            assert!(!said.to_string().to_lowercase().contains(SHORT_HEADER_SECRET), "{said}");
            for secret in [PROVIDER_SECRET, HEADER_SECRET] {
                let bare = |text: &str| text.to_lowercase().replace(|letter: char| !letter.is_alphanumeric(), "");
                let in_hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
                assert!(!gateway.stderr().contains(secret), "{secret} is in the log of the process");
                for run in secret.as_bytes().windows(8).filter_map(|run| std::str::from_utf8(run).ok()) {
                    assert!(!said.to_string().to_lowercase().contains(&run.to_lowercase()), "{run} in {said}");
                    assert!(!bare(message).contains(&in_hex(run)), "{run} as hex in {message}");
                }
                for run in bare(secret).as_bytes().windows(8).filter_map(|run| std::str::from_utf8(run).ok()) {
                    assert!(!bare(message).contains(run), "{run} in {message}");
                }
            }
        }
    }
    let log = gateway.events().await;
    assert!(log.iter().all(|event| event["data"]["upstream_code"].is_null()), "a credential is no code");
}

/// Holds: http.upstream-words
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_an_upstream_counts_out_or_splits_reach_nobody() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said"]).await;
    let refused = |error: Value| json!({ "error": error }).to_string();
    for form in [
        format!("{:?}", PROVIDER_SECRET.as_bytes()),
        PROVIDER_SECRET.bytes().map(|byte| format!("0x{byte:x} ")).collect(),
        PROVIDER_SECRET.bytes().map(|byte| format!("\\u{{{byte:x}}}")).collect(),
    ] {
        let error = json!({ "message": format!("bad key {form} was sent"), "code": 400 });
        upstream.says("application/json", refused(error));
        let said = tenant.openai("said").await.must(400).json();
        let message = said["error"]["message"].as_str().expect("a message");
        assert!(message.contains("[redacted]") && !message.contains(&form[8..48]), "{message}");
    }
    let (code, rest) = PROVIDER_SECRET.split_at(7);
    let (param, rest) = rest.split_at(7);
    let error = json!({ "message": format!("{} is bad", &rest[..7]), "type": "invalid_request_error", "code": code,
                        "param": param });
    upstream.says("application/json", refused(error));
    let error = tenant.openai("said").await.must(400).json()["error"].clone();
    assert_eq!((&error["code"], &error["param"]), (&Value::Null, &Value::Null), "{error}");
}

/// Holds: http.upstream-rejected
#[tokio::test(flavor = "multi_thread")]
async fn of_a_rejection_that_repeats_the_request_the_beginning_is_told() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["rejectlong"]).await;
    for reply in [tenant.chat("rejectlong").await, tenant.openai("rejectlong").await] {
        let error = reply.must(400).json()["error"].clone();
        let message = error["message"].as_str().expect("a message");
        assert!(message.starts_with(MESSAGE), "{message}");
        assert!(message.chars().count() <= 1000, "{message}");
    }
}

/// Holds: http.upstream-alone
#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_operator_can_mend_stays_a_502_and_the_log_says_what_to_look_at() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let backends = ["reject-401", "reject-403", "reject-404", "reject-400", "e500"];
    let tenant = Tenant::new(&gateway, &upstream, &backends).await;
    for model in backends {
        let reply = tenant.chat(model).await;
        if model == "reject-400" {
            reply.must(400);
            continue;
        }
        let reply = reply.must_be(502, "UPSTREAM_ERROR");
        assert!(!String::from_utf8_lossy(&reply.body).contains("maximum context"), "{model}");
    }
    let log = gateway.stderr();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let look_at = |status: u16| {
        let line = lines.iter().find(|line| line["fields"]["status"] == status || line["status"] == status);
        line.unwrap_or_else(|| panic!("no line about {status}: {log}")).to_string()
    };
    for (status, what) in [(401, "api_key"), (403, "may use the model"), (404, "base_url"), (500, "status page")] {
        assert!(look_at(status).contains(what), "{}", look_at(status));
    }
    assert!(!log.contains("\"status\":400"), "a client's mistake is no warning: {log}");
}

/// Holds: http.upstream-rejected
#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_an_upstream_rejects_is_named_as_its_client_calls_it() {
    let (gateway, mock, upstream) = (Gateway::start(), MockUpstream::start().await, UpstreamByHand::start().await);
    let tenant = Tenant::new(&gateway, &mock, &[]).await;
    tenant.add_model_at("m", &upstream.base_url()).await;
    let said = json!({ "error": {
        "message": "Unsupported value: 'reasoning_effort' does not support 'xhigh' with this model.",
        "type": "invalid_request_error", "param": "reasoning_effort", "code": "unsupported_value",
    } })
    .to_string();
    let (mut messages, mut responses) = (tenant.ask("m"), json!({ "model": tenant.model("m"), "input": "hello" }));
    messages["output_config"] = json!({ "effort": "xhigh" });
    messages["max_tokens"] = json!(64);
    responses["reasoning"] = json!({ "effort": "xhigh" });
    for (path, body, field) in
        [("/v1/messages", messages, "output_config.effort"), ("/oai/v1/responses", responses, "reasoning.effort")]
    {
        let answered = async {
            let mut call = upstream.called().await;
            call.takes_the_body().await;
            let head = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                said.len()
            );
            assert!(call.says(head + &said).await, "the gateway has closed the connection");
        };
        let (refused, ()) = tokio::join!(tenant.app.post(path, &body), answered);
        let error = refused.must(400).json()["error"].clone();
        let message = error["message"].as_str().expect("a message");
        assert!(message.starts_with(&format!("{field}: ")) && message.contains("'xhigh' with this model"), "{error}");
        assert_eq!(error["details"]["field"], field, "{error}");
        assert_eq!(message.contains("does not support the effort parameter"), path == "/v1/messages", "{error}");
        assert!(path == "/v1/messages" || error["param"] == field, "{error}");
    }
}
