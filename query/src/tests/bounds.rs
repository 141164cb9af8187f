//! Permissions, visibility and invalid queries.

use ::events::event::admin::{Permission, Reach};
use ::events::refusal::ErrorCode;
use ::projections::caller::Caller;
use serde_json::json;
use tokio::time::Instant;

use super::world::{Answer, OURS, THEIRS, World, as_given, operator};

fn code(answer: Answer) -> ErrorCode {
    answer.expect_err("a refusal").code
}

fn all() -> Caller {
    OURS.caller(Permission::ALL)
}

/// Holds: query.permissions, query.head
#[tokio::test]
async fn every_path_asks_for_its_permission() {
    let world = World::new().await;
    let nobody = OURS.caller(&[Permission::ModelsUse]);
    for path in [
        "/v1/usage", "/v1/budgets", "/v1/budgets/x", "/v1/audit", "/v1/inferences", "/v1/inferences/x", "/v1/events",
        "/v1/projections", "/v1/admin/keys", "/v1/admin/keys/x",
    ] {
        assert_eq!(code(world.get(&nobody, path).await), ErrorCode::Forbidden, "{path}");
    }
    assert!(world.get(&nobody, "/v1/log/head").await.is_ok());
    world.close().await;
}

/// Holds: admin.foreign, query.events-reach
#[tokio::test]
async fn another_tenants_things_are_not_found_and_not_listed() {
    let world = World::new().await;
    world.infers(OURS, 1000).await;
    let position = world.infers(THEIRS, 1001).await;
    let path = format!("/v1/inferences?min_position={position}&tenant={}", THEIRS.tenant());
    let theirs = world.items(&operator(), &path).await;
    let request = theirs[0]["request_id"].as_str().expect("an id").to_owned();
    for path in [
        format!("/v1/budgets/{}", THEIRS.budget()),
        format!("/v1/inferences/{request}"),
        format!("/v1/admin/tenants/{}", THEIRS.tenant()),
        format!("/v1/admin/keys/{}", THEIRS.key()),
        format!("/v1/admin/partners/{}", OURS.partner()),
        "/v1/admin/keys/garbage".to_owned(),
    ] {
        assert_eq!(code(world.get(&all(), &path).await), ErrorCode::NotFound, "{path}");
    }
    for path in ["/v1/usage?group_by=tenant", "/v1/budgets", "/v1/audit", "/v1/inferences", "/v1/admin/keys"] {
        let page = world.get(&all(), path).await.expect("a page");
        assert!(!page["items"].as_array().expect("items").is_empty(), "{path}");
        assert!(!page.to_string().contains(&THEIRS.tenant().to_string()), "{path} shows another tenant");
    }
    let filtered = format!("/v1/inferences?tenant={}", THEIRS.tenant());
    assert!(world.items(&all(), &filtered).await.is_empty());
    let seen = world.lines(&all(), "/v1/events?limit=1000").await;
    assert!(!seen.is_empty() && seen.iter().all(|event| event["tenant_id"] == json!(OURS.tenant())));
    world.close().await;
}

#[tokio::test]
async fn a_partners_key_sees_the_partner_with_all_of_its_tenants() {
    let world = World::new().await;
    let partner = as_given(Caller { reach: Reach::Partner(OURS.partner()), ..all() });
    assert!(world.get(&partner, &format!("/v1/admin/partners/{}", OURS.partner())).await.is_ok());
    assert!(world.get(&partner, &format!("/v1/admin/keys/{}", OURS.key())).await.is_ok());
    let other = format!("/v1/admin/partners/{}", THEIRS.partner());
    assert_eq!(code(world.get(&partner, &other).await), ErrorCode::NotFound);
    let seen = world.lines(&partner, "/v1/events").await;
    assert_eq!(seen.len(), 5);
    world.close().await;
}

