//! Lists, their pages and their forms.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant};

/// Every item of a list, so many a page.
async fn items(client: &Client, path: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let joint = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = client.get(&format!("{path}{joint}limit={limit}{cursor}")).await.must(200).json();
        assert!(page["as_of_position"].is_u64(), "{path}: {page}");
        found.extend(page["items"].as_array().expect("items").clone());
        let Some(next) = page["next_cursor"].as_str() else { return found };
        let beyond = format!("&cursor={next}");
        assert_ne!(beyond, cursor, "{path}: the same page again");
        cursor = beyond;
    }
}

async fn tagged(tenant: &Tenant, metadata: Value) {
    let mut body = tenant.ask("ok");
    body["metadata"] = metadata;
    tenant.app.post(NATIVE, &body).await.must(200);
}

/// Holds: http.lists
#[tokio::test(flavor = "multi_thread")]
async fn every_list_goes_on_at_its_cursor_and_takes_no_other() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for _ in 0..4 {
        tenant.chat("ok").await.must(200);
        // A row of the usage for each key.
        let (_, app) = tenant.new_key(&gateway, json!({})).await;
        app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    }
    let head = gateway.head().await;
    let operator = gateway.operator();
    // Without reads, which go on meanwhile.
    let audit = "/v1/audit?category=administration,money";
    let lists = ["/v1/inferences", audit, "/v1/usage?group_by=tenant,key", "/v1/admin/keys", "/v1/admin/tenants"];
    for path in lists {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}min_position={head}");
        let whole = items(operator, &path, 1000).await;
        // More than the longer of the pages below; there is one tenant, and the house.
        let least = if path.starts_with("/v1/admin/tenants") { 2 } else { 4 };
        assert!(whole.len() >= least, "{path}: {}", whole.len());
        for limit in [1, 3] {
            assert_eq!(items(operator, &path, limit).await, whole, "{path} by {limit}");
        }
        for cursor in ["x", "5", "-1", "elsewhere-5", "%00", "usage-00", "inferences-05"] {
            let refused = operator.get(&format!("{path}&cursor={cursor}")).await.must_be(400, "INVALID_REQUEST").json();
            assert_eq!(refused["error"]["details"]["field"], "cursor", "{path} {cursor}");
        }
        for limit in ["0", "10001", "x"] {
            operator.get(&format!("{path}&limit={limit}")).await.must_be(400, "INVALID_REQUEST");
        }
    }
    let of_inferences = operator.get("/v1/inferences?limit=1").await.must(200).json();
    let cursor = of_inferences["next_cursor"].as_str().expect("another page");
    operator.get(&format!("/v1/audit?cursor={cursor}")).await.must_be(400, "INVALID_REQUEST");
}

/// Holds: query.usage-exact, query.usage-totals
#[tokio::test(flavor = "multi_thread")]
async fn usage_from_the_second_request_on_has_not_the_first() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for _ in 0..3 {
        tenant.chat("ok").await.must(200);
    }
    let admitted = tenant.events_of(&gateway, &["inference.admitted"]).await;
    let times: Vec<&str> = admitted.iter().map(|event| event["recorded_at"].as_str().expect("a time")).collect();
    let head = gateway.head().await;
    let usage = |query: String| {
        let path = format!("/v1/usage?min_position={head}&tenant={}&group_by=week,key&{query}", tenant.id);
        let operator = gateway.operator();
        async move { operator.get(&path).await.must(200).json() }
    };
    let whole = usage(String::new()).await;
    assert_eq!((&whole["from"], &whole["to"], &whole["totals"]["requests"]), (&Value::Null, &Value::Null, &json!(3)));
    for (first, last, requests) in [(0, 1, 1), (1, 2, 1), (0, 2, 2), (2, 0, 0)] {
        let page = usage(format!("from={}&to={}", times[first], times[last])).await;
        assert_eq!((&page["from"], &page["to"]), (&json!(times[first]), &json!(times[last])));
        let rows = page["items"].as_array().expect("items");
        assert_eq!((&page["totals"]["requests"], rows.len()), (&json!(requests), requests.min(1)), "{page}");
        assert!(rows.iter().all(|row| row["requests"] == json!(requests) && row["latency_ms_p95"].is_u64()), "{page}");
    }
}

