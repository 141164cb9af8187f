use std::time::Duration;

use chrono::TimeDelta;
use events::event::admin::{Handles, Origin, Permission, ResourceBound, RoleGrant, Target};
use events::event::{Access, Actor, Context, Stream, StreamKind};
use events::ledger::SharedScopes;
use events::limit::{Bounds, Measure};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use events::refusal::ErrorCode;
use events::routing::{Candidate, Features, choose};
use events::time::{from_micros, parse_rfc3339};
use events_log::Part;
use uuid::Uuid;

use super::providers_at::types;
use super::*;

fn noon() -> DateTime<Utc> {
    parse_rfc3339("2026-11-20T12:00:00Z").expect("a time")
}

fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

/// Tables of facts at positions 1, 2, 3 …, one per second from noon on.
fn given(facts: Vec<Event>) -> Tables {
    let mut tables = Tables::default();
    for (position, event) in (1_u64..).zip(facts) {
        tables.fold(&recorded(position, event));
    }
    tables
}

fn recorded(position: u64, event: Event) -> Recorded {
    Recorded {
        position,
        recorded_at: noon() + Duration::from_secs(position),
        stream: Stream::new(StreamKind::Key, position),
        sequence: 1,
        context: Context::of(Actor::Operator),
        event,
    }
}

fn owners() -> Vec<Event> {
    vec![
        Event::from(Change::created(Partner::new(id(1), "P"))),
        Event::from(Change::created(Tenant::new(id(2), id(1), "T"))),
        user_with(vec![]),
    ]
}

fn user_with(roles: Vec<RoleGrant>) -> Event {
    let (name_digest, handles) = (String::new(), Handles::default());
    let user = User { roles, handles, ..User::new(id(3), id(2), name_digest) };
    Event::from(Change::created(user))
}

fn key(models: Option<Vec<String>>) -> Key {
    let permissions = vec![Permission::ModelsUse];
    Key { permissions, models, ..Key::new(id(4), id(3), "app") }
}

fn model(number: u128, name: &str, tenant: Option<TenantId>) -> Model {
    Model { tenant_id: tenant, ..Model::new(id(number), name, vec![]) }
}

fn price(number: u128, effective_from: DateTime<Utc>) -> Price {
    let rate = NanoUsdPerMtok::new(NanoUsd::new(1)).expect("not negative");
    let given = GivenRates::new(rate, rate);
    Price::new(id(number), id(9), "m", given, effective_from)
}

fn with(mut facts: Vec<Event>, more: Vec<Event>) -> Vec<Event> {
    facts.extend(more);
    facts
}

#[test]
fn a_key_knows_its_owners_and_dies_with_any_of_them() {
    let made = with(owners(), vec![Event::from(Change::created(key(None)))]);
    let tables = given(made.clone());
    let entry = tables.key(id(4)).expect("the key");
    let chain = Chain { partner: Some(id(1)), tenant: Some(id(2)), user: Some(id(3)), key: Some(id(4)) };
    assert_eq!((entry.chain, entry.version, entry.generation), (chain, 4, 1));
    assert!(tables.key_is_live(entry, noon()));
    for end in [
        Event::Resource(Resource::Key(Change::Ended(id(4)))),
        Event::Resource(Resource::User(Change::Ended(id(3)))),
        Event::Resource(Resource::Tenant(Change::Ended(id(2)))),
        Event::Resource(Resource::Partner(Change::Ended(id(1)))),
    ] {
        let tables = given(with(made.clone(), vec![end]));
        assert!(!tables.key_is_live(tables.key(id(4)).expect("the key"), noon()));
    }
}

