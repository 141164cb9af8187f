//! The responses of the paths.

use ::events::event::admin::{Partner, Permission};
use ::events::event::{Chain, Change, Event, Resource, Stream, StreamKind};
use serde_json::{Value, json};

use super::world::{House, OURS, THEIRS, World, operator, text};

/// Holds: query.budgets
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

/// Holds: query.usage
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
    let cursor = first["next_cursor"].as_str().expect("another page");
    let second = format!("/v1/usage?group_by=tenant&limit=1&cursor={cursor}");
    let second = world.get(&operator(), &second).await.expect("a page");
    assert_eq!(second["next_cursor"], Value::Null);
    assert_ne!(first["items"], second["items"]);
    world.close().await;
}

/// Holds: query.inferences
#[tokio::test]
async fn an_inference_shows_its_hold_its_settlement_and_its_money() {
    let world = World::new().await;
    let position = world.infers(OURS, 1000).await;
    let path = format!("/v1/inferences?min_position={position}&key={}", OURS.key());
    let listed = world.items(&operator(), &path).await;
    let request = listed[0]["request_id"].as_str().expect("an id");
    let mut life = world.get(&operator(), &format!("/v1/inferences/{request}")).await.expect("a life");
    // Lists do not tell the routing decision in words.
    let route = life.as_object_mut().and_then(|life| life.remove("route")).expect("a route");
    assert!(route["in_words"].as_str().is_some_and(|told| told.ends_with(" sim/echo answered.")), "{route}");
    assert_eq!(life, listed[0]);
    assert_eq!((&life["status"], &life["cost_usd"]), (&json!("completed"), &json!("0.000000400")));
    assert_eq!(life["hold"]["held_usd"], "0.000001000");
    assert_eq!(life["settlement"]["type"], "budget.settled");
    assert_eq!(life["settlement"]["charged_usd"], "0.000000400");
    assert_eq!((&life["key_id"], &life["backend"]["model"]), (&json!(OURS.key()), &json!("echo")));
    assert_eq!(life["positions"], json!([position - 3, position - 2, position - 1, position]));
    world.close().await;
}

/// Holds: query.audit, query.audit-formats
#[tokio::test]
async fn the_audit_finds_a_resource_in_three_formats() {
    let world = World::new().await;
    let stream = Stream::new(StreamKind::Key, OURS.key());
    let revoked = Event::Resource(Resource::Key(Change::Ended(OURS.key())));
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
async fn words_of_the_audit_are_found_whatever_the_case_of_their_ascii_letters() {
    let world = World::new().await;
    let partner_id = House(200).partner();
    let made = Partner::new(partner_id, "Équipe Bleue");
    let (stream, chain) = (Stream::new(StreamKind::Partner, partner_id), Chain::default());
    let position = world.append(stream, chain, Event::from(Change::created(made)), vec![]).await;
    for (words, number) in [("%C3%89quipe", 1), ("%C3%89QUIPE%20bleue", 1), ("quipe", 1), ("%C3%A9quipe", 0)] {
        let path = format!("/v1/audit?min_position={position}&q={words}");
        assert_eq!(world.items(&operator(), &path).await.len(), number, "{words}");
    }
    world.close().await;
}

/// Holds: admin.read-your-writes, admin.crud
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
    for path in ["providers", "models", "prices", "rate-limits", "audit-searches"] {
        assert_eq!(world.items(&operator(), &format!("/v1/admin/{path}")).await.len(), 0, "{path}");
    }
    let stream = Stream::new(StreamKind::Key, OURS.key());
    let revoked = Event::Resource(Resource::Key(Change::Ended(OURS.key())));
    world.append(stream, OURS.chain(), revoked, vec![]).await;
    assert_eq!(world.items(&operator(), "/v1/admin/keys").await.len(), 1);
    assert_eq!(world.items(&operator(), "/v1/admin/keys?include_ended=true").await.len(), 2);
    let key = world.get(&operator(), &format!("/v1/admin/keys/{}", OURS.key())).await.expect("a key");
    assert!(key["ended_at"].is_string());
    world.close().await;
}

/// Every row of a question, page by page.
async fn all_pages(world: &World, query: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&operator(), &format!("{query}&limit={limit}{cursor}")).await.expect("a page");
        rows.extend(page["items"].as_array().expect("items").clone());
        let Some(next) = page["next_cursor"].as_str() else { return rows };
        cursor = format!("&cursor={next}");
    }
}

