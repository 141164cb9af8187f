//! Teams: groups of users of a tenant, which budgets and rate limits bind together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use events_log::explain::{ReadBounds, explain};
use events_log::{LEDGER_FILE, open_reader};
use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::archive::run;
use crate::books::{nano, usd};
use crate::client::Client;
use crate::explain::{explained, requests};
use crate::explain_forgeries::{change, copy};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

/// A further user of a tenant, with a key.
async fn user(gateway: &Gateway, tenant: &Tenant, name: &str) -> (String, Client) {
    let user = made(gateway.operator(), "/users", json!({ "tenant_id": tenant.id, "name": name })).await;
    let key = json!({ "user_id": user, "name": "app" });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    (user, gateway.client(key["secret"].as_str()))
}

async fn team(gateway: &Gateway, tenant: &Tenant, users: &[&str]) -> String {
    let body = json!({ "tenant_id": tenant.id, "name": "Search", "user_ids": users });
    made(gateway.operator(), "/teams", body).await
}

async fn set_users(gateway: &Gateway, team: &str, users: &[&str]) {
    let change = json!({ "user_ids": users });
    gateway.operator().patch(&format!("/v1/admin/teams/{team}"), &change).await.must(200);
}

async fn open(gateway: &Gateway, scope: &Value, limit_usd: &str) -> String {
    let budget = json!({ "scope": scope, "limit_usd": limit_usd, "period": "total" });
    made(gateway.operator(), "/budgets", budget).await
}

fn budgets_of(me: &Value) -> Vec<&str> {
    let shown = me["budgets"].as_array().expect("budgets").iter();
    shown.map(|budget| budget["id"].as_str().expect("an id")).collect()
}

/// Holds: admin.teams, event.never-over, http.budget-exceeded, query.explain
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_a_teams_budget_admits_what_it_holds_and_binds_nobody_else() {
    const EACH: usize = 30;
    /// Half of them of each user's key.
    const FITS: i64 = 12;
    const OTHERS: usize = 5;
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { limit_usd: "100", timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["gate"], setup).await;
    let (ada, of_ada) = user(&gateway, &tenant, "Ada").await;
    let (bo, of_bo) = user(&gateway, &tenant, "Bo").await;
    upstream.open_gate();
    let probe = tenant.chat("gate").await.must(200).json();
    let held = nano(&probe["ledger"]["held_usd"]);
    upstream.close_gate();
    let team = team(&gateway, &tenant, &[&ada, &bo]).await;
    let scope = json!({ "team_id": team });
    let budget = open(&gateway, &scope, &usd(FITS * held + held / 2)).await;
    let narrowed = json!({ "team_id": team, "model": tenant.model("gate") });
    let narrowed = open(&gateway, &narrowed, "50").await;

    let mut asked = JoinSet::new();
    for (client, count) in [(&of_ada, EACH), (&of_bo, EACH), (&tenant.app, OTHERS)] {
        for number in 0..count {
            let (client, body) = (client.clone(), tenant.ask("gate"));
            let path = if number % 2 == 0 { NATIVE } else { OPENAI };
            asked.spawn(async move { client.post(path, &body).await });
        }
    }
    // As long as the gate is closed only refusals are answered.
    let refusals = 2 * EACH - usize::try_from(FITS).expect("small");
    let mut refused = Vec::new();
    while refused.len() < refusals {
        refused.push(asked.join_next().await.expect("a refusal").expect("an answer"));
    }
    assert_eq!(gateway.budget(&budget).await["held_usd"], usd(FITS * held));
    upstream.open_gate();
    let admitted = asked.join_all().await;
    assert!(admitted.iter().all(|reply| reply.status == 200));
    for reply in &refused {
        let details = match reply.json() {
            native if native["error"]["code"] == "BUDGET_EXCEEDED" => native["error"]["details"].clone(),
            openai => {
                assert_eq!((reply.status, &openai["error"]["code"]), (429, &json!("insufficient_quota")));
                openai["error"]["details"].clone()
            }
        };
        assert_eq!((&details["budget_id"], &details["scope"]), (&json!(budget), &scope));
    }
    let charged = gateway.budget(&budget).await;
    assert_eq!((&charged["held_usd"], &charged["scope"]), (&json!(usd(0)), &scope));
    assert_eq!(
        (nano(&charged["settled_usd"]), &charged["scope_name"]),
        (FITS * nano(&probe["cost_usd"]), &json!("Search"))
    );
    assert_eq!(gateway.budget(&narrowed).await["settled_usd"], charged["settled_usd"]);

    for reply in [&refused[0], &admitted[0]] {
        let said = explained(&gateway, &reply.request_id()).await;
        assert_eq!(said["follows"], true, "{said:#}");
    }
    let me = of_ada.get("/v1/me").await.must(200).json();
    assert_eq!(budgets_of(&me), [&*budget, &*tenant.budget, &*narrowed]);
    let me = tenant.app.get("/v1/me").await.must(200).json();
    assert_eq!(budgets_of(&me), [&*tenant.budget]);

    // What was charged outlasts the process.
    gateway.kill();
    gateway.start_again();
    assert_eq!(gateway.budget(&budget).await["settled_usd"], charged["settled_usd"]);
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
    // A smaller budget of the team would have refused some of them, and none of the others.
    let rules = json!({ "budgets": { "change": [{ "budget_id": narrowed, "limit_usd": usd(2 * held) }] } });
    let file = gateway.data().join("rules.json");
    std::fs::write(&file, rules.to_string()).expect("a file");
    let (data, file) = (gateway.data().display().to_string(), file.display().to_string());
    let answer: Value =
        serde_json::from_str(&run(0, &["what-if", "--json", "--data", &data, "--rules", &file])).expect("JSON");
    assert_ne!(answer["total"]["newly_refused"], json!(0), "{answer:#}");
}

