//! A provider with several API keys, most of them dead or all: they are found out within few requests, and no request that may be
//! to blame itself sets them aside.

use std::time::Duration;

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::provider_keys::{
    EMBEDDINGS, INVALID, NO_MONEY, SET_ASIDE, alerts, further_key, keys_set_aside, of_type, recorded,
};
use crate::tenant::{PROVIDER_SECRET, Setup, Tenant};

const EMPTY: &str = r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#;
const REVOKED: &str = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
const NO_SCOPE: &str = r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.request. Check that you have the correct role in your organization (Reader, Writer, Owner) and project (Member, Owner), and if you're using a restricted API key, that it has the necessary scopes.","type":"invalid_request_error","param":null,"code":null}}"#;
const NOT_FOUND: &str = r#"{"error":{"message":"User not found.","code":401}}"#;
const SAYS_EMPTY: &str = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#;
const SAYS_WRONG: &str = r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."}"#;
/// Requests of one run.
const REQUESTS: usize = 40;

/// A provider whose own key is good, unless all are dead, and what its dead keys are answered.
struct DeadKeys {
    kind: &'static str,
    weights: &'static [u32],
    is_own_dead: bool,
    status: u16,
    body: &'static str,
}

impl DeadKeys {
    /// Sends the requests; returns how many the clients saw fail, and how many calls they took.
    async fn run(&self, gateway: &Gateway, upstream: &MockUpstream) -> (usize, usize) {
        let tenant = Tenant::with(gateway, upstream, &["ok"], Setup { kind: self.kind, ..Setup::default() }).await;
        for (number, weight) in self.weights.iter().enumerate() {
            let secret = format!("dead-key-{number}-of-{}-{}-c41e", self.kind, self.status);
            further_key(gateway, &tenant, &secret, json!({ "weight": weight })).await;
            upstream.refuses_key(&secret, self.status, self.body, &[]);
        }
        if self.is_own_dead {
            upstream.refuses_key(PROVIDER_SECRET, self.status, self.body, &[]);
        }
        let calls = upstream.seen().len();
        let mut failed = 0;
        for _ in 0..REQUESTS {
            failed += usize::from(tenant.chat("ok").await.status != 200);
        }
        upstream.accepts_key(PROVIDER_SECRET, &[]);
        (failed, upstream.seen().len() - calls)
    }

    fn count(&self) -> usize {
        self.weights.len() + usize::from(self.is_own_dead)
    }
}

/// Holds: inf.several-keys, inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn dead_keys_are_set_aside_within_few_requests_also_if_all_are_dead_but_one_or_all() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let openai = DeadKeys { kind: "openai", weights: &[100, 100, 100], is_own_dead: false, status: 402, body: EMPTY };
    let mut set_aside = 0;
    for (dead, failed_max) in [
        (DeadKeys { ..openai }, 1),
        (DeadKeys { weights: &[1], is_own_dead: true, status: 429, body: NO_MONEY, ..openai }, REQUESTS),
        (DeadKeys { kind: "gemini", status: 400, body: REVOKED, ..openai }, 1),
        (DeadKeys { weights: &[1000, 1000], ..openai }, 0),
        (DeadKeys { status: 401, body: NOT_FOUND, ..openai }, 1),
        (DeadKeys { weights: &[1000; 4], status: 401, body: INVALID, ..openai }, 1),
        (DeadKeys { kind: "anthropic", weights: &[100, 100], status: 400, body: SAYS_EMPTY, ..openai }, 0),
        (DeadKeys { weights: &[100; 4], status: 400, body: SAYS_WRONG, ..openai }, 1),
    ] {
        let (failed, calls) = dead.run(&gateway, &upstream).await;
        assert!(failed <= failed_max, "{failed} requests failed: {} {}", dead.kind, dead.status);
        // One more for each dead key when it is found, and one when it is tried again.
        assert!(calls <= REQUESTS + 2 * dead.count(), "{calls} calls: {} {}", dead.kind, dead.status);
        set_aside += dead.count();
        assert_eq!(recorded(&gateway, SET_ASIDE, set_aside).await.len(), set_aside);
        assert_eq!(keys_set_aside(&gateway).await, set_aside.to_string());
    }
    while alerts(&gateway) < set_aside {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Holds: inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn words_that_refuse_every_key_set_none_aside_and_are_one_line_for_the_operator() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let lines = || gateway.stderr().lines().filter(|line| line.contains("accepts none of its API keys")).count();
    let anthropic = DeadKeys { kind: "anthropic", weights: &[1, 1], is_own_dead: true, status: 400, body: SAYS_EMPTY };
    for (told, dead) in
        [DeadKeys { ..anthropic }, DeadKeys { kind: "openai", body: SAYS_WRONG, ..anthropic }].iter().enumerate()
    {
        assert_eq!(dead.run(&gateway, &upstream).await, (REQUESTS, 3 * REQUESTS), "{}", dead.kind);
        while lines() <= told {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!((lines(), of_type(&gateway, SET_ASIDE).await.len(), alerts(&gateway)), (2, 0, 0));
}

/// Holds: inf.several-keys, inf.keys-set-aside
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_every_key_lacks_sets_none_aside() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let secrets = [PROVIDER_SECRET, "first-restricted-key-90ab", "second-restricted-key-77f0"];
    for secret in &secrets[1..] {
        further_key(&gateway, &tenant, secret, json!({})).await;
    }
    let body = json!({ "model": tenant.model("ok"), "input": "hello" });
    for (answer, requests) in [(NO_SCOPE, 10), (NOT_FOUND, 1)] {
        for secret in secrets {
            upstream.refuses_key(secret, 401, answer, &[]);
        }
        for _ in 0..requests {
            tenant.app.post(EMBEDDINGS, &body).await.must_be(502, "upstream_error");
        }
        for secret in secrets {
            upstream.accepts_key(secret, &[]);
        }
        let before = secrets.map(|secret| upstream.seen_with(secret));
        while secrets.iter().zip(before).any(|(secret, before)| upstream.seen_with(secret) == before) {
            tenant.chat("ok").await.must(200);
        }
    }
    assert_eq!(of_type(&gateway, SET_ASIDE).await.len(), 0);
    assert_eq!((alerts(&gateway), &*keys_set_aside(&gateway).await), (0, "0"));
}

/// Holds: inf.several-keys
#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_keys_hold_while_they_are_set_aside() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let own = format!("/v1/admin/providers/{}", tenant.provider);
    gateway.operator().patch(&own, &json!({ "api_key": null })).await.must(200);
    let secrets = ["first-limited-key-5c02", "second-limited-key-8e9d"];
    for secret in secrets {
        further_key(&gateway, &tenant, secret, json!({ "requests_per_minute": 3 })).await;
        upstream.refuses_key(secret, 401, INVALID, &[]);
    }
    tenant.chat("ok").await.must_be(502, "UPSTREAM_ERROR");
    recorded(&gateway, SET_ASIDE, 2).await;
    for secret in secrets {
        upstream.accepts_key(secret, &[]);
    }
    let mut served = 0;
    for _ in 0..30 {
        let reply = tenant.chat("ok").await;
        match reply.status {
            200 => served += 1,
            _ => drop(reply.must_be(429, "RATE_LIMITED")),
        }
    }
    assert_eq!(served, 4, "each key has served the refused request too");
    assert_eq!(secrets.map(|secret| upstream.seen_with(secret)), [3, 3]);
}