/// Holds: query.usage-metadata
#[tokio::test]
async fn usage_grouped_by_metadata_has_the_same_totals() {
    let world = World::new().await;
    world.infers_tagged(OURS, 1000, &[("team", "red"), ("env", "prod")]).await;
    world.infers_tagged(OURS, 1001, &[("team", "red")]).await;
    world.infers_tagged(OURS, 1002, &[("team", "blue, \"or so\"")]).await;
    let position = world.infers(THEIRS, 1003).await;
    let asked = |query: &str| format!("/v1/usage?min_position={position}&{query}");
    let by_team = world.items(&operator(), &asked("group_by=metadata.team")).await;
    let shown: Vec<_> = by_team.iter().map(|row| (&row["metadata.team"], &row["requests"], &row["cost_usd"])).collect();
    let (one, two) = (json!("0.000000400"), json!("0.000000800"));
    let (none, blue, red) = (Value::Null, json!("blue, \"or so\""), json!("red"));
    assert_eq!(shown, [(&none, &json!(1), &one), (&blue, &json!(1), &one), (&red, &json!(2), &two)]);
    assert_eq!((&by_team[2]["input_uncached_tokens"], &by_team[2]["latency_ms_p95"]), (&json!(24), &json!(12)));
    // In whole pages and one by one, by several names and dimensions, and never other than without metadata.
    for by in ["metadata.team,hour", "metadata.env,tenant,metadata.team", "backend,month,metadata.none"] {
        let query = asked(&format!("group_by={by}"));
        let rows = all_pages(&world, &query, 1000).await;
        assert_eq!(all_pages(&world, &query, 1).await, rows, "{by}");
        let requests: i64 = rows.iter().filter_map(|row| row["requests"].as_i64()).sum();
        assert_eq!(requests, 4, "{by}");
    }
    let plain = world.items(&operator(), &asked("group_by=hour,day,month,tenant,backend,model")).await;
    let tagged = world.items(&operator(), &asked("group_by=hour,day,month,tenant,backend,model,metadata.none")).await;
    assert_eq!(plain.len(), tagged.len());
    for (plain, tagged) in plain.iter().zip(&tagged) {
        for (name, value) in plain.as_object().expect("a row") {
            assert_eq!(&tagged[name], value, "{name}");
        }
    }
    let of_red = world.items(&operator(), &asked("metadata.team=red&metadata.env=prod")).await;
    assert_eq!((of_red.len(), &of_red[0]["requests"]), (1, &json!(1)));
    let theirs = world.items(&THEIRS.caller(Permission::ALL), &asked("group_by=metadata.team")).await;
    assert_eq!((theirs.len(), &theirs[0]["metadata.team"]), (1, &none), "no other tenant's metadata");
    world.close().await;
}

#[tokio::test]
async fn refused_requests_count_where_metadata_is_not_known() {
    let world = World::new().await;
    world.infers_tagged(OURS, 1000, &[("team", "red")]).await;
    let position = world.refuses(OURS, 1001).await;
    let path = format!("/v1/usage?min_position={position}&group_by=metadata.team");
    let rows = world.items(&operator(), &path).await;
    let shown: Vec<_> = rows.iter().map(|row| (&row["metadata.team"], &row["requests"], &row["refused"])).collect();
    assert_eq!(shown, [(&Value::Null, &json!(0), &json!(1)), (&json!("red"), &json!(1), &json!(0))]);
    let red = world.items(&operator(), &format!("/v1/usage?min_position={position}&metadata.team=red")).await;
    assert_eq!((red.len(), &red[0]["refused"]), (1, &json!(0)));
    world.close().await;
}

#[tokio::test]
async fn a_page_goes_on_where_it_ended_whatever_came_meanwhile() {
    let world = World::new().await;
    for request in 1000..1004 {
        world.infers(OURS, request).await;
    }
    let first = world.get(&operator(), "/v1/inferences?limit=2&min_position=26").await.expect("a page");
    let position = world.infers(THEIRS, 1004).await;
    let cursor = first["next_cursor"].as_str().expect("another page");
    let path = format!("/v1/inferences?limit=2&min_position={position}&cursor={cursor}");
    let second = world.get(&operator(), &path).await.expect("a page");
    let seen: Vec<_> =
        [&first, &second].iter().flat_map(|page| page["items"].as_array().expect("items").clone()).collect();
    let mut positions: Vec<u64> = seen.iter().filter_map(|item| item["position"].as_u64()).collect();
    assert!(positions.is_sorted_by(|a, b| a > b), "{positions:?}");
    positions.dedup();
    assert_eq!((positions.len(), &second["next_cursor"]), (4, &Value::Null));
    world.close().await;
}

#[tokio::test]
async fn headers_of_lines_have_the_position_and_the_next_cursor() {
    let world = World::new().await;
    let header = |response: &http::Response<axum::body::Body>, name: &str| {
        response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
    };
    for format in ["ndjson", "csv"] {
        let whole =
            text(world.send(&operator(), &format!("/v1/audit?min_position=10&format={format}"), &[]).await).await;
        let (mut lines, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/audit?format={format}&limit=3{cursor}");
            let page = world.send(&operator(), &path, &[]).await;
            assert_eq!(header(&page, "x-ledgerway-as-of-position").as_deref(), Some("10"));
            let next = header(&page, "x-ledgerway-next-cursor");
            lines.extend(text(page).await.lines().map(str::to_owned));
            let Some(next) = next else { break };
            cursor = format!("&cursor={next}");
        }
        lines.dedup_by(|a, b| a.starts_with("position,") && b.starts_with("position,"));
        let heads = |line: &&String| !line.starts_with("position,");
        let whole: Vec<String> = whole.lines().map(str::to_owned).collect();
        assert_eq!(lines.iter().filter(heads).collect::<Vec<_>>(), whole.iter().filter(heads).collect::<Vec<_>>());
        assert_eq!(whole.iter().filter(heads).count(), 10, "{format}");
    }
    let page = world.send(&operator(), "/v1/events?limit=4", &[]).await;
    assert_eq!(header(&page, "x-ledgerway-as-of-position").as_deref(), Some("10"));
    assert_eq!(header(&page, "x-ledgerway-next-cursor").as_deref(), Some("4"));
    let page = world.send(&operator(), "/v1/events?after=4", &[]).await;
    assert_eq!(header(&page, "x-ledgerway-next-cursor"), None);
    world.close().await;
}

/// Holds: http.lists
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

/// Holds: query.head, query.projections
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
