//! The webhook that is told when budgets are spent.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use ring::hmac;
use serde_json::json;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::tenant::Tenant;

const SOON: Duration = Duration::from_secs(30);
pub const KEY: &[u8; 24] = b"twenty-four bytes or mor";

/// The received posts, and how the next requests are answered.
#[derive(Clone, Default)]
pub struct Receiver(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    posts: Vec<(HeaderMap, Bytes)>,
    answers_left: usize,
    status: StatusCode,
    /// A longer post is answered with 413.
    bytes_max: Option<usize>,
    too_large: usize,
}

impl Receiver {
    /// Serves until it is dropped.
    pub fn serve(&self, listener: TcpListener) -> JoinSet<std::io::Result<()>> {
        listener.set_nonblocking(true).expect("a listener");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let routes = Router::new().route("/budgets", post(receive)).with_state(self.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await });
        serving
    }

    /// Answers the next posts with this status.
    pub fn answer_next(&self, posts: usize, status: StatusCode) {
        let mut received = self.0.lock().expect("no panic");
        (received.answers_left, received.status) = (posts, status);
    }

    /// Accepts no longer posts from now on.
    pub fn accept_at_most(&self, bytes: usize) {
        self.0.lock().expect("no panic").bytes_max = Some(bytes);
    }

    /// How many posts were too long.
    pub fn too_large(&self) -> usize {
        self.0.lock().expect("no panic").too_large
    }

    /// Returns the accepted posts, once there are so many.
    pub async fn wait_for(&self, posts: usize) -> Vec<(HeaderMap, Bytes)> {
        let begun = Instant::now();
        loop {
            let received = self.0.lock().expect("no panic").posts.clone();
            if received.len() >= posts {
                return received;
            }
            assert!(begun.elapsed() < SOON, "{} of {posts} alerts came", received.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive(State(Receiver(received)): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut received = received.lock().expect("no panic");
    if received.answers_left > 0 {
        received.answers_left -= 1;
        return received.status;
    }
    if received.bytes_max.is_some_and(|max| body.len() > max) {
        received.too_large += 1;
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    received.posts.push((headers, body));
    StatusCode::NO_CONTENT
}

/// Checks the signature as a receiver does, by the specification.
pub fn must_be_signed(headers: &HeaderMap, body: &[u8]) {
    let header = |name: &str| headers[name].to_str().expect("text");
    let signed = [format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes(), body].concat();
    let signature = header("webhook-signature").strip_prefix("v1,").expect("version 1");
    let signature = STANDARD.decode(signature).expect("base64");
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, KEY), &signed, &signature).expect("its signature");
}

/// Holds: alert.webhook
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_each_alert_as_the_log_has_it_also_after_an_outage_and_a_kill() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/budgets", listener.local_addr().expect("an address"));
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let env = [("LEDGERWAY_ALERTS_URL", url.as_str()), ("LEDGERWAY_ALERTS_SECRET", secret.as_str())];
    let (mut gateway, upstream) = (Gateway::start_with(&env), MockUpstream::start().await);
    let receiver = Receiver::default();
    receiver.answer_next(2, StatusCode::INTERNAL_SERVER_ERROR);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let budget = |fraction: &str| json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "total", "alert_at": [fraction] });
    gateway.operator().post("/v1/admin/budgets", &budget("0.000000001")).await.must(201);
    // Nobody answers yet: requests are served all the same.
    tenant.chat("ok").await.must(200);
    let health = gateway.client(None).get("/health/ready").await.must(200).json();
    assert!(health["parts"].get("alerts").is_some(), "{health}");
    gateway.kill();
    let _serving = receiver.serve(listener);
    gateway.start_again();
    let first = receiver.wait_for(1).await;
    // The next one, to a receiver that is there.
    gateway.operator().post("/v1/admin/budgets", &budget("0.000000002")).await.must(201);
    tenant.chat("ok").await.must(200);
    let received = receiver.wait_for(2).await;
    let log = gateway.operator().get("/v1/events?limit=1000&types=budget.threshold_reached.v1").await.must(200).body;
    let announced: Vec<&[u8]> = log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(announced.len(), 2);
    assert_eq!(received.iter().map(|(_, body)| &**body).collect::<Vec<_>>(), announced, "once each, in order");
    assert_eq!(first[0].1, received[0].1);
    for (headers, body) in &received {
        must_be_signed(headers, body);
        let event: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(headers["webhook-id"], format!("alert_{}", event["position"]).as_str());
    }
    gateway.stop();
    let said = format!("{}{}", gateway.stdout(), gateway.stderr());
    assert!(!said.contains(&url) && !said.contains("whsec_"), "an address of a webhook is a secret: {said}");
}

/// Holds: alert.refused-day
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_given_up_only_after_a_day_of_refusals_and_the_next_one_comes() {
    let (announced, received) = received_after_a_day(1, StatusCode::FORBIDDEN).await;
    assert_eq!(received, announced[1..]);
}

/// Holds: alert.webhook
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_kept_for_a_receiver_that_cannot_take_it_now() {
    let (announced, received) = received_after_a_day(2, StatusCode::BAD_GATEWAY).await;
    assert_eq!(received, announced);
}

/// Two alerts as the log has them, and what came of them at a receiver that has refused them for a day, answers so a few times more,
/// and then accepts.
async fn received_after_a_day(times: usize, status: StatusCode) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/budgets", listener.local_addr().expect("an address"));
    let (mut gateway, upstream) = (Gateway::start_with(&[("LEDGERWAY_ALERTS_URL", &url)]), MockUpstream::start().await);
    let receiver = Receiver::default();
    receiver.answer_next(usize::MAX, StatusCode::FORBIDDEN);
    let _serving = receiver.serve(listener);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let budget = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "total", "alert_at": ["0.000000001", "0.000000002"] });
    gateway.operator().post("/v1/admin/budgets", &budget).await.must(201);
    tenant.chat("ok").await.must(200);
    let alerts = gateway.operator().get("/v1/events?types=budget.threshold_reached.v1").await.must(200).body;
    let announced: Vec<_> =
        alerts.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    // What it remembers: the position before the alert, for how many seconds it was refused, and until when.
    let roles = gateway.data().join("roles.json");
    let begun = Instant::now();
    let mut remembered = loop {
        let memories = std::fs::read(&roles).unwrap_or_default();
        let memories: serde_json::Value = serde_json::from_slice(&memories).unwrap_or_default();
        if memories["alerts"]["detail"].as_str().is_some_and(|since| !since.is_empty()) {
            break memories;
        }
        assert!(begun.elapsed() < SOON, "a refusal is remembered: {memories}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    gateway.kill();
    let detail = remembered["alerts"]["detail"].as_str().expect("what it remembers").to_owned();
    let [alert, _, last] = detail.split(' ').collect::<Vec<_>>()[..] else { panic!("{detail}") };
    remembered["alerts"]["detail"] = format!("{alert} 99999 {last}").into();
    std::fs::write(&roles, remembered.to_string()).expect("the memory");
    receiver.answer_next(times, status);
    gateway.start_again();
    let second = announced.last().expect("two alerts");
    let begun = Instant::now();
    let received = loop {
        let received: Vec<Vec<u8>> = receiver.wait_for(1).await.into_iter().map(|(_, body)| body.to_vec()).collect();
        if received.last() == Some(second) {
            break received;
        }
        assert!(begun.elapsed() < SOON, "the second one comes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    gateway.stop();
    (announced, received)
}
