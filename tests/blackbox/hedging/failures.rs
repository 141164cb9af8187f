//! Hedges of which a call fails, or is never sent.

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::retry_storms::BUDGET;

/// Another provider of the tests, which nobody answers for: a client of it waits for TLS.
struct Silent {
    listener: TcpListener,
    provider: String,
}

impl Silent {
    async fn new(house: &House) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("https://{}/v1", listener.local_addr().expect("its address"));
        let provider = json!({ "name": format!("{}-silent", house.tenant.name), "kind": "openai", "base_url": base_url,
                               "api_key": "k", "allow_private_network": true });
        let provider = made(house.gateway.operator(), "/providers", provider).await;
        let price = json!({ "provider_id": provider, "model": "m", "input_usd_per_mtok": "3",
                            "output_usd_per_mtok": "15" });
        made(house.gateway.operator(), "/prices", price).await;
        Self { listener, provider }
    }
}

/// Holds: inf.open-files
#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_that_has_failed_keeps_no_place_among_all_calls() {
    let house = House::new("openai", &["gate", "e500"], &[]).await;
    house.hedged("m", &["gate", "e500"], 100).await;
    let (app, body) = (house.tenant.app.clone(), house.tenant.ask("m"));
    let mut asked = JoinSet::new();
    asked.spawn(async move { app.post(NATIVE, &body).await });
    house.upstream.until_seen("e500", 1).await;
    until_metric_is(&house.gateway, "ledgerway_upstream_calls_under_way", 1).await;
    house.upstream.open_gate();
    asked.join_next().await.expect("a request").expect("an answer").must(200);
}