/// Holds: admin.teams
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_users_is_in_force_when_it_is_answered() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let ask = || tenant.ask("ok");
    let (ada, of_ada) = user(&gateway, &tenant, "Ada").await;
    let (bo, of_bo) = user(&gateway, &tenant, "Bo").await;
    let team = team(&gateway, &tenant, &[&ada]).await;
    let budget = open(&gateway, &json!({ "team_id": team }), "0").await;
    for _ in 0..5 {
        of_ada.post(NATIVE, &ask()).await.must_be(429, "BUDGET_EXCEEDED");
        of_bo.post(NATIVE, &ask()).await.must(200);
        set_users(&gateway, &team, &[&bo]).await;
        of_ada.post(NATIVE, &ask()).await.must(200);
        of_bo.post(NATIVE, &ask()).await.must_be(429, "BUDGET_EXCEEDED");
        set_users(&gateway, &team, &[&ada]).await;
    }
    // Of a user who has ended, the team keeps the id until it is changed.
    gateway.operator().delete(&format!("/v1/admin/users/{ada}")).await.must(200);
    let path = format!("/v1/admin/teams/{team}");
    let shown = gateway.operator().get(&path).await.must(200).json();
    assert_eq!((&shown["user_ids"], &shown["ended_at"]), (&json!([ada]), &Value::Null));
    let refused = gateway.operator().patch(&path, &json!({ "user_ids": [bo, ada] })).await.must_be(409, "CONFLICT");
    assert_eq!(refused.json()["error"]["details"]["field"], "user_ids[1]");
    set_users(&gateway, &team, &[&bo]).await;
    of_bo.post(NATIVE, &ask()).await.must_be(429, "BUDGET_EXCEEDED");
    // The end of the team frees its users. Its budgets can be closed, and not changed.
    gateway.operator().delete(&path).await.must(200);
    of_bo.post(NATIVE, &ask()).await.must(200);
    let budget_path = format!("/v1/admin/budgets/{budget}");
    gateway.operator().patch(&budget_path, &json!({ "limit_usd": "1" })).await.must_be(409, "CONFLICT");
    let new = json!({ "scope": { "team_id": team }, "limit_usd": "1", "period": "day" });
    let refused = gateway.operator().post("/v1/admin/budgets", &new).await.must_be(409, "CONFLICT").json();
    assert_eq!(refused["error"]["details"]["field"], "scope.team_id");
    gateway.operator().delete(&budget_path).await.must(200);
    for request in requests(&gateway.events().await) {
        let said = explained(&gateway, &request).await;
        assert_eq!(said["follows"], true, "{said:#}");
    }
}

