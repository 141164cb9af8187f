use chrono::TimeZone;

use super::*;

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 20, 8, 0, 0).single().expect("a time")
}

/// An id that stands for none that is still to be given.
fn id(kind: Kind, number: u64) -> String {
    format!("{}0198{number:028x}", kind.format().id_prefix())
}

/// The resources of a gateway, as replies show them.
#[derive(Default)]
struct World(Vec<Live>);

impl World {
    fn add(&mut self, kind: Kind, body: &Value) -> String {
        let id = id(kind, u64::try_from(self.0.len()).expect("few"));
        let mut reply = body.clone();
        reply["id"] = json!(id);
        self.0.push(live::live(kind, &reply).expect("an id"));
        id
    }

    fn export(&self) -> Exported {
        export(&self.0, now()).expect("few enough")
    }
}

/// The resources of an empty gateway after a file was applied to it.
fn made_from(text: &str) -> World {
    let file = SourceFile { name: "file".into(), folder: PathBuf::new(), text: text.to_owned() };
    let desired = desired::read(&[file], &mut Names::default()).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let live = |(number, one): (u64, Desired)| Live {
        kind: one.kind,
        id: one.id.unwrap_or_else(|| id(one.kind, number)),
        normal: one.normal,
        is_made_by_gateway: false,
        has_api_key: one.api_key != ApiKey::Unsaid,
        secret_headers: match one.secret_headers {
            SecretHeaders::From(sources) => sources.into_keys().collect(),
            SecretHeaders::Unsaid | SecretHeaders::Removed => BTreeSet::new(),
        },
        is_in_force: false,
    };
    World((0..).zip(desired).map(live).collect())
}

fn model(name: &str, provider: &str) -> Value {
    json!({ "name": name, "targets": [{ "provider_id": provider, "model": "echo" }] })
}

#[test]
fn each_provider_has_a_variable_of_its_own() {
    let mut taken = BTreeSet::new();
    let mut name = |provider: &str| variable(provider, API_KEY, &mut taken);
    assert_eq!(name("openai-main"), "OPENAI_MAIN_API_KEY");
    assert_eq!(name("openai main"), "OPENAI_MAIN_API_KEY_2");
    assert_eq!(name("default/acme/openai"), "DEFAULT_ACME_OPENAI_API_KEY");
    assert_eq!(name("ledgerway"), "KEY_OF_LEDGERWAY_API_KEY");
    assert_eq!(name("9"), "KEY_OF_9_API_KEY");
    assert_eq!(variable("openai-main", "x-gateway-auth", &mut taken), "OPENAI_MAIN_X_GATEWAY_AUTH");
}

#[test]
fn what_breaks_a_rule_of_this_version_is_left_out_with_all_that_hangs_on_it() {
    let mut world = World::default();
    let partner = world.add(Kind::Partner, &json!({ "name": "P" }));
    let broken = world.add(Kind::Tenant, &json!({ "partner_id": partner, "name": "", "slug": "t" }));
    let user = world.add(Kind::User, &json!({ "tenant_id": broken, "name": "U", "slug": "u" }));
    world.add(Kind::Team, &json!({ "tenant_id": broken, "name": "S", "slug": "s", "user_ids": [user] }));
    world.add(Kind::Budget, &json!({ "scope": { "user_id": user }, "limit_usd": "5", "period": "day" }));
    // The shared provider of this name is another one.
    let shared = world.add(Kind::Provider, &json!({ "name": "p", "kind": "simulator" }));
    let own = world.add(Kind::Provider, &json!({ "name": "p", "kind": "simulator", "tenant_id": broken }));
    let mut of_tenant = model("own", &own);
    of_tenant["tenant_id"] = json!(broken);
    world.add(Kind::Model, &of_tenant);
    let mut ruled = model("ruled", &shared);
    ruled["rules"] = json!([{ "when": format!("tenant == '{broken}'"), "strategy": "cost" }]);
    world.add(Kind::Model, &ruled);
    world.add(Kind::Model, &json!({ "name": "a-ruled", "alias": [{ "model": "ruled" }] }));
    world.add(Kind::Model, &model("kept", &shared));
    let exported = world.export();
    assert_eq!(exported.end, ["left out in all: 1 that files cannot have, 7 that hang on them"], "{exported:?}");
    let partner = partner.replace('_', "-");
    let first = &exported.left_out[0];
    assert!(first.starts_with(&format!("tenant {partner}/t ({broken}): name: ")), "{first}");
    let hangs = |label: &str, on: &str| {
        let says = format!("): it hangs on {on}, which is left out");
        exported.left_out.iter().any(|line| line.starts_with(label) && line.ends_with(&says))
    };
    assert!(hangs("model a-ruled (", "model ruled"), "{exported:?}");
    assert!(hangs(&format!("user {partner}/t/u ("), &format!("tenant {partner}/t")), "{exported:?}");
    let again = made_from(&exported.text);
    let kinds: Vec<Kind> = again.0.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Kind::Partner, Kind::Provider, Kind::Model], "{}", exported.text);
    assert!(exported.text.ends_with("\n# left out in all: 1 that files cannot have, 7 that hang on them\n"));
}

#[test]
fn the_end_names_what_a_gateway_must_have_before() {
    let mut world = World::default();
    let of_environment = json!({ "name": "openai", "kind": "simulator", "origin": "environment" });
    let provider = world.add(Kind::Provider, &of_environment);
    world.add(Kind::Provider, &json!({ "name": "unused", "kind": "simulator", "origin": "environment" }));
    // The key sees no partner.
    let tenant = json!({ "partner_id": id(Kind::Partner, 99), "name": "T", "slug": "t" });
    let tenant = world.add(Kind::Tenant, &tenant);
    world.add(Kind::User, &json!({ "tenant_id": tenant, "name": "U", "slug": "u" }));
    world.add(Kind::Model, &model("m", &provider));
    let exported = world.export();
    let says = "the file names what it does not have, so a gateway must have it before: provider openai, tenant t";
    assert_eq!(exported.end, [says]);
    assert!(exported.left_out.is_empty(), "{exported:?}");
    assert!(exported.text.contains("  - slug: u\n    name: U\n    tenant: t\n"), "{}", exported.text);
}

