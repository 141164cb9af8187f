//! Whatever a client sends: a stable code, nothing sent upstream, no hold left open.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

const DEPTH: usize = 100_000;

/// The request of this tenant with these fields set.
fn with(tenant: &Tenant, fields: Value) -> Bytes {
    let mut body = tenant.ask("ok");
    for (name, value) in fields.as_object().expect("fields") {
        body[name] = value.clone();
    }
    body.to_string().into()
}

fn malformed() -> Vec<Bytes> {
    let deep = |open: &str| Bytes::from(open.repeat(DEPTH));
    vec![
        Bytes::new(),
        Bytes::from_static(b"{"),
        Bytes::from_static(b"[]"),
        Bytes::from_static(b"null"),
        Bytes::from_static(b"\"text\""),
        Bytes::from_static(b"{\"model\":"),
        Bytes::from_static(b"\xff\xfe"),
        Bytes::from_static(b"{\"model\":\"\xff\",\"messages\":[]}"),
        Bytes::from_static(b"{\"model\":\"a\\ud800\",\"messages\":[]}"),
        Bytes::from_static(b"{} {}"),
        deep("["),
        deep("{\"a\":"),
        format!("{{\"messages\":{}", "[".repeat(DEPTH)).into(),
        format!("{{\"metadata\":{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH)).into(),
    ]
}

/// Wrong on every surface.
fn wrong(tenant: &Tenant) -> Vec<Bytes> {
    let duplicate = format!("{{\"model\":\"x\",{}", &tenant.ask("ok").to_string()[1..]);
    vec![
        with(tenant, json!({ "messages": [] })),
        with(tenant, json!({ "messages": "hello" })),
        with(tenant, json!({ "messages": null })),
        with(tenant, json!({ "messages": [7] })),
        with(tenant, json!({ "messages": [{ "role": "user", "content": "a\u{0}b" }] })),
        with(tenant, json!({ "model": 7 })),
        with(tenant, json!({ "model": null })),
        with(tenant, json!({ "stream": "yes" })),
        json!({ "model": tenant.model("ok") }).to_string().into(),
        json!({ "messages": [{ "role": "user", "content": "hello" }] }).to_string().into(),
        duplicate.into(),
    ]
}

/// Absurd caps, under the name that each surface has for them.
fn caps(tenant: &Tenant, name: &str) -> Vec<Bytes> {
    let huge = format!("{{\"{name}\":1{},{}", "0".repeat(30), &tenant.ask("ok").to_string()[1..]);
    let mut bodies: Vec<Bytes> = [json!(-1), json!(1.5), json!("many"), json!([]), json!(u64::MAX), json!(1025)]
        .into_iter()
        .map(|cap| {
            let mut fields = json!({});
            fields[name] = cap;
            with(tenant, fields)
        })
        .collect();
    bodies.push(huge.into());
    bodies
}

/// Holds: http.invalid-request, http.json, http.bounds
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_have_codes_and_leave_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut native = [malformed(), wrong(&tenant), caps(&tenant, "max_output_tokens")].concat();
    native.push(with(&tenant, json!({ "messages": [{ "role": "user" }] })));
    native.push(with(&tenant, json!({ "messages": [{ "role": "emperor", "content": "hello" }] })));
    native.push(with(&tenant, json!({ "colour": "red" })));
    native.push(with(&tenant, json!({ "metadata": { "team": 7 } })));
    native.push(with(&tenant, json!({ "temperature": "hot" })));
    native.push(with(&tenant, json!({ "tools": "hammer" })));
    for body in native {
        let reply = tenant.app.send(Method::POST, NATIVE, body.clone()).await.expect("an answer");
        assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_REQUEST"), "{}", shown(&body));
        let details = &reply.json()["error"]["details"];
        assert!(details["field"].is_string() && details["reason"].is_string(), "{} {details}", shown(&body));
    }
    let mut openai = [malformed(), wrong(&tenant), caps(&tenant, "max_tokens")].concat();
    openai.extend(caps(&tenant, "max_completion_tokens"));
    openai.push(with(&tenant, json!({ "max_tokens": 10, "max_completion_tokens": 10 })));
    openai.push(with(&tenant, json!({ "Max_Tokens": 10 })));
    for body in openai {
        let reply = tenant.app.send(Method::POST, OPENAI, body.clone()).await.expect("an answer");
        assert_eq!(reply.status, 400, "{}: {}", shown(&body), String::from_utf8_lossy(&reply.body));
        let error = &reply.json()["error"];
        assert!(error["message"].is_string() && error["type"].is_string(), "{}: {error}", shown(&body));
    }
    must_have_left_nothing(&gateway, &upstream, &tenant).await;
}

