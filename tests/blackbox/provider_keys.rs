//! A provider with several API keys: one of them is refused, runs out of money or reaches a limit, and no client notices.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::gateway::{Gateway, ledgerway, type_of};
use crate::tenant::{NATIVE, OPENAI, PROVIDER_SECRET, Setup, Tenant, made, text};
use crate::trouble::fault::Fault;

const PATH: &str = "/v1/admin/provider-keys";
const SECOND: &str = "second-key-of-the-provider-7d21c0";
const THIRD: &str = "third-key-of-the-provider-19aa4e";
const NODE_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub const EMBEDDINGS: &str = "/v1/embeddings";
pub const SET_ASIDE: &str = "provider_key.set_aside.v1";
const RESTORED: &str = "provider_key.restored.v1";
pub const INVALID: &str = r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
pub const NO_MONEY: &str = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
const FORBIDDEN: &str = r#"{"error":{"message":"Project has no access to the model","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#;

pub async fn further_key(gateway: &Gateway, tenant: &Tenant, secret: &str, fields: Value) -> String {
    let mut body = json!({ "provider_id": tenant.provider, "name": "another", "api_key": secret });
    body.as_object_mut().expect("a body").extend(fields.as_object().expect("fields").clone());
    made(gateway.operator(), "/provider-keys", body).await
}

pub async fn of_type(gateway: &Gateway, name: &str) -> Vec<Value> {
    gateway.events().await.into_iter().filter(|event| type_of(event) == name).collect()
}

/// Waits for the event, which is recorded beside the request that caused it.
pub async fn recorded(gateway: &Gateway, name: &str, count: usize) -> Vec<Value> {
    for _ in 0..200 {
        let events = of_type(gateway, name).await;
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no {count} {name}");
}

pub fn alerts(gateway: &Gateway) -> usize {
    gateway.stderr().lines().filter(|line| line.contains("does not accept an API key")).count()
}

pub async fn keys_set_aside(gateway: &Gateway) -> String {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix("ledgerway_provider_keys_set_aside "));
    line.expect("the gauge").to_owned()
}

/// The keys that `ledgerway status` says are set aside.
fn status_of(gateway: &Gateway) -> Vec<Value> {
    let status = ledgerway().args(["status", "--json", "--data"]).arg(gateway.data()).output().expect("it starts");
    let mut shown: Value = serde_json::from_slice(&status.stdout).expect("one object");
    serde_json::from_value(shown["provider_keys_set_aside"].take()).expect("a list")
}

/// The cells of a column, none of which has a comma or a quote before it.
fn rows_of(csv: &str, column: &str) -> Vec<String> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().and_then(|names| names.iter().position(|name| *name == column)).expect("the column");
    lines.map(|cells| cells[at].to_owned()).collect()
}