/// Holds: admin.teams, query.explain
#[tokio::test(flavor = "multi_thread")]
async fn while_users_come_and_go_every_request_is_decided_by_a_membership_that_was_so() {
    const CHANGES: usize = 25;
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { limit_usd: "1000", ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["ok"], setup).await;
    let (ada, of_ada) = user(&gateway, &tenant, "Ada").await;
    let (bo, of_bo) = user(&gateway, &tenant, "Bo").await;
    let team = team(&gateway, &tenant, &[]).await;
    let budget = open(&gateway, &json!({ "team_id": team }), "0.1").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for client in [&of_ada, &of_bo, &of_ada, &of_bo] {
        let (client, body, is_over) = (client.clone(), tenant.ask("ok"), Arc::clone(&is_over));
        asking.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let reply = client.post(NATIVE, &body).await;
                assert!([200, 429].contains(&reply.status), "{}", reply.json());
            }
        });
    }
    for _ in 0..CHANGES {
        for users in [&[&*ada][..], &[&*ada, &*bo], &[&*bo], &[]] {
            set_users(&gateway, &team, users).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    asking.join_all().await;
    let standing = gateway.budget(&budget).await;
    assert!(nano(&standing["settled_usd"]) <= nano(&standing["limit_usd"]), "{standing:#}");
    let all = requests(&gateway.events().await);
    for request in all.iter().step_by(1 + all.len() / 200) {
        let said = explained(&gateway, request).await;
        assert_eq!(said["follows"], true, "{said:#}");
    }
    gateway.kill();
    gateway.start_again();
    assert_eq!(gateway.budget(&budget).await["settled_usd"], standing["settled_usd"]);
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}

/// Holds: admin.teams, admin.limits
#[tokio::test(flavor = "multi_thread")]
async fn a_teams_limit_counts_the_requests_of_all_of_its_users_together() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let (ada, of_ada) = user(&gateway, &tenant, "Ada").await;
    let (bo, of_bo) = user(&gateway, &tenant, "Bo").await;
    let team = team(&gateway, &tenant, &[&ada, &bo]).await;
    let scope = json!({ "team_id": team });
    let limit = made(gateway.operator(), "/rate-limits", json!({ "scope": scope, "requests_per_day": 4 })).await;
    let narrowed = json!({ "team_id": team, "model": tenant.model("other") });
    made(gateway.operator(), "/rate-limits", json!({ "scope": narrowed, "requests_per_day": 1 })).await;
    of_ada.post(NATIVE, &tenant.ask("other")).await.must(200);
    let refused = of_bo.post(NATIVE, &tenant.ask("other")).await.must_be(429, "RATE_LIMITED").json();
    assert_eq!(refused["error"]["details"]["scope"], narrowed);
    for client in [&of_ada, &of_bo, &of_ada] {
        client.post(NATIVE, &tenant.ask("ok")).await.must(200);
    }
    let refused = of_bo.post(NATIVE, &tenant.ask("ok")).await.must_be(429, "RATE_LIMITED").json();
    let details = &refused["error"]["details"];
    assert_eq!((&details["limit_id"], &details["scope"]), (&json!(limit), &scope));
    tenant.chat("ok").await.must(200);
    let me = of_bo.get("/v1/me").await.must(200).json();
    let shown = me["limits"].as_array().expect("limits").iter().find(|shown| shown["limit_id"] == *limit);
    assert_eq!(shown.map(|shown| (&shown["scope"], &shown["remaining"])), Some((&scope, &json!(0))));
}

