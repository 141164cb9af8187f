//! Targets that fail again and again, and whose breakers are open for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::abandoned::until_metric_is;
use crate::cluster::nodes::Cluster;
use crate::explain::explained;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Tenant, made};

/// The key of the provider that fails, whose calls the upstream tells from others by it.
const FAILING: &str = "the-key-of-the-failing-one";
/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// How long a breaker is open where its end is waited for.
const SECONDS: u64 = 6;

/// A tenant, the provider that fails, and a model that tries it before another one.
struct Failing {
    upstream: MockUpstream,
    tenant: Tenant,
    provider: String,
}

impl Failing {
    async fn start(gateway: &Gateway) -> Self {
        let upstream = MockUpstream::start().await;
        let tenant = Tenant::new(gateway, &upstream, &["ok", "reject-400"]).await;
        let provider = json!({
            "name": format!("{}-failing", tenant.name), "kind": "openai", "base_url": upstream.base_url("openai"),
            "api_key": FAILING, "allow_private_network": true,
        });
        let provider = made(gateway.operator(), "/providers", provider).await;
        for model in ["m", "reject-400"] {
            let price = json!({ "provider_id": provider, "model": model, "input_usd_per_mtok": "3",
                                "output_usd_per_mtok": "15" });
            made(gateway.operator(), "/prices", price).await;
        }
        let failing = Self { upstream, tenant, provider };
        failing.model(gateway, "guarded", &["m"], &["ok"]).await;
        failing.upstream.refuses_key(FAILING, 503, "{}", &[]);
        failing
    }

    /// A model that tries backends of the provider that fails, and then others.
    async fn model(&self, gateway: &Gateway, name: &str, failing: &[&str], others: &[&str]) {
        let target = |provider: &str, backend: &&str, priority: u32| {
            json!({ "provider_id": provider, "model": backend, "priority": priority,
                    "default_max_output_tokens": 64 })
        };
        let first = failing.iter().map(|backend| target(&self.provider, backend, 0));
        let targets: Vec<_> =
            first.chain(others.iter().map(|backend| target(&self.tenant.provider, backend, 1))).collect();
        made(gateway.operator(), "/models", json!({ "name": self.tenant.model(name), "targets": targets })).await;
    }

    /// The calls to the provider that fails.
    fn calls(&self) -> usize {
        self.upstream.seen_with(FAILING)
    }

    async fn must_serve(&self, requests: usize) {
        for _ in 0..requests {
            let reply = self.tenant.chat("guarded").await.must(200);
            assert_eq!(reply.header("x-ledgerway-backend"), format!("{}/ok", self.tenant.name));
        }
    }
}