/// Holds: inf.several-keys, inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_under_load_fails_no_request_and_is_set_aside_once() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-20"]).await;
    let second = further_key(&gateway, &tenant, SECOND, json!({ "weight": 2 })).await;
    let mut requests = JoinSet::new();
    for number in 0..200 {
        if number == 60 {
            while upstream.seen_with(SECOND) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            upstream.refuses_key(SECOND, 401, INVALID, &[]);
        }
        let (app, whole, streamed) = (tenant.app.clone(), tenant.ask("slow-20"), tenant.ask_streamed("ok"));
        requests.spawn(async move {
            match number % 2 {
                0 => app.post(NATIVE, &whole).await.must(200),
                _ => app.post(OPENAI, &streamed).await.must(200),
            }
        });
        if number % 20 == 19 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    for reply in requests.join_all().await {
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(!body.contains("\"error\""), "{body}");
    }
    let [event] = &recorded(&gateway, SET_ASIDE, 1).await[..] else { panic!("recorded more than once") };
    assert_eq!(event["data"]["provider_key_id"], json!(second));
    assert_eq!((&event["data"]["reason"], &event["data"]["status"]), (&json!("refused"), &json!(401)));
    assert_eq!(event["actor"], "system:provider_keys");
    assert_eq!((alerts(&gateway), &*keys_set_aside(&gateway).await), (1, "1"));
    let stderr = gateway.stderr();
    let alert = stderr.lines().find(|line| line.contains("does not accept an API key")).expect("the alert");
    assert!(alert.contains("ERROR") && alert.contains("give this key a new api_key"), "{alert}");
    assert!(!alert.contains(SECOND), "{alert}");
    let one = gateway.operator().get(&format!("{PATH}/{second}")).await.must(200).json();
    assert_eq!((&one["state"], &one["set_aside"]["reason"]), (&json!("set_aside"), &json!("refused")));

    // An auditor sees which key each call was made with.
    let events = gateway.events().await;
    let failed: Vec<_> = events.iter().filter(|event| type_of(event) == "inference.attempt_failed.v1").collect();
    assert!(!failed.is_empty() && failed.iter().all(|event| event["data"]["backend"]["provider_key_id"] == *second));
    let completed = |key: Value| {
        let of_key = move |event: &&Value| event["data"]["backend"]["provider_key_id"] == key;
        events.iter().filter(|event| type_of(event) == "inference.completed.v1").filter(of_key).count()
    };
    let (with_second, with_own) = (completed(json!(second)), completed(Value::Null));
    assert!(with_second > 0 && with_second + with_own == 200, "{with_second} and {with_own}");
    let audit =
        gateway.operator().get("/v1/audit?action=provider_key.set_aside&severity=warning").await.must(200).json();
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(1), "{audit}");
    let csv = gateway.operator().get("/v1/inferences?format=csv&limit=1000").await.must(200);
    let rows = rows_of(&String::from_utf8_lossy(&csv.body), "provider_key_id");
    assert_eq!(rows.iter().filter(|cell| **cell == second).count(), with_second);
    assert_eq!(rows.iter().filter(|cell| cell.is_empty()).count(), with_own);

    // `status` names it, whether or not a gateway runs.
    let [of_status] = &status_of(&gateway)[..] else { panic!("not one key") };
    let wanted = json!({ "provider_id": tenant.provider, "provider_key_id": second, "name": "another", "reason": "refused",
                         "status": 401 });
    assert!(
        wanted.as_object().is_some_and(|all| all.iter().all(|(name, value)| of_status[name] == *value)),
        "{of_status}"
    );
    // A restart keeps it, and a new secret brings it back at once.
    gateway.kill();
    let screen = ledgerway().arg("status").arg("--data").arg(gateway.data()).output().expect("it starts");
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    let line = screen.lines().find(|line| line.starts_with("set aside ")).expect("a line");
    assert!(line.contains(&second) && line.contains("(refused, status 401, since "), "{line}");
    gateway.start_again();
    let before = upstream.seen_with(SECOND);
    for _ in 0..20 {
        tenant.chat("ok").await.must(200);
    }
    assert_eq!((upstream.seen_with(SECOND), &*keys_set_aside(&gateway).await), (before, "1"));
    let renewed = gateway.operator().patch(&format!("{PATH}/{second}"), &json!({ "api_key": THIRD })).await.must(200);
    assert_eq!(renewed.json()["state"], "in_use");
    assert_eq!(keys_set_aside(&gateway).await, "0");
    assert_eq!(status_of(&gateway), Vec::<Value>::new());
    for _ in 0..20 {
        tenant.chat("ok").await.must(200);
    }
    assert!(upstream.seen_with(THIRD) > 0);
    gateway.books_when_all_ended(Duration::from_secs(10)).await;
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

