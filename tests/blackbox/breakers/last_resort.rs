//! Targets whose breakers are open, and which are called all the same, because no other one can serve the request.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::breaker_events;
use crate::abandoned::until_metric_is;
use crate::explain::explained;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

/// Three targets at providers of their own, whose breakers are open.
struct AllOpen {
    gateway: Gateway,
    upstream: MockUpstream,
    tenant: Tenant,
    keys: [String; 3],
    /// The targets of the model `all`, and its id.
    targets: Vec<Value>,
    model: String,
}

impl AllOpen {
    /// `kinds` are those of the providers, and `limits` the `max_concurrent` of the targets.
    async fn start(kinds: [&str; 3], limits: [Value; 3]) -> Self {
        Self::with(kinds, limits, ("slow-13000", "5")).await
    }

    /// `limited` is the backend of those targets that have a limit, and `failures` open a breaker.
    async fn with(kinds: [&str; 3], limits: [Value; 3], (limited, failures): (&str, &str)) -> Self {
        let env = [("LEDGERWAY_BREAKER_SECONDS", "600"), ("LEDGERWAY_BREAKER_FAILURES", failures)];
        let gateway = Gateway::start_with(&env);
        let upstream = MockUpstream::start().await;
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let keys = [0, 1, 2].map(|number| format!("the-key-of-{number}"));
        let mut targets = Vec::new();
        for (at, kind) in kinds.into_iter().enumerate() {
            let provider = json!({ "name": format!("{}-{at}", tenant.name), "kind": kind, "base_url": upstream.base_url(kind),
                                   "api_key": keys[at], "allow_private_network": true });
            let provider = made(gateway.operator(), "/providers", provider).await;
            let model = if limits[at].is_null() { "ok" } else { limited };
            let price = json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
            made(gateway.operator(), "/prices", price).await;
            let target = json!({ "provider_id": provider, "model": model, "priority": at, "default_max_output_tokens": 64,
                                 "max_concurrent": limits[at] });
            // Its breaker opens by requests of its own model.
            let alone = json!({ "name": tenant.model(&format!("only-{at}")), "targets": [target] });
            made(gateway.operator(), "/models", alone).await;
            targets.push(target);
        }
        let model = json!({ "name": tenant.model("all"), "targets": targets });
        let model = made(gateway.operator(), "/models", model).await;
        Self { gateway, upstream, tenant, keys, targets, model }
    }

    async fn open(&self, at: usize, breakers: usize) {
        self.upstream.refuses_key(&self.keys[at], 503, "{}", &[]);
        for _ in 0..5 {
            self.tenant.chat(&format!("only-{at}")).await.must_be(502, "UPSTREAM_ERROR");
        }
        breaker_events(&self.gateway, breakers).await;
    }

    fn calls(&self) -> [usize; 3] {
        [0, 1, 2].map(|at| self.upstream.seen_with(&self.keys[at]))
    }

    /// The calls of one more request.
    async fn calls_of(&self, ask: impl AsyncFnOnce()) -> [usize; 3] {
        let before = self.calls();
        ask().await;
        let after = self.calls();
        [0, 1, 2].map(|at| after[at] - before[at])
    }

