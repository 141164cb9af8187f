//! Targets with a limit of calls under way: who is called, who waits, and for how long.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::abandoned::metric;
use crate::client::{Client, Reply};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, Setup, Tenant, made};

const WAITING: &str = "ledgerway_requests_waiting_for_target";
/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A tenant's model with a target that has a limit.
pub struct House {
    pub gateway: Gateway,
    pub upstream: MockUpstream,
    pub tenant: Tenant,
    /// Its id.
    pub model: String,
    pub asked: JoinSet<Reply>,
}

impl House {
    /// The first of these backends has this limit, and waits until the gate is open.
    pub async fn new(limit: u32, backends: &[&str]) -> Self {
        Self::of(Gateway::start(), limit, backends).await
    }

    pub async fn of(gateway: Gateway, limit: u32, backends: &[&str]) -> Self {
        let upstream = MockUpstream::start().await;
        // The gate stays closed for longer than requests wait.
        let setup = Setup { timeout_ms: 60_000, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &[], setup).await;
        for backend in backends {
            tenant.price(backend).await;
        }
        let targets = backends.iter().enumerate().map(|(rank, backend)| {
            let limit = (rank == 0).then_some(limit);
            json!({ "provider_id": tenant.provider, "model": backend, "priority": rank, "max_concurrent": limit,
                    "default_max_output_tokens": 64 })
        });
        let targets: Vec<_> = targets.collect();
        let model = json!({ "name": tenant.model("limited"), "targets": targets });
        let model = made(gateway.operator(), "/models", model).await;
        Self { gateway, upstream, tenant, model, asked: JoinSet::new() }
    }

    /// The model's name is the tenant's of the house, whoever asks.
    pub fn body(&self, words: &str) -> Value {
        json!({ "model": self.tenant.model("limited"), "messages": [{ "role": "user", "content": words }] })
    }

    fn ask_as(&mut self, app: &Client, words: &str) -> AbortHandle {
        let (app, body) = (app.clone(), self.body(words));
        self.asked.spawn(async move { app.post(NATIVE, &body).await })
    }

    pub fn ask(&mut self, words: &str) -> AbortHandle {
        // On a connection of its own, which goes with the client.
        let app = self.gateway.client(Some(&self.tenant.secret));
        self.ask_as(&app, words)
    }

    pub async fn until_waiting(&self, number: u64) {
        let reached = async {
            while metric(&self.gateway, WAITING).await != number {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, reached).await.unwrap_or_else(|_| panic!("there are not {number} that wait"));
    }

    pub async fn until_seen(&self, number: usize) {
        let seen = async {
            while self.upstream.seen().len() < number {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, seen).await.expect("in time");
    }

    /// Returns the upstream's requests, in its order.
    fn seen(&self) -> Vec<String> {
        let words = |seen: &testing::upstream::Seen| seen.body["messages"][0]["content"].as_str().map(str::to_owned);
        self.upstream.seen().iter().map(|seen| words(seen).expect("words")).collect()
    }

    pub async fn all_answered(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.asked.join_next().await {
            // One that was aborted has no reply.
            replies.extend(reply.ok());
        }
        replies
    }

    /// The end of a request.
    pub async fn end(&self, request: &str) -> Value {
        let life = self.gateway.life(request).await;
        let is_end = |event: &&Value| ["completed", "failed", "aborted"].iter().any(|end| type_of(event).contains(end));
        life.iter().find(is_end).expect("its end")["data"].clone()
    }

    pub fn must_verify(mut self) {
        self.gateway.stop();
        let (code, words) = self.gateway.verify();
        assert_eq!(code, Some(0), "{words}");
    }
}

/// Holds: inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn a_target_has_no_more_calls_under_way_than_it_may_and_the_others_wait() {
    let mut house = House::new(2, &["gate"]).await;
    for _ in 0..5 {
        house.ask("hello");
    }
    house.until_waiting(3).await;
    house.until_seen(2).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(house.upstream.seen().len(), 2);
    house.upstream.open_gate();
    let mut queued = 0;
    for reply in house.all_answered().await {
        let end = house.end(&reply.must(200).request_id()).await;
        if end.get("queued_ms").is_some() {
            queued += 1;
            assert!(end["queued_ms"].as_u64().is_some_and(|waited| waited >= 300), "{end}");
            assert_eq!(end["passed_over"], json!({ format!("{}/gate", house.tenant.provider): ["no_room"] }));
        }
    }
    assert_eq!((queued, house.upstream.seen().len()), (3, 5));
    assert_eq!(metric(&house.gateway, "ledgerway_target_wait_seconds_count").await, 3);
    house.until_waiting(0).await;
    house.must_verify();
}

/// Holds: inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn another_target_with_room_is_called_and_explained_and_a_full_one_is_waited_for_when_the_others_fail() {
    let mut house = House::new(1, &["gate", "ok"]).await;
    house.ask("first");
    house.until_seen(1).await;
    let served = house.tenant.app.post(NATIVE, &house.body("second")).await.must(200);
    assert_eq!(served.header("x-ledgerway-backend"), format!("{}/ok", house.tenant.name));
    let end = house.end(&served.request_id()).await;
    assert_eq!(end["passed_over"], json!({ format!("{}/gate", house.tenant.provider): ["no_room"] }));
    assert_eq!(end.get("queued_ms"), None);

