//! gRPC by tonic's client, beside the same over HTTP. `tests/clients/grpc_client.py` does it with another client.

use std::time::Duration;

use grpc::proto::report_part::Part;
use grpc::proto::{Event, Page, ReportRequest, TailRequest, UsageRow};
use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::gateway::{Gateway, OPERATOR_KEY};
use crate::grpc_clients::events_client::EventsClient;
use crate::grpc_clients::usage_client::UsageClient;
use crate::tenant::{Tenant, text};

/// However busy the machine is.
const WITHIN: Duration = Duration::from_secs(30);
pub const GRPC: (&str, &str) = ("LEDGERWAY_GRPC_LISTEN", "127.0.0.1:0");

/// The port that the gateway's last start has for gRPC.
fn port(gateway: &Gateway) -> u16 {
    let said = gateway.stderr();
    let line = said.lines().rfind(|line| line.contains("gRPC is served")).expect("a line that says where");
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    let port = line["address"].as_str().and_then(|address| address.rsplit_once(':')).expect("an address").1;
    port.parse().expect("a port")
}

pub async fn connect(gateway: &Gateway) -> Channel {
    connect_with_window(gateway, 64 * 1024).await
}

/// A connection whose streams are sent so many bytes that are not read.
async fn connect_with_window(gateway: &Gateway, bytes: u32) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", port(gateway))).expect("an address");
    let endpoint = endpoint.initial_stream_window_size(bytes);
    timeout(WITHIN, endpoint.connect()).await.expect("in time").expect("a connection")
}

/// A call with this key.
fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("metadata"));
    request
}

pub async fn tail(channel: &Channel, key: &str, asked: TailRequest) -> Result<Streaming<Event>, Status> {
    let mut client = EventsClient::new(channel.clone());
    timeout(WITHIN, client.tail(with_key(key, asked))).await.expect("in time").map(tonic::Response::into_inner)
}

async fn next(events: &mut Streaming<Event>) -> Result<Option<Event>, Status> {
    timeout(WITHIN, events.message()).await.expect("something in time")
}

pub async fn rest(mut events: Streaming<Event>) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = next(&mut events).await.expect("an event") {
        all.push(event);
    }
    all
}

pub async fn report(
    channel: &Channel,
    key: &str,
    asked: ReportRequest,
) -> Result<(Page, Vec<UsageRow>, Option<UsageRow>), Status> {
    let mut client = UsageClient::new(channel.clone());
    let mut parts = timeout(WITHIN, client.report(with_key(key, asked))).await.expect("in time")?.into_inner();
    let (mut page, mut groups, mut totals) = (None, Vec::new(), None);
    while let Some(message) = timeout(WITHIN, parts.message()).await.expect("in time")? {
        match message.part.expect("a part") {
            Part::Page(one) => page = Some(one),
            Part::Group(row) => groups.push(row),
            Part::Totals(row) => totals = Some(row),
        }
    }
    Ok((page.expect("a page"), groups, totals))
}

fn code(status: &Status) -> &str {
    status.metadata().get("ledgerway-code").map_or("", |code| code.to_str().expect("text"))
}

#[track_caller]
fn refused<T>(called: Result<T, Status>, wanted: Code, its_code: &str) -> Status {
    let Err(status) = called else { panic!("not refused with {its_code}") };
    assert_eq!((status.code(), code(&status)), (wanted, its_code), "{status:?}");
    status
}

async fn secret_with(gateway: &Gateway, tenant: &Tenant, permissions: &[&str]) -> (String, String) {
    let body = json!({ "user_id": tenant.user, "name": "reader", "permissions": permissions });
    let key = gateway.operator().post("/v1/admin/keys", &body).await.must(201).json();
    (text(&key["id"]), text(&key["secret"]))
}

fn positions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

