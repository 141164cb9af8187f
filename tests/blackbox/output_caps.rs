//! Under which name the output cap goes upstream: a server that does not know the name has no cap.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant};

const NAMES: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// The caps of the last request that the upstream saw.
fn caps(upstream: &MockUpstream) -> Vec<(&'static str, Value)> {
    let seen = upstream.seen().pop().expect("a request");
    let cap = |name: &'static str| Some((name, seen.body.get(name)?.clone()));
    NAMES.into_iter().filter_map(cap).collect()
}

/// Holds: admin.output-cap-field
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_knows_one_name_of_the_cap_is_sent_that_one_alone() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let path = format!("/v1/admin/providers/{}", tenant.provider);
    let row = gateway.operator().get(&path).await.must(200).json();
    assert_eq!((&row["output_cap_field"], &row["output_cap_field_given"]), (&json!("max_tokens"), &json!(false)));
    for given in [None, Some("max_tokens"), Some("max_completion_tokens"), None] {
        let row = gateway.operator().patch(&path, &json!({ "output_cap_field": given })).await.must(200).json();
        let shown = (&row["output_cap_field"], &row["output_cap_field_given"]);
        assert_eq!(shown, (&json!(given.unwrap_or("max_tokens")), &json!(given.is_some())));
        for own in NAMES {
            let mut body = tenant.ask("ok");
            body[own] = json!(7);
            tenant.app.post(OPENAI, &body).await.must(200);
            assert_eq!(caps(&upstream), [(given.unwrap_or(own), json!(7))], "{own} for {given:?}");
        }
        let sent = given.unwrap_or("max_tokens");
        tenant.openai("ok").await.must(200);
        assert_eq!(caps(&upstream), [(sent, json!(256))], "no cap for {given:?}");
        let mut native = tenant.ask("ok");
        native["max_output_tokens"] = json!(9);
        tenant.app.post(NATIVE, &native).await.must(200);
        assert_eq!(caps(&upstream), [(sent, json!(9))], "the native surface for {given:?}");
    }
    let head = gateway.head().await;
    let list = gateway.operator().get(&format!("/v1/admin/providers?min_position={head}")).await.must(200).json();
    let listed = list["items"].as_array().expect("items").iter().find(|row| row["id"] == tenant.provider.as_str());
    assert_eq!(listed.expect("the provider")["output_cap_field_given"], json!(false));
}