    // A model on the same backend shares its places.
    let target = |model: &str, priority: u32| json!({ "provider_id": house.tenant.provider, "model": model, "priority": priority, "default_max_output_tokens": 64 });
    house.tenant.price("e500").await;
    let other = json!({ "name": house.tenant.model("other"), "targets": [target("gate", 0), target("e500", 1)] });
    made(house.gateway.operator(), "/models", other).await;
    let (app, body) = (house.tenant.app.clone(), house.tenant.ask("other"));
    let waits = house.asked.spawn(async move { app.post(NATIVE, &body).await });
    house.until_waiting(1).await;
    assert!(!waits.is_finished() && house.upstream.seen_of("e500") > 0);
    house.upstream.open_gate();
    for reply in house.all_answered().await {
        let reply = reply.must(200);
        let end = house.end(&reply.request_id()).await;
        let path = format!("/v1/inferences/{}/explain", reply.request_id());
        let route = house.gateway.operator().get(&path).await.must(200).json()["route"].clone();
        assert_eq!(route["follows"], true, "{route}");
        if end.get("queued_ms").is_some() {
            assert_eq!(
                (&route["targets"][0]["passed_over"], &end["attempts"]),
                (&json!(["no_room"]), &json!(3)),
                "{end}"
            );
        }
    }
    house.must_verify();
}

/// Holds: inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_place_in_the_queue_and_at_the_target() {
    let mut house = House::new(1, &["gate"]).await;
    let mut body = house.body("a stream");
    body["stream"] = json!(true);
    let app = house.gateway.client(Some(&house.tenant.secret));
    let stream = house.asked.spawn(async move { app.post(NATIVE, &body).await });
    house.until_seen(1).await;
    let waits = house.ask("leaves the queue");
    house.until_waiting(1).await;
    waits.abort();
    house.until_waiting(0).await;
    house.ask("stays");
    house.until_waiting(1).await;
    assert_eq!(house.upstream.seen().len(), 1);
    stream.abort();
    house.until_seen(2).await;
    assert_eq!(house.seen(), ["a stream", "stays"]);
    house.upstream.open_gate();
    house.all_answered().await;
    let log = house.gateway.events().await;
    let aborted = log.iter().filter(|event| type_of(event) == "inference.aborted.v1");
    let costs: Vec<_> = aborted.filter(|event| event["data"].get("backend").is_none()).collect();
    assert_eq!(costs.len(), 1, "{costs:?}");
    assert_eq!(costs[0]["data"]["cost_usd"], "0.000000000");
    house.must_verify();
}

