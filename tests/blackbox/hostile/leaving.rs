//! Clients that send several requests at once, say that they are done, or are gone in the middle.

use std::time::Duration;

use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant};

const ENDED_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_charged_once_each() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let models = ["slow-120", "ok", "paced-5", "slow-40", "ok"];
    let tenant = Tenant::new(&gateway, &upstream, &["slow-120", "ok", "paced-5", "slow-40"]).await;
    let mut wire = gateway.wire().await;
    let asked: String = models
        .iter()
        .map(|model| {
            let body = if *model == "paced-5" { tenant.ask_streamed(model) } else { tenant.ask(model) };
            tenant.request(OPENAI, "", &body.to_string())
        })
        .collect();
    wire.send(asked).await;
    let mut requests = Vec::new();
    for model in models {
        let answer = wire.response().await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(said.contains(&tenant.model(model)), "not that of {model}: {said}");
        requests.push(answer.header("x-request-id").to_owned());
    }
    let books = gateway.books_when_all_ended(ENDED_MAX).await;
    assert_eq!(books.admitted().len(), models.len());
    for request in &requests {
        assert_eq!(books.end_of(request), Some("budget.settled"), "{request}");
    }
    assert_eq!(upstream.seen().len(), models.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_said_all_and_listens_is_answered() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["slow-600", "paced-60"]).await;
    for (model, body) in [("slow-600", tenant.ask("slow-600")), ("paced-60", tenant.ask_streamed("paced-60"))] {
        let mut wire = gateway.wire().await;
        wire.send(tenant.request(OPENAI, "", &body.to_string())).await;
        wire.finish_sending().await;
        let answer = wire.response().await.unwrap_or_else(|| panic!("{model}: no answer"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(wire.closes_within(ENDED_MAX).await, "{model}: what would still come?");
        let request = answer.header("x-request-id");
        assert_eq!(gateway.books().await.end_of(request), Some("budget.settled"), "{model}");
        let types = gateway.types_of(request).await;
        assert!(types.contains(&"inference.completed.v1".to_owned()), "{model}: {types:?}");
    }
}

/// A stream at once, and a whole answer when its provider's time is over: it is generated, and billed, all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_gone_ends_its_request_however_it_went() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { timeout_ms: 1500, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["hang", "paced-300"], setup).await;
    for (model, streamed, resets) in
        [("hang", false, false), ("hang", false, true), ("hang", true, false), ("paced-300", true, true)]
    {
        let before = upstream.seen_of(model);
        let body = if streamed { tenant.ask_streamed(model) } else { tenant.ask(model) };
        let mut wire = gateway.wire().await;
        wire.send(tenant.request(NATIVE, "", &body.to_string())).await;
        while upstream.seen_of(model) == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if model == "paced-300" {
            wire.head().await.expect("a head");
            assert!(wire.read_some().await && wire.read_some().await, "the stream has begun");
        }
        match resets {
            true => wire.reset(),
            false => drop(wire),
        }
        gateway.books_when_all_ended(ENDED_MAX).await;
        let last = gateway.events().await;
        let ended = last.iter().rev().find(|event| event["type"] == "inference.aborted.v1").expect("it was aborted");
        assert_eq!(ended["data"]["reason"], "client_closed", "{ended}");
        let count = last.iter().filter(|event| event["type"] == "inference.aborted.v1").count();
        let admitted = last.iter().filter(|event| event["type"] == "inference.admitted.v1").count();
        assert_eq!(count, admitted, "{model}, streamed {streamed}, reset {resets}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_in_the_middle_of_its_body_leaves_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let whole = tenant.request(NATIVE, "", &tenant.ask("ok").to_string());
    for (cut, resets) in [(10, true), (whole.len() - 5, false), (whole.len() - 1, true)] {
        let mut wire = gateway.wire().await;
        wire.send(&whole[..cut]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        match resets {
            true => wire.reset(),
            false => drop(wire),
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(upstream.seen().is_empty());
    assert!(gateway.books().await.admitted().is_empty());
}