/// Holds: inf.hedges, inf.unsent-is-released
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_not_sent_when_the_client_left_is_nobodys_fault_and_costs_nothing() {
    for is_first in [true, false] {
        let house = House::new("openai", &["gate"], &[("LEDGERWAY_BREAKER_FAILURES", "1")]).await;
        let silent = Silent::new(&house).await;
        let mut targets = house.targets(&["gate", "m"]);
        targets[1]["provider_id"] = json!(silent.provider);
        if is_first {
            targets[0]["priority"] = json!(2);
        }
        let model = json!({ "name": house.tenant.model("m"), "targets": targets, "hedge_after_ms": 100 });
        made(house.gateway.operator(), "/models", model).await;
        let mut clients = JoinSet::new();
        let (client, body) = (house.gateway.client(Some(&house.tenant.secret)), house.tenant.ask("m"));
        clients.spawn(async move {
            let _ = client.try_post(NATIVE, &body).await;
        });
        let (connection, _) = timeout(ENDED_MAX, silent.listener.accept()).await.expect("in time").expect("a call");
        connection.readable().await.expect("the beginning of a handshake");
        house.upstream.until_seen("gate", 1).await;
        clients.shutdown().await;
        until_metric_is(&house.gateway, "ledgerway_abandoned_calls", 1).await;
        // Had it been sent, it would fail now.
        drop(connection);
        sleep(Duration::from_millis(300)).await;
        house.upstream.open_gate();
        let books = house.gateway.books_when_all_ended(ENDED_MAX).await;
        let request = books.admitted().iter().next().expect("a request").clone();
        let life = house.gateway.life(&request).await;
        let failed = of_type(&life, "inference.attempt_failed.v1");
        let attempt = if is_first { 1 } else { 2 };
        assert_eq!((&failed["attempt"], &failed["reason"]), (&json!(attempt), &json!("client_closed")), "{life:?}");
        assert_eq!((failed.get("usage"), failed.get("cost_usd")), (None, None), "{life:?}");
        let outcome = if is_first { "answered" } else { "failed" };
        assert_eq!(of_type(&life, "inference.aborted.v1")["hedge"], outcome, "{life:?}");
        assert_eq!(nano(&of_type(&life, "budget.settled.v1")["charged_usd"]), ANSWER_COST, "{life:?}");
        assert_eq!(metric(&house.gateway, "ledgerway_breakers_open").await, 0);
        house.must_be_sound(&[request]).await;
    }
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_that_has_failed_gives_its_place_back_while_the_first_call_goes_on() {
    let house = House::new("openai", &["gate", "e500"], &[]).await;
    let model = house.hedged("m", &["gate", "e500"], 100).await;
    house.change_second(&model, ("max_concurrent", json!(1))).await;
    let mut alone = house.targets(&["e500"]);
    alone[0]["max_concurrent"] = json!(1);
    made(house.gateway.operator(), "/models", json!({ "name": house.tenant.model("alone"), "targets": alone })).await;
    let mut asked = JoinSet::new();
    let (app, body) = (house.tenant.app.clone(), house.tenant.ask("m"));
    asked.spawn(async move { app.post(NATIVE, &body).await });
    house.upstream.until_seen("e500", 1).await;
    let has_failed = async {
        while !house.gateway.stderr().contains("a call to an upstream failed") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(ENDED_MAX, has_failed).await.expect("the hedge fails");
    let (status, life) = house.asked(NATIVE, "alone", false).await;
    let ended = of_type(&life, "inference.failed.v1");
    assert_eq!((status, ended.get("queued_ms"), ended.get("passed_over")), (502, None, None), "{life:?}");
    let mut requests = vec![request_of(&life)];
    house.upstream.open_gate();
    requests.push(asked.join_next().await.expect("a request").expect("a reply").must(200).request_id());
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_of_either_call_ends_the_request_if_the_other_one_fails_later() {
    let house = House::new("openai", &["reject-400", "e503", "ok"], &[]).await;
    house.hedged("first", &["reject-400", "e503", "ok"], 100).await;
    house.hedged("second", &["e503", "reject-400", "ok"], 100).await;
    house.upstream.on_request(|seen| async move {
        sleep(Duration::from_millis(match seen.model() {
            "reject-400" => 1_000,
            "e503" => 2_000,
            _ => 0,
        }))
        .await;
    });
    let mut requests = Vec::new();
    for model in ["first", "second"] {
        house.upstream.forget();
        let reply = house.tenant.app.post(NATIVE, &house.tenant.ask(model)).await;
        let life = house.gateway.life(&reply.request_id()).await;
        let error = reply.must_be(400, "UPSTREAM_REJECTED").json()["error"].clone();
        assert_eq!(error["details"]["upstream_status"], 400, "{error}");
        assert_eq!(house.upstream.seen_of("ok"), 0, "{life:?}");
        assert_eq!(all_of(&life, "inference.attempt_failed.v1").len(), 2, "{life:?}");
        requests.push(request_of(&life));
    }
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges
#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_breaker_opens_while_the_first_call_waits_gets_no_hedge() {
    let house = House::new("openai", &["slow-6000", "e500"], &[("LEDGERWAY_BREAKER_FAILURES", "1")]).await;
    house.hedged("m", &["slow-6000", "e500"], 4_000).await;
    let change = async || {
        house.asked(NATIVE, "e500", false).await;
        until_metric_is(&house.gateway, "ledgerway_breakers_open", 1).await;
        house.upstream.forget();
    };
    let (status, life) = house.while_first_is_slow(&house.tenant.app, ("m", "slow-6000"), change).await;
    assert_eq!(not_hedged(&house, status, &life, "e500"), Some(&json!(["breaker_open"])), "{life:?}");
    assert_eq!(house.upstream.seen_of("e500"), 0);
    house.must_be_sound(&[request_of(&life)]).await;
}

/// Its breaker lets it be tried again before the hedge is due.
///
/// Holds: inf.hedges, inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_breaker_was_open_at_first_is_called_beside_another_one_when_it_is_tried_again() {
    let env = [("LEDGERWAY_BREAKER_FAILURES", "1"), ("LEDGERWAY_BREAKER_SECONDS", "3")];
    let house = House::new("openai", &["e500", "slow-6000"], &env).await;
    house.hedged("m", &["e500", "slow-6000"], 3_500).await;
    let open = json!({ format!("{}/e500", house.tenant.provider): "breaker_open" });
    // On a very slow machine, it is tried again before the request comes.
    for _ in 0..5 {
        house.asked(NATIVE, "e500", false).await;
        until_metric_is(&house.gateway, "ledgerway_breakers_open", 1).await;
        let (status, life) = house.asked(NATIVE, "m", true).await;
        if life[0]["data"]["route"]["left_out"] != open {
            continue;
        }
        let failed = all_of(&life, "inference.attempt_failed.v1");
        assert_eq!(
            (failed.len(), &failed[0]["attempt"], &failed[0]["backend"]["model"]),
            (1, &json!(2), &json!("e500")),
            "{life:?}"
        );
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!(
            (status, &completed["hedge"], &completed["backend"]["model"]),
            (200, &json!("failed"), &json!("slow-6000")),
            "{life:?}"
        );
        house.must_be_sound(&[request_of(&life)]).await;
        return;
    }
    panic!("its breaker was never open");
}

/// The hedge of one tenant says nothing to others; that of a second one does.
///
/// Holds: inf.hedges, inf.breakers
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_silent_for_ten_seconds_counts_as_a_failure_when_it_is_cancelled() {
    let house = House::new("openai", &["hang", "ok"], &[("LEDGERWAY_BREAKER_FAILURES", "1")]).await;
    house.hedged("m", &["hang", "ok"], 10_500).await;
    let other = Tenant::new(&house.gateway, &house.upstream, &[]).await;
    let mut requests = Vec::new();
    for app in [&house.tenant.app, &other.app] {
        assert_eq!(metric(&house.gateway, "ledgerway_breakers_open").await, 0);
        let (status, life) = house.while_first_is_slow(app, ("m", "hang"), async || {}).await;
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!((status, &completed["hedge"]), (200, &json!("answered")), "{life:?}");
        requests.push(request_of(&life));
    }
    until_metric_is(&house.gateway, "ledgerway_breakers_open", 1).await;
    house.must_be_sound(&requests).await;
}

/// More of them than the tenant could have if they took from it. Each first call answers before the hedge beside it has a connection.
///
/// Holds: inf.hedges, inf.retry-budget
#[tokio::test(flavor = "multi_thread")]
async fn hedges_that_were_not_sent_take_nothing_from_the_retry_budget() {
    let house = House::new("openai", &["slow-900"], &[]).await;
    let silent = Silent::new(&house).await;
    let mut targets = house.targets(&["slow-900", "m"]);
    targets[1]["provider_id"] = json!(silent.provider);
    let model = json!({ "name": house.tenant.model("m"), "targets": targets, "hedge_after_ms": 200 });
    made(house.gateway.operator(), "/models", model).await;
    let mut requests = Vec::new();
    for _ in 0..3 {
        let mut asked = JoinSet::new();
        for _ in 0..30 {
            let (app, body) = (house.tenant.app.clone(), house.tenant.ask("m"));
            asked.spawn(async move { app.post(NATIVE, &body).await.must(200).request_id() });
        }
        requests.extend(asked.join_all().await);
    }
    let mut hedged = 0;
    for request in &requests {
        let life = house.gateway.life(request).await;
        let completed = of_type(&life, "inference.completed.v1");
        assert_eq!((completed.get("passed_over"), nano(&completed["cost_usd"])), (None, ANSWER_COST), "{life:?}");
        hedged += usize::from(completed["hedge"] == "lost");
    }
    assert!(hedged > BUDGET, "{hedged} of {} were hedged", requests.len());
    assert_eq!(metric(&house.gateway, "ledgerway_retries_forbidden_total").await, 0);
    house.must_be_sound(&requests[..3]).await;
}
