//! Rate limits: what they let in, what they say, and what they give back.

use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::client::Reply;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, text};

const SOON: Duration = Duration::from_secs(5);

async fn limit(gateway: &Gateway, fields: Value) -> String {
    text(&gateway.operator().post("/v1/admin/rate-limits", &fields).await.must(201).json()["id"])
}

fn details(reply: &Reply) -> Value {
    reply.json()["error"]["details"].clone()
}

fn standing(reply: &Reply) -> (&str, &str, &str) {
    (reply.header("x-ratelimit-measure"), reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining"))
}

fn seconds_until_reset(reply: &Reply) -> i64 {
    let reset: i64 = reply.header("x-ratelimit-reset").parse().expect("seconds");
    let now = DateTime::parse_from_rfc2822(reply.header("date")).expect("when it was answered");
    reset - now.timestamp()
}

/// How many requests the log says were refused by limits, and in how many events.
async fn rolled_up(gateway: &Gateway, wanted: u64) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let mut log = gateway.events().await;
        log.retain(|event| type_of(event) == "access.rate_limited.v1");
        let counted: u64 = log.iter().map(|event| event["data"]["count"].as_u64().expect("a count")).sum();
        if counted == wanted {
            return log;
        }
        assert!(counted < wanted && started.elapsed() < SOON, "{counted} of {wanted}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Holds: admin.limits, admin.in-force, inf.ratelimit-headers
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_has_any_of_six_measures_and_a_change_sets_or_removes_one() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (operator, tenant) = (gateway.operator(), Tenant::new(&gateway, &upstream, &["ok"]).await);
    let scope = json!({ "tenant_id": tenant.id });
    let all = json!({ "scope": scope, "requests_per_minute": 10, "requests_per_hour": 20, "requests_per_day": 2,
                      "tokens_per_minute": 40_000, "tokens_per_day": 50_000, "concurrent_requests": 6 });
    let id = limit(&gateway, all.clone()).await;
    let one = format!("/v1/admin/rate-limits/{id}");
    let shown = operator.get(&one).await.must(200).json();
    for (field, value) in all.as_object().expect("fields") {
        assert_eq!(&shown[field], value, "{field}");
    }
    tenant.chat("ok").await.must(200);
    let reply = tenant.chat("ok").await.must(200);
    assert_eq!(standing(&reply), ("requests_per_day", "2", "0"));
    assert_eq!(details(&tenant.chat("ok").await.must_be(429, "RATE_LIMITED"))["measure"], "requests_per_day");
    let changed =
        operator.patch(&one, &json!({ "requests_per_day": null, "tokens_per_day": 1 })).await.must(200).json();
    assert_eq!((&changed["requests_per_day"], &changed["tokens_per_day"]), (&Value::Null, &json!(1)));
    assert_eq!(changed["requests_per_minute"], 10);
    assert_eq!(details(&tenant.chat("ok").await.must_be(429, "RATE_LIMITED"))["measure"], "tokens_per_day");
    operator.patch(&one, &json!({ "tokens_per_day": null })).await.must(200);
    tenant.chat("ok").await.must(200);
    let stream = tenant.stream(OPENAI, "ok").await;
    for header in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-measure"] {
        assert!(stream.headers.contains_key(header), "{header}");
    }
    stream.rest().await;
    let none = json!({ "requests_per_minute": null, "requests_per_hour": null, "tokens_per_minute": null,
                       "concurrent_requests": null });
    operator.patch(&one, &none).await.must_be(400, "INVALID_REQUEST");
    operator.post("/v1/admin/rate-limits", &json!({ "scope": scope })).await.must_be(400, "INVALID_REQUEST");
    assert_eq!(operator.get(&one).await.must(200).json()["concurrent_requests"], 6);
    operator.delete(&one).await.must(200);
    assert_eq!(tenant.chat("ok").await.must(200).header("x-ratelimit-limit"), "");
}