/// Holds: inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn interactive_requests_are_served_before_batch_and_tenants_in_turn() {
    let mut house = House::new(1, &["gate"]).await;
    let other = Tenant::new(&house.gateway, &house.upstream, &[]).await;
    house.ask("first");
    house.until_seen(1).await;
    let batch = house.tenant.app.clone().with("x-ledgerway-priority", "batch");
    let interactive = other.app.clone().with("x-ledgerway-priority", "interactive");
    house.ask_as(&batch, "batch");
    house.until_waiting(1).await;
    for (number, words) in [(2, "one"), (3, "two")] {
        house.ask(words);
        house.until_waiting(number).await;
    }
    house.ask_as(&interactive, "of another tenant");
    house.until_waiting(4).await;
    house.upstream.open_gate();
    for reply in house.all_answered().await {
        reply.must(200);
    }
    assert_eq!(house.seen(), ["first", "one", "of another tenant", "two", "batch"]);
    let wrong = house.tenant.app.clone().with("x-ledgerway-priority", "urgent");
    let refused = wrong.post(NATIVE, &house.body("hello")).await.must_be(400, "INVALID_REQUEST");
    assert_eq!(refused.json()["error"]["details"]["field"], "x-ledgerway-priority");
}

/// Holds: inf.concurrency, http.overloaded
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_and_a_wait_that_was_too_long_are_overload_and_another_tenant_still_gets_in() {
    let mut house = House::new(1, &["gate"]).await;
    let other = Tenant::new(&house.gateway, &house.upstream, &[]).await;
    house.ask("first");
    house.until_seen(1).await;
    let batch = house.tenant.app.clone().with("x-ledgerway-priority", "batch");
    for _ in 0..100 {
        house.ask_as(&batch, "waits");
    }
    house.until_waiting(100).await;
    let refused = house.tenant.app.post(NATIVE, &house.body("no room")).await.must_be(503, "OVERLOADED");
    assert_eq!((refused.header("retry-after"), &refused.json()["error"]["details"]["scope"]), ("1", &json!("target")));
    let end = house.end(&refused.request_id()).await;
    assert_eq!(
        (&end["reason"], end.get("queued_ms"), &end["cost_usd"]),
        (&json!("no_room"), None, &json!("0.000000000"))
    );
    // After ten seconds in the queue.
    let refused = other.app.post(NATIVE, &house.body("too late")).await.must_be(503, "OVERLOADED");
    let end = house.end(&refused.request_id()).await;
    assert!(end["queued_ms"].as_u64().is_some_and(|waited| waited >= 10_000), "{end}");
    house.ask_as(&other.app, "in turn");
    house.until_waiting(101).await;
    house.upstream.open_gate();
    for reply in house.all_answered().await {
        reply.must(200);
    }
    assert_eq!(house.seen()[..2], ["first", "in turn"]);
    house.must_verify();
}

/// Holds: inf.concurrency
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_leaves_a_place_of_a_shared_target_once_another_tenant_has_come() {
    let mut house = House::new(3, &["gate"]).await;
    let other = Tenant::new(&house.gateway, &house.upstream, &[]).await;
    house.upstream.open_gate();
    other.app.post(NATIVE, &house.body("has come")).await.must(200);
    house.upstream.close_gate();
    for _ in 0..3 {
        house.ask("many");
    }
    house.until_waiting(1).await;
    house.until_seen(3).await;
    house.ask_as(&other.app, "finds a place");
    house.until_seen(4).await;
    assert_eq!(house.seen(), ["has come", "many", "many", "finds a place"]);
    assert_eq!(metric(&house.gateway, WAITING).await, 1);
    house.upstream.open_gate();
    for reply in house.all_answered().await {
        reply.must(200);
    }
    house.must_verify();
}