/// Holds: inf.several-keys, inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_out_of_money_is_set_aside_and_one_that_lacks_a_permission_is_not() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let anthropic = Setup { kind: "anthropic", ..Setup::default() };
    let anthropic = Tenant::with(&gateway, &upstream, &["ok"], anthropic).await;
    for (tenant, status, body, count) in [
        (&tenant, 429, NO_MONEY, 1),
        (&anthropic, 402, r#"{"type":"error","error":{"type":"billing_error","message":"no credit"}}"#, 2),
    ] {
        further_key(&gateway, tenant, SECOND, json!({ "weight": 1000 })).await;
        upstream.refuses_key(SECOND, status, body, &[]);
        let before = upstream.seen_with(SECOND);
        for _ in 0..10 {
            tenant.chat("ok").await.must(200);
            if upstream.seen_with(SECOND) > before {
                recorded(&gateway, SET_ASIDE, count).await;
            }
        }
        let events = recorded(&gateway, SET_ASIDE, count).await;
        assert_eq!(events.last().expect("one")["data"]["reason"], "out_of_money");
        assert_eq!(upstream.seen_with(SECOND), before + 1, "nobody met it again");
    }
    let third = further_key(&gateway, &tenant, THIRD, json!({ "weight": 1000 })).await;
    upstream.refuses_key(THIRD, 403, FORBIDDEN, &[]);
    for _ in 0..5 {
        tenant.chat("ok").await.must(200);
    }
    assert!(upstream.seen_with(THIRD) > 1, "it is still in use");
    let one = gateway.operator().get(&format!("{PATH}/{third}")).await.must(200).json();
    assert_eq!((&one["state"], &one["set_aside"]), (&json!("in_use"), &Value::Null));
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_with_any_key_is_sent_with_few() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let openai = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let anthropic = Tenant::with(&gateway, &upstream, &["ok"], Setup { kind: "anthropic", ..Setup::default() }).await;
    let secrets: Vec<_> = (0..5).map(|number| format!("key-number-{number}-of-the-provider-41c8")).collect();
    for tenant in [&openai, &anthropic] {
        for secret in &secrets {
            further_key(&gateway, tenant, secret, json!({})).await;
        }
    }
    for (status, body, wanted) in [(403, FORBIDDEN, 2), (429, NO_MONEY, 3), (401, INVALID, 3)] {
        for secret in secrets.iter().map(String::as_str).chain([PROVIDER_SECRET]) {
            upstream.refuses_key(secret, status, body, &[]);
        }
        let before = upstream.seen().len();
        openai.chat("ok").await.must_be(502, "UPSTREAM_ERROR");
        assert_eq!(upstream.seen().len() - before, wanted, "{status}");
        let before = upstream.seen().len();
        anthropic.app.post("/v1/messages/count_tokens", &anthropic.ask("ok")).await.must(502);
        assert_eq!(upstream.seen().len() - before, wanted, "{status}");
    }
}