#[test]
fn keys_that_may_use_models_share_budgets_as_long_as_they_and_their_owners_live() {
    let user =
        |number: u128, tenant: u128| Event::from(Change::created(User::new(id(number), id(tenant), String::new())));
    let key_of = |number: u128, user: u128, permissions: Vec<Permission>| Key {
        permissions,
        ..Key::new(id(number), id(user), "app")
    };
    let made = |number, user| Event::from(Change::created(key_of(number, user, vec![Permission::ModelsUse])));
    let mut facts = owners();
    facts.extend([
        Event::from(Change::created(Tenant::new(id(12), id(1), "U"))),
        user(13, 2),
        user(23, 12),
        made(4, 3),
        Event::from(Change::created(key_of(5, 3, vec![Permission::UsageRead]))),
    ]);
    let chain = Chain { partner: Some(id(1)), tenant: Some(id(2)), user: Some(id(3)), key: Some(id(4)) };
    let shared = |facts: &[Event]| given(facts.to_vec()).shared_scopes(&chain, &TeamVersions::new());
    let alone = SharedScopes::default();
    assert_eq!(shared(&facts), alone);
    let of_partner = SharedScopes { partner: true, partner_tenants: true, ..alone };
    let of_tenant = SharedScopes { partner: true, tenant: true, ..alone };
    let of_user = SharedScopes { teams: true, user: true, ..of_tenant };
    let end_of = Event::Resource;
    for (more, end, expected) in [
        (made(24, 23), end_of(Resource::Tenant(Change::Ended(id(12)))), of_partner),
        (made(24, 23), end_of(Resource::User(Change::Ended(id(23)))), of_partner),
        (made(14, 13), end_of(Resource::User(Change::Ended(id(13)))), of_tenant),
        (made(6, 3), end_of(Resource::Key(Change::Ended(id(6)))), of_user),
        (
            Event::from(Change::changed(key_of(5, 3, vec![Permission::ModelsUse]))),
            Event::from(Change::changed(key_of(5, 3, vec![]))),
            of_user,
        ),
    ] {
        facts.push(more);
        assert_eq!(shared(&facts), expected);
        facts.push(end);
        assert_eq!(shared(&facts), alone);
        facts.truncate(facts.len() - 2);
    }
    // A key that ends after its user counts once.
    facts.extend([
        made(14, 13),
        made(15, 13),
        Event::Resource(Resource::User(Change::Ended(id(13)))),
        Event::Resource(Resource::Key(Change::Ended(id(14)))),
        made(6, 3),
    ]);
    assert_eq!(shared(&facts), of_user);
}

#[test]
fn a_team_shares_its_budget_if_it_has_several_users() {
    for (users, is_shared) in [(vec![id(3)], false), (vec![id(3), id(13)], true)] {
        let team = Event::from(Change::created(Team::new(id(7), id(2), "team", users)));
        let tables = given(with(owners(), vec![Event::from(Change::created(key(None))), team]));
        let chain = tables.key(id(4)).expect("the key").chain;
        assert_eq!(tables.shared_scopes(&chain, tables.teams_of(&chain)).teams, is_shared);
    }
}

#[test]
fn a_key_expires_at_its_instant_and_a_rotation_keeps_the_generation_before() {
    let expiring = Key { expires_at: Some(noon()), ..key(None) };
    let rotated = KeyRotated { key_id: id(4), generation: 2, previous_until: noon() };
    let facts = vec![Event::from(Change::created(expiring)), Event::Resource(Resource::KeyRotated(Box::new(rotated)))];
    let tables = given(with(owners(), facts));
    let entry = tables.key(id(4)).expect("the key");
    assert!(tables.key_is_live(entry, noon() - TimeDelta::microseconds(1)));
    assert!(!tables.key_is_live(entry, noon()));
    assert_eq!((entry.generation, entry.previous, entry.version), (2, Some((1, noon())), 5));
}

#[test]
fn an_allow_list_that_cannot_be_compiled_matches_only_its_literal_names() {
    let tables = given(with(owners(), vec![Event::from(Change::created(key(Some(vec!["a[".into(), "*".into()]))))]));
    let models = tables.key(id(4)).and_then(|entry| entry.models.clone()).expect("an allow list");
    assert!(models.matches("a[") && !models.matches("b"));
}