fn shown(body: &Bytes) -> String {
    String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned()
}

async fn must_have_left_nothing(gateway: &Gateway, upstream: &MockUpstream, tenant: &Tenant) {
    assert!(upstream.seen().is_empty(), "sent upstream: {:?}", upstream.seen());
    let left = tenant.events_of(gateway, &["inference.admitted", "budget.reserved"]).await;
    assert!(left.is_empty(), "{left:?}");
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
    tenant.chat("ok").await.must(200);
    let books = gateway.books().await;
    assert!(books.open_holds().is_empty());
}

/// Holds: http.not-found, http.forbidden, event.unpriced, admin.own-provider, admin.keys
#[tokio::test(flavor = "multi_thread")]
async fn models_that_are_unknown_unpriced_or_not_allowed_are_refused() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.add_model("free", &["unpriced"]).await;
    tenant.chat("nothing").await.must_be(404, "MODEL_NOT_FOUND");
    tenant.openai("nothing").await.must_be(404, "model_not_found");
    tenant.chat("free").await.must_be(422, "MODEL_UNPRICED");
    tenant.openai("free").await.must(422);
    let (_, narrow) = tenant.new_key(&gateway, json!({ "models": ["somebody/*"] })).await;
    let refused = narrow.post(NATIVE, &tenant.ask("ok")).await.must_be(403, "MODEL_NOT_ALLOWED").json();
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains(&tenant.model("ok")) && message.contains("GET /v1/models"), "{message}");
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let own = json!({ "name": "private", "strategy": "priority", "tenant_id": other.id, "targets": [{
        "provider_id": other.provider, "model": "ok", "priority": 0, "weight": 1, "max_output_tokens": 64,
        "default_max_output_tokens": 64 }] });
    made(gateway.operator(), "/models", own).await;
    let body = json!({ "model": "private", "messages": [{ "role": "user", "content": "hello" }] });
    tenant.app.post(NATIVE, &body).await.must_be(404, "MODEL_NOT_FOUND");
    must_have_left_nothing(&gateway, &upstream, &tenant).await;
}

/// Holds: http.body-size, http.bounds, http.media-type
#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_heads_are_bounded() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let head = format!("POST {NATIVE} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n", tenant.secret);
    let announced = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n", 33 << 20);
    assert!(exchange(&gateway, &announced, 33 << 20).await.starts_with("HTTP/1.1 413"), "announced");
    let chunked = format!("{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2200000\r\n");
    assert!(exchange(&gateway, &chunked, 34 << 20).await.starts_with("HTTP/1.1 413"), "chunked");
    let long = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "a".repeat(1 << 20));
    assert!(exchange(&gateway, &long, 0).await.starts_with("HTTP/1.1 431"), "a long header");
    let query = format!("GET /v1/events?after={} HTTP/1.1\r\nhost: localhost\r\n\r\n", "1".repeat(40_000));
    let refused = exchange(&gateway, &query, 0).await;
    assert!(refused.starts_with("HTTP/1.1 4"), "a long query: {refused}");
    let plain = tenant.app.clone().with("content-type", "text/plain");
    plain.post(NATIVE, &tenant.ask("ok")).await.must_be(415, "UNSUPPORTED_MEDIA_TYPE");
    must_have_left_nothing(&gateway, &upstream, &tenant).await;
}

/// Sends this head and as much of a body as it takes; the beginning of the answer.
async fn exchange(gateway: &Gateway, head: &str, body: usize) -> String {
    const PIECE: usize = 1 << 16;
    let mut wire = TcpStream::connect(("127.0.0.1", gateway.port())).await.expect("a connection");
    let (mut read, mut write) = wire.split();
    let mut answer = vec![0; 4096];
    let sending = async {
        let mut sent = write.write_all(head.as_bytes()).await;
        for _ in 0..body / PIECE {
            if sent.is_err() {
                break; // refused on the way: the answer is there all the same
            }
            sent = write.write_all(&[b' '; PIECE]).await;
        }
        std::future::pending::<()>().await;
    };
    let receiving = tokio::time::timeout(std::time::Duration::from_secs(20), read.read(&mut answer));
    tokio::select! {
        () = sending => String::new(),
        received = receiving => {
            let length = received.expect("an answer in time").unwrap_or(0);
            String::from_utf8_lossy(&answer[..length]).into_owned()
        }
    }
}

