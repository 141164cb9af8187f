//! What the paths answer.

use ::events::event::admin::Ended;
use ::events::event::{Event, Stream, StreamKind};
use serde_json::{Value, json};

use super::world::{OURS, THEIRS, World, operator, text};

#[tokio::test]
async fn a_budget_says_what_is_settled_held_and_left() {
    let world = World::new().await;
    let position = world.infers(OURS, 1000).await;
    let path = format!("/v1/budgets/{}?min_position={position}", OURS.budget());
    let budget = world.get(&operator(), &path).await.expect("a budget");
    for (name, value) in [
        ("id", OURS.budget().to_string()),
        ("limit_usd", "5.000000000".into()),
        ("settled_usd", "0.000000400".into()),
        ("held_usd", "0.000000000".into()),
        ("remaining_usd", "4.999999600".into()),
        ("period", "month".into()),
    ] {
        assert_eq!(budget[name], json!(value), "{name} of {budget}");
    }
    assert!(budget["period_start"].is_string() && budget["resets_at"].is_string());
    assert_eq!(budget["scope"], json!({ "tenant_id": OURS.tenant() }));
    let unused = world.get(&operator(), &format!("/v1/budgets/{}", THEIRS.budget())).await.expect("a budget");
    assert_eq!(unused["remaining_usd"], "5.000000000");
    world.close().await;
}

#[tokio::test]
async fn usage_is_grouped_filtered_and_sums_to_the_same() {
    let world = World::new().await;
    world.infers(OURS, 1000).await;
    world.infers(OURS, 1001).await;
    let position = world.infers(THEIRS, 1002).await;
    let usage = |query: String| {
        let world = &world;
        async move { world.items(&operator(), &format!("/v1/usage?min_position={position}&{query}")).await }
    };
    let by_tenant = usage("group_by=tenant,backend".into()).await;
    assert_eq!(by_tenant.len(), 2);
    let ours = by_tenant.iter().find(|row| row["tenant"] == json!(OURS.tenant())).expect("our row");
    assert_eq!((&ours["requests"], &ours["cost_usd"]), (&json!(2), &json!("0.000000800")));
    assert_eq!((&ours["backend"], &ours["input_uncached_tokens"]), (&json!("sim/echo"), &json!(24)));
    assert_eq!((&ours["latency_ms_p50"], &ours["latency_ms_p95"]), (&json!(12), &json!(12)));
    let total = usage(String::new()).await;
    assert_eq!((total.len(), &total[0]["cost_usd"]), (1, &json!("0.000001200")));
    let filtered = usage(format!("group_by=model,day&tenant={}", OURS.tenant())).await;
    assert_eq!((filtered.len(), &filtered[0]["requests"], &filtered[0]["model"]), (1, &json!(2), &json!("large")));
    assert!(filtered[0]["day"].as_str().is_some_and(|day| day.len() == 10));
    assert!(filtered[0].get("tenant").is_none(), "what is not grouped by is not shown");
    assert_eq!(usage("to=2020-01-01".into()).await.len(), 0);
    let first = world.get(&operator(), "/v1/usage?group_by=tenant&limit=1").await.expect("a page");
    assert_eq!(first["next_cursor"], "1");
    let second = world.get(&operator(), "/v1/usage?group_by=tenant&limit=1&cursor=1").await.expect("a page");
    assert_eq!(second["next_cursor"], Value::Null);
    assert_ne!(first["items"], second["items"]);
    world.close().await;
}

#[tokio::test]
async fn an_inference_shows_its_hold_its_settlement_and_its_money() {
    let world = World::new().await;
    let position = world.infers(OURS, 1000).await;
    let path = format!("/v1/inferences?min_position={position}&key={}", OURS.key());
    let listed = world.items(&operator(), &path).await;
    let request = listed[0]["request_id"].as_str().expect("an id");
    let life = world.get(&operator(), &format!("/v1/inferences/{request}")).await.expect("a life");
    assert_eq!(life, listed[0]);
    assert_eq!((&life["status"], &life["cost_usd"]), (&json!("completed"), &json!("0.000000400")));
    assert_eq!(life["hold"]["held_usd"], "0.000001000");
    assert_eq!(life["settlement"]["type"], "budget.settled");
    assert_eq!(life["settlement"]["charged_usd"], "0.000000400");
    assert_eq!((&life["key_id"], &life["backend"]["model"]), (&json!(OURS.key()), &json!("echo")));
    assert_eq!(life["positions"], json!([position - 3, position - 2, position - 1, position]));
    world.close().await;
}