/// Holds: inf.several-keys, inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn no_single_request_sets_the_keys_of_a_provider_aside() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for secret in [SECOND, THIRD] {
        further_key(&gateway, &tenant, secret, json!({})).await;
    }
    const ECHO: &str = r#"{"error":{"message":"Invalid value: 'invalid api key'","type":"invalid_request_error","param":"user","code":null}}"#;
    const TOO_EXPENSIVE: &str = r#"{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 9000 tokens, but can only afford 12.","code":402}}"#;
    for (status, body) in [(400, ECHO), (402, TOO_EXPENSIVE), (400, INVALID), (429, NO_MONEY)] {
        for secret in [PROVIDER_SECRET, SECOND, THIRD] {
            upstream.refuses_key(secret, status, body, &[]);
        }
        for _ in 0..2 {
            tenant.chat("ok").await.must_be(502, "UPSTREAM_ERROR");
        }
        for secret in [PROVIDER_SECRET, SECOND, THIRD] {
            upstream.accepts_key(secret, &[]);
        }
        // A key that was not accepted is tried again within a second.
        let before = [PROVIDER_SECRET, SECOND, THIRD].map(|secret| (secret, upstream.seen_with(secret)));
        while before.iter().any(|(secret, before)| upstream.seen_with(secret) == *before) {
            tenant.chat("ok").await.must(200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(of_type(&gateway, SET_ASIDE).await.len(), 0);
    // One that fails alone is to blame.
    upstream.refuses_key(SECOND, 429, NO_MONEY, &[]);
    while upstream.seen_with(SECOND) == 0 || of_type(&gateway, SET_ASIDE).await.is_empty() {
        tenant.chat("ok").await.must(200);
    }
    assert_eq!(recorded(&gateway, SET_ASIDE, 1).await.len(), 1);
}

/// Holds: inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_tenants_own_provider_alarm_nobody_but_the_audit() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    let provider = json!({ "name": "own", "kind": "openai", "base_url": upstream.base_url("openai"),
        "allow_private_network": true, "tenant_id": tenant.id, "api_key": PROVIDER_SECRET });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let price =
        json!({ "provider_id": provider, "model": "ok", "input_usd_per_mtok": "2", "output_usd_per_mtok": "4" });
    made(gateway.operator(), "/prices", price).await;
    let target = json!({ "provider_id": provider, "model": "ok", "default_max_output_tokens": 64 });
    let model = json!({ "name": tenant.model("ok"), "tenant_id": tenant.id, "targets": [target] });
    made(gateway.operator(), "/models", model).await;
    let second = json!({ "provider_id": provider, "name": "another", "api_key": SECOND });
    made(gateway.operator(), "/provider-keys", second).await;
    upstream.refuses_key(SECOND, 401, INVALID, &[]);
    while upstream.seen_with(SECOND) == 0 {
        tenant.chat("ok").await.must(200);
    }
    recorded(&gateway, SET_ASIDE, 1).await;
    assert_eq!(keys_set_aside(&gateway).await, "0");
    while alerts(&gateway) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stderr = gateway.stderr();
    let line = stderr.lines().find(|line| line.contains("does not accept an API key")).expect("the line");
    assert!(line.contains("WARN") && line.contains("a tenant's own provider"), "{line}");
    assert!(!stderr.contains("ERROR"), "{stderr}");
    const AUDIT: &str = "/v1/audit?action=provider_key.set_aside&severity=warning";
    while gateway.operator().get(AUDIT).await.must(200).json()["items"] == json!([]) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Holds: inf.several-keys, inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_tried_again_and_restored_and_one_alone_is_never_dead() {
    let (fault, upstream) = (Fault::new(), MockUpstream::start().await);
    let mut gateway = fault.start(&[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let own = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&own, &json!({ "api_key": null })).await.must(200);
    further_key(&gateway, &tenant, SECOND, json!({})).await;
    upstream.refuses_key(SECOND, 401, INVALID, &[]);
    tenant.chat("ok").await.must_be(502, "UPSTREAM_ERROR");
    recorded(&gateway, SET_ASIDE, 1).await;
    tenant.chat("ok").await.must_be(502, "UPSTREAM_ERROR");
    upstream.accepts_key(SECOND, &[]);
    tenant.chat("ok").await.must(200);
    assert_eq!((keys_set_aside(&gateway).await.as_str(), alerts(&gateway)), ("1", 1), "it waits for its minute");
    gateway.kill();
    fault.shift_clock_s(61);
    gateway.start_again();
    tenant.chat("ok").await.must(200);
    let [event] = &recorded(&gateway, RESTORED, 1).await[..] else { panic!("restored more than once") };
    assert_eq!(event["data"]["provider_id"], json!(tenant.provider));
    assert_eq!(keys_set_aside(&gateway).await, "0");
    assert_eq!(of_type(&gateway, SET_ASIDE).await.len(), 1);
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_keys_and_what_a_provider_says_of_them_steer_the_choice() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "slow-300"]).await;
    // Little is left of the provider's own key.
    let nearly_used_up = [
        ("x-ratelimit-limit-requests", "100"),
        ("x-ratelimit-remaining-requests", "1"),
        ("x-ratelimit-reset-requests", "1m0s"),
    ];
    upstream.accepts_key(PROVIDER_SECRET, &nearly_used_up);
    let second = further_key(&gateway, &tenant, SECOND, json!({})).await;
    while upstream.seen_with(PROVIDER_SECRET) == 0 {
        tenant.chat("ok").await.must(200);
    }
    for _ in 0..20 {
        tenant.chat("ok").await.must(200);
    }
    assert_eq!(upstream.seen_with(PROVIDER_SECRET), 1, "the short key is used last");

    // A rate limit at the provider sends the request on to the other key.
    upstream.refuses_key(SECOND, 429, r#"{"error":{"code":"rate_limit_exceeded"}}"#, &[("retry-after", "30")]);
    let limited = tenant.chat("ok").await;
    assert_eq!(limited.status, 429, "the other key is nearly used up, and the provider says when to come back");
    assert_eq!(limited.header("retry-after"), "30");
    upstream.accepts_key(PROVIDER_SECRET, &[]);
    let third = further_key(&gateway, &tenant, THIRD, json!({ "concurrent_requests": 1 })).await;
    let served = tenant.chat("ok").await.must(200).request_id();
    assert_eq!(upstream.seen_with(THIRD), 1);
    let life = gateway.life(&served).await;
    assert_eq!(life.last().expect("an event")["type"], "budget.settled.v1");

    // With one place, and nobody else: the second request is limited here, with the code of a provider's rate limit.
    gateway.operator().delete(&format!("{PATH}/{second}")).await.must(200);
    let own = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&own, &json!({ "api_key": null })).await.must(200);
    let (app, slow) = (tenant.app.clone(), tenant.ask("slow-300"));
    let mut running = JoinSet::new();
    running.spawn(async move { app.post(NATIVE, &slow).await.must(200) });
    while upstream.seen_of("slow-300") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let calls = upstream.seen().len();
    let refused = tenant.chat("ok").await.must_be(429, "RATE_LIMITED");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(upstream.seen().len(), calls, "nothing was sent");
    running.join_all().await;
    tenant.chat("ok").await.must(200);
    gateway.operator().get(&format!("{PATH}/{third}")).await.must(200);
    assert_eq!(of_type(&gateway, SET_ASIDE).await.len(), 0);
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_larger_than_a_keys_limit_does_not_make_it_short() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    further_key(&gateway, &tenant, SECOND, json!({ "weight": 1000 })).await;
    const TOO_LARGE: &str = r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 50000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#;
    upstream.refuses_key(SECOND, 429, TOO_LARGE, &[]);
    for _ in 0..10 {
        tenant.chat("ok").await.must(200);
    }
    assert!(upstream.seen_with(SECOND) > 5, "it is drawn as often as before");
    upstream.refuses_key(SECOND, 429, TOO_LARGE, &[("retry-after", "60")]);
    let before = upstream.seen_with(SECOND);
    for _ in 0..20 {
        tenant.chat("ok").await.must(200);
    }
    assert!(upstream.seen_with(SECOND) <= before + 1, "it is short until then");
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn another_target_of_the_same_provider_is_called_with_its_keys_again() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["e500", "ok"]).await;
    tenant.add_model("both", &["e500", "ok"]).await;
    let own = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&own, &json!({ "api_key": null })).await.must(200);
    further_key(&gateway, &tenant, SECOND, json!({})).await;
    tenant.chat("both").await.must(200);
    assert_eq!(upstream.seen_with(SECOND), 3, "twice at the first target, which failed, and once at the second");
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn embeddings_and_counts_of_tokens_go_on_with_another_key() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    further_key(&gateway, &tenant, SECOND, json!({ "weight": 1000 })).await;
    upstream.refuses_key(SECOND, 401, INVALID, &[]);
    let body = json!({ "model": tenant.model("ok"), "input": "hello" });
    tenant.app.post(EMBEDDINGS, &body).await.must(200);
    while upstream.seen_with(SECOND) == 0 {
        tenant.app.post(EMBEDDINGS, &body).await.must(200);
    }
    recorded(&gateway, SET_ASIDE, 1).await;

    let anthropic = Setup { kind: "anthropic", ..Setup::default() };
    let counting = Tenant::with(&gateway, &upstream, &["said"], anthropic).await;
    upstream.says("application/json", r#"{"input_tokens":17}"#);
    further_key(&gateway, &counting, THIRD, json!({ "weight": 1000 })).await;
    upstream.refuses_key(THIRD, 401, r#"{"error":{"type":"authentication_error","message":"no"}}"#, &[]);
    while upstream.seen_with(THIRD) == 0 {
        let counted = counting.app.post("/v1/messages/count_tokens", &counting.ask("said")).await.must(200);
        assert_eq!(counted.json(), json!({ "input_tokens": 17 }));
    }
    recorded(&gateway, SET_ASIDE, 2).await;
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_repeats_none_of_the_keys_that_the_request_was_sent_with() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said"]).await;
    let own = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&own, &json!({ "api_key": null })).await.must(200);
    further_key(&gateway, &tenant, SECOND, json!({ "weight": 1000 })).await;
    further_key(&gateway, &tenant, THIRD, json!({})).await;
    const TELLS: &str = r#"{"error":{"message":"not with second-key-of-the-provider-7d21c0 either","type":"invalid_request_error","param":null,"code":null}}"#;
    upstream.refuses_key(SECOND, 401, INVALID, &[]);
    upstream.refuses_key(THIRD, 400, TELLS, &[]);
    gateway.heard().begin();
    // Whichever key is drawn first, one of the first requests is sent with both.
    while upstream.seen_with(SECOND) == 0 {
        tenant.chat("said").await.must_be(400, "UPSTREAM_REJECTED");
    }
    let both = gateway.events().await;
    let rejected: Vec<_> = both.iter().filter(|event| type_of(event) == "inference.failed.v1").collect();
    assert!(!rejected.is_empty());
    for place in [gateway.heard().so_far(), gateway.stderr().into_bytes(), format!("{both:?}").into_bytes()] {
        assert!(!String::from_utf8_lossy(&place).contains("second-key-of-the-provider"), "a key was told");
    }
}