/// Holds: http.unknown-fields, http.money, http.invalid-request
#[tokio::test(flavor = "multi_thread")]
async fn bad_administration_names_the_field_and_changes_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let before = gateway.last_fact().await;
    let budget = |fields: Value| {
        let mut body = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "total" });
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        ("/budgets", body)
    };
    let price = |fields: Value| {
        let mut body = json!({ "provider_id": tenant.provider, "model": "m", "input_usd_per_mtok": "1",
                               "output_usd_per_mtok": "1" });
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        ("/prices", body)
    };
    let provider =
        |base_url: &str| ("/providers", json!({ "name": "p", "kind": "openai", "base_url": base_url, "api_key": "k" }));
    let cases = [
        (("/partners", json!({})), "name"),
        (("/partners", json!({ "name": 7 })), "name"),
        (("/partners", json!({ "name": "" })), "name"),
        (("/partners", json!({ "name": "x", "colour": "red" })), "colour"),
        (("/tenants", json!({ "name": "x", "partner_id": "nonsense" })), "partner_id"),
        (budget(json!({ "limit_usd": 1 })), "limit_usd"),
        (budget(json!({ "limit_usd": 0.5 })), "limit_usd"),
        (budget(json!({ "limit_usd": "-1" })), "limit_usd"),
        (budget(json!({ "limit_usd": "1e3" })), "limit_usd"),
        (budget(json!({ "limit_usd": "NaN" })), "limit_usd"),
        (budget(json!({ "limit_usd": "0.0000000001" })), "limit_usd"),
        (budget(json!({ "limit_usd": "99999999999999999999" })), "limit_usd"),
        (budget(json!({ "period": "fortnight" })), "period"),
        (budget(json!({ "scope": {} })), "scope"),
        (price(json!({ "input_usd_per_mtok": 1.5 })), "input_usd_per_mtok"),
        (price(json!({ "output_usd_per_mtok": "-1" })), "output_usd_per_mtok"),
        (provider("ftp://example.com"), "base_url"),
        (provider("not a url"), "base_url"),
        (provider("file:///etc/passwd"), "base_url"),
        (("/keys", json!({ "user_id": tenant.user, "name": "k", "permissions": ["root"] })), "permissions"),
        (("/keys", json!({ "user_id": tenant.user, "name": "k", "expires_at": "tomorrow" })), "expires_at"),
        (
            ("/rate-limits", json!({ "scope": { "key_id": tenant.key }, "requests_per_minute": -1 })),
            "requests_per_minute",
        ),
    ];
    for ((path, body), field) in cases {
        let refused = gateway.operator().post(&format!("/v1/admin{path}"), &body).await;
        let refused = refused.must_be(400, "INVALID_REQUEST").json();
        let named = refused["error"]["details"]["field"].as_str().unwrap_or_default().to_owned();
        assert!(named.contains(field), "{path} {body}: {named}");
    }
    assert_eq!(gateway.last_fact().await, before, "something else than the refusals was recorded");
}

/// Servers that ignore case by Unicode's rules read the long s and the Kelvin sign as letters of the cap's name.
/// Holds: admin.caps
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_by_another_spelling_is_refused_by_name() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for (fields, field) in [
        ("\"max_tokens\":5,\"max_token\u{17f}\":4096", "max_token\u{17f}"),
        ("\"max_tokens\":5,\"max_to\u{212a}ens\":4096", "max_to\u{212a}ens"),
        (r#""max_tokens":5,"max_token\u017f":4096"#, "max_token\u{17f}"),
        (r#""max_tokens":5,"max_to\u212aens":4096"#, "max_to\u{212a}ens"),
        (r#""max_tokens":5,"maxTokens":4096"#, "maxTokens"),
        (r#""max_tokens":5,"max-tokens":4096"#, "max-tokens"),
        (r#""stream":true,"stream_options":{"include_u\u017fage":false}"#, "stream_options.include_u\u{17f}age"),
        (r#""tools":[{"type":"function","\u017ftrict":true,"function":{"name":"f"}}]"#, "tools[0].\u{17f}trict"),
    ] {
        let body = tenant.ask("ok").to_string();
        let body = format!("{},{fields}}}", body.strip_suffix('}').expect("an object"));
        let reply = tenant.app.send(Method::POST, OPENAI, body).await.expect("an answer");
        assert_eq!((reply.status, reply.json()["error"]["param"].as_str()), (400, Some(field)), "{fields}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}
