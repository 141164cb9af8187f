//! Names beside ids, and filters that take names: for whoever may see them.

use ::events::event::admin::{Handles, Permission, Reach, Tenant};
use ::events::event::{Actor, Chain, Change, Context, Event, Resource, Stream, StreamKind};
use ::events::ids::{KeyId, RequestId};
use ::events::ledger::RefusedRequest;
use ::events::refusal::{ErrorCode, Refusal};
use ::projections::caller::Caller;
use events_log::SideRow;
use serde_json::{Value, json};
use uuid::Uuid;

use super::world::{House, OURS, THEIRS, World, as_given, operator, text};

fn analyst() -> Caller {
    as_given(OURS.caller(&[Permission::UsageRead, Permission::AuditRead]))
}

fn admin() -> Caller {
    OURS.caller(Permission::ALL)
}

fn partner() -> Caller {
    as_given(Caller { reach: Reach::Partner(OURS.partner()), ..admin() })
}

/// A request of one house's key that is charged to the other house, as a key that reaches both may do.
async fn visits(world: &World, guest: House, host: House, request: u128) -> u64 {
    let request_id = RequestId::from(Uuid::from_u128(request));
    let chain = Chain { partner: Some(host.partner()), tenant: Some(host.tenant()), ..guest.chain() };
    let refused = RefusedRequest {
        request_id,
        context: Context::about(Actor::Key(guest.key()), chain).in_request(request_id),
        model: "large".into(),
        scoped_by: None,
        refusal: Refusal::new(ErrorCode::ModelUnpriced, "no price"),
    };
    world.log.refuse(refused).await.expect("refused").expect("a position")
}

async fn tenant_becomes(world: &World, house: House, name: &str, slug: &str, external_id: &str) -> u64 {
    let handles = Handles { slug: Some(slug.to_owned()), external_id: Some(external_id.to_owned()) };
    let (tenant_id, partner_id) = (house.tenant(), house.partner());
    let tenant = Tenant { handles, ..Tenant::new(tenant_id, partner_id, name) };
    let chain = Chain { user: None, key: None, ..house.chain() };
    let stream = Stream::new(StreamKind::Tenant, tenant_id);
    world.append(stream, chain, Event::from(Change::changed(tenant)), vec![]).await
}

fn names_of(row: &Value) -> [&Value; 4] {
    ["partner_name", "tenant_name", "user_name", "key_name"].map(|field| &row[field])
}

