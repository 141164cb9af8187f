//! A retried change answers the same, whoever asks at the same time and whatever dies in between.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::client::Reply;
use crate::gateway::{Gateway, type_of};
use crate::tenant::Tenant;

const PARTNERS: &str = "/v1/admin/partners";

/// Holds: admin.idempotency
#[tokio::test(flavor = "multi_thread")]
async fn of_thirty_at_once_with_one_idempotency_key_one_is_made_and_all_get_it() {
    let gateway = Gateway::start();
    let once = gateway.operator().clone().with("idempotency-key", "made-once");
    let mut posts = JoinSet::new();
    for _ in 0..30 {
        let once = once.clone();
        posts.spawn(async move { once.post(PARTNERS, &json!({ "name": "once" })).await });
    }
    let replies: Vec<Reply> = posts.join_all().await.into_iter().map(|reply| reply.must(201)).collect();
    let first = &replies[0];
    for reply in &replies {
        assert_eq!((reply.json(), reply.position()), (first.json(), first.position()));
    }
    let log = gateway.events().await;
    let made = |event: &&Value| type_of(event) == "partner.created.v1" && event["data"]["name"] == "once";
    assert_eq!(log.iter().filter(made).count(), 1);
}

/// Holds: admin.idempotency, admin.idempotency-reused
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_kill_9_answers_the_same_without_the_secret() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let once = gateway.operator().clone().with("idempotency-key", "a-key-once");
    let body = json!({ "user_id": tenant.user, "name": "once" });
    let first = once.post("/v1/admin/keys", &body).await.must(201);
    gateway.kill();
    gateway.start_again();
    let again = once.post("/v1/admin/keys", &body).await.must(201);
    let mut without_secret = first.json();
    without_secret.as_object_mut().expect("a resource").remove("secret");
    assert_eq!((again.json(), again.position()), (without_secret, first.position()));
    let other = json!({ "user_id": tenant.user, "name": "another" });
    once.post("/v1/admin/keys", &other).await.must_be(409, "IDEMPOTENCY_KEY_REUSED");
    // The key that was shown once works, also for the process after.
    let secret = first.json()["secret"].as_str().expect("a secret").to_owned();
    gateway.client(Some(&secret)).post(crate::tenant::NATIVE, &tenant.ask("ok")).await.must(200);
    // Another caller's keys are its own.
    let (_, admin) = tenant.new_key(&gateway, json!({ "permissions": ["admin:access", "models:use"] })).await;
    admin.with("idempotency-key", "a-key-once").post("/v1/admin/keys", &other).await.must(201);
}
