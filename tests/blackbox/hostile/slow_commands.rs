//! Administrative requests whose bodies take their time: they cost nobody else a turn.

use std::time::{Duration, Instant};

use serde_json::json;
use testing::upstream::MockUpstream;

use super::late_bodies::Unfinished;
use crate::gateway::Gateway;
use crate::tenant::{Tenant, text};

/// Commands that a key may have carried out at a time; two such keys have all that their tenant may.
const COMMANDS_OF_KEY: usize = 8;
/// A command that has to wait for others of its tenant is refused after two seconds.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// Holds: admin.slow-bodies
#[tokio::test(flavor = "multi_thread")]
async fn commands_whose_bodies_are_on_the_way_keep_no_other_key_of_their_tenant_waiting() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let fields = json!({ "permissions": ["admin:access"] });
    let (_, sibling) = tenant.new_key(&gateway, fields.clone()).await;
    let command = |name: String| json!({ "user_id": tenant.user, "name": name, "permissions": [] });
    let mut unfinished = Vec::new();
    for slow in 0..2 {
        let key = json!({ "user_id": tenant.user, "name": "slow", "permissions": ["admin:access"] });
        let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
        let secret = text(&key["secret"]);
        for number in 0..COMMANDS_OF_KEY {
            let body = command(format!("late-{slow}-{number}"));
            unfinished.push(Unfinished::begin(&gateway, &secret, ("POST", "/v1/admin/keys"), "", &body).await);
        }
    }
    let asked = Instant::now();
    sibling.post("/v1/admin/keys", &command("prompt".to_owned())).await.must(201);
    assert!(asked.elapsed() < AT_ONCE, "another key's command took {:?}", asked.elapsed());
    for slow in unfinished {
        let answer = slow.finish().await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}