#[test]
fn more_than_a_gateway_makes_together_is_said() {
    let mut world = World::default();
    (0..=CHANGES_MAX).for_each(|_| drop(world.add(Kind::Partner, &json!({ "name": "P" }))));
    let exported = world.export();
    let says = "the file has 5001 resources, and a gateway makes at most 5000 changes together: apply parts of the file, from its beginning on, \
                to a gateway that does not have them";
    assert_eq!(exported.end, [says]);
}

/// Numbers that follow from the first one.
struct Draw(u64);

impl Draw {
    fn below(&mut self, max: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 40).expect("a word") % max
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A gateway as many versions may have left it: names that several have or nobody has, users of one tenant in a team of another, aliases of
/// aliases, and what breaks rules.
fn drawn(seed: u64) -> World {
    let (mut world, mut draw) = (World::default(), Draw(seed));
    let slug = |draw: &mut Draw| draw.one_of(&[json!(null), json!("a"), json!("b")]).clone();
    let name = |draw: &mut Draw| if draw.below(12) == 0 { "" } else { "N" };
    let (mut partners, mut tenants, mut users, mut teams) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=draw.below(3) {
        partners.push(world.add(Kind::Partner, &json!({ "name": name(&mut draw), "slug": slug(&mut draw) })));
    }
    for _ in 0..=draw.below(4) {
        let partner = draw.one_of(&partners).clone();
        let body = json!({ "partner_id": partner, "name": name(&mut draw), "slug": slug(&mut draw) });
        tenants.push(world.add(Kind::Tenant, &body));
    }
    for _ in 0..=draw.below(4) {
        let tenant = draw.one_of(&tenants).clone();
        let body = json!({ "tenant_id": tenant, "name": name(&mut draw), "slug": slug(&mut draw) });
        users.push(world.add(Kind::User, &body));
    }
    for _ in 0..=draw.below(2) {
        let (tenant, user) = (draw.one_of(&tenants).clone(), draw.one_of(&users).clone());
        let body = json!({ "tenant_id": tenant, "name": "N", "slug": slug(&mut draw), "user_ids": [user] });
        teams.push(world.add(Kind::Team, &body));
    }
    let mut owners: Vec<Value> = tenants.iter().map(|tenant| json!(tenant)).collect();
    owners.push(Value::Null);
    let (mut providers, mut models) = (Vec::new(), vec!["nobody".to_owned()]);
    for _ in 0..=draw.below(4) {
        let (owner, name) = (draw.one_of(&owners).clone(), *draw.one_of(&["p", "q", ""]));
        let body = json!({ "name": name, "kind": "simulator", "tenant_id": owner });
        providers.push(world.add(Kind::Provider, &body));
    }
    for number in 0..=draw.below(5) {
        let name = format!("m{number}");
        let mut body = match draw.below(3) {
            0 => json!({ "name": name, "alias": [{ "model": draw.one_of(&models) }] }),
            _ => model(&name, draw.one_of::<String>(&providers)),
        };
        body["tenant_id"] = draw.one_of(&owners).clone();
        if draw.below(3) == 0 {
            let tenant = draw.one_of(&tenants);
            body["rules"] = json!([{ "when": format!("tenant == '{tenant}'"), "strategy": "cost" }]);
        }
        world.add(Kind::Model, &body);
        models.push(name);
    }
    for _ in 0..=draw.below(4) {
        let begins = *draw.one_of(&["2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"]);
        let body = json!({
            "provider_id": draw.one_of(&providers), "model": "echo", "input_usd_per_mtok": "1", "output_usd_per_mtok": "2",
            "effective_from": begins,
        });
        world.add(Kind::Price, &body);
    }
    for _ in 0..=draw.below(6) {
        let scope = match draw.below(5) {
            0 => json!({ "partner_id": draw.one_of(&partners) }),
            1 => json!({ "tenant_id": draw.one_of(&tenants) }),
            2 => json!({ "user_id": draw.one_of(&users) }),
            3 => json!({ "team_id": draw.one_of(&teams) }),
            _ => json!({ "key_id": format!("key_0198{:028x}", 1) }),
        };
        world.add(Kind::Budget, &json!({ "scope": scope, "limit_usd": "5", "period": "day" }));
        world.add(Kind::RateLimit, &json!({ "scope": scope, "requests_per_minute": 5 }));
    }
    world
}

#[test]
fn whatever_a_gateway_has_what_is_written_can_be_read_and_makes_the_same() {
    let (mut written, mut hanging) = (BTreeSet::new(), 0);
    for seed in 0..40 {
        let exported = drawn(seed).export();
        let first = made_from(&exported.text);
        written.extend(first.0.iter().map(|one| one.kind));
        hanging += exported.left_out.iter().filter(|line| line.ends_with(", which is left out")).count();
        let again = first.export();
        assert!(again.left_out.is_empty() && again.end.is_empty(), "seed {seed}: {again:?}\n{}", exported.text);
        let second = made_from(&again.text);
        assert_eq!(second.0.len(), first.0.len(), "seed {seed}: {}", again.text);
        assert_eq!(second.export().text, again.text, "seed {seed}");
    }
    assert_eq!(written.len(), Kind::IN_FILES.len(), "{written:?}");
    assert!(hanging > 10, "{hanging}");
}