#[tokio::test]
async fn the_audit_finds_a_resource_in_three_formats() {
    let world = World::new().await;
    let stream = Stream::new(StreamKind::Key, OURS.key());
    let revoked = Event::KeyRevoked(Box::new(Ended { id: OURS.key() }));
    let position = world.append(stream, OURS.chain(), revoked, vec![]).await;
    let path = format!("/v1/audit?min_position={position}&resource={}", OURS.key());
    let entries = world.items(&operator(), &path).await;
    let actions: Vec<&str> = entries.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions, ["key.revoked", "key.created"]);
    assert_eq!(entries[0]["resource"], format!("key/{}", OURS.key()));
    assert_eq!((&entries[0]["actor"], &entries[0]["ip"]), (&json!("operator"), &Value::Null));
    let whole = format!("/v1/audit?resource=key/{}&action=key.created&q=HOUSE", OURS.key());
    assert_eq!(world.items(&operator(), &whole).await.len(), 1);
    assert_eq!(world.lines(&operator(), &format!("{path}&format=ndjson")).await, entries);
    let csv = text(world.send(&operator(), &format!("{path}&format=csv"), &[]).await).await;
    assert_eq!((csv.lines().count(), csv.starts_with("position,recorded_at,actor")), (3, true));
    world.close().await;
}

#[tokio::test]
async fn resources_are_read_as_they_were_just_written() {
    let world = World::new().await;
    let user = world.get(&operator(), &format!("/v1/admin/users/{}", OURS.user())).await.expect("a user");
    assert_eq!((&user["name"], &user["email"]), (&json!("Ada"), &Value::Null));
    assert!(user["created_at"].is_string() && user["ended_at"].is_null());
    assert_eq!(world.items(&operator(), "/v1/admin/users").await.len(), 2);
    for path in ["partners", "tenants", "keys", "budgets"] {
        assert_eq!(world.items(&operator(), &format!("/v1/admin/{path}")).await.len(), 2, "{path}");
    }
    for path in ["providers", "models", "prices", "rate-limits"] {
        assert_eq!(world.items(&operator(), &format!("/v1/admin/{path}")).await.len(), 0, "{path}");
    }
    let stream = Stream::new(StreamKind::Key, OURS.key());
    let revoked = Event::KeyRevoked(Box::new(Ended { id: OURS.key() }));
    world.append(stream, OURS.chain(), revoked, vec![]).await;
    assert_eq!(world.items(&operator(), "/v1/admin/keys").await.len(), 1);
    assert_eq!(world.items(&operator(), "/v1/admin/keys?include_ended=true").await.len(), 2);
    let key = world.get(&operator(), &format!("/v1/admin/keys/{}", OURS.key())).await.expect("a key");
    assert!(key["ended_at"].is_string());
    world.close().await;
}

#[tokio::test]
async fn lists_are_newest_first_and_go_on_at_their_cursor() {
    let world = World::new().await;
    let page = world.get(&operator(), "/v1/admin/partners?limit=1").await.expect("a page");
    assert_eq!(page["items"][0]["id"], json!(THEIRS.partner()));
    let cursor = page["next_cursor"].as_str().expect("another page");
    let next = format!("/v1/admin/partners?limit=1&cursor={cursor}");
    let page = world.get(&operator(), &next).await.expect("a page");
    assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&json!(OURS.partner()), &Value::Null));
    assert_eq!(page["as_of_position"], 10);
    world.close().await;
}

#[tokio::test]
async fn the_log_and_its_views_say_where_they_stand() {
    let world = World::new().await;
    let head = world.get(&operator(), "/v1/log/head?min_position=10").await.expect("a head");
    assert_eq!(head["position"], 10);
    assert!(head["recorded_at"].is_string());
    let views = world.items(&operator(), "/v1/projections").await;
    let names: Vec<&str> = views.iter().filter_map(|view| view["name"].as_str()).collect();
    assert_eq!(names, ["budgets", "usage_by_hour", "inferences", "audit", "catalogue"]);
    for name in ["version", "position", "lag_events", "lag_ms", "rebuilding"] {
        assert!(views[0].get(name).is_some(), "{name}");
    }
    world.close().await;
}