/// Holds: inf.several-keys, bin.reseal
#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_under_another_nodes_key() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let own = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&own, &json!({ "api_key": null })).await.must(200);
    further_key(&gateway, &tenant, SECOND, json!({})).await;
    gateway.stop();
    let old = std::fs::read_to_string(gateway.data().join("node.key")).expect("a key");
    let mut reseal = ledgerway();
    reseal.args(["reseal", "--data"]).arg(gateway.data()).env("LEDGERWAY_NODE_KEY", NODE_KEY);
    let resealed = reseal.env("LEDGERWAY_NODE_KEY_PREVIOUS", old.trim()).output().expect("it starts");
    assert!(resealed.status.success(), "{}", String::from_utf8_lossy(&resealed.stderr));
    gateway.start_again();
    tenant.chat("ok").await.must(200);
    assert_eq!(upstream.seen_with(SECOND), 1);
}

/// Holds: inf.several-keys, admin.kept-key
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_sent_to_no_other_host_and_shown_to_nobody() {
    let (mut gateway, upstream, elsewhere) =
        (Gateway::start(), MockUpstream::start().await, MockUpstream::start().await);
    gateway.heard().begin();
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let key = further_key(&gateway, &tenant, SECOND, json!({ "requests_per_minute": 1000 })).await;
    let provider = format!("/v1/admin/providers/{}", tenant.provider);
    let moved = json!({ "base_url": elsewhere.base_url("openai"), "api_key": PROVIDER_SECRET });
    let refused = gateway.operator().patch(&provider, &moved).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(refused["error"]["details"]["field"], "base_url", "{refused}");
    let listed = gateway.operator().get(&format!("{PATH}?provider_id={}", tenant.provider)).await.must(200).json();
    let [item] = listed["items"].as_array().expect("items").as_slice() else { panic!("{listed}") };
    assert_eq!((&item["id"], &item["api_key_set"], &item["state"]), (&json!(key), &json!(true), &json!("in_use")));
    assert!(item.get("api_key").is_none() && item.get("given_for").is_none(), "{item}");

    // Without the key, the provider may move.
    gateway.operator().delete(&format!("{PATH}/{key}")).await.must(200);
    gateway.operator().patch(&provider, &moved).await.must(200);
    tenant.chat("ok").await.must(200);
    assert_eq!((elsewhere.seen_with(SECOND), elsewhere.seen_with(PROVIDER_SECRET)), (0, 1));

    // It ends with its provider.
    let second = further_key(&gateway, &tenant, SECOND, json!({})).await;
    gateway.operator().delete(&provider).await.must(200);
    let ended = gateway.operator().get(&format!("{PATH}/{second}")).await.must(200).json();
    assert_eq!((&ended["state"], &ended["api_key_set"]), (&json!("ended"), &json!(false)));
    assert_eq!(ended["ended_by"], json!(tenant.provider), "{ended}");
    let change = json!({ "weight": 3 });
    gateway.operator().patch(&format!("{PATH}/{second}"), &change).await.must_be(409, "CONFLICT");
    let new = json!({ "provider_id": tenant.provider, "name": "late", "api_key": THIRD });
    gateway.operator().post(PATH, &new).await.must_be(409, "CONFLICT");
    gateway.stop();
    let heard = gateway.heard().so_far();
    for place in [heard, gateway.stderr().into_bytes(), std::fs::read(gateway.data().join("ledger.db")).expect("it")] {
        assert!(!String::from_utf8_lossy(&place).contains(SECOND), "the key is written down");
    }
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_tenants_provider_are_its_own_and_those_of_a_shared_one_the_platforms() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let (ours, theirs) =
        (Tenant::new(&gateway, &upstream, &["ok"]).await, Tenant::new(&gateway, &upstream, &["ok"]).await);
    let administrator = |tenant: String| {
        let (operator, gateway) = (gateway.operator().clone(), &gateway);
        async move {
            let user = json!({ "tenant_id": tenant, "name": "a", "roles": ["tenant_admin"] });
            let user = made(&operator, "/users", user).await;
            let key = json!({ "user_id": user, "name": "a", "permissions": ["admin:access", "audit:read"] });
            let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
            gateway.client(Some(&text(&key["secret"])))
        }
    };
    let (we, they): (Client, Client) = (administrator(ours.id.clone()).await, administrator(theirs.id.clone()).await);
    let provider = json!({ "name": "ours", "kind": "openai", "base_url": "https://api.example.com/v1",
                           "tenant_id": ours.id });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let body = |provider: &str| json!({ "provider_id": provider, "name": "n", "api_key": SECOND });
    // Until the tenant may have its own providers, the keys of one that it was given are not its to manage either.
    we.post(PATH, &body(&provider)).await.must_be(403, "FORBIDDEN");
    let tenants = format!("/v1/admin/tenants/{}", ours.id);
    gateway.operator().patch(&tenants, &json!({ "own_providers": true })).await.must(200);
    let key = text(&we.post(PATH, &body(&provider)).await.must(201).json()["id"]);
    we.get(&format!("{PATH}/{key}")).await.must(200);
    they.post(PATH, &body(&provider)).await.must_be(404, "NOT_FOUND");
    let one = format!("{PATH}/{key}");
    they.get(&one).await.must(404);
    they.patch(&one, &json!({ "weight": 2 })).await.must_be(404, "NOT_FOUND");
    they.delete(&one).await.must_be(404, "NOT_FOUND");
    assert_eq!(they.get(PATH).await.must(200).json()["items"], json!([]));
    // A shared provider's keys are for the platform to manage, as the provider is.
    we.post(PATH, &body(&ours.provider)).await.must_be(403, "FORBIDDEN");
    let shared = further_key(&gateway, &ours, THIRD, json!({})).await;
    we.get(&format!("{PATH}/{shared}")).await.must(404);
    we.patch(&format!("{PATH}/{shared}"), &json!({ "weight": 2 })).await.must_be(403, "FORBIDDEN");
}