/// The events of breakers, as soon as there are so many: no request waits until one is recorded.
async fn breaker_events(gateway: &Gateway, at_least: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let log = gateway.events().await;
        let events: Vec<Value> =
            log.into_iter().filter(|event| type_of(event).starts_with("provider.breaker_")).collect();
        if events.len() >= at_least {
            return events;
        }
        assert!(began.elapsed() < SOON, "{events:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn open_breakers(gateway: &Gateway) -> String {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix("ledgerway_breakers_open "));
    line.expect("the gauge").to_owned()
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_five_times_gets_no_requests_and_is_then_tried_by_one() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", "6")]);
    let failing = Failing::start(&gateway).await;
    let began = Instant::now();
    failing.must_serve(20).await;
    let opened = breaker_events(&gateway, 1).await;
    // On a very slow machine, it may have been tried again.
    let tries = 1 + usize::try_from(began.elapsed().as_secs() / SECONDS).expect("a number");
    assert!((5..5 + tries).contains(&failing.calls()), "{} calls", failing.calls());
    let data = &opened[0]["data"];
    assert_eq!(
        (&opened[0]["type"], &opened[0]["actor"]),
        (&json!("provider.breaker_opened.v1"), &json!("system:breakers"))
    );
    assert_eq!((&data["provider_id"], &data["model"]), (&json!(failing.provider), &json!("m")));
    assert_eq!((&data["failures"], &data["reason"], &data["status"]), (&json!(5), &json!("status"), &json!(503)));
    assert_eq!(open_breakers(&gateway).await, "1");
    let request = failing.tenant.chat("guarded").await.must(200).request_id();
    let failing_target = format!("{}/m", failing.provider);
    let life = gateway.life(&request).await;
    assert_eq!(
        life[0]["data"]["route"],
        json!({ "strategy": "priority", "left_out": { failing_target: "breaker_open" } })
    );
    let explained = gateway.operator().get(&format!("/v1/inferences/{request}/explain")).await.must(200).json();
    let target = |at: usize, member: &str| explained["route"]["targets"][at][member].clone();
    assert_eq!(explained["route"]["follows"], true, "{explained}");
    assert_eq!((target(0, "rank"), target(0, "left_out")), (json!(1), json!("breaker_open")));
    assert_eq!((target(1, "rank"), target(1, "left_out")), (json!(2), json!(null)));

    sleep(Duration::from_secs(SECONDS)).await;
    let before = failing.calls();
    failing.must_serve(1).await;
    assert_eq!(failing.calls(), before + 1, "a probe is not repeated");
    let opened = breaker_events(&gateway, 2).await;
    assert_eq!((&opened[1]["type"], &opened[1]["data"]["failures"]), (&json!("provider.breaker_opened.v1"), &json!(1)));
    failing.must_serve(5).await;
    assert_eq!(failing.calls(), before + 1);

    failing.upstream.accepts_key(FAILING, &[]);
    sleep(Duration::from_secs(SECONDS)).await;
    let reply = failing.tenant.chat("guarded").await.must(200);
    assert_eq!(reply.header("x-ledgerway-backend"), format!("{}-failing/m", failing.tenant.name));
    let closed = breaker_events(&gateway, 3).await;
    assert_eq!(closed[2]["type"], "provider.breaker_closed.v1");
    assert_eq!(open_breakers(&gateway).await, "0");
    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_no_other_one_can_replace_is_called_although_its_breaker_is_open() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", "600")]);
    let failing = Failing::start(&gateway).await;
    failing.model(&gateway, "only", &["m"], &[]).await;
    for _ in 0..6 {
        failing.tenant.chat("only").await.must_be(502, "UPSTREAM_ERROR");
    }
    assert_eq!(failing.calls(), 12, "each request calls twice");
    breaker_events(&gateway, 1).await;
    failing.tenant.chat("only").await.must_be(502, "UPSTREAM_ERROR");
    assert_eq!(failing.calls(), 14);
    failing.tenant.chat("guarded").await.must(200);
    assert_eq!(failing.calls(), 14);
    // Both targets are of the provider that fails.
    let price = json!({ "provider_id": failing.provider, "model": "ok", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    failing.model(&gateway, "both", &["m", "ok"], &[]).await;
    for _ in 0..3 {
        failing.tenant.chat("both").await;
    }
    breaker_events(&gateway, 2).await;
    let before = failing.calls();
    let refused = failing.tenant.chat("both").await;
    assert!(!refused.header("retry-after").is_empty());
    refused.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
    assert_eq!(failing.calls(), before + 2, "both are called, in case one answers again");
    // Whoever changes the provider has mended it.
    let path = format!("/v1/admin/providers/{}", failing.provider);
    gateway.operator().patch(&path, &json!({ "timeout_ms": 9000 })).await.must(200);
    failing.upstream.accepts_key(FAILING, &[]);
    failing.tenant.chat("both").await.must(200);
}

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
    let move_first_to = async |address: SocketAddr| {
        let moved = json!({ "base_url": format!("http://{address}/v1"), "api_key": all.keys[0], "timeout_ms": 1000 });
        all.gateway.operator().patch(&path, &moved).await.must(200);
    };
    let listener = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let must_be_served_by_second = async |why: &str| {
        let mut request = String::new();
        let calls = all.calls_of(async || request = all.tenant.chat("all").await.must(200).request_id());
        assert_eq!(calls.await, [0, 1, 0], "{why}");
        all.must_follow(&request).await;
    };

    let refusing = listener().await.local_addr().expect("an address");
    move_first_to(refusing).await;
    must_be_served_by_second("no connection to the first one").await;

    // One connection is all that it takes, so that the next one is never made.
    let full = TcpSocket::new_v4().expect("a socket");
    full.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let full = full.listen(0).expect("a listener");
    let address = full.local_addr().expect("an address");
    let only = TcpStream::connect(address).await.expect("a connection");
    move_first_to(address).await;
    must_be_served_by_second("the time of the first one was over before it could be sent").await;
    drop((only, full));

    // Its second call could not be sent, but its first one was.
    let once = listener().await;
    move_first_to(once.local_addr().expect("an address")).await;
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
    assert_eq!(reasons.len(), 2, "{reasons:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_is_to_blame_for_opens_no_breaker() {
    let gateway = Gateway::start();
    let failing = Failing::start(&gateway).await;
    failing.upstream.accepts_key(FAILING, &[]);
    failing.model(&gateway, "rejecting", &["reject-400"], &["ok"]).await;
    for _ in 0..12 {
        failing.tenant.chat("rejecting").await.must_be(400, "UPSTREAM_REJECTED");
    }
    assert_eq!(failing.calls(), 12);
    assert_eq!(breaker_events(&gateway, 0).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_failures_to_count_no_breaker_opens() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_FAILURES", "0")]);
    let failing = Failing::start(&gateway).await;
    failing.must_serve(15).await;
    assert_eq!(failing.calls(), 30);
    assert_eq!(breaker_events(&gateway, 0).await, Vec::<Value>::new());
}

/// Holds: inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_one_node_opens_is_open_on_the_others_within_a_second() {
    let cluster = Cluster::start(&[("LEDGERWAY_BREAKER_SECONDS", "600")]);
    let failing = Failing::start(cluster.node(0)).await;
    failing.must_serve(3).await;
    let opened = breaker_events(cluster.node(0), 1).await;
    let began = Instant::now();
    for number in 1..3 {
        while open_breakers(cluster.node(number)).await != "1" {
            // A second, on a machine that does nothing else.
            assert!(began.elapsed() < Duration::from_secs(5), "node {number} has not heard of {opened:?}");
            sleep(Duration::from_millis(20)).await;
        }
        let app = cluster.node(number).client(Some(&failing.tenant.secret));
        let before = failing.calls();
        app.post(NATIVE, &failing.tenant.ask("guarded")).await.must(200);
        assert_eq!(failing.calls(), before);
    }
}

/// Ten requests at once: the target is slow, so that they meet its probe.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_one_tries_a_target_whose_time_is_over() {
    let gateway = Gateway::start_with(&[("LEDGERWAY_BREAKER_SECONDS", "6")]);
    let failing = Failing::start(&gateway).await;
    let price = json!({ "provider_id": failing.provider, "model": "slow-3000", "input_usd_per_mtok": "3",
                        "output_usd_per_mtok": "15" });
    made(gateway.operator(), "/prices", price).await;
    failing.model(&gateway, "slow", &["slow-3000"], &["ok"]).await;
    for _ in 0..3 {
        failing.tenant.chat("slow").await.must(200);
    }
    breaker_events(&gateway, 1).await;
    failing.upstream.accepts_key(FAILING, &[]);
    sleep(Duration::from_secs(SECONDS)).await;
    let before = failing.calls();
    let mut asked = JoinSet::new();
    for _ in 0..10 {
        let (app, body) = (failing.tenant.app.clone(), failing.tenant.ask("slow"));
        asked.spawn(async move { app.post(NATIVE, &body).await.must(200) });
    }
    asked.join_all().await;
    assert_eq!(failing.calls(), before + 1);
}