/// Holds: admin.teams, http.not-found
#[tokio::test(flavor = "multi_thread")]
async fn a_team_is_of_one_tenant_and_kept_by_its_administrators() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let stranger = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let administrates = json!({ "permissions": ["admin:access", "models:use"] });
    let (_, admin) = tenant.new_key(&gateway, administrates.clone()).await;
    let (_, foreign) = stranger.new_key(&gateway, administrates).await;
    let body = json!({ "name": "Search", "slug": "search", "external_id": "CC-7", "user_ids": [tenant.user],
                       "labels": { "managed-by": "git" } });
    let team = admin.post("/v1/admin/teams", &body).await.must(201).json();
    let path = format!("/v1/admin/teams/{}", text(&team["id"]));
    assert!(text(&team["id"]).starts_with("tea_") && team["tenant_id"] == tenant.id, "{team:#}");
    assert_eq!(admin.get("/v1/admin/teams?slug=search").await.must(200).json()["items"][0]["id"], team["id"]);
    assert_eq!(admin.get(&path).await.must(200).json(), team);
    admin.post("/v1/admin/teams", &body).await.must_be(409, "CONFLICT");
    tenant.app.post("/v1/admin/teams", &body).await.must_be(403, "FORBIDDEN");

    // Another tenant's is not there.
    foreign.get(&path).await.must_be(404, "NOT_FOUND");
    foreign.patch(&path, &json!({ "name": "n" })).await.must_be(404, "NOT_FOUND");
    foreign.delete(&path).await.must_be(404, "NOT_FOUND");
    let scope = json!({ "team_id": team["id"] });
    let budget = json!({ "scope": scope, "limit_usd": "0", "period": "day" });
    foreign.post("/v1/admin/budgets", &budget).await.must_be(404, "NOT_FOUND");
    foreign
        .post("/v1/admin/rate-limits", &json!({ "scope": scope, "requests_per_day": 1 }))
        .await
        .must_be(404, "NOT_FOUND");
    let with = |users: &[&str]| json!({ "name": "n", "user_ids": users });
    let refused = foreign.post("/v1/admin/teams", &with(&[&stranger.user, &tenant.user])).await;
    assert_eq!(refused.must_be(404, "NOT_FOUND").json()["error"]["details"]["field"], "user_ids[1]");
    // Not even the operator mixes tenants.
    let refused = gateway.operator().patch(&path, &with(&[&stranger.user])).await.must_be(404, "NOT_FOUND").json();
    assert_eq!(refused["error"]["details"]["field"], "user_ids[0]");
    let refused = admin.post("/v1/admin/teams", &with(&[&tenant.user, &tenant.user])).await;
    assert_eq!(refused.must_be(400, "INVALID_REQUEST").json()["error"]["details"]["field"], "user_ids");

    // A user has few teams.
    let mut last = String::new();
    for _ in 1..32 {
        last = text(&admin.post("/v1/admin/teams", &with(&[&tenant.user])).await.must(201).json()["id"]);
    }
    let refused = admin.post("/v1/admin/teams", &with(&[&tenant.user])).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(refused["error"]["details"]["field"], "user_ids[0]");
    admin.delete(&format!("/v1/admin/teams/{last}")).await.must(200);
    admin.post("/v1/admin/teams", &with(&[&tenant.user])).await.must(201);

    // Requests in another tenant count for no team.
    admin.post("/v1/admin/budgets", &budget).await.must(201);
    tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    let roles = json!({ "roles": [{ "role": "partner_admin", "scope": "platform" }] });
    gateway.operator().patch(&format!("/v1/admin/users/{}", tenant.user), &roles).await.must(200);
    let elsewhere = tenant.app.clone().with("x-tenant-id", &stranger.id);
    let reply = elsewhere.post(NATIVE, &tenant.ask("ok")).await.must(200);
    let said = explained(&gateway, &reply.request_id()).await;
    assert_eq!(said["follows"], true, "{said:#}");
    let entries =
        gateway.operator().get(&format!("/v1/audit?resource=team/{}", text(&team["id"]))).await.must(200).json();
    let items = entries["items"].as_array().expect("entries");
    assert!(items.iter().any(|entry| entry["action"] == "team.created"), "{entries:#}");
}

/// A forged membership does not follow: a team that is left out, that never was, or had other users.
///
/// Holds: admin.teams, query.explain
#[tokio::test(flavor = "multi_thread")]
async fn another_membership_than_the_one_in_the_log_does_not_follow() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "other"]).await;
    let (ada, of_ada) = user(&gateway, &tenant, "Ada").await;
    let team = team(&gateway, &tenant, &[&ada]).await;
    open(&gateway, &json!({ "team_id": team }), "1").await;
    open(&gateway, &json!({ "team_id": team, "model": tenant.model("other") }), "0").await;
    let admitted = of_ada.post(NATIVE, &tenant.ask("ok")).await.must(200).request_id();
    let refused = of_ada.post(NATIVE, &tenant.ask("other")).await.must_be(429, "BUDGET_EXCEEDED").request_id();
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
    // Long before the request, so that it cannot have been planned before the team was there.
    let aged = "UPDATE events SET recorded_at = recorded_at - 3600000000 WHERE aggregate_type = 'team'";
    let set = |value: &str, event: &str| format!("UPDATE events SET payload = {value} WHERE event_type = '{event}'");
    let no_users = set("json_set(payload, '$.user_ids', json_array())", "team.created");
    let mut forgeries = vec![(&admitted, no_users.clone()), (&refused, no_users)];
    for (request, event, teams) in
        [(&admitted, "inference.admitted", "$.versions.teams"), (&refused, "inference.refused", "$.scoped_by.teams")]
    {
        forgeries.push((request, set(&format!("json_remove(payload, '{teams}')"), event)));
        forgeries.push((request, set(&format!("json_set(payload, '{teams}.{team}', 1)"), event)));
    }
    let changed = |statements: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&gateway.data(), folder.path());
        statements.iter().for_each(|statement| change(folder.path(), statement));
        folder
    };
    let follows = |folder: &Path, request: &str| {
        let reader = open_reader(&folder.join(LEDGER_FILE)).expect("a reader");
        let request = request.parse().expect("an id");
        explain(&*reader, request, ReadBounds::default()).expect("read").expect("a request").follows()
    };
    let honest = changed(&[aged]);
    for request in [&admitted, &refused] {
        assert_eq!(follows(honest.path(), request), Some(true));
    }
    for (request, statement) in forgeries {
        assert_eq!(follows(changed(&[aged, &statement]).path(), request), Some(false), "{statement}");
    }
}