/// Holds: inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_shows_the_state_of_its_own_key_in_every_reply_alike() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    further_key(&gateway, &tenant, SECOND, json!({})).await;
    upstream.refuses_key(PROVIDER_SECRET, 401, INVALID, &[]);
    for _ in 0..50 {
        tenant.chat("ok").await.must(200);
        if !of_type(&gateway, SET_ASIDE).await.is_empty() {
            break;
        }
    }
    recorded(&gateway, SET_ASIDE, 1).await;
    let (operator, one) = (gateway.operator(), format!("/v1/admin/providers/{}", tenant.provider));
    let mut shown = operator.get(&one).await.must(200).json();
    // The tables have the event a moment after the log.
    for _ in 0..200 {
        if shown["key_state"] == "set_aside" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        shown = operator.get(&one).await.must(200).json();
    }
    assert_eq!((&shown["key_state"], &shown["key_set_aside"]["reason"]), (&json!("set_aside"), &json!("refused")));
    let changed = operator.patch(&one, &json!({ "timeout_ms": 9_000 })).await.must(200).json();
    let listed = operator.get("/v1/admin/providers").await.must(200).json();
    let listed = listed["items"].as_array().expect("a list").iter().find(|item| item["id"] == shown["id"]);
    for other in [&changed, listed.expect("the provider")] {
        for field in ["key_state", "key_set_aside"] {
            assert_eq!(other[field], shown[field], "{field}: {other}");
        }
    }
    let given = operator.patch(&one, &json!({ "api_key": PROVIDER_SECRET })).await.must(200).json();
    assert_eq!((&given["key_state"], &given["key_set_aside"]), (&json!("in_use"), &Value::Null));
    let ended = operator.delete(&one).await.must(200).json();
    let read = operator.get(&one).await.must(200).json();
    assert_eq!((&ended["key_state"], &read["key_state"]), (&Value::Null, &Value::Null), "{ended} {read}");
}