/// Holds: http.tenant-choice
#[tokio::test]
async fn a_request_that_chooses_a_tenant_is_about_that_one_alone() {
    let world = World::new().await;
    world.infers(OURS, 1000).await;
    let written = world.infers(THEIRS, 1001).await;
    let chosen = Caller { chosen_tenant: Some(OURS.tenant()), ..Caller::operator(OURS.chain()) };
    for path in ["/v1/usage?group_by=tenant", "/v1/budgets?limit=10", "/v1/inferences?limit=10", "/v1/audit?limit=10"] {
        let page = world.get(&chosen, &format!("{path}&min_position={written}")).await.expect("a page");
        assert!(!page["items"].as_array().expect("items").is_empty(), "{path}");
        assert!(!page.to_string().contains(&THEIRS.tenant().to_string()), "{path} shows another tenant");
    }
    let seen = world.lines(&chosen, "/v1/events?limit=1000").await;
    assert!(!seen.is_empty() && seen.iter().all(|event| event["tenant_id"] == json!(OURS.tenant())));
    assert_eq!(world.items(&chosen, "/v1/admin/partners").await.len(), 2, "administration is of all within reach");
    world.close().await;
}

/// Holds: http.unknown-fields
#[tokio::test]
async fn what_is_no_parameter_is_refused_by_name() {
    let world = World::new().await;
    for (path, field) in [
        ("/v1/usage?colour=red", "colour"),
        ("/v1/usage?group_by=metadata.", "group_by"),
        ("/v1/usage?cursor=audit-5", "cursor"),
        ("/v1/audit?cursor=inferences-5", "cursor"),
        ("/v1/audit?cursor=5", "cursor"),
        ("/v1/inferences?cursor=standings-5", "cursor"),
        ("/v1/budgets?cursor=budgets-5", "cursor"),
        ("/v1/admin/budgets?cursor=standings-5", "cursor"),
        ("/v1/admin/keys?cursor=users-5", "cursor"),
        ("/v1/usage?tenant=garbage", "tenant"),
        ("/v1/budgets?limit=0", "limit"),
        ("/v1/audit?format=xml", "format"),
        ("/v1/audit?severity=loud", "severity"),
        ("/v1/audit?category=gossip", "category"),
        ("/v1/audit?category=reads,", "category"),
        ("/v1/inferences?status=lost", "status"),
        ("/v1/inferences?cursor=-1", "cursor"),
        ("/v1/events?types=budget.settled", "types"),
        ("/v1/events?after=x", "after"),
        ("/v1/log/head?after=1", "after"),
        ("/v1/admin/keys?min_position=x", "min_position"),
    ] {
        let refusal = world.get(&operator(), path).await.expect_err(path);
        assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{path}");
        assert_eq!(refusal.details["field"], field, "{path}");
    }
    world.close().await;
}

/// Holds: http.min-position
#[tokio::test]
async fn a_position_that_the_log_does_not_have_is_refused_at_once() {
    let world = World::new().await;
    let (operator, head) = (operator(), world.log.head().position);
    let began = Instant::now();
    let paths = [
        "/v1/usage", "/v1/budgets", "/v1/audit", "/v1/inferences", "/v1/events", "/v1/log/head", "/v1/projections",
        "/v1/me", "/v1/admin/models",
    ];
    for path in paths {
        let refusal = world.get(&operator, &format!("{path}?min_position={}", head + 1)).await.expect_err(path);
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &json!("min_position")));
        assert_eq!(refusal.details["position"], head, "{path}: it says where the log is");
    }
    assert!(began.elapsed().as_millis() < 1500, "waited for {:?}", began.elapsed());
    world.close().await;
}

#[tokio::test]
async fn a_view_that_does_not_get_there_in_time_is_behind() {
    let mut world = World::new().await;
    world.stop_views().await;
    let position = world.infers(OURS, 1000).await;
    let refusal = world.get(&operator(), &format!("/v1/usage?min_position={position}")).await.expect_err("it stands");
    assert_eq!((refusal.code, &refusal.details["view"]), (ErrorCode::ViewBehind, &json!("usage_by_hour")));
    world.close().await;
}