/// Holds: inf.named-targets
#[test]
fn targets_of_one_priority_are_tried_in_the_order_of_their_names() {
    let target = |number, priority, name: Option<&str>| {
        let name = name.map(str::to_owned);
        Target { priority, name, ..Target::new(id(number), "m") }
    };
    let targets = vec![
        target(1, 1, Some("a")),
        target(2, 0, None),
        target(3, 0, Some("2-backup")),
        target(4, 0, None),
        target(5, 0, Some("1-primary")),
    ];
    let made = Model { targets, ..model(10, "large", None) };
    let tables = given(vec![Event::from(Change::created(made.clone()))]);
    let order = |tables: &Tables| {
        let model = Arc::clone(&tables.model(id(10)).expect("a model").value);
        let candidates = model.targets.iter().map(|target| Candidate {
            priority: target.priority,
            weight: target.weight,
            ..Candidate::default()
        });
        let order = choose(model.strategy, candidates, &Features::default());
        order.tried().map(|index| model.targets[index].provider_id).collect::<Vec<ProviderId>>()
    };
    assert_eq!(order(&tables), [5, 3, 2, 4, 1].map(id));
    let mut renamed = made.clone();
    renamed.targets[4].name = Some("3-last".to_owned());
    let tables = given(vec![Event::from(Change::created(made)), Event::from(Change::changed(renamed))]);
    assert_eq!(order(&tables), [3, 5, 2, 4, 1].map(id));
}

/// Holds: admin.model-names, admin.own-provider
#[test]
fn a_tenants_own_model_shadows_a_shared_one_until_it_is_gone() {
    let own = Some(id(2));
    let facts = vec![
        Event::from(Change::created(model(10, "large", None))),
        Event::from(Change::created(model(11, "large", own))),
        Event::from(Change::created(model(12, "small", None))),
    ];
    let tables = given(facts.clone());
    let routed = |tables: &Tables, tenant, name: &str| tables.route(tenant, name).map(|entry| entry.value.model_id);
    assert_eq!(routed(&tables, own, "large"), Some(id(11)));
    assert_eq!(routed(&tables, None, "large"), Some(id(10)));
    assert_eq!(routed(&tables, Some(id(99)), "large"), Some(id(10)));
    let visible: Vec<ModelId> = tables.models_for(own).iter().map(|entry| entry.value.model_id).collect();
    assert_eq!(visible, [id(11), id(12)]);
    let tables = given(with(facts, vec![Event::Resource(Resource::Model(Change::Ended(id(11))))]));
    assert_eq!(routed(&tables, own, "large"), Some(id(10)));
    assert!(tables.model(id(11)).is_some_and(|entry| !entry.is_live()));
}

/// Holds: environment.names
#[test]
fn a_model_that_the_gateway_made_yields_its_name_to_any_other() {
    let own = Some(id(2));
    let automatic = |number, name: &str| Model { origin: Some(Origin::Catalogue), ..model(number, name, None) };
    let facts = vec![
        Event::from(Change::created(automatic(10, "large"))),
        Event::from(Change::created(automatic(11, "small"))),
    ];
    let routed = |tables: &Tables, tenant, name: &str| tables.route(tenant, name).map(|entry| entry.value.model_id);
    let tables = given(facts.clone());
    assert_eq!((routed(&tables, None, "large"), routed(&tables, own, "large")), (Some(id(10)), Some(id(10))));
    assert!(tables.has_models() && tables.shared_model("large").is_none());
    let shared = with(facts, vec![Event::from(Change::created(model(12, "large", None)))]);
    let tables = given(shared.clone());
    assert_eq!((routed(&tables, None, "large"), routed(&tables, own, "large")), (Some(id(12)), Some(id(12))));
    let visible: Vec<ModelId> = tables.models_for(own).iter().map(|entry| entry.value.model_id).collect();
    assert_eq!(visible, [id(12), id(11)]);
    let of_tenant = with(shared, vec![Event::from(Change::created(model(13, "large", own)))]);
    let tables = given(of_tenant.clone());
    assert_eq!((routed(&tables, None, "large"), routed(&tables, own, "large")), (Some(id(12)), Some(id(13))));
    let ended = |number| Event::Resource(Resource::Model(Change::Ended(id(number))));
    let tables = given(with(of_tenant, vec![ended(12), ended(13)]));
    assert_eq!((routed(&tables, None, "large"), routed(&tables, own, "large")), (Some(id(10)), Some(id(10))));
}