/// Holds: query.usage-formats, query.inferences-formats
#[tokio::test(flavor = "multi_thread")]
async fn usage_and_requests_are_given_as_tables() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tagged(&tenant, json!({ "team": "=HYPERLINK(\"http://example.invalid\")" })).await;
    tenant.chat("ok").await.must(200);
    let (head, operator) = (gateway.head().await, gateway.operator());
    let asked = |path: &str| format!("{path}min_position={head}&tenant={}&format=csv", tenant.id);
    let usage = operator.get(&asked("/v1/usage?group_by=metadata.team&")).await.must(200);
    assert_eq!(usage.header("content-type"), "text/csv; charset=utf-8");
    let table = String::from_utf8(usage.body.to_vec()).expect("text");
    let lines: Vec<&str> = table.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("row,metadata.team,requests,refused,failed,"), "{table}");
    assert!(lines[1].starts_with("group,,1,0,0,") && lines[3].starts_with("total,,2,0,0,"), "{table}");
    assert!(lines[2].starts_with("group,\"'=HYPERLINK(\"\"http://") && lines.len() == 4, "{table}");
    let requests = operator.get(&asked("/v1/inferences?limit=1&")).await.must(200);
    assert!(!requests.header("x-ledgerway-next-cursor").is_empty());
    let table = String::from_utf8(requests.body.to_vec()).expect("text");
    assert!(table.starts_with("request_id,position,recorded_at,") && table.contains(",completed,key_"), "{table}");
    for path in ["/v1/usage?", "/v1/inferences?"] {
        operator.get(&format!("{path}format=xml")).await.must_be(400, "INVALID_REQUEST");
    }
}

/// Holds: query.names, query.filters-by-name, query.key-use
#[tokio::test(flavor = "multi_thread")]
async fn names_stand_beside_ids_and_filters_take_them() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let made = |body: Value| {
        let (operator, user) = (gateway.operator(), &tenant.user);
        async move {
            let body = json!({ "user_id": user, "name": body["name"], "permissions": body["permissions"] });
            operator.post("/v1/admin/keys", &body).await.must(201).json()
        }
    };
    let reader = made(json!({ "name": "reads", "permissions": ["usage:read"] })).await;
    let analyst = gateway.client(reader["secret"].as_str());
    let keys = |name: &'static str| {
        let operator = gateway.operator();
        let path = format!("/v1/admin/keys?tenant_id={}&name={name}", tenant.id);
        async move { operator.get(&path).await.must(200).json()["items"][0].clone() }
    };
    assert_eq!(
        (&keys("reads").await["last_used_at"], &keys("app").await["last_used_at"]),
        (&Value::Null, &Value::Null)
    );
    tenant.chat("ok").await.must(200);
    let head = gateway.head().await;
    let asked = |filter: &str| format!("/v1/usage?min_position={head}&group_by=tenant,user,key&{filter}");
    for (client, person) in [(gateway.operator(), json!(tenant.name)), (&analyst, Value::Null)] {
        for filter in [format!("tenant={}", tenant.name), "key=app".to_owned()] {
            let page = client.get(&asked(&filter)).await.must(200).json();
            let row = &page["items"][0];
            let named = (&row["tenant_name"], &row["user_name"], &row["key_name"]);
            assert_eq!(named, (&json!(tenant.name), &person, &json!("app")), "{page}");
        }
        client.get(&asked("tenant=nobody")).await.must_be(400, "INVALID_REQUEST");
    }
    made(json!({ "name": "app", "permissions": ["models:use"] })).await;
    let two = analyst.get("/v1/inferences?key=app").await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!((&two["error"]["details"]["field"], &two["error"]["details"]["matches"]), (&json!("key"), &json!(2)));
    assert_eq!(two["error"]["details"]["ids"].as_array().map(Vec::len), Some(2), "{two}");
    let reads = keys("reads").await;
    assert!(reads["id"] == reader["id"] && reads["last_used_at"].is_string(), "{reads}");
    assert_eq!((&reads["tenant_id"], &reads["tenant_name"]), (&json!(tenant.id), &json!(tenant.name)));
    assert!(
        reader["secret"].as_str().zip(reads["prefix"].as_str()).is_some_and(|(all, public)| all.starts_with(public))
    );
    assert!(tenant.secret.starts_with(&format!("sgk_{}_", tenant.key.trim_start_matches("key_"))));
}

