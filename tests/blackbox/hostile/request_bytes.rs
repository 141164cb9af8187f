//! Upstreams that answer before they have taken the request: its bytes count for as long as they are held.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::{Call, MockUpstream, UpstreamByHand};
use tokio::task::JoinSet;

use super::body_memory::{MIB, ask_with, held, rich, until_held};
use crate::abandoned::{ABANDONED, until_metric_is};
use crate::gateway::{Gateway, type_of};
use crate::tenant::{OPENAI, Tenant};

const ENDED_MAX: Duration = Duration::from_secs(10);
const REQUEST: usize = 20 * MIB;
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";

struct Setting {
    gateway: Gateway,
    tenant: Tenant,
    by_hand: UpstreamByHand,
    _mock: MockUpstream,
}

/// A tenant whose model `early` is spoken for by the test.
async fn setting() -> Setting {
    let (gateway, mock, by_hand) = (Gateway::start(), MockUpstream::start().await, UpstreamByHand::start().await);
    let tenant = rich(&gateway, &mock, &[]).await;
    tenant.add_model_at("early", &by_hand.base_url()).await;
    Setting { gateway, tenant, by_hand, _mock: mock }
}

fn answer() -> String {
    let message = json!({ "role": "assistant", "content": "hello" });
    let usage = json!({ "prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21 });
    json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }], "usage": usage }).to_string()
}

impl Setting {
    fn large(&self) -> Value {
        ask_with(&self.tenant, "early", REQUEST)
    }

    /// Asks for a whole answer, with a client that leaves with the set.
    async fn ask(&self) -> (JoinSet<crate::client::Reply>, Call) {
        let (app, body) = (self.tenant.app.clone(), self.large());
        let mut asking = JoinSet::new();
        asking.spawn(async move { app.post(OPENAI, &body).await });
        (asking, self.by_hand.called().await)
    }

    async fn has_no_room_for_another(&self) {
        let bytes = held(&self.gateway, "inference").await;
        assert!(bytes >= REQUEST, "{bytes} bytes are counted of a request that nobody has taken");
        let refused = self.tenant.app.post(OPENAI, &self.large()).await.must_be(503, "overloaded");
        assert_eq!(refused.json()["error"]["details"]["scope"], "key");
    }
}

/// Holds: http.body-memory
#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_while_its_upstream_streams_and_does_not_take_it() {
    let setting = setting().await;
    let mut body = setting.large();
    body["stream"] = json!(true);
    let app = setting.tenant.app.clone();
    let mut asking = JoinSet::new();
    asking.spawn(async move { app.stream(OPENAI, &body).await.expect("a stream") });
    let mut call = setting.by_hand.called().await;
    call.begins_to_stream().await;
    call.says(EVENT).await;
    let mut stream = asking.join_next().await.expect("an answer").expect("an answer");
    stream.next().await.expect("an event").expect("an event");
    setting.has_no_room_for_another().await;
    // It goes with its client, whose absence shows when something is written; the upstream has taken nothing still.
    drop(stream);
    while call.says(EVENT).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until_held(&setting.gateway, "inference", |bytes| bytes == 0).await;
}

/// Holds: http.body-memory, inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_has_left_counts_until_its_upstream_has_taken_it() {
    let setting = setting().await;
    let (asking, mut call) = setting.ask().await;
    let answer = answer();
    call.begins_to_answer(answer.len()).await;
    call.says(&answer[..1]).await;
    drop(asking);
    until_metric_is(&setting.gateway, ABANDONED, 1).await;
    setting.has_no_room_for_another().await;
    call.takes_the_body().await;
    // The answer is still on its way.
    until_held(&setting.gateway, "inference", |bytes| bytes == 0).await;
    assert_eq!(setting.gateway.books().await.open_holds().len(), 1);
    call.says(&answer[1..]).await;
    setting.gateway.books_when_all_ended(ENDED_MAX).await;
    let mut events = setting.tenant.events_of(&setting.gateway, &["inference.aborted"]).await;
    let said = events.pop().expect("an end");
    assert_eq!((type_of(&said), &said["data"]["usage"]["source"]), ("inference.aborted.v1", &json!("provider")));
}

/// Holds: inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn what_clients_that_left_had_sent_is_no_reason_to_charge_their_holds() {
    let setting = setting().await;
    let answer = answer();
    let (_, sibling) = setting.tenant.new_key(&setting.gateway, json!({})).await;
    let mut calls = Vec::new();
    for app in [&setting.tenant.app, &sibling] {
        let (app, body) = (app.clone(), ask_with(&setting.tenant, "early", 19 * MIB));
        let mut asking = JoinSet::new();
        asking.spawn(async move { app.post(OPENAI, &body).await });
        let mut call = setting.by_hand.called().await;
        call.takes_the_body().await;
        calls.push(call);
        drop(asking);
        until_metric_is(&setting.gateway, ABANDONED, calls.len() as u64).await;
    }
    for call in &mut calls {
        call.begins_to_answer(answer.len()).await;
        call.says(&answer).await;
    }
    setting.gateway.books_when_all_ended(ENDED_MAX).await;
    let ended = setting.tenant.events_of(&setting.gateway, &["inference.aborted"]).await;
    let sources: Vec<&Value> = ended.iter().map(|event| &event["data"]["usage"]["source"]).collect();
    assert_eq!(sources, ["provider", "provider"]);
}

/// Holds: http.body-memory
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_taken_counts_no_more_while_its_answer_is_on_its_way() {
    let setting = setting().await;
    let (mut asking, mut call) = setting.ask().await;
    call.takes_the_body().await;
    let answer = answer();
    call.begins_to_answer(answer.len()).await;
    call.says(&answer[..1]).await;
    until_held(&setting.gateway, "inference", |bytes| bytes == 0).await;
    call.says(&answer[1..]).await;
    asking.join_next().await.expect("an answer").expect("an answer").must(200);
}

/// Holds: http.body-memory
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_never_taken_is_let_go_soon_after_its_answer() {
    let setting = setting().await;
    let (mut asking, mut call) = setting.ask().await;
    let answer = answer();
    call.begins_to_answer(answer.len()).await;
    call.says(&answer).await;
    asking.join_next().await.expect("an answer").expect("an answer").must(200);
    setting.has_no_room_for_another().await;
    until_held(&setting.gateway, "inference", |bytes| bytes == 0).await;
}