#[test]
fn a_renamed_model_is_found_by_its_new_name_alone() {
    let tables = given(vec![
        Event::from(Change::created(model(10, "old", None))),
        Event::from(Change::changed(model(10, "new", None))),
    ]);
    assert!(tables.route(None, "old").is_none());
    assert_eq!(tables.route(None, "new").map(|entry| entry.version), Some(2));
}

#[test]
fn a_tenant_is_found_by_its_newest_slug_and_by_none_once_it_has_ended() {
    let called = |slug: &str| {
        let handles = Handles { slug: Some(slug.into()), external_id: None };
        Tenant { handles, ..Tenant::new(id(5), id(1), "T") }
    };
    let mut facts = with(owners(), vec![Change::created(called("acme")).into()]);
    let found = |facts: &[Event], slug: &str| given(facts.to_vec()).tenants_with_slug(slug).count();
    assert_eq!((found(&facts, "acme"), found(&facts, "acme-labs")), (1, 0));
    facts.push(Change::changed(called("acme-labs")).into());
    assert_eq!((found(&facts, "acme"), found(&facts, "acme-labs")), (0, 1));
    facts.push(Change::<Tenant>::Ended(id(5)).into());
    assert_eq!((found(&facts, "acme"), found(&facts, "acme-labs")), (0, 0));
}

/// Holds: admin.prices
#[test]
fn the_price_in_force_is_the_latest_that_has_begun_and_the_newest_among_equals() {
    let hour = TimeDelta::hours(1);
    let facts = vec![
        Event::from(Change::created(price(20, noon() - hour))),
        Event::from(Change::created(price(21, noon()))),
        Event::from(Change::created(price(22, noon()))),
        Event::from(Change::created(price(23, noon() + hour))),
    ];
    let tables = given(facts.clone());
    let at = |tables: &Tables, now| tables.price_in_force(id(9), "m", now).map(|price| price.value.price_id);
    assert_eq!(at(&tables, noon() - hour - hour), None);
    assert_eq!(at(&tables, noon() - hour), Some(id(20)));
    assert_eq!(at(&tables, noon()), Some(id(22)));
    assert_eq!(at(&tables, noon() + hour), Some(id(23)));
    assert!(tables.price_in_force(id(9), "other", noon()).is_none());
    let tables = given(with(facts, vec![Event::Resource(Resource::Price(Change::Ended(id(22))))]));
    assert_eq!(at(&tables, noon()), Some(id(21)));
}

/// Holds: environment.prices
#[test]
fn a_price_that_the_gateway_made_yields_to_one_that_has_begun() {
    let hour = TimeDelta::hours(1);
    let automatic = Price { origin: Some(Origin::Catalogue), ..price(20, noon() + hour) };
    let facts = vec![Event::from(Change::created(automatic)), Event::from(Change::created(price(21, noon())))];
    let tables = given(facts.clone());
    let at = |tables: &Tables, now| tables.price_in_force(id(9), "m", now).map(|price| price.value.price_id);
    assert_eq!(at(&tables, noon() + hour + hour), Some(id(21)));
    assert_eq!(tables.automatic_prices().map(|price| price.value.price_id).collect::<Vec<_>>(), [id(20)]);
    let tables = given(with(facts, vec![Event::Resource(Resource::Price(Change::Ended(id(21))))]));
    assert_eq!((at(&tables, noon()), at(&tables, noon() + hour)), (None, Some(id(20))));
}