/// Holds: query.names
#[tokio::test]
async fn names_stand_beside_ids_for_whoever_may_see_them() {
    let world = World::new().await;
    world.infers(OURS, 1000).await;
    let position = world.refuses(THEIRS, 1001).await;
    let (ours, theirs, ada) = (json!("house 0"), json!("house 100"), json!("Ada"));
    let usage = format!("/v1/usage?min_position={position}&group_by=partner,tenant,user,key");
    let inferences = format!("/v1/inferences?min_position={position}");
    for (caller, user) in [(operator(), &ada), (partner(), &ada), (admin(), &ada), (analyst(), &Value::Null)] {
        let everything = caller.reaches_platform();
        for path in [&usage, &inferences] {
            let rows = world.items(&caller, path).await;
            assert_eq!(rows.len(), if everything { 2 } else { 1 }, "{path}");
            let own = rows.iter().find(|row| row.to_string().contains(&OURS.key().to_string())).expect("our row");
            assert_eq!(names_of(own), [&ours, &ours, user, &ours], "{own}");
            let foreign = rows.iter().find(|row| row.to_string().contains(&THEIRS.key().to_string()));
            assert!(foreign.is_none_or(|row| names_of(row) == [&theirs, &theirs, &ada, &theirs]), "{foreign:?}");
        }
        let table = text(world.send(&caller, &format!("{usage}&format=csv"), &[]).await).await;
        assert!(
            table.starts_with("row,partner,partner_name,tenant,tenant_name,user,user_name,key,key_name,"),
            "{table}"
        );
        assert_eq!((table.contains(",house 0,"), table.contains(",Ada,")), (true, user == &ada), "{table}");
        let budgets = world.items(&caller, "/v1/budgets").await;
        let own = budgets.iter().find(|budget| budget["id"] == json!(OURS.budget())).expect("our budget");
        assert_eq!(own["scope_name"], ours);
        let one = world.get(&caller, &format!("/v1/budgets/{}", OURS.budget())).await.expect("a budget");
        assert_eq!(one["scope_name"], ours);
        if caller.may(Permission::AdminAccess) {
            let path = format!("/v1/admin/budgets/{}", OURS.budget());
            assert_eq!(world.get(&caller, &path).await.expect("a budget")["scope_name"], ours);
            let listed = world.items(&caller, "/v1/admin/budgets").await;
            assert!(listed.iter().any(|budget| budget["scope_name"] == ours), "{listed:?}");
        }
        let audit = world.items(&caller, &format!("/v1/audit?min_position={position}&limit=1000")).await;
        let of = |kind: &str, id: String| {
            let resource = format!("{kind}/{id}");
            audit.iter().find(|entry| entry["resource"] == resource.as_str()).expect("an entry").clone()
        };
        assert_eq!(of("key", OURS.key().to_string())["resource_name"], ours);
        assert_eq!(&of("user", OURS.user().to_string())["resource_name"], user);
        assert_eq!(of("user", OURS.user().to_string())["actor_name"], Value::Null, "the operator has none");
    }
    let request = world.items(&analyst(), &inferences).await[0]["request_id"].as_str().expect("an id").to_owned();
    let life = world.get(&analyst(), &format!("/v1/inferences/{request}")).await.expect("a life");
    assert_eq!(names_of(&life), [&ours, &ours, &Value::Null, &ours]);
    world.close().await;
}

/// Holds: query.names-reach
#[tokio::test]
async fn what_lies_out_of_reach_has_an_id_and_no_name() {
    let world = World::new().await;
    let position = visits(&world, THEIRS, OURS, 1000).await;
    let usage = format!("/v1/usage?min_position={position}&group_by=tenant,user,key");
    let (inferences, audit) =
        (format!("/v1/inferences?min_position={position}"), format!("/v1/audit?min_position={position}"));
    for caller in [admin(), partner(), analyst(), Caller { chosen_tenant: Some(OURS.tenant()), ..partner() }] {
        for path in [&usage, &inferences, &audit] {
            for format in ["json", "ndjson", "csv"] {
                let body = text(world.send(&caller, &format!("{path}&format={format}"), &[]).await).await;
                assert!(body.contains(&THEIRS.key().to_string()) && body.contains("house 0"), "{body}");
                assert!(!body.contains("house 100") && !body.contains("Ada\",\"key_name"), "{body}");
            }
        }
        let row = world.items(&caller, &usage).await.remove(0);
        assert_eq!(
            (&row["tenant_name"], &row["user_name"], &row["key_name"]),
            (&json!("house 0"), &Value::Null, &Value::Null)
        );
        let visit = world.items(&caller, &audit).await.remove(0);
        assert_eq!((&visit["actor"], &visit["actor_name"]), (&json!(THEIRS.key()), &Value::Null));
        // Nor does a filter say that there is such a name.
        let unknown = world.get(&caller, "/v1/usage?key=house%20100").await.expect_err("not visible");
        let nonsense = world.get(&caller, "/v1/usage?key=nonsense").await.expect_err("none");
        assert_eq!(
            (unknown.code, unknown.details, unknown.message),
            (nonsense.code, nonsense.details, nonsense.message)
        );
        assert!(world.items(&caller, "/v1/audit?actor=house%20100").await.is_empty());
    }
    let seen = world.items(&operator(), &usage).await.remove(0);
    assert_eq!((&seen["user_name"], &seen["key_name"]), (&json!("Ada"), &json!("house 100")));
    world.close().await;
}