/// Holds: http.rate-limited
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_fits_is_told_the_output_cap_with_which_it_does() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    limit(&gateway, json!({ "scope": { "key_id": tenant.key }, "tokens_per_minute": 400 })).await;
    // The model's default cap of 256, which counts where none is named, does not fit beside the prompt.
    for (path, code, field, choices) in [
        (NATIVE, "RATE_LIMITED", "max_output_tokens", 1),
        (OPENAI, "rate_limit_exceeded", "max_tokens", 1),
        (OPENAI, "rate_limit_exceeded", "max_tokens", 3),
    ] {
        let mut body = json!({ "model": tenant.model("ok"), "messages": [{ "role": "user", "content": "hello" }] });
        body["n"] = json!(choices);
        let refused = tenant.app.post(path, &body).await.must_be(429, code);
        let message = refused.json()["error"]["message"].as_str().expect("a message").to_owned();
        let (_, cap) = message.rsplit_once(&format!("; with a {field} of ")).unwrap_or_else(|| panic!("{message}"));
        let cap: u64 = cap.trim_end_matches(" or less it would fit").parse().expect("a number");
        assert!((16..256).contains(&cap), "{message}");
        if path == NATIVE {
            assert_eq!(details(&refused)["affordable_max_output_tokens"], cap);
        }
        let (key, app) = tenant.new_key(&gateway, json!({})).await;
        limit(&gateway, json!({ "scope": { "key_id": key }, "tokens_per_minute": 400 })).await;
        body[field] = json!(cap);
        app.post(path, &body).await.must(200);
    }
    let prompt =
        json!({ "model": tenant.model("ok"), "messages": [{ "role": "user", "content": "word ".repeat(400) }] });
    let refused = tenant.app.post(NATIVE, &prompt).await.must_be(429, "RATE_LIMITED");
    assert!(details(&refused).get("affordable_max_output_tokens").is_none(), "no cap makes its prompt fit");
}

