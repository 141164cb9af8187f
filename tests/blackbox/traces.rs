//! Traces: what upstreams are told of them, and what a collector gets.

use std::time::{Duration, Instant};

use serde_json::Value;
use testing::upstream::{MockUpstream, Seen, TEXT};
use tokio::net::TcpListener;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The spans of every message that a collector got, once there are so many.
async fn spans_of(collector: &MockUpstream, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let spans: Vec<Value> = collector.seen().iter().flat_map(spans_in).collect();
        if spans.len() >= count {
            return spans;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{} of {count} spans: {spans:#?}", spans.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn spans_in(message: &Seen) -> Vec<Value> {
    assert_eq!(message.path, "/v1/traces");
    assert_eq!(message.headers["content-type"], "application/json");
    let resource = &message.body["resourceSpans"][0];
    let service = resource["resource"]["attributes"].as_array().expect("attributes");
    assert!(service.iter().any(|attribute| attribute["value"]["stringValue"] == "ledgerway"), "{resource}");
    resource["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

/// An attribute's value, without its type.
fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().expect("attributes");
    let mut found = attributes.iter().filter(|attribute| attribute["key"] == key);
    let value = found.next().and_then(|attribute| attribute["value"].as_object()?.values().next().cloned());
    assert!(found.next().is_none(), "{key} stands twice in {span}");
    value.unwrap_or_default()
}

fn header<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.headers.get(name).and_then(|value| value.to_str().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_a_span_a_request_in_the_clients_trace_and_the_upstream_is_its_child() {
    let (upstream, collector) = (MockUpstream::start().await, MockUpstream::start().await);
    let gateway = Gateway::start_with(&[(ENDPOINT, &collector.origin())]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let app = tenant.app.clone().with("traceparent", TRACEPARENT).with("tracestate", "vendor=1");
    let reply = app.post(OPENAI, &tenant.ask("ok")).await.must(200);

    let spans = spans_of(&collector, 4).await;
    let root = named(&spans, &format!("chat {}", tenant.model("ok")))[0];
    assert_eq!((&root["traceId"], &root["parentSpanId"]), (&Value::from(TRACE), &Value::from(CLIENT_SPAN)));
    assert_eq!((&root["kind"], &root["traceState"]), (&Value::from(2), &Value::from("vendor=1")));
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", &tenant.model("ok")),
        ("gen_ai.response.model", "ok"),
        ("gen_ai.usage.input_tokens", "12"),
        ("gen_ai.usage.output_tokens", "9"),
        ("ledgerway.request_id", &reply.request_id()),
        ("ledgerway.cost_usd", reply.header("x-ledgerway-cost-usd")),
    ] {
        assert_eq!(attribute(root, key), value, "{key}");
    }
    assert_eq!(attribute(root, "gen_ai.response.finish_reasons")["values"][0]["stringValue"], "stop");
    let call = named(&spans, &format!("call {}/ok", tenant.name))[0];
    for child in [call, named(&spans, "admit")[0], named(&spans, "settle")[0]] {
        assert_eq!((&child["traceId"], &child["parentSpanId"]), (&root["traceId"], &root["spanId"]), "{child}");
        let nanos = |span: &Value, key: &str| span[key].as_str().expect("a time").parse::<u64>().expect("a time");
        assert!(nanos(root, "startTimeUnixNano") <= nanos(child, "startTimeUnixNano"), "{child}");
        assert!(nanos(child, "startTimeUnixNano") <= nanos(child, "endTimeUnixNano"), "{child}");
        assert!(nanos(child, "endTimeUnixNano") <= nanos(root, "endTimeUnixNano"), "{child}");
    }
    let seen = upstream.seen();
    let ours = format!("00-{TRACE}-{}-01", call["spanId"].as_str().expect("an id"));
    assert_eq!((header(&seen[0], "traceparent"), header(&seen[0], "tracestate")), (Some(&*ours), Some("vendor=1")));
    let all = collector.seen().iter().map(|message| message.body.to_string()).collect::<String>();
    assert!(!all.contains("hello") && !all.contains(TEXT) && !all.contains(&tenant.secret), "{all}");
}

/// Holds: inf.upstream-request-id
#[tokio::test(flavor = "multi_thread")]
async fn every_try_is_a_span_of_its_own_and_what_failed_says_why() {
    let (upstream, collector) = (MockUpstream::start().await, MockUpstream::start().await);
    let gateway = Gateway::start_with(&[(ENDPOINT, &collector.origin())]);
    let tenant = Tenant::new(&gateway, &upstream, &["e500", "ok", "cut"]).await;
    tenant.add_model("spare", &["e500", "ok"]).await;
    let spare = tenant.stream(NATIVE, "spare").await;
    let spare_id = spare.request_id();
    spare.rest().await;
    tenant.chat("unheard-of").await.must(404);
    let cut = tenant.stream(OPENAI, "cut").await;
    let cut_id = cut.request_id();
    cut.rest().await;

    // Root, admission, two tries, the spare and the settlement; a refusal; root, admission, call and settlement.
    let spans = spans_of(&collector, 6 + 1 + 4).await;
    let failed = named(&spans, &format!("call {}/e500", tenant.name));
    assert_eq!(failed.len(), 2);
    for call in &failed {
        assert_eq!(attribute(call, "error.type"), "status");
        assert_eq!(
            (&call["status"]["code"], attribute(call, "http.response.status_code")),
            (&Value::from(2), "500".into())
        );
    }
    let told: Vec<String> =
        upstream.seen().iter().filter_map(|seen| header(seen, "traceparent")).map(str::to_owned).collect();
    let ids: Vec<String> =
        upstream.seen().iter().filter_map(|seen| header(seen, "x-request-id")).map(str::to_owned).collect();
    assert_eq!(told.len(), 4);
    assert!(spare_id.starts_with("req_") && spare_id != cut_id, "{spare_id} {cut_id}");
    assert_eq!(ids, [&*spare_id, &*spare_id, &*spare_id, &*cut_id]);
    for (call, told) in failed.iter().zip(&told) {
        assert!(told.contains(call["spanId"].as_str().expect("an id")), "{told}");
    }
    let root = named(&spans, &format!("chat {}", tenant.model("spare")))[0];
    assert_eq!((attribute(root, "ledgerway.attempts"), attribute(root, "error.type")), ("3".into(), Value::Null));
    let refused = named(&spans, &format!("chat {}", tenant.model("unheard-of")))[0];
    assert_eq!(attribute(refused, "error.type"), "MODEL_NOT_FOUND");
    let cut = named(&spans, &format!("chat {}", tenant.model("cut")))[0];
    assert_eq!(attribute(cut, "error.type"), "UPSTREAM_ERROR");
    assert_ne!(root["traceId"], cut["traceId"], "requests without a client's trace have one each");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_clients_trace_goes_on_as_it_came_and_a_malformed_one_does_not() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let app = tenant.app.clone().with("tracestate", "vendor=1");
    for parent in [TRACEPARENT, "00-nonsense", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        app.clone().with("traceparent", parent).post(NATIVE, &tenant.ask("ok")).await.must(200);
    }
    app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    let seen = upstream.seen();
    let told: Vec<_> = seen.iter().map(|seen| (header(seen, "traceparent"), header(seen, "tracestate"))).collect();
    let nothing = (None, None);
    assert_eq!(told, [(Some(TRACEPARENT), Some("vendor=1")), nothing, nothing, nothing]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_trace_is_not_recorded_is_not_recorded_here_either() {
    let (upstream, collector) = (MockUpstream::start().await, MockUpstream::start().await);
    let mut gateway = Gateway::start_with(&[(ENDPOINT, &collector.origin())]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let unsampled = TRACEPARENT.replace("-01", "-00");
    tenant.app.clone().with("traceparent", &unsampled).post(NATIVE, &tenant.ask("ok")).await.must(200);
    assert_eq!(header(&upstream.seen()[0], "traceparent"), Some(&*unsampled));
    tenant.chat("ok").await.must(200);
    // What has not been sent is sent when it ends.
    gateway.stop();
    let spans = spans_of(&collector, 4).await;
    assert!(spans.len() == 4 && spans.iter().all(|span| span["traceId"] != TRACE), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_silent_costs_requests_nothing() {
    let upstream = MockUpstream::start().await;
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent = format!("http://{}", silent.local_addr().expect("its address"));
    for endpoint in ["http://127.0.0.1:9", &silent] {
        let mut gateway = Gateway::start_with(&[(ENDPOINT, endpoint)]);
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let began = Instant::now();
        for _ in 0..20 {
            tenant.chat("ok").await.must(200);
        }
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        if endpoint.ends_with(":9") {
            let dropped = || async {
                let text = gateway.client(None).get("/metrics").await.must(200).body;
                let text = String::from_utf8_lossy(&text).into_owned();
                text.lines()
                    .any(|line| line.strip_prefix("ledgerway_spans_dropped_total ").is_some_and(|count| count != "0"))
            };
            while !dropped().await {
                assert!(began.elapsed() < Duration::from_secs(10), "nothing is dropped");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(gateway.stderr().contains("the collector does not accept spans"));
        }
        let stopping = Instant::now();
        gateway.stop();
        assert!(stopping.elapsed() < Duration::from_secs(6), "{:?}", stopping.elapsed());
    }
}

/// Holds: bin.logs
#[tokio::test(flavor = "multi_thread")]
async fn a_line_about_a_request_says_which_and_of_which_trace() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500"]).await;
    let app = tenant.app.clone().with("traceparent", TRACEPARENT);
    let request = app.post(NATIVE, &tenant.ask("e500")).await.must(502).request_id();
    let log = gateway.stderr();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let about: Vec<&Value> = lines.iter().filter(|line| line["request_id"] == *request).collect();
    let messages: Vec<_> = about.iter().filter_map(|line| line["message"].as_str()).collect();
    assert_eq!(messages, ["a call to an upstream failed", "a call to an upstream failed", "answered"], "{log}");
    assert!(about.iter().all(|line| line["trace_id"] == TRACE), "{log}");
}