/// Holds: admin.budgets, admin.limit-scopes
#[test]
fn limits_and_budgets_of_the_whole_chain_bind_a_request() {
    let limit = |number, scope| {
        let bounds = Bounds::of(Measure::RequestsPerMinute, 5);
        Event::from(Change::created(RateLimit::new(id(number), scope, bounds)))
    };
    let facts = vec![
        limit(30, Scope::Partner(id(1))),
        limit(31, Scope::Key(id(4))),
        limit(32, Scope::Tenant(id(77))),
        limit(33, Scope::Tenant(id(2))),
        Event::Resource(Resource::RateLimit(Change::Ended(id(33)))),
        limit(34, Scope::Team(id(5))),
        limit(35, Scope::Team(id(6))),
        Event::from(Change::created(team(5, vec![id(3), id(7)]))),
        Event::from(Change::created(team(6, vec![id(7)]))),
    ];
    let tables = given(with(owners(), facts));
    let chain = Chain { partner: Some(id(1)), tenant: Some(id(2)), user: Some(id(3)), key: Some(id(4)) };
    let limits = tables.rate_limits(&chain, tables.teams_of(&chain));
    let bound: Vec<LimitId> = limits.iter().map(|(id, _)| *id).collect();
    assert_eq!(bound, [id(31), id(34), id(30)]);
}

fn team(number: u128, users: Vec<UserId>) -> Team {
    Team::new(id(number), id(2), "t", users)
}

/// Holds: admin.teams
#[test]
fn a_request_counts_for_the_live_teams_of_its_user_in_its_own_tenant() {
    let both = vec![
        Event::from(Change::created(team(5, vec![id(3)]))),
        Event::from(Change::created(team(6, vec![id(7), id(3)]))),
    ];
    let in_tenant = |tenant| Chain { tenant: Some(id(tenant)), user: Some(id(3)), ..Chain::default() };
    let teams = |more: Vec<Event>, chain: Chain| {
        let tables = given(with(with(owners(), both.clone()), more));
        tables.teams_of(&chain).clone()
    };
    assert_eq!(teams(vec![], in_tenant(2)), [(id(5), 4), (id(6), 5)].into());
    assert_eq!(teams(vec![], in_tenant(9)), [].into());
    assert_eq!(teams(vec![], Chain { user: None, ..in_tenant(2) }), [].into());
    let left = Event::from(Change::changed(team(5, vec![id(7)])));
    let ended = Event::Resource(Resource::Team(Change::Ended(id(6))));
    assert_eq!(teams(vec![left.clone()], in_tenant(2)), [(id(6), 5)].into());
    assert_eq!(teams(vec![left, ended], in_tenant(2)), [].into());
}

#[test]
fn events_other_than_administration_only_move_the_position() {
    let denied = events::event::access::AccessDenied { code: ErrorCode::Forbidden, count: 1 };
    let tables = given(vec![Event::Access(Access::Denied(Box::new(denied)))]);
    assert_eq!((tables.position, tables.keys.values().count()), (1, 0));
    assert_eq!(from_micros(0).timestamp(), 0);
}

/// Holds: query.as-of
#[test]
fn the_providers_as_of_a_position_are_read_in_pages_up_to_it() {
    let facts = with(owners(), vec![Event::from(Change::created(price(5, noon())))]);
    let facts: Vec<_> = (1_u64..).zip(facts).map(|(position, event)| recorded(position, event)).collect();
    let head = facts.len() as u64;
    let read = |position| {
        let mut asked = Vec::new();
        let tables = Tables::of_pages(position, |after| {
            asked.push(after);
            let events: Vec<_> = facts.iter().filter(|fact| fact.position > after).take(2).cloned().collect();
            let until = events.last().map_or(head, |last| last.position);
            Ok(Part { events, until, head, end: head })
        });
        (tables.expect("the tables"), asked)
    };
    for (position, asked) in [(0, vec![]), (1, vec![0]), (2, vec![0]), (3, vec![0, 2]), (9, vec![0, 2])] {
        let (tables, pages) = read(position);
        assert_eq!((tables.position, &pages), (position.min(head), &asked), "as of {position}");
        assert_eq!(tables.partner(id(1)).is_some(), position >= 1);
        assert_eq!(tables.tenant(id(2)).is_some(), position >= 2);
        assert_eq!(tables.price(id(5)).is_some(), position >= 4);
    }
}