/// Holds: grpc.tail
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_has_the_log_of_http_byte_for_byte_and_resumes_after_a_kill() {
    let (mut gateway, upstream) = (Gateway::start_with(&[GRPC]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    let channel = connect(&gateway).await;
    let head = gateway.head().await;
    let all = rest(tail(&channel, OPERATOR_KEY, TailRequest::default()).await.expect("a tail")).await;
    let log = gateway.operator().get("/v1/events?limit=1000").await.must(200).body;
    let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    // That somebody has read them comes after them.
    let lines = &lines[..all.len()];
    assert_eq!(all.iter().map(|event| &*event.canonical).collect::<Vec<_>>(), lines);
    assert_eq!(positions(&all), (1..=all.len() as u64).collect::<Vec<_>>());
    assert!(all.len() as u64 >= head);
    for event in &all {
        let json: Value = serde_json::from_slice(&event.canonical).expect("JSON");
        let same = |field: &str, value: &str| assert_eq!(json[field].as_str().unwrap_or_default(), value, "{field}");
        same("recorded_at", &event.recorded_at);
        same("stream", &event.stream);
        same("type", &event.r#type);
        same("actor", &event.actor);
        same("partner_id", &event.partner_id);
        same("tenant_id", &event.tenant_id);
        same("user_id", &event.user_id);
        same("key_id", &event.key_id);
        same("request_id", &event.request_id);
        assert_eq!(json["sequence"], event.sequence);
    }
    let types = vec!["budget.settled.v1".to_owned(), "budget.reserved.v1".to_owned()];
    let money = TailRequest { types, ..TailRequest::default() };
    let money = rest(tail(&channel, OPERATOR_KEY, money).await.expect("a tail")).await;
    assert_eq!(
        money.iter().map(|event| &*event.r#type).collect::<Vec<_>>(),
        ["budget.reserved.v1", "budget.settled.v1"]
    );

    let follow = |after| TailRequest { after, follow: true, ..TailRequest::default() };
    let mut seen = all.len() as u64;
    let mut following = tail(&channel, OPERATOR_KEY, follow(seen)).await.expect("a tail");
    for round in 0..3 {
        tenant.chat("ok").await.must(200);
        let head = gateway.head().await;
        while seen < head {
            let event = next(&mut following).await.expect("an event").expect("no end");
            assert_eq!(event.position, seen + 1, "in round {round}");
            seen = event.position;
        }
        if round == 1 {
            gateway.kill();
            next(&mut following).await.expect_err("the gateway is gone");
            gateway.start_again();
            following = tail(&connect(&gateway).await, OPERATOR_KEY, follow(seen)).await.expect("a tail");
        }
    }
    gateway.terminate();
    let end = loop {
        match next(&mut following).await {
            Ok(event) => drop(event.expect("no silent end")),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), code(&end)), (Code::Unavailable, "DRAINING"), "{end:?}");
    assert_eq!(gateway.wait_for_end(WITHIN).code(), Some(0));
}

/// Holds: grpc.rights
#[tokio::test(flavor = "multi_thread")]
async fn a_key_sees_as_much_as_over_http_and_for_as_long() {
    let (gateway, upstream) = (Gateway::start_with(&[GRPC]), MockUpstream::start().await);
    let ours = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let theirs = Tenant::new(&gateway, &upstream, &["ok"]).await;
    ours.chat("ok").await.must(200);
    theirs.chat("ok").await.must(200);
    let (id, reader) = secret_with(&gateway, &ours, &["events:read", "usage:read"]).await;
    let (_, neither) = secret_with(&gateway, &ours, &["audit:read"]).await;
    let channel = connect(&gateway).await;

    let seen = rest(tail(&channel, &reader, TailRequest::default()).await.expect("a tail")).await;
    assert!(seen.len() > 8 && seen.iter().all(|event| event.tenant_id == ours.id), "{seen:?}");
    let min_position = gateway.head().await;
    let asked = ReportRequest { group_by: vec!["tenant".to_owned()], min_position, ..ReportRequest::default() };
    let (_, groups, _) = report(&channel, &reader, asked.clone()).await.expect("a report");
    assert_eq!(groups.iter().map(|row| row.tenant.as_deref()).collect::<Vec<_>>(), [Some(&*ours.id)]);
    let foreign = ReportRequest { tenant: theirs.id.clone(), ..asked.clone() };
    let (_, groups, _) = report(&channel, &reader, foreign).await.expect("a report");
    assert!(groups.iter().all(|row| row.requests == 0), "{groups:?}");

    refused(tail(&channel, &neither, TailRequest::default()).await, Code::PermissionDenied, "FORBIDDEN");
    refused(report(&channel, &neither, asked.clone()).await, Code::PermissionDenied, "FORBIDDEN");
    refused(tail(&channel, "sgk_none", TailRequest::default()).await, Code::Unauthenticated, "UNAUTHENTICATED");
    let elsewhere = {
        let mut request = with_key(&reader, TailRequest::default());
        request.metadata_mut().insert("x-tenant-id", theirs.id.parse().expect("metadata"));
        EventsClient::new(channel.clone()).tail(request).await.map(|_| ())
    };
    refused(elsewhere, Code::PermissionDenied, "FORBIDDEN");

    // As many streams as a key may have, by either protocol.
    let follow = TailRequest { after: min_position, follow: true, ..TailRequest::default() };
    let mut open = Vec::new();
    let limited = loop {
        match tail(&channel, &reader, follow.clone()).await {
            Ok(events) => open.push(events),
            Err(status) => break status,
        }
        assert!(open.len() < 64, "no limit");
    };
    assert_eq!((limited.code(), code(&limited)), (Code::ResourceExhausted, "RATE_LIMITED"), "{limited:?}");
    let sse = gateway.client(Some(&reader)).with("accept", "text/event-stream");
    sse.get("/v1/events").await.must_be(429, "RATE_LIMITED");

    gateway.operator().delete(&format!("/v1/admin/keys/{id}")).await.must(200);
    let mut followed = open.pop().expect("a stream");
    let end = loop {
        match next(&mut followed).await {
            Ok(event) => drop(event.expect("no silent end")),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), code(&end)), (Code::Unauthenticated, "UNAUTHENTICATED"), "{end:?}");

    // Who was refused is recorded, as over HTTP.
    let recorded = |events: &[Value], name: &str| events.iter().filter(|event| event["type"] == name).count();
    let events = timeout(WITHIN, async {
        loop {
            let events = gateway.events().await;
            if recorded(&events, "access.denied.v1") >= 3 && recorded(&events, "access.rate_limited.v1") >= 1 {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    events.await.expect("the refusals are recorded");
}

/// Holds: query.events-end
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_loses_its_tail_with_its_key_and_hears_of_a_drain() {
    let (mut gateway, upstream) = (Gateway::start_with(&[GRPC]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    // More than the client's window and a message on its way take, and less than a chunk.
    while gateway.head().await < 200 {
        tenant.chat("ok").await.must(200);
    }
    let head = gateway.head().await;
    let (id, reader) = secret_with(&gateway, &tenant, &["events:read"]).await;
    let channel = connect_with_window(&gateway, 16 * 1024).await;
    let follow = |after| TailRequest { after, follow: true, ..TailRequest::default() };
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(tail(&channel, &reader, follow(0)).await.expect("a tail"));
    }
    let mut waiting = tail(&channel, OPERATOR_KEY, follow(head)).await.expect("a tail");
    gateway.operator().delete(&format!("/v1/admin/keys/{id}")).await.must(200);
    // Longer than it takes until the key is looked at.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut got = 0;
    let end = loop {
        match next(&mut unread[0]).await {
            Ok(event) => got = event.expect("no silent end").position,
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), code(&end)), (Code::Unauthenticated, "UNAUTHENTICATED"), "{end:?}");
    assert!(got < head, "it got everything that was read for it");

    while next(&mut waiting).await.expect("an event").expect("no end").position < gateway.head().await {}
    gateway.terminate();
    let end = next(&mut waiting).await.expect_err("the gateway drains");
    assert_eq!((end.code(), code(&end)), (Code::Unavailable, "DRAINING"), "{end:?}");
    assert_eq!(gateway.wait_for_end(WITHIN).code(), Some(0));
}

/// Holds: grpc.usage
#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_the_figures_of_http() {
    let (gateway, upstream) = (Gateway::start_with(&[GRPC]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "e500"]).await;
    let mut tagged = tenant.ask("ok");
    tagged["metadata"] = json!({ "team": "réd" });
    tenant.app.post("/v1/inference/chat", &tagged).await.must(200);
    tenant.chat("ok").await.must(200);
    let head = gateway.head().await;
    let channel = connect(&gateway).await;
    for (group_by, more) in [
        (vec!["day", "tenant", "user", "key", "model", "provider", "backend", "payer"], ""),
        (vec!["hour", "partner"], ""),
        (vec!["metadata.team", "week"], ""),
        (vec![], "&metadata.team=r%C3%A9d"),
    ] {
        let by = group_by.join(",");
        let path = format!("/v1/usage?min_position={head}&group_by={by}{more}");
        let http = gateway.operator().get(&path).await.must(200).json();
        let metadata = if more.is_empty() { vec![] } else { vec![("team".to_owned(), "réd".to_owned())] };
        let asked = ReportRequest {
            group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
            metadata: metadata.into_iter().collect(),
            min_position: head,
            ..ReportRequest::default()
        };
        let (page, groups, totals) = report(&channel, OPERATOR_KEY, asked).await.expect("a report");
        assert_eq!(http["as_of_position"], page.as_of_position);
        let items = http["items"].as_array().expect("items");
        assert_eq!(items.len(), groups.len(), "{path}");
        items.iter().zip(&groups).for_each(|(item, row)| assert_same(item, row));
        assert_same(&http["totals"], &totals.expect("totals"));
    }
    let day = ReportRequest { group_by: vec!["model".into()], limit: 1, omit_totals: true, ..ReportRequest::default() };
    tenant.chat("e500").await;
    let head = gateway.head().await;
    let (page, first, totals) =
        report(&channel, OPERATOR_KEY, ReportRequest { min_position: head, ..day.clone() }).await.expect("a page");
    assert!(totals.is_none() && first.len() == 1 && !page.next_cursor.is_empty(), "{page:?}");
    let (page, second, _) =
        report(&channel, OPERATOR_KEY, ReportRequest { cursor: page.next_cursor, ..day }).await.expect("a page");
    assert!(second.len() == 1 && page.next_cursor.is_empty() && first[0].model != second[0].model, "{page:?}");
}

/// The row says what the JSON says, and nothing else.
#[track_caller]
fn assert_same(json: &Value, row: &UsageRow) {
    let mut said = json!({
        "requests": row.requests, "refused": row.refused, "failed": row.failed,
        "input_uncached_tokens": row.input_uncached_tokens, "input_cache_read_tokens": row.input_cache_read_tokens,
        "input_cache_write_tokens": row.input_cache_write_tokens, "output_text_tokens": row.output_text_tokens,
        "output_reasoning_tokens": row.output_reasoning_tokens, "input_audio_tokens": row.input_audio_tokens,
        "input_cache_read_audio_tokens": row.input_cache_read_audio_tokens,
        "output_audio_tokens": row.output_audio_tokens, "input_image_tokens": row.input_image_tokens,
        "input_cache_read_image_tokens": row.input_cache_read_image_tokens,
        "output_image_tokens": row.output_image_tokens, "citation_tokens": row.citation_tokens,
        "searches": row.searches, "input_images": row.input_images, "cost_usd": row.cost_usd,
        "adjusted_usd": row.adjusted_usd, "latency_ms_p50": row.latency_ms_p50, "latency_ms_p95": row.latency_ms_p95,
    });
    let texts = [
        ("hour", &row.hour),
        ("day", &row.day),
        ("week", &row.week),
        ("month", &row.month),
        ("partner", &row.partner),
        ("tenant", &row.tenant),
        ("user", &row.user),
        ("key", &row.key),
        ("model", &row.model),
        ("provider", &row.provider),
        ("backend", &row.backend),
        ("payer", &row.payer),
        ("partner_name", &row.partner_name),
        ("tenant_name", &row.tenant_name),
        ("user_name", &row.user_name),
        ("key_name", &row.key_name),
    ];
    for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_ref()?))) {
        said[name] = json!(value);
    }
    for (name, value) in &row.metadata {
        said[format!("metadata.{name}")] = json!(value);
    }
    let known = |value: &Value| {
        let fields = value.as_object().expect("an object").iter().filter(|(_, value)| !value.is_null());
        fields.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>()
    };
    assert_eq!(known(json), known(&said));
}

/// Holds: grpc.errors
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_call_is_said_in_its_status() {
    let gateway = Gateway::start_with(&[GRPC]);
    let channel = connect(&gateway).await;
    let wrong = TailRequest { types: vec!["budget.settled".to_owned()], ..TailRequest::default() };
    let status = refused(tail(&channel, OPERATOR_KEY, wrong).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert!(status.message().contains("did you mean budget.settled.v1?"), "{status:?}");
    let details = status.metadata().get_bin("ledgerway-details-bin").expect("details").to_bytes().expect("bytes");
    let details: Value = serde_json::from_slice(&details).expect("JSON");
    assert_eq!(details["field"], "types");
    assert!(status.metadata().get("x-request-id").is_some_and(|id| id.as_bytes().starts_with(b"req_")), "{status:?}");
    for (wrong, field) in [
        (ReportRequest { group_by: vec!["colour".into()], ..ReportRequest::default() }, "group_by"),
        (ReportRequest { from: "yesterday".into(), ..ReportRequest::default() }, "from"),
        (ReportRequest { limit: 10_001, ..ReportRequest::default() }, "limit"),
        (ReportRequest { min_position: u64::MAX, ..ReportRequest::default() }, "min_position"),
        (ReportRequest { cursor: "é\n".repeat(4000), ..ReportRequest::default() }, "cursor"),
        (
            ReportRequest { metadata: [("n\n".repeat(10_000), "\0".to_owned())].into(), ..ReportRequest::default() },
            "metadata.",
        ),
    ] {
        let status = refused(report(&channel, OPERATOR_KEY, wrong).await, Code::InvalidArgument, "INVALID_REQUEST");
        assert!(status.message().starts_with(field) && status.message().chars().count() <= 1000, "{status:?}");
    }
    let huge = ReportRequest { cursor: "x".repeat(33 * 1024), ..ReportRequest::default() };
    refused(report(&channel, OPERATOR_KEY, huge).await, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
    let empty = TailRequest { types: vec![String::new()], ..TailRequest::default() };
    refused(tail(&channel, OPERATOR_KEY, empty).await, Code::InvalidArgument, "INVALID_REQUEST");
    let beyond = TailRequest { min_position: u64::MAX, ..TailRequest::default() };
    refused(tail(&channel, OPERATOR_KEY, beyond).await, Code::InvalidArgument, "INVALID_REQUEST");
    let nobody = EventsClient::new(channel.clone()).tail(TailRequest::default()).await.map(|_| ());
    refused(nobody, Code::Unauthenticated, "UNAUTHENTICATED");

    // Frames that are no message of the method, and paths that are no method.
    let http2 = gateway.client_on(port(&gateway)).over_http2().with("content-type", "application/grpc");
    let keyed = http2.clone().with("authorization", &format!("Bearer {OPERATOR_KEY}"));
    for (path, body, status, its_code) in [
        ("/ledgerway.v1.Events/Tail", &b"\0\0\0\0\x02\xff\xff"[..], "3", "INVALID_REQUEST"),
        ("/ledgerway.v1.Events/Tail", b"", "3", "INVALID_REQUEST"),
        ("/ledgerway.v1.Events/Tail", b"\x01\0\0\0\x01x", "3", "INVALID_REQUEST"),
        ("/ledgerway.v1.Events/Forget", b"\0\0\0\0\0", "12", "METHOD_NOT_ALLOWED"),
        ("/other.v1.Service/Method", b"\0\0\0\0\0", "12", "METHOD_NOT_ALLOWED"),
    ] {
        let reply = keyed.send(Method::POST, path, body).await.expect("an answer").must(200);
        assert_eq!(
            (reply.header("grpc-status"), reply.header("ledgerway-code")),
            (status, its_code),
            "{path} {body:?}"
        );
        assert_eq!(reply.header("content-type"), "application/grpc");
    }
    let plain = gateway.client_on(port(&gateway));
    plain.post("/ledgerway.v1.Events/Tail", &json!({})).await.must_be(401, "UNAUTHENTICATED");
    plain.post("/grpc.health.v1.Health/Check", &json!({})).await.must_be(415, "UNSUPPORTED_MEDIA_TYPE");
}

/// Holds: grpc.health
#[tokio::test(flavor = "multi_thread")]
async fn health_is_that_of_the_gateway_and_needs_no_key() {
    let mut gateway = Gateway::start_with(&[GRPC, ("LEDGERWAY_DRAIN_DELAY_SECONDS", "3")]);
    let mut health = HealthClient::new(connect(&gateway).await);
    let asked = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "ledgerway.v1.Events", "ledgerway.v1.Usage"] {
        let status = health.check(asked(service)).await.expect("an answer").into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    refused(health.check(asked("ledgerway.v1.Money")).await, Code::NotFound, "NOT_FOUND");
    let mut unknown = health.watch(asked("ledgerway.v1.Money")).await.expect("a watch").into_inner();
    let status = timeout(WITHIN, unknown.message()).await.expect("in time").expect("a status").expect("a status");
    assert_eq!(status.status(), ServingStatus::ServiceUnknown);
    let mut watch = health.watch(asked("")).await.expect("a watch").into_inner();
    let mut next =
        async || timeout(WITHIN, watch.message()).await.expect("in time").expect("a status").map(|now| now.status());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    gateway.terminate();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(gateway.wait_for_end(WITHIN).code(), Some(0));
}