/// Holds: http.rate-limited, admin.limits, http.openai-errors
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_reserved_while_a_request_runs_and_settled_to_its_usage() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["gate", "ok", "e500"]).await;
    let id = limit(&gateway, json!({ "scope": { "key_id": tenant.key }, "tokens_per_minute": 500 })).await;
    // Its output cap is 256 and its prompt a few bytes: two of them do not fit.
    let (app, body) = (tenant.app.clone(), tenant.ask("gate"));
    let mut running = JoinSet::new();
    running.spawn(async move { app.post(NATIVE, &body).await });
    while upstream.seen_of("gate") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    let said = details(&refused);
    assert_eq!(
        (&said["limit_id"], &said["measure"], &said["limit"]),
        (&json!(id), &json!("tokens_per_minute"), &json!(500))
    );
    assert!(said["requested"].as_u64().is_some_and(|tokens| (257..=500).contains(&tokens)), "{said}");
    assert!(said["retry_after"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{said}");
    assert_eq!(refused.header("retry-after"), said["retry_after"].to_string());
    assert!((50..=61).contains(&seconds_until_reset(&refused)));
    upstream.open_gate();
    let answered = running.join_next().await.expect("a reply").expect("no panic").must(200);
    let usage = answered.json()["usage"].clone();
    let used: u64 =
        ["input_uncached_tokens", "input_cache_read_tokens", "output_text_tokens", "output_reasoning_tokens"]
            .iter()
            .map(|class| usage[class].as_u64().expect("tokens"))
            .sum();
    assert!(used > 0 && used < 200, "{usage}");
    assert_eq!(standing(&answered), ("tokens_per_minute", "500", (500 - used).to_string().as_str()));
    // What fails without usage takes nothing.
    tenant.chat("e500").await.must(502);
    let reply = tenant.openai("ok").await.must(200);
    assert_eq!(standing(&reply).2, (500 - 2 * used).to_string());
    let never = json!({ "model": tenant.model("ok"), "messages": [{ "role": "user", "content": "hello" }], "max_output_tokens": 900 });
    let never = tenant.app.post(NATIVE, &never).await.must_be(429, "RATE_LIMITED");
    assert_eq!((never.header("retry-after"), never.header("x-should-retry")), ("", "false"));
    let said = details(&never);
    assert_eq!((&said["retry_after"], &said["resets_at"]), (&Value::Null, &Value::Null));
    assert!(said["requested"].as_u64().is_some_and(|tokens| tokens > 900), "{said}");
    let mut never = tenant.ask("ok");
    never["max_tokens"] = json!(900);
    let never = tenant.app.post(OPENAI, &never).await.must_be(429, "rate_limit_exceeded").json();
    assert_eq!(never["error"]["type"], "tokens");
    rolled_up(&gateway, 3).await;
    gateway.books_when_all_ended(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_streams_that_their_clients_left_hold_no_place() {
    const PLACES: usize = 50;
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let rich = Setup { limit_usd: "500", ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["stall", "hang", "ok"], rich).await;
    let fields =
        json!({ "scope": { "tenant_id": tenant.id }, "concurrent_requests": PLACES, "tokens_per_day": 1_000_000 });
    limit(&gateway, fields).await;
    for round in 0..10 {
        let model = if round % 2 == 0 { "stall" } else { "hang" };
        let (mut wires, before) = (Vec::new(), upstream.seen_of(model));
        for _ in 0..PLACES {
            let mut wire = gateway.wire().await;
            wire.send(tenant.request(OPENAI, "", &tenant.ask_streamed(model).to_string())).await;
            wires.push(wire);
        }
        let started = Instant::now();
        while upstream.seen_of(model) < before + PLACES {
            assert!(started.elapsed() < SOON, "round {round}: not all were let in");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let reply = tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
        assert_eq!(standing(&reply), ("concurrent_requests", PLACES.to_string().as_str(), "0"));
        assert_eq!((reply.header("retry-after"), &details(&reply)["resets_at"]), ("1", &Value::Null));
        for (at, mut wire) in wires.into_iter().enumerate() {
            // Who has read everything and then closes may only have said all that it has to say; a reset is plain.
            let has_begun = model == "stall" && at % 3 == 0;
            if has_begun {
                wire.head().await.expect("a head");
                assert!(wire.read_some().await, "the stream has begun");
            }
            match has_begun || at % 2 == 0 {
                true => wire.reset(),
                false => drop(wire),
            }
        }
        gateway.books_when_all_ended(SOON).await;
    }
    let books = gateway.books().await;
    assert_eq!(books.admitted().len(), 10 * PLACES);
    let mut all = JoinSet::new();
    for _ in 0..PLACES {
        let (app, body) = (tenant.app.clone(), tenant.ask("ok"));
        all.spawn(async move { app.post(NATIVE, &body).await.must(200) });
    }
    all.join_all().await;
    let reply = tenant.chat("ok").await.must(200);
    let left: u64 = reply.header("x-ratelimit-remaining").parse().expect("a number");
    assert!(reply.header("x-ratelimit-measure") == "tokens_per_day" && left > 800_000, "{left} tokens");
}

/// Holds: admin.limits
#[tokio::test(flavor = "multi_thread")]
async fn one_place_is_free_again_when_the_last_byte_of_its_request_has_been_read() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "cut", "e500", "gate"]).await;
    limit(&gateway, json!({ "scope": { "user_id": tenant.user }, "concurrent_requests": 1 })).await;
    for (at, model) in ["ok", "cut", "ok", "e500", "ok", "ok"].into_iter().cycle().take(60).enumerate() {
        if at % 2 == 0 {
            assert_ne!(tenant.chat(model).await.status, 429, "{at}: {model}");
        } else {
            let stream = tenant.stream(OPENAI, model).await;
            assert_ne!(stream.status, 429, "{at}: {model}");
            stream.rest().await;
        }
    }
    tenant.chat("nothing-of-that-name").await.must(404);
    tenant.app.post(NATIVE, &json!({})).await.must(400);
    let (app, body) = (tenant.app.clone(), tenant.ask("gate"));
    let mut running = JoinSet::new();
    running.spawn(async move { app.post(NATIVE, &body).await });
    while upstream.seen_of("gate") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    upstream.open_gate();
    running.join_next().await.expect("a reply").expect("no panic").must(200);
    tenant.chat("ok").await.must(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_holds_its_place_no_longer_than_its_deadline() {
    let (gateway, upstream) =
        (Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "3")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["stall", "ok"]).await;
    limit(&gateway, json!({ "scope": { "key_id": tenant.key }, "concurrent_requests": 1 })).await;
    let mut wire = gateway.wire().await;
    wire.send(tenant.request(OPENAI, "", &tenant.ask_streamed("stall").to_string())).await;
    wire.head().await.expect("a head");
    tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    let started = Instant::now();
    while tenant.chat("ok").await.status == 429 {
        assert!(started.elapsed() < SOON, "its place was never given back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Holds: bin.default-limit, bin.admin-limit
#[tokio::test(flavor = "multi_thread")]
async fn keys_without_a_limit_of_their_own_get_the_one_that_was_configured() {
    let env = [("LEDGERWAY_RATE_LIMIT_REQUESTS", "3"), ("LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS", "40")];
    let (gateway, upstream) = (Gateway::start_with(&env), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (own, limited) = tenant.new_key(&gateway, json!({ "permissions": ["models:use", "admin:access"] })).await;
    limit(&gateway, json!({ "scope": { "key_id": own }, "requests_per_minute": 50 })).await;
    for left in ["2", "1", "0"] {
        assert_eq!(standing(&tenant.chat("ok").await.must(200)), ("requests_per_hour", "3", left));
        limited.post(NATIVE, &tenant.ask("ok")).await.must(200);
    }
    let refused = tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    let said = details(&refused);
    assert_eq!((&said["limit_id"], &said["scope"]), (&json!("default"), &json!({ "key_id": tenant.key })));
    assert!((3500..=3601).contains(&seconds_until_reset(&refused)), "{said}");
    limited.post(NATIVE, &tenant.ask("ok")).await.must(200);
    for operators in 0..4 {
        gateway.operator().post(NATIVE, &json!({})).await.must(400);
        assert_eq!(rolled_up(&gateway, 1).await.len(), 1, "{operators}");
    }

    // Everything under /v1/admin counts, answered or not; the operator's like any key's, each for itself.
    let first = gateway.operator().get("/v1/admin/keys").await.must(200);
    let left: u64 = first.header("x-ratelimit-remaining").parse().expect("a number");
    assert_eq!((first.header("x-ratelimit-limit"), first.header("x-ratelimit-measure")), ("40", "requests_per_hour"));
    for _ in 0..left {
        gateway.operator().get("/v1/admin/nothing-of-that-name").await.must(404);
    }
    for (method, path) in [("GET", "/v1/admin/keys"), ("POST", "/v1/admin/tenants"), ("GET", "/v1/admin")] {
        let method = method.parse().expect("a method");
        let reply = gateway.operator().send(method, path, "{}").await.expect("an answer").must_be(429, "RATE_LIMITED");
        assert_eq!((reply.header("x-ratelimit-remaining"), reply.header("retry-after").is_empty()), ("0", false));
        let said = details(&reply);
        assert_eq!((&said["limit_id"], &said["scope"]), (&json!("admin_default"), &json!({ "key_id": "operator" })));
    }
    gateway.operator().get("/v1/log/head").await.must(200);
    assert_eq!(limited.get("/v1/admin/keys").await.must(200).header("x-ratelimit-remaining"), "39");
    let log = rolled_up(&gateway, 4).await;
    let of_operator = log.iter().filter(|event| event["stream"] == "access-operator");
    assert!(
        of_operator.clone().count() > 0
            && of_operator.into_iter().all(|event| event["data"]["limit_id"] == "admin_default")
    );
}

/// Holds: event.access
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_refusals_costs_the_log_a_few_events_and_the_process_no_memory() {
    const CONNECTIONS: usize = 8;
    const EACH: usize = 3_750;
    const AT_ONCE: usize = 25;
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    limit(&gateway, json!({ "scope": { "key_id": tenant.key }, "requests_per_hour": 1 })).await;
    tenant.chat("ok").await.must(200);
    let asked = tenant.request(NATIVE, "", &tenant.ask("ok").to_string()).repeat(AT_ONCE);
    let burst = async |each: usize| {
        let mut all = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (mut wire, asked) = (gateway.wire().await, asked.clone());
            all.spawn(async move {
                for _ in 0..each / AT_ONCE {
                    wire.send(&asked).await;
                    for _ in 0..AT_ONCE {
                        assert_eq!(wire.response().await.expect("an answer").status, 429);
                    }
                }
            });
        }
        all.join_all().await;
    };
    // What the connections and the allocator keep is there before.
    burst(500).await;
    let (before, started) = (gateway.resident_kib(), Instant::now());
    burst(EACH).await;
    let (after, took) = (gateway.resident_kib(), started.elapsed());
    let counted = (CONNECTIONS * (500 + EACH)) as u64;
    let events = rolled_up(&gateway, counted).await.len() as u64;
    assert!(events <= 2 * (took.as_secs() + 10), "{events} events of {took:?}");
    assert!(after < before + 4 * 1024, "from {before} KiB to {after} KiB");
    assert_eq!(upstream.seen().len(), 1);
}