/// Holds: query.usage-metadata
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_grouped_and_chosen_by_metadata() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for team in ["red", "red", "blue"] {
        tagged(&tenant, json!({ "team": team, "über": "a b" })).await;
    }
    tenant.chat("ok").await.must(200);
    let head = gateway.head().await;
    let path = format!("/v1/usage?min_position={head}&tenant={}", tenant.id);
    let rows = items(gateway.operator(), &format!("{path}&group_by=metadata.team,day"), 2).await;
    let counts: Vec<_> = rows.iter().map(|row| (row["metadata.team"].as_str(), row["requests"].as_u64())).collect();
    assert_eq!(counts, [(None, Some(1)), (Some("blue"), Some(1)), (Some("red"), Some(2))], "{rows:?}");
    let plain = items(gateway.operator(), &path, 10).await;
    let all = items(gateway.operator(), &format!("{path}&metadata.%C3%BCber=a%20b"), 10).await;
    assert_eq!((plain[0]["requests"].as_u64(), all[0]["requests"].as_u64()), (Some(4), Some(3)));
    assert!(rows.iter().all(|row| row["day"].as_str().is_some_and(|day| day.len() == 10)));
    let none = items(gateway.operator(), &format!("{path}&metadata.team=green"), 10).await;
    assert!(none.is_empty(), "{none:?}");
}

/// Holds: query.audit, query.audit-formats, query.audit-origin
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_given_as_lines_and_as_a_table_that_no_spreadsheet_runs() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let formula = "=HYPERLINK(\"http://example.invalid\")";
    let evil = gateway.operator().clone().with("user-agent", formula);
    evil.post("/v1/admin/partners", &json!({ "name": "=1+1" })).await.must(201);
    let head = gateway.head().await;
    let audit = |query: &str| format!("/v1/audit?min_position={head}&{query}");
    let page = gateway.operator().get(&audit("action=partner.created&limit=1")).await.must(200).json();
    assert_eq!(page["items"][0]["user_agent"], formula);
    let lines = gateway.operator().get(&audit("format=ndjson&action=partner.created&limit=1")).await.must(200);
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert_eq!(Some(lines.header("x-ledgerway-next-cursor")), page["next_cursor"].as_str());
    assert_eq!(lines.header("x-ledgerway-as-of-position"), page["as_of_position"].to_string());
    assert_eq!(serde_json::from_slice::<Value>(&lines.body).expect("JSON"), page["items"][0]);
    let table = gateway.operator().get(&audit("format=csv&action=partner.created&limit=1")).await.must(200);
    let text = String::from_utf8(table.body.to_vec()).expect("text");
    assert!(text.starts_with("position,recorded_at,actor,") && text.contains(",\"'=HYPERLINK("), "{text}");
    let after = page["items"][0]["recorded_at"].as_str().expect("a time");
    for (query, found) in [
        (format!("from={after}&category=administration"), 1),
        (format!("to={after}&actor=operator&action=tenant.created&resource=tenant/{}", tenant.id), 1),
        (format!("resource={}&severity=info&q=TENANT", tenant.id), 1),
        (format!("resource={}&severity=warning", tenant.id), 0),
        ("q=hyperlink".to_owned(), 0),
    ] {
        assert_eq!(items(gateway.operator(), &audit(&query), 10).await.len(), found, "{query}");
    }
    gateway.operator().get(&audit("format=xml")).await.must_be(400, "INVALID_REQUEST");
}