/// Holds: query.names, query.names-erased
#[tokio::test]
async fn what_has_ended_keeps_its_last_name_and_who_was_erased_has_none() {
    let world = World::new().await;
    world.infers(OURS, 1000).await;
    tenant_becomes(&world, OURS, "Acme", "acme", "C-1").await;
    let of_tenant = Chain { user: None, key: None, ..OURS.chain() };
    let ended = Event::Resource(Resource::Tenant(Change::Ended(OURS.tenant())));
    world.append(Stream::new(StreamKind::Tenant, OURS.tenant()), of_tenant, ended, vec![]).await;
    let revoked = Event::Resource(Resource::Key(Change::Ended(OURS.key())));
    let position = world.append(Stream::new(StreamKind::Key, OURS.key()), OURS.chain(), revoked, vec![]).await;
    let usage = format!("/v1/usage?min_position={position}&group_by=tenant,user,key");
    let row = world.items(&operator(), &usage).await.remove(0);
    assert_eq!(
        (&row["tenant_name"], &row["user_name"], &row["key_name"]),
        (&json!("Acme"), &json!("Ada"), &json!("house 0"))
    );
    let stream = Stream::new(StreamKind::User, OURS.user());
    let ended = Event::Resource(Resource::User(Change::Ended(OURS.user())));
    let chain = Chain { key: None, ..OURS.chain() };
    world.append(stream, chain, ended, vec![SideRow::ErasePersonalData(OURS.user())]).await;
    for path in [usage.as_str(), "/v1/inferences", "/v1/audit?limit=1000", "/v1/admin/keys?include_ended=true"] {
        let rows = world.items(&operator(), path).await;
        let ours = rows.iter().filter(|row| row.to_string().contains(&OURS.user().to_string()));
        assert!(ours.clone().count() > 0 && ours.clone().all(|row| !row.to_string().contains("Ada")), "{path}");
    }
    let nobody = world.get(&operator(), &format!("/v1/usage?user=Ada&tenant={}", OURS.tenant())).await;
    assert!(
        nobody.expect("hers alone")["items"].as_array().is_some_and(Vec::is_empty),
        "the other Ada has used nothing of it"
    );
    world.close().await;
}

/// Holds: query.filters-by-name
#[tokio::test]
async fn a_filter_takes_a_name_that_matches_one_visible_resource() {
    let world = World::new().await;
    tenant_becomes(&world, OURS, "Acme", "acme", "C-1").await;
    tenant_becomes(&world, THEIRS, "Other", "other", "C-1").await;
    world.infers(OURS, 1000).await;
    let position = world.infers(THEIRS, 1001).await;
    let requests = |caller: Caller, path: &'static str, filter: String| {
        let world = &world;
        async move {
            let rows = world.items(&caller, &format!("{path}?min_position={position}&{filter}")).await;
            let all_are_ours = rows
                .iter()
                .all(|row| row["tenant"] == json!(OURS.tenant()) || row["tenant_id"] == json!(OURS.tenant()));
            (rows.len(), all_are_ours)
        }
    };
    for (path, group) in [("/v1/usage", "group_by=tenant&"), ("/v1/inferences", "")] {
        for filter in [
            format!("tenant={}", OURS.tenant()),
            "tenant=acme".to_owned(),
            "tenant=Acme".to_owned(),
            "key=house%200".to_owned(),
            "partner=house%200".to_owned(),
        ] {
            assert_eq!(requests(operator(), path, format!("{group}{filter}")).await, (1, true), "{path} {filter}");
            assert_eq!(requests(admin(), path, format!("{group}{filter}")).await, (1, true), "{path} {filter}");
        }
        // One external id on the platform means two tenants; within reach of one of them it means that one.
        assert_eq!(requests(admin(), path, format!("{group}tenant=C-1")).await, (1, true));
        let refused = world.get(&operator(), &format!("{path}?tenant=C-1")).await.expect_err("two");
        assert_eq!((&refused.details["field"], &refused.details["matches"]), (&json!("tenant"), &json!(2)));
        assert!(refused.message.contains("2 that you can see"), "{}", refused.message);
        for (caller, filter) in [
            (operator(), "tenant=nobody"),
            (admin(), "tenant=other"),
            (admin(), "tenant=Other"),
            (admin(), "partner=house%20100"),
            (analyst(), "user=Ada"),
            (operator(), "tenant="),
            (operator(), "key=usr_00000000000000000000000000000003"),
        ] {
            let refused = world.get(&caller, &format!("{path}?{filter}")).await.expect_err(filter);
            assert_eq!(refused.code, ErrorCode::InvalidRequest, "{filter}");
            assert_eq!(refused.details["field"], filter.split('=').next().expect("a name"), "{filter}");
            assert!(!refused.details.contains_key("matches"), "{filter}");
        }
        assert_eq!(requests(admin(), path, format!("{group}user=Ada")).await, (1, true));
        let adas = world.get(&operator(), &format!("{path}?user=Ada")).await.expect_err("two people");
        assert_eq!((&adas.details["field"], &adas.details["matches"]), (&json!("user"), &json!(2)));
    }
    world.close().await;
}