#[test]
fn providers_and_their_prices_are_folded_from_their_own_events_and_those_of_owners_alone() {
    let types = types();
    let has = |name: &str| types.iter().any(|(one, _)| one == name);
    for kind in StreamKind::ALL {
        let wanted = ["partner", "tenant", "provider", "provider_key", "price"].contains(&kind.as_str());
        assert!(Resource::names_on(*kind).iter().all(|name| has(name) == wanted), "{}", kind.as_str());
    }
    assert!(has("provider_key.set_aside") && has("provider_key.restored") && types.len() >= 17, "{types:?}");
}

#[test]
fn a_change_copies_nothing_that_another_tenant_has() {
    let tenants: [TenantId; 2] = [id(1), id(2)];
    let created = |number: u128, tenant| Event::from(Change::created(model(number, "m", Some(tenant))));
    let mut tables = given(vec![created(1, tenants[0]), created(2, tenants[1])]);
    let before = tables.clone();
    tables.fold(&recorded(3, Event::from(Change::changed(model(1, "renamed", Some(tenants[0]))))));
    let routes = |tables: &Tables, tenant: TenantId| {
        std::ptr::from_ref(tables.indexes.routes.get(&Namespace::Tenant(tenant)).expect("its models"))
    };
    assert_ne!(routes(&tables, tenants[0]), routes(&before, tenants[0]));
    assert_eq!(routes(&tables, tenants[1]), routes(&before, tenants[1]));
}

#[test]
fn what_a_tenant_has_and_its_keys_have_written_is_counted_in_bytes() {
    let mut tables = given(with(owners(), vec![Event::from(Change::created(key(None)))]));
    let (tenant, key_id): (TenantId, KeyId) = (id(2), key(None).key_id);
    let owners = Chain { partner: Some(id(1)), tenant: Some(tenant), ..Chain::default() };
    let by_key =
        |position, event| Recorded { context: Context::about(Actor::Key(key_id), owners), ..recorded(position, event) };
    let bytes = |event: &Event| event.payload().expect("JSON").len() as u64;
    let (day, owner) = (noon().date_naive(), Scope::Tenant(tenant));
    let figures = |tables: &Tables| {
        let used = [ResourceBound::Models, ResourceBound::AdminBytesKept].map(|bound| tables.used(owner, bound));
        (used, tables.bytes_written(tenant, day))
    };
    let created = Event::from(Change::created(model(9, "m", Some(tenant))));
    let changed = Event::from(Change::changed(model(9, "renamed", Some(tenant))));
    tables.fold(&by_key(5, created.clone()));
    assert_eq!(figures(&tables), ([1, bytes(&created)], bytes(&created)));
    tables.fold(&by_key(6, changed.clone()));
    let written = bytes(&created) + bytes(&changed);
    assert_eq!(figures(&tables), ([1, bytes(&changed)], written));
    tables.fold(&by_key(7, Event::from(Change::<Model>::Ended(id(9)))));
    assert_eq!(figures(&tables), ([0, 0], written));
    assert_eq!(tables.bytes_written(tenant, day + TimeDelta::days(1)), 0);
    // The operator's count for nobody's day.
    let by_operator = Recorded { context: Context::about(Actor::Operator, owners), ..recorded(8, created.clone()) };
    tables.fold(&by_operator);
    assert_eq!(figures(&tables), ([1, bytes(&created)], written));
    // A rotation is no change, and takes room in the log all the same.
    let rotated = KeyRotated { key_id, generation: 2, previous_until: noon() };
    let rotated = Event::Resource(Resource::KeyRotated(Box::new(rotated)));
    tables.fold(&by_key(9, rotated.clone()));
    assert_eq!(figures(&tables), ([1, bytes(&created)], written + bytes(&rotated)));
}