/// Holds: query.audit-ocsf, query.audit-formats
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_given_in_the_formats_of_a_siem() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let evil = gateway.operator().clone().with("user-agent", "a=b|c\\d");
    evil.post("/v1/admin/partners", &json!({ "name": "x" })).await.must(201);
    let head = gateway.head().await;
    let audit = |query: &str| format!("/v1/audit?min_position={head}&{query}");
    let page = gateway.operator().get(&audit("action=partner.created&limit=1")).await.must(200).json();
    let item = &page["items"][0];
    let ocsf = gateway.operator().get(&audit("format=ocsf&action=partner.created&limit=1")).await.must(200);
    assert_eq!(ocsf.header("content-type"), "application/x-ndjson");
    assert_eq!(Some(ocsf.header("x-ledgerway-next-cursor")), page["next_cursor"].as_str());
    let event: Value = serde_json::from_slice(&ocsf.body).expect("JSON");
    assert_eq!(event["metadata"]["sequence"], item["position"]);
    assert_eq!(event["metadata"]["original_time"], item["recorded_at"]);
    assert_eq!(
        (&event["src_endpoint"]["ip"], &event["http_request"]["user_agent"]),
        (&item["ip"], &item["user_agent"])
    );
    assert_eq!(
        (&event["resources"][0]["name"], &event["unmapped"]["changes"]),
        (&item["resource_name"], &item["changes"])
    );
    assert_eq!(event["api"]["request"]["uid"], item["request_id"]);
    let cef = gateway.operator().get(&audit("format=cef&action=partner.created&limit=1")).await.must(200);
    assert_eq!(cef.header("content-type"), "text/plain; charset=utf-8");
    let text = String::from_utf8(cef.body.to_vec()).expect("text");
    assert!(text.starts_with("CEF:0|Ledgerway|") && text.lines().count() == 1, "{text}");
    assert!(text.contains(" requestClientApplication=a\\=b|c\\\\d ") && text.contains(" src=127.0.0.1 "), "{text}");
    // What a tenant's auditor sees, and no more.
    let auditor = json!({ "user_id": tenant.user, "name": "auditor", "permissions": ["admin:access", "audit:read"] });
    let auditor = gateway.operator().post("/v1/admin/keys", &auditor).await.must(201).json();
    let auditor = gateway.client(auditor["secret"].as_str());
    let lines = auditor.get(&audit("format=ocsf&limit=1000")).await.must(200).body;
    let tenants: BTreeSet<String> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).expect("JSON")["metadata"]["tenant_uid"].to_string())
        .collect();
    assert_eq!(tenants, BTreeSet::from([json!(tenant.id).to_string()]));
    for list in ["/v1/usage", "/v1/inferences"] {
        gateway.operator().get(&format!("{list}?format=ocsf")).await.must_be(400, "INVALID_REQUEST");
    }
}

/// Holds: query.audit-proxies
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_has_the_client_behind_trusted_proxies_and_no_address_of_its_own_making() {
    let client = "203.0.113.9";
    let forwarded = format!("198.51.100.66, {client}, 10.1.2.3");
    for (proxies, ip) in [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.1,10.0.0.0/8", client)] {
        let gateway = Gateway::start_with(&[("LEDGERWAY_TRUSTED_PROXIES", proxies)]);
        let through = gateway.operator().clone().with("x-forwarded-for", &forwarded);
        through.post("/v1/admin/partners", &json!({ "name": "acme" })).await.must(201);
        let path = format!("/v1/audit?min_position={}&action=partner.created&limit=1", gateway.head().await);
        let page = gateway.operator().get(&path).await.must(200).json();
        assert_eq!(page["items"][0]["ip"], ip, "{proxies:?}");
    }
}

/// Holds: query.events-time
#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_time_begins_and_ends_with_it() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    tenant.chat("ok").await.must(200);
    let log = gateway.events().await;
    let time = |event: &Value| event["recorded_at"].as_str().expect("a time").to_owned();
    let (first, last) = (time(&log[log.len() / 3]), time(log.last().expect("events")));
    let wanted: Vec<&Value> = log.iter().filter(|event| first <= time(event) && time(event) < last).collect();
    let path = format!("/v1/events?limit=1000&from={first}&to={last}");
    let page = gateway.operator().get(&path).await.must(200);
    let lines = page.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let found: Vec<Value> = lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    assert!(wanted.len() > 5 && found.iter().collect::<Vec<_>>() == wanted, "{} of {}", found.len(), wanted.len());
    assert_eq!(page.header("x-ledgerway-next-cursor"), "");
    assert_eq!(page.header("x-ledgerway-as-of-position"), log.len().to_string());
    gateway.operator().get("/v1/events?from=yesterday").await.must_be(400, "INVALID_REQUEST");
}

/// Holds: query.events
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_log_say_whether_there_is_more() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    let head = gateway.head().await;
    let (mut after, mut seen) = ("0".to_owned(), 0);
    loop {
        let page = gateway.operator().get(&format!("/v1/events?limit=5&after={after}")).await.must(200);
        assert_eq!(page.header("x-ledgerway-as-of-position"), head.to_string());
        seen += page.body.iter().filter(|byte| **byte == b'\n').count();
        match page.header("x-ledgerway-next-cursor") {
            "" => break,
            next => next.clone_into(&mut after),
        }
    }
    assert_eq!(seen as u64, head);
    let rare = gateway.operator().get("/v1/events?types=budget.expired.v1").await.must(200);
    assert!(rare.body.is_empty() && rare.header("x-ledgerway-next-cursor").is_empty());
}
