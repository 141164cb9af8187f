//! The models that a key may use, all of them and one by its name.

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::Tenant;

/// Holds: inf.models
#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_found_by_its_name_where_the_list_has_it_and_nowhere_else() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let listed = tenant.app.get("/v1/models").await.must(200).json()["data"].take();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    for model in listed.as_array().expect("a list") {
        let name = model["id"].as_str().expect("a name");
        for path in [format!("/v1/models/{name}"), format!("/oai/v1/models/{}", name.replace('/', "%2F"))] {
            assert_eq!(tenant.app.get(&path).await.must(200).json(), *model, "{path}");
        }
    }

    let anthropics = tenant.app.clone().with("anthropic-version", "2023-06-01");
    let list = anthropics.get("/v1/models").await.must(200).json();
    let data = list["data"].as_array().expect("a list");
    let (first, last) = (data.first().expect("a model"), data.last().expect("a model"));
    assert_eq!((&list["first_id"], &list["last_id"], &list["has_more"]), (&first["id"], &last["id"], &json!(false)));
    for model in data {
        assert_eq!((&model["type"], &model["display_name"]), (&json!("model"), &model["id"]));
        assert!(model["created_at"].as_str().is_some_and(|at| at.ends_with('Z') && at.len() == 20), "{model}");
        let path = format!("/v1/models/{}", model["id"].as_str().expect("a name"));
        assert_eq!(anthropics.get(&path).await.must(200).json(), *model);
    }

    let narrow = json!({ "user_id": tenant.user, "name": "narrow", "models": [tenant.model("ok")] });
    let narrow = gateway.operator().post("/v1/admin/keys", &narrow).await.must(201).json();
    let narrow = gateway.client(narrow["secret"].as_str());
    narrow.get(&format!("/v1/models/{}", tenant.model("ok"))).await.must(200);
    for (client, name) in [(&narrow, tenant.model("other")), (&tenant.app, "no-such-model".to_owned())] {
        let refused = client.get(&format!("/v1/models/{name}")).await.must(404).json();
        assert_eq!(refused["error"]["code"], "model_not_found", "{refused}");
    }
    gateway.client(None).get(&format!("/v1/models/{}", tenant.model("ok"))).await.must(401);
}
