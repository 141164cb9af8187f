//! The webhook that is told when budgets are spent.

use std::collections::{HashMap, HashSet};
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
/// So many owners whose alerts fail in a row count as a receiver that is away.
const REFUSED_TENANTS: usize = 8;
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
    /// How long each answer takes.
    delay: Duration,
    /// A post that contains such a text is answered with its status.
    refused: Vec<RefusedText>,
}

struct RefusedText {
    text: String,
    status: StatusCode,
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

    /// Takes so long to answer each post from now on.
    pub fn answer_after(&self, delay: Duration) {
        self.0.lock().expect("no panic").delay = delay;
    }

    /// Answers posts that contain this text with this status from now on, as a filter does.
    pub fn refuse(&self, text: &str, status: StatusCode) {
        let refused = &mut self.0.lock().expect("no panic").refused;
        refused.retain(|other| other.text != text);
        refused.push(RefusedText { text: text.to_owned(), status });
    }

    /// Refuses no text any more.
    pub fn refuse_nothing(&self) {
        self.0.lock().expect("no panic").refused.clear();
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
    let delay = received.lock().expect("no panic").delay;
    tokio::time::sleep(delay).await;
    let mut received = received.lock().expect("no panic");
    if received.answers_left > 0 {
        received.answers_left -= 1;
        return received.status;
    }
    if received.bytes_max.is_some_and(|max| body.len() > max) {
        received.too_large += 1;
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    let text = String::from_utf8_lossy(&body);
    if let Some(refused) = received.refused.iter().find(|refused| text.contains(refused.text.as_str())) {
        return refused.status;
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
    // What it remembers: the position before the alert, whose it is, for how many seconds it was refused, and until when.
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
    let [owner, alert, _, last] = detail.split(' ').collect::<Vec<_>>()[..] else { panic!("{detail}") };
    remembered["alerts"]["detail"] = format!("{owner} {alert} 99999 {last}").into();
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

/// The tenant of an alert, and its position.
fn alert_of(body: &[u8]) -> (String, u64) {
    let event: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    (event["tenant_id"].as_str().unwrap_or("-").to_owned(), event["position"].as_u64().expect("a position"))
}

/// Waits until an alert of the tenant has come, and returns for how long.
async fn wait_for_alert_of(tenant: &Tenant, receiver: &Receiver) -> Duration {
    let begun = Instant::now();
    while !receiver.wait_for(0).await.iter().any(|(_, body)| alert_of(body).0 == tenant.id) {
        assert!(begun.elapsed() < SOON, "no alert of the tenant comes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// A gateway that sends alerts to the receiver, which serves as long as the tasks are kept.
fn gateway_with(receiver: &Receiver) -> (Gateway, JoinSet<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/budgets", listener.local_addr().expect("an address"));
    let serving = receiver.serve(listener);
    (Gateway::start_with(&[("LEDGERWAY_ALERTS_URL", &url)]), serving)
}

/// Holds: alert.webhook
#[tokio::test(flavor = "multi_thread")]
async fn the_many_alerts_of_one_tenant_do_not_stand_in_front_of_anothers() {
    let receiver = Receiver::default();
    receiver.answer_after(Duration::from_millis(50));
    let ((mut gateway, _serving), upstream) = (gateway_with(&receiver), MockUpstream::start().await);
    let (many, one) =
        (Tenant::new(&gateway, &upstream, &["ok"]).await, Tenant::new(&gateway, &upstream, &["ok"]).await);
    let fractions: Vec<String> = (1..=16).map(|nano_usd| format!("0.0000000{nano_usd:02}")).collect();
    let budget = |tenant: &Tenant, alert_at: &[String]| json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "total", "alert_at": alert_at });
    for _ in 0..15 {
        gateway.operator().post("/v1/admin/budgets", &budget(&many, &fractions)).await.must(201);
    }
    gateway.operator().post("/v1/admin/budgets", &budget(&one, &fractions[..1])).await.must(201);
    many.chat("ok").await.must(200);
    receiver.wait_for(3).await;
    one.chat("ok").await.must(200);
    let waited = wait_for_alert_of(&one, &receiver).await;
    assert!(waited < Duration::from_secs(5), "{waited:?}: all others take twelve");

    // The others follow, also after a restart, each at least once and in the order of the log. What was sent shortly before a crash comes
    // again.
    gateway.kill();
    let before_the_crash = receiver.wait_for(0).await.len();
    gateway.start_again();
    let begun = Instant::now();
    let received = loop {
        let received = receiver.wait_for(0).await;
        let distinct: HashSet<_> = received.iter().map(|(headers, _)| headers["webhook-id"].clone()).collect();
        if distinct.len() == 15 * 16 + 1 {
            break received;
        }
        assert!(begun.elapsed() < SOON, "{} alerts came", distinct.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (before, after) = received.split_at(before_the_crash);
    for part in [before, after] {
        let mut last: HashMap<String, u64> = HashMap::new();
        for (tenant, position) in part.iter().map(|(_, body)| alert_of(body)) {
            let last = last.entry(tenant).or_default();
            assert!(position >= *last, "{position} after {last}");
            *last = position;
        }
    }
    let repeated = received.len() - (15 * 16 + 1);
    assert!(repeated <= 16, "{repeated} came again: more than a quarter of a second brings");
}

/// Holds: alert.webhook
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_refused_holds_up_those_of_its_tenant_alone() {
    let receiver = Receiver::default();
    let ((gateway, _serving), upstream) = (gateway_with(&receiver), MockUpstream::start().await);
    let (refused, other) =
        (Tenant::new(&gateway, &upstream, &["ok"]).await, Tenant::new(&gateway, &upstream, &["ok"]).await);
    receiver.refuse(&refused.id, StatusCode::FORBIDDEN);
    for tenant in [&refused, &other] {
        let budget = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "total", "alert_at": ["0.000000001"] });
        gateway.operator().post("/v1/admin/budgets", &budget).await.must(201);
        tenant.chat("ok").await.must(200);
        // Refused more than once, it would hold up the next one for longer and longer.
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(receiver.wait_for(1).await.iter().map(|(_, body)| alert_of(body).0).collect::<Vec<_>>(), [&*other.id]);
    let health = gateway.client(None).get("/health").await.json();
    assert_eq!(health["parts"]["alerts"], "failing", "{health}");
    receiver.refuse_nothing();
    wait_for_alert_of(&refused, &receiver).await;
}

/// Alerts of several tenants are refused: one of another tenant comes within seconds, however long they have been.
/// Holds: alert.webhook
#[tokio::test(flavor = "multi_thread")]
async fn the_refused_alerts_of_many_tenants_do_not_stand_in_front_of_anothers() {
    let receiver = Receiver::default();
    let ((gateway, _serving), upstream) = (gateway_with(&receiver), MockUpstream::start().await);
    for number in 0..=REFUSED_TENANTS {
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let budget = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1", "period": "total", "alert_at": ["0.000000001"] });
        gateway.operator().post("/v1/admin/budgets", &budget).await.must(201);
        if number < REFUSED_TENANTS {
            receiver.refuse(&tenant.id, StatusCode::FORBIDDEN);
            tenant.chat("ok").await.must(200);
            continue;
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        tenant.chat("ok").await.must(200);
        let waited = wait_for_alert_of(&tenant, &receiver).await;
        assert!(waited < Duration::from_secs(15), "{waited:?}");
    }
}