    async fn must_follow(&self, request: &str) {
        let said = explained(&self.gateway, request).await;
        assert_eq!(said["route"]["follows"], true, "{said:#}");
    }
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn if_all_breakers_are_open_each_target_is_tried_once_and_one_that_answers_comes_first_afterwards() {
    let all = AllOpen::start(["openai"; 3], [json!(null), json!(null), json!(null)]).await;
    // The one that is to be tried again first.
    for (opened, at) in [1, 0, 2].into_iter().enumerate() {
        all.open(at, opened + 1).await;
    }
    let mut request = String::new();
    let calls = all.calls_of(async || {
        let refused = all.tenant.chat("all").await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
        assert!(!refused.header("retry-after").is_empty());
        request = refused.request_id();
    });
    assert_eq!(calls.await, [1, 1, 1], "each is called, and none a second time");
    let life = all.gateway.life(&request).await;
    let failed: Vec<&Value> = life.iter().filter(|event| type_of(event) == "inference.attempt_failed.v1").collect();
    let first = failed[0]["data"]["backend"]["provider"].as_str().expect("a provider");
    assert!(first.ends_with("-1") && failed.len() == 3, "{failed:?}");
    all.must_follow(&request).await;

    all.upstream.accepts_key(&all.keys[2], &[]);
    for (calls, why) in [([1, 1, 1], "the last one answers"), ([0, 0, 1], "and comes first from then on")] {
        let seen = all.calls_of(async || {
            let reply = all.tenant.chat("all").await.must(200);
            assert!(reply.header("x-ledgerway-backend").ends_with("-2/ok"));
            request = reply.request_id();
        });
        assert_eq!(seen.await, calls, "{why}");
        all.must_follow(&request).await;
    }
    let life = all.gateway.life(&request).await;
    let end = life.iter().find(|event| type_of(event) == "inference.completed.v1").expect("the end");
    assert_eq!(end["data"]["passed_over"].as_object().map_or(0, serde_json::Map::len), 2, "{end}");
    // It fails again: the others come before it once more.
    all.upstream.refuses_key(&all.keys[2], 503, "{}", &[]);
    all.upstream.accepts_key(&all.keys[1], &[]);
    let seen = all.calls_of(async || drop(all.tenant.chat("all").await.must(200)));
    assert_eq!(seen.await, [0, 1, 1]);
    assert_eq!(breaker_events(&all.gateway, 3).await.len(), 3, "no breaker has opened or closed meanwhile");
}

/// Holds: inf.breakers, admin.canary
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_whose_breaker_is_open_comes_after_the_other_targets_whose_breakers_are_open() {
    let all = AllOpen::start(["openai"; 3], [json!(null), json!(null), json!(null)]).await;
    // It would come first otherwise.
    for at in 0..3 {
        all.open(at, at + 1).await;
    }
    let target = &all.targets[0];
    let canary =
        json!({ "provider_id": target["provider_id"], "model": target["model"], "share_percent": 50, "by": "request" });
    let path = format!("/v1/admin/models/{}", all.model);
    all.gateway.operator().patch(&path, &json!({ "canary": canary })).await.must(200);
    let request = all.tenant.chat("all").await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE").request_id();
    let life = all.gateway.life(&request).await;
    let failed = life.iter().filter(|event| type_of(event) == "inference.attempt_failed.v1");
    let called: Vec<Value> = failed.map(|event| event["data"]["backend"]["provider"].clone()).collect();
    assert_eq!(called, [1, 2, 0].map(|at| json!(format!("{}-{at}", all.tenant.name))), "{life:?}");
    all.must_follow(&request).await;
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_breaker_is_open_is_called_if_no_other_one_could_be() {
    let all = AllOpen::start(["anthropic", "openai", "openai"], [json!(null), json!(null), json!(1)]).await;
    all.open(1, 1).await;
    all.upstream.accepts_key(&all.keys[1], &[]);
    // The first one has no API for the request, and the last one no room.
    let (app, body) = (all.tenant.app.clone(), all.tenant.ask("only-2"));
    let mut slow = JoinSet::new();
    slow.spawn(async move { app.post(NATIVE, &body).await.must(200) });
    all.upstream.until_seen("slow-13000", 1).await;
    let mut body = all.tenant.ask("all");
    body["logit_bias"] = json!({ "50256": -100 });
    let reply = all.tenant.app.clone().post(OPENAI, &body).await.must(200);
    all.must_follow(&reply.request_id()).await;
    assert_eq!(all.calls()[1], 11, "ten calls had opened its breaker");
    slow.join_all().await;
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_breaker_is_open_is_called_only_if_no_other_one_may_have_got_the_request() {
    let all = AllOpen::start(["openai"; 3], [json!(null), json!(null), json!(null)]).await;
    for at in [1, 2] {
        all.open(at, at).await;
        all.upstream.accepts_key(&all.keys[at], &[]);
    }
    let path = format!("/v1/admin/providers/{}", all.targets[0]["provider_id"].as_str().expect("an id"));
    let move_first_to = async |scheme: &str, address: SocketAddr, timeout_ms: u64| {
        let base_url = format!("{scheme}://{address}/v1");
        let moved = json!({ "base_url": base_url, "api_key": all.keys[0], "timeout_ms": timeout_ms });
        all.gateway.operator().patch(&path, &moved).await.must(200);
    };
    let listener = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let must_be_served_by_second = async |why: &str| {
        let mut request = String::new();
        let calls = all.calls_of(async || request = all.tenant.chat("all").await.must(200).request_id());
        assert_eq!(calls.await, [0, 1, 0], "{why}");
        all.must_follow(&request).await;
    };

    // Bound, so that no other process gets the port, but it does not listen.
    let refusing = TcpSocket::new_v4().expect("a socket");
    refusing.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    move_first_to("http", refusing.local_addr().expect("an address"), 30_000).await;
    must_be_served_by_second("no connection to the first one").await;

    // It never answers the handshake of TLS.
    let silent = listener().await;
    move_first_to("https", silent.local_addr().expect("an address"), 1000).await;
    must_be_served_by_second("the time of the first one was over before anything could be sent").await;

    // Its second call could not be sent, but its first one was.
    let once = listener().await;
    move_first_to("http", once.local_addr().expect("an address"), 30_000).await;
    let mut answers = JoinSet::new();
    answers.spawn(async move {
        let (mut connection, _) = once.accept().await.expect("a connection");
        drop(once);
        let mut request = [0; 64];
        connection.read_exact(&mut request).await.expect("a request");
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        connection.write_all(answer).await.expect("an answer");
        // Until the gateway has read it.
        connection.read_to_end(&mut Vec::new()).await.ok();
    });
    let mut request = String::new();
    let calls = all.calls_of(async || {
        request = all.tenant.chat("all").await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE").request_id();
    });
    assert_eq!(calls.await, [0, 0, 0]);
    all.must_follow(&request).await;
    let life = all.gateway.life(&request).await;
    let failed = life.iter().filter(|event| type_of(event) == "inference.attempt_failed.v1");
    let reasons: Vec<&Value> = failed.map(|event| &event["data"]["reason"]).collect();
    assert_eq!(reasons, [&json!("status"), &json!("connect")]);
    answers.join_all().await;
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_room_at_targets_whose_breakers_are_open_if_there_are_no_others() {
    let all = AllOpen::with(["openai"; 3], [json!(1), json!(1), json!(1)], ("slow-700", "5")).await;
    for at in 0..3 {
        all.open(at, at + 1).await;
    }
    all.keys.iter().for_each(|key| all.upstream.accepts_key(key, &[]));
    let mut asked = JoinSet::new();
    for _ in 0..9 {
        let (app, body) = (all.tenant.app.clone(), all.tenant.ask("all"));
        asked.spawn(async move { app.post(NATIVE, &body).await.must(200).request_id() });
    }
    for request in asked.join_all().await {
        all.must_follow(&request).await;
    }
    let served = all.calls().map(|calls| calls - 10);
    assert_eq!(served.iter().sum::<usize>(), 9, "ten calls had opened each, and each request calls one: {served:?}");
    assert!(served.iter().all(|served| *served < 9), "{served:?}");
}

/// Holds: inf.breakers, inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_room_while_all_breakers_open_use_the_places_that_they_get() {
    let all = AllOpen::with(["openai"; 3], [json!(1), json!(1), json!(1)], ("slow-700", "1")).await;
    all.keys.iter().for_each(|key| all.upstream.refuses_key(key, 503, "{}", &[]));
    let gate = Arc::new(Semaphore::new(0));
    let at_gate = Arc::clone(&gate);
    all.upstream.on_request(move |_| {
        let gate = Arc::clone(&at_gate);
        async move { gate.acquire().await.expect("it stays open").forget() }
    });
    let ask = |asked: &mut JoinSet<_>, model: &str| {
        let (app, body) = (all.tenant.app.clone(), all.tenant.ask(model));
        asked.spawn(async move { app.post(NATIVE, &body).await.must(200).request_id() });
    };
    let mut first = JoinSet::new();
    for at in 0..3 {
        ask(&mut first, &format!("only-{at}"));
    }
    all.upstream.until_seen("slow-700", 3).await;
    let mut waiting = JoinSet::new();
    for _ in 0..6 {
        ask(&mut waiting, "all");
    }
    until_metric_is(&all.gateway, "ledgerway_requests_waiting_for_target", 6).await;
    gate.add_permits(3);
    breaker_events(&all.gateway, 3).await;
    // The second tries of the first requests are answered, and their places become free.
    all.keys.iter().for_each(|key| all.upstream.accepts_key(key, &[]));
    gate.add_permits(100);
    first.join_all().await;
    for request in waiting.join_all().await {
        let life = all.gateway.life(&request).await;
        let end = &life.iter().find(|event| type_of(event) == "inference.completed.v1").expect("the end")["data"];
        let provider = end["backend"]["provider_id"].as_str().expect("an id");
        let why = &end["passed_over"][format!("{provider}/slow-700")];
        assert_eq!(*why, json!(["no_room"]), "it was not given back because of its breaker: {end}");
        all.must_follow(&request).await;
    }
    assert_eq!(all.calls().iter().sum::<usize>(), 12, "two of each of the first ones, one of each of the others");
}

/// Holds: inf.breakers, inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_whose_breaker_is_open_is_not_waited_for_if_another_one_is() {
    let all = AllOpen::with(["openai"; 3], [json!(1), json!(1), json!(1)], ("slow-6000", "5")).await;
    for at in [1, 2] {
        all.open(at, at).await;
    }
    all.keys.iter().for_each(|key| all.upstream.accepts_key(key, &[]));
    let mut asked = JoinSet::new();
    for (seen, model) in ["only-0", "only-1"].into_iter().enumerate() {
        let (app, body) = (all.tenant.app.clone(), all.tenant.ask(model));
        asked.spawn(async move { app.post(NATIVE, &body).await.must(200) });
        all.upstream.until_seen("slow-6000", 21 + seen).await;
    }
    let reply = all.tenant.chat("all").await.must(200);
    assert!(reply.header("x-ledgerway-backend").ends_with("-0/slow-6000"));
    let life = all.gateway.life(&reply.request_id()).await;
    let end = life.iter().find(|event| type_of(event) == "inference.completed.v1").expect("the end");
    let passed_over = |at: usize| {
        let provider = all.targets[at]["provider_id"].as_str().expect("an id");
        end["data"]["passed_over"][format!("{provider}/slow-6000")].clone()
    };
    assert_eq!(
        [0, 1, 2].map(passed_over),
        [json!(["no_room"]), json!(["breaker_open"]), json!(["breaker_open"])],
        "{end}"
    );
    all.must_follow(&reply.request_id()).await;
    asked.join_all().await;
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn the_last_target_that_may_be_called_is_waited_for_as_if_there_were_no_others() {
    let all = AllOpen::with(["openai"; 3], [json!(null), json!(null), json!(1)], ("ok", "5")).await;
    for at in [1, 2] {
        all.open(at, at).await;
    }
    all.upstream.refuses_key(&all.keys[0], 429, "{}", &[("retry-after", "2")]);
    let calls = all.calls_of(async || drop(all.tenant.chat("all").await.must(429)));
    assert_eq!(calls.await, [3, 0, 0], "it says when to come back");
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_breaker_has_opened_since_the_request_came_counts_as_another_one() {
    let all = AllOpen::with(["openai"; 3], [json!(null), json!(null), json!(null)], ("ok", "2")).await;
    let gate = Arc::new(Semaphore::new(0));
    let (at_gate, first) = (Arc::clone(&gate), all.keys[0].clone());
    all.upstream.on_request(move |seen| {
        let gate = (seen.key() == Some(first.as_str())).then(|| Arc::clone(&at_gate));
        async move {
            if let Some(gate) = gate {
                gate.acquire().await.expect("it stays open").forget();
            }
        }
    });
    for (at, status, headers) in [(0, 503, &[][..]), (1, 429, &[("retry-after", "2")]), (2, 503, &[])] {
        all.upstream.refuses_key(&all.keys[at], status, "{}", headers);
    }
    let (app, body) = (all.tenant.app.clone(), all.tenant.ask("all"));
    let mut asked = JoinSet::new();
    asked.spawn(async move { app.post(NATIVE, &body).await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE").request_id() });
    all.upstream.until_seen("ok", 1).await;
    all.tenant.chat("only-2").await.must_be(502, "UPSTREAM_ERROR");
    breaker_events(&all.gateway, 1).await;
    gate.add_permits(100);
    let request = asked.join_next().await.expect("a request").expect("its end");
    assert_eq!(all.calls(), [2, 1, 2], "the second one is called once, as if the third one could be called");
    all.must_follow(&request).await;
}
