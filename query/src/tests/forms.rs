//! Lists as lines: what a page of JSON says, in another form.

use serde_json::{Map, Value, json};

use super::world::{OURS, THEIRS, World, operator, text};

/// A table's rows, each by the names of the first line.
fn read(table: &str) -> Vec<Map<String, Value>> {
    assert!(table.ends_with("\r\n"), "{table:?}");
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let names = reader.headers().expect("names").clone();
    let rows = reader.records().map(|record| record.expect("a row"));
    rows.map(|row| names.iter().zip(row.iter()).map(|(name, cell)| (name.to_owned(), cell.into())).collect()).collect()
}

/// A value as a cell has it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with('=') => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn lines_and_headers(world: &World, path: &str) -> (String, [Option<String>; 5]) {
    let response = world.send(&operator(), path, &[]).await;
    let names =
        ["content-type", "x-ledgerway-as-of-position", "x-ledgerway-next-cursor", "x-ledgerway-from", "x-ledgerway-to"];
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let headers = names.map(header);
    (text(response).await, headers)
}

/// Holds: query.usage-formats
#[tokio::test]
async fn usage_as_lines_says_what_its_page_says_and_ends_with_the_totals() {
    let world = World::new().await;
    for (number, team) in ["=1+1", "a, \"b\"\r\n=2", "red"].into_iter().enumerate() {
        world.infers_tagged(OURS, 1000 + u128::try_from(number).expect("few"), &[("team", team)]).await;
    }
    world.refuses(OURS, 2000).await;
    let position = world.infers(THEIRS, 1009).await;
    for query in ["group_by=tenant,backend,day", "group_by=metadata.team,key", "", "to=2020-01-01&group_by=tenant"] {
        let path = format!("/v1/usage?min_position={position}&{query}");
        let page = world.get(&operator(), &path).await.expect("a page");
        let items = page["items"].as_array().expect("items");
        let (table, headers) = lines_and_headers(&world, &format!("{path}&format=csv")).await;
        let [media, as_of, next, from, to] = headers;
        assert_eq!((media.as_deref(), next, from), (Some("text/csv; charset=utf-8"), None, None));
        assert_eq!((as_of, to.as_deref()), (Some(page["as_of_position"].to_string()), page["to"].as_str()));
        let rows = read(&table);
        let (total, rows) = rows.split_last().expect("the totals");
        assert_eq!(rows.len(), items.len(), "{table}");
        for (row, item) in rows.iter().zip(items) {
            assert_eq!((&row["row"], row.len()), (&json!("group"), item.as_object().expect("an item").len() + 1));
            item.as_object().expect("an item").iter().for_each(|(name, value)| assert_eq!(row[name], cell(value)));
        }
        assert_eq!(total["row"], "total");
        let totals = page["totals"].as_object().expect("totals");
        totals.iter().for_each(|(name, value)| assert_eq!(total[name], cell(value), "{name}"));
        for (name, cell) in total.iter().filter(|(name, _)| *name != "row" && !totals.contains_key(*name)) {
            assert_eq!(cell, "", "{name}");
        }
        let lines = world.lines(&operator(), &format!("{path}&format=ndjson")).await;
        let (last, groups) = lines.split_last().expect("the totals");
        assert_eq!(
            (&last["row"], &last["cost_usd"], groups.len()),
            (&json!("total"), &totals["cost_usd"], items.len())
        );
        let bare = world.lines(&operator(), &format!("{path}&format=ndjson&totals=false")).await;
        assert_eq!(bare, *items);
        let bare = read(&lines_and_headers(&world, &format!("{path}&format=csv&totals=false")).await.0);
        assert!(bare.len() == items.len() && bare.iter().all(|row| !row.contains_key("row")));
    }
    world.close().await;
}

/// Holds: query.usage-formats
#[tokio::test]
async fn pages_of_lines_have_the_totals_on_the_last_alone() {
    let world = World::new().await;
    world.infers(OURS, 1000).await;
    let position = world.infers(THEIRS, 1001).await;
    let from = "2020-01-01T00:30:00.000000Z";
    let path = format!("/v1/usage?min_position={position}&from={from}&group_by=tenant&limit=1&format=csv");
    let (first, [.., next, begins, _]) = lines_and_headers(&world, &path).await;
    let cursor = next.expect("another page");
    let (second, [.., next, _, _]) = lines_and_headers(&world, &format!("{path}&cursor={cursor}")).await;
    assert_eq!((next, begins.as_deref()), (None, Some(from)));
    let kinds =
        |table: &str| read(table).iter().map(|row| row["row"].as_str().expect("text").to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (kinds(&first), kinds(&second)),
        (vec!["group".to_owned()], vec!["group".to_owned(), "total".to_owned()])
    );
    let total = &read(&second)[1];
    assert_eq!(
        (&total["requests"], &total["cost_usd"], &total["tenant"]),
        (&json!("2"), &json!("0.000000800"), &json!(""))
    );
    world.close().await;
}

/// Holds: query.inferences-formats
#[tokio::test]
async fn requests_as_lines_are_the_requests_of_the_page() {
    let world = World::new().await;
    world.infers_tagged(OURS, 1000, &[("team", "=1+1")]).await;
    let hold = world.admits(OURS, 1001, &[]).await;
    let position = world.refuses(THEIRS, 1002).await;
    let path = format!("/v1/inferences?min_position={position}&limit=2");
    let page = world.get(&operator(), &path).await.expect("a page");
    let cursor = page["next_cursor"].as_str().expect("another page");
    let response = world.send(&operator(), &format!("{path}&format=ndjson"), &[]).await;
    assert_eq!(response.headers()["x-ledgerway-next-cursor"], cursor);
    let lines = text(response).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(Some(&lines), page["items"].as_array());
    let (table, [media, _, next, ..]) = lines_and_headers(&world, &format!("{path}&format=csv")).await;
    assert_eq!((media.as_deref(), next.as_deref()), (Some("text/csv; charset=utf-8"), Some(cursor)));
    let rows = read(&table);
    let shown: Vec<_> = rows.iter().map(|row| (row["status"].as_str(), row["cost_usd"].as_str())).collect();
    assert_eq!(shown, [(Some("refused"), Some("0.000000000")), (Some("admitted"), Some("0.000000000"))]);
    let last = lines_and_headers(&world, &format!("{path}&format=csv&cursor={cursor}")).await.0;
    let last = &read(&last)[0];
    for (name, wanted) in [
        ("tenant_id", OURS.tenant().to_string()),
        ("key_id", OURS.key().to_string()),
        ("backend", "sim/echo".to_owned()),
        ("output_text_tokens", "9".to_owned()),
        ("usage_source", "provider".to_owned()),
        ("cost_usd", "0.000000400".to_owned()),
        ("held_usd", "0.000001000".to_owned()),
        ("charged_usd", "0.000000400".to_owned()),
        ("latency_ms", "12".to_owned()),
        ("metadata", r#"{"team":"=1+1"}"#.to_owned()),
    ] {
        assert_eq!(last[name], wanted, "{name}");
    }
    drop(hold);
    world.close().await;
}