/// Holds: query.filters-by-name
#[tokio::test]
async fn the_audit_is_asked_for_actors_and_resources_by_name() {
    let world = World::new().await;
    tenant_becomes(&world, OURS, "Acme", "acme", "C-1").await;
    let position = visits(&world, THEIRS, OURS, 1000).await;
    let audit = |query: &'static str| {
        let world = &world;
        async move { world.items(&operator(), &format!("/v1/audit?min_position={position}&limit=1000&{query}")).await }
    };
    for (query, number) in [
        ("actor=house%20100", 1),
        ("actor=operator&resource=tenant/acme", 2),
        ("resource=Acme", 2),
        ("resource=C-1&action=tenant.changed", 1),
        ("resource=key/house%200", 1),
        ("actor=nobody", 0),
        ("resource=nothing", 0),
        ("resource=nothing/at/all", 0),
        ("actor=system:nobody", 0),
    ] {
        assert_eq!(audit(query).await.len(), number, "{query}");
    }
    for (query, field, matches) in [("resource=house%200", "resource", 2), ("resource=user/Ada", "resource", 2)] {
        let refused = world.get(&operator(), &format!("/v1/audit?{query}")).await.expect_err(query);
        assert_eq!(
            (&refused.details["field"], &refused.details["matches"]),
            (&json!(field), &json!(matches)),
            "{query}"
        );
    }
    let theirs = world.items(&admin(), "/v1/audit?resource=house%20100").await;
    assert!(theirs.is_empty());
    world.close().await;
}

/// Holds: query.key-use
#[tokio::test]
async fn a_key_shows_its_tenant_its_public_part_and_its_last_use() {
    let world = World::new().await;
    let key = |caller: Caller| {
        let world = &world;
        async move { world.get(&caller, &format!("/v1/admin/keys/{}", OURS.key())).await.expect("a key") }
    };
    let before = key(operator()).await;
    assert_eq!(before["last_used_at"], Value::Null);
    let public = format!("sgk_{}_", OURS.key().uuid().simple());
    assert_eq!((&before["prefix"], &before["tenant_id"]), (&json!(public), &json!(OURS.tenant())));
    assert_eq!((&before["tenant_name"], &before["user_name"]), (&json!("house 0"), &json!("Ada")));
    let position = world.infers(OURS, 1000).await;
    let asked = world.items(&operator(), &format!("/v1/inferences?min_position={position}")).await.remove(0);
    let after = key(admin()).await;
    assert_eq!(after["last_used_at"], asked["recorded_at"], "as the log has it, also after a restart");
    world.state.last_uses.record(OURS.key());
    let later = key(operator()).await;
    assert!(later["last_used_at"].as_str() > after["last_used_at"].as_str(), "{later}");
    let listed = world.items(&operator(), "/v1/admin/keys").await;
    assert_eq!((listed.len(), &listed[1]), (2, &later));
    assert_eq!(listed[0]["last_used_at"], Value::Null);
    let unknown: Option<KeyId> = listed[0]["id"].as_str().and_then(|id| id.parse().ok());
    assert_eq!(unknown, Some(THEIRS.key()));
    world.close().await;
}
