//! Rows beside the events: they are written with a change or alone, and nothing is left of what was deleted.

use events::event::admin::{Scope, Tenant};
use events::event::{Change, Event, Stream, StreamKind};
use events::ids::{TenantId, UserId};
use events::time::Period;
use events_log::{Append, KeyMac, KeySecret, LEDGER_FILE, Name, PersonalData, SealedSecret, SideRow, TenantKey};
use tempfile::TempDir;

use events::content::{ContentKeyOwner, content_key_name};

use crate::facts::{append, budget, clock, id, opened};
use crate::log_steps::{must_verify, open, open_budget};
use crate::test_log::{TestLog, blocking, on_both_engines};

on_both_engines! {
    side_rows_are_written_without_an_event_as_well,
    the_secrets_of_a_tenant_are_dropped_alone_and_with_those_of_its_partner,
    the_content_keys_of_one_person_are_dropped_in_every_tenant_and_no_other,
    the_hmac_of_a_secret_is_stored_if_the_key_still_has_the_secret,
    rows_of_one_append_leave_what_they_would_leave_one_by_one,
}

async fn side_rows_are_written_without_an_event_as_well(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let mut alone = append(StreamKind::Budget, id(1), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total)));
    alone.events.clear();
    alone.side = vec![SideRow::WrappedKey { scope: "a".to_owned(), wrapped: vec![7] }];
    log.append(alone).await.expect("it is written");
    assert_eq!(
        (log.head().position, log.reader().expect("a reader").wrapped_key("a").expect("a row")),
        (0, Some(vec![7]))
    );
    open_budget(&log, 1, 100, Period::Day).await;
    must_verify(&log, 0);
}

/// Deleted and replaced data is no longer in the file.
#[tokio::test]
async fn nothing_is_left_of_a_row_that_was_deleted() {
    const LEN: usize = 9000;
    let (folder, clock) = (TempDir::new().expect("a folder"), clock());
    let log = open(folder.path(), &clock);
    let change = |side: Vec<SideRow>| {
        let mut change =
            append(StreamKind::Budget, id(1), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Total)));
        change.events.clear();
        change.side = side;
        log.append(change)
    };
    let sealed = |sealed: &[u8]| {
        let (subject, key_scope) = ("prv_1".to_owned(), "platform".to_owned());
        SideRow::SealedSecret(SealedSecret { subject, key_scope, generation: 1, sealed: sealed.to_vec() })
    };
    let (short, long) = (b"short-secret-in-a-box".as_slice(), b"long-secret-in-a-box!".repeat(LEN / 21));
    for next in [sealed(short), sealed(&long), SideRow::DropSealedSecret { subject: "prv_1".to_owned() }] {
        change(vec![next]).await.expect("it is written");
    }
    log.close();
    let bytes = std::fs::read(folder.path().join(LEDGER_FILE)).expect("the ledger");
    for left in [short, b"long-secret-in-a-box!"] {
        assert!(!bytes.windows(left.len()).any(|window| window == left), "{}", String::from_utf8_lossy(left));
    }
}

/// Also those of a tenant that whoever ended the partner did not know, and of one whose key an earlier version wrapped.
async fn the_secrets_of_a_tenant_are_dropped_alone_and_with_those_of_its_partner(test_log: TestLog) {
    let clock = clock();
    let log = test_log.open(&clock);
    let tenant = |number: u128| id::<TenantId>(number).to_string();
    for (number, partner) in [(1, 1), (2, 1), (3, 2), (4, 1)] {
        let created = Event::from(Change::created(Tenant::new(id(number), id(partner), "t")));
        let mut change = append(StreamKind::Tenant, id(1), 0, created);
        change.stream = Stream::new(StreamKind::Tenant, tenant(number));
        let secret = SealedSecret {
            subject: format!("prv_{number}"),
            key_scope: tenant(number),
            generation: 1,
            sealed: vec![1],
        };
        let key = TenantKey { tenant: tenant(number), node: "n".to_owned(), wrapped: vec![1] };
        let legacy = SideRow::WrappedKey { scope: tenant(number), wrapped: vec![1] };
        change.side = vec![SideRow::SealedSecret(secret), SideRow::TenantKey(key), legacy];
        log.append(change).await.expect("a tenant with a secret");
    }
    let platform = SideRow::WrappedKey { scope: "platform".to_owned(), wrapped: vec![1] };
    for (row, left) in [
        (platform, vec![1, 2, 3, 4]),
        (SideRow::DropTenantSecrets(id(1)), vec![2, 3, 4]),
        (SideRow::DropPartnerSecrets(id(1)), vec![3]),
        (SideRow::DropTenantSecrets(id(1)), vec![3]),
    ] {
        let mut change = append(StreamKind::Tenant, id(9), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Day)));
        (change.events, change.side) = (Vec::new(), vec![row]);
        log.append(change).await.expect("it is written");
        let reader = log.reader().expect("a reader");
        let left: Vec<_> = left.into_iter().map(tenant).collect();
        let sealed = reader.sealed_secrets().expect("secrets").into_iter().map(|secret| secret.key_scope);
        assert_eq!(sealed.collect::<Vec<_>>(), left);
        assert_eq!(reader.tenant_keys().expect("keys").into_iter().map(|key| key.tenant).collect::<Vec<_>>(), left);
        let wrapped = reader.wrapped_keys().expect("keys").into_iter().map(|(scope, _)| scope);
        assert_eq!(wrapped.collect::<Vec<_>>(), [vec!["platform".to_owned()], left].concat());
    }
}

async fn the_content_keys_of_one_person_are_dropped_in_every_tenant_and_no_other(test_log: TestLog) {
    let log = test_log.open(&clock());
    let user = |number: u128| ContentKeyOwner::User(id(number));
    let names = [
        content_key_name(user(1), id(1)),
        content_key_name(user(1), id(2)),
        content_key_name(user(2), id(1)),
        content_key_name(ContentKeyOwner::Tenant(id(1)), id(1)),
        "prv_1".to_owned(),
    ];
    let change = |side: Vec<SideRow>| {
        let mut change = append(StreamKind::Tenant, id(9), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Day)));
        (change.events, change.side) = (Vec::new(), side);
        log.append(change)
    };
    let secret = |subject: &String, generation| SealedSecret {
        subject: subject.clone(),
        key_scope: id::<TenantId>(1).to_string(),
        generation,
        sealed: vec![1],
    };
    let secrets =
        names.iter().flat_map(|name| [7, 9].map(|generation| SideRow::SealedSecret(secret(name, generation))));
    change(secrets.collect()).await.expect("keys");
    let reader = log.reader().expect("a reader");
    assert_eq!(reader.sealed_secret_of(&names[0], 7).expect("it reads"), Some(secret(&names[0], 7)));
    assert_eq!(reader.sealed_secret_of(&names[0], 8).expect("it reads"), None);
    let tenants_of = |user| reader.tenants_with_content_keys_of(id(user)).expect("it reads");
    assert_eq!((tenants_of(1), tenants_of(2), tenants_of(3)), (vec![id(1), id(2)], vec![id(1)], vec![]));
    change(vec![SideRow::DropContentKeys(id(1))]).await.expect("it is written");
    assert_eq!(tenants_of(1), []);
    let left = reader.sealed_secrets().expect("secrets").into_iter().map(|secret| secret.subject);
    let mut expected: Vec<String> = names[2..].iter().flat_map(|name| [name.clone(), name.clone()]).collect();
    expected.sort();
    assert_eq!(left.collect::<Vec<_>>(), expected);
}

async fn the_hmac_of_a_secret_is_stored_if_the_key_still_has_the_secret(test_log: TestLog) {
    let log = test_log.open(&clock());
    let slow = |generation| KeySecret { key_id: id(1), generation, salt: vec![1], hash: vec![2], mac: None };
    let mut change = append(StreamKind::Key, id(9), 0, opened(budget(1, Scope::Tenant(id(1)), 1, Period::Day)));
    (change.events, change.side) = (Vec::new(), vec![SideRow::KeySecret(slow(1)), SideRow::KeySecret(slow(2))]);
    log.append(change).await.expect("it is written");
    for (key, generation) in [(1, 2), (1, 3), (2, 1)] {
        log.store_key_mac(KeyMac { key_id: id(key), generation, mac: vec![5] });
    }
    // It is recorded after them.
    open_budget(&log, 1, 100, Period::Day).await;
    let mac = Some(vec![5]);
    let replaced = match log.is_shared() {
        // For nodes of the version before.
        true => KeySecret { mac, ..slow(2) },
        false => KeySecret { salt: Vec::new(), hash: Vec::new(), mac, ..slow(2) },
    };
    assert_eq!(log.key_secrets(None, id(1)).await.expect("it reads"), [slow(1), replaced]);
    assert!(log.key_secrets(None, id(2)).await.expect("it reads").is_empty());
    must_verify(&log, 0);
}

/// The change of one stream, whose only meaning is its rows.
fn beside(number: u128, before: u64, side: Vec<SideRow>) -> Append {
    let event = opened(budget(number, Scope::Tenant(id(1)), 1, Period::Total));
    Append { side, ..append(StreamKind::Budget, id(number), before, event) }
}

fn claim(name: &str, owner: u128) -> SideRow {
    let name = Name { kind: StreamKind::ProviderKey, scope: "shared".to_owned(), name: name.to_owned() };
    SideRow::ClaimName { name, owner: owner.to_string() }
}

fn release(owner: u128) -> SideRow {
    SideRow::ReleaseNames { owner: owner.to_string() }
}

fn person(number: u128, name: &str) -> PersonalData {
    let email = (number.is_multiple_of(2)).then(|| format!("{name}@example.com"));
    PersonalData { subject: id(number), name: name.to_owned(), email, salt: vec![7, 0] }
}

fn secret(subject: &str, generation: u32, tenant: u128, sealed: u8) -> SealedSecret {
    let (subject, key_scope) = (subject.to_owned(), id::<TenantId>(tenant).to_string());
    SealedSecret { subject, key_scope, generation, sealed: vec![sealed] }
}

fn tenant_key(tenant: u128, wrapped: u8) -> TenantKey {
    TenantKey { tenant: id::<TenantId>(tenant).to_string(), node: "n".to_owned(), wrapped: vec![wrapped] }
}

fn forget(subject: &str) -> SideRow {
    SideRow::DropSealedSecret { subject: subject.to_owned() }
}

async fn rows_of_one_append_leave_what_they_would_leave_one_by_one(test_log: TestLog) {
    use SideRow::{PersonalData as Person, SealedSecret as Seal, TenantKey as Key};
    const USERS: u128 = 300;
    let log = test_log.open(&clock());
    let first = vec![claim("a", 1), claim("b", 1), claim("c", 2), Person(person(1, "old")), Key(tenant_key(1, 1))];
    log.append(beside(1, 0, first)).await.expect("names that are free");
    let seal = |subject, generation, tenant, sealed| Seal(secret(subject, generation, tenant, sealed));
    log.append(beside(2, 0, vec![seal("s", 1, 2, 1), seal("t", 1, 1, 1)])).await.expect("secrets");

    let user =
        |number: u128| beside(number, 0, vec![claim(&format!("u{number}"), number), Person(person(number, "u"))]);
    let users = (100..100 + USERS).map(user);
    let changes = [
        beside(1, 1, vec![release(1), claim("d", 1), Person(person(1, "new"))]),
        beside(3, 0, vec![claim("a", 3), claim("a", 3), Person(person(3, "x")), Person(person(3, "y"))]),
        beside(4, 0, vec![claim("e", 4), release(4), claim("f", 4)]),
        beside(5, 0, vec![claim("g", 5), release(5)]),
        beside(6, 0, vec![claim("g", 6), forget("s"), seal("s", 2, 2, 2), seal("s", 2, 2, 3)]),
        beside(7, 0, vec![Key(tenant_key(2, 1)), Key(tenant_key(2, 2)), seal("v", 1, 2, 1), forget("v")]),
        beside(8, 0, vec![Key(tenant_key(1, 2)), seal("w", 1, 1, 1), SideRow::DropTenantSecrets(id(1))]),
    ];
    log.append_all(changes.into_iter().chain(users).collect()).await.expect("nothing conflicts");

    let rows = |table: &str| blocking(|| test_log.number(&format!("SELECT count(*) FROM {table}")));
    let of_users = (100..100 + USERS).map(|number| (format!("u{number}"), number));
    let owners = [("c", 2), ("d", 1), ("a", 3), ("f", 4), ("g", 6)].map(|(name, owner)| (name.to_owned(), owner));
    let owners: Vec<_> = owners.into_iter().chain(of_users).collect();
    assert_eq!(rows("names"), owners.len() as i64);
    for (name, owner) in owners {
        assert_eq!(rows(&format!("names WHERE name = '{name}' AND owner = '{owner}'")), 1, "{name} is {owner}'s");
    }
    let reader = log.reader().expect("a reader");
    let asked: Vec<UserId> = [1, 3, 100, 399].map(id).to_vec();
    let mut people: Vec<_> = reader.personal_data(&asked).expect("people").into_values().collect();
    people.sort_by_key(|person| person.subject);
    assert_eq!(people, [person(1, "new"), person(3, "y"), person(100, "u"), person(399, "u")]);
    assert_eq!(reader.sealed_secrets().expect("secrets"), [secret("s", 2, 2, 3)]);
    assert_eq!(reader.tenant_keys().expect("keys"), [tenant_key(2, 2)]);

    // What is dropped by the names that are there, with those that the same append has claimed before.
    let within = SideRow::DropSealedSecretsWithin { kind: StreamKind::ProviderKey, scope: "shared".to_owned() };
    let last = vec![seal("x", 1, 2, 1), claim("x", 8), seal("y", 1, 2, 1), within, claim("x", 9), claim("y", 9)];
    log.append(beside(9, 0, last)).await.expect("the names are free again");
    assert_eq!(rows("names"), 2);
    assert_eq!(rows("names WHERE owner = '9'"), 2);
    let mut left: Vec<_> = reader.sealed_secrets().expect("secrets").into_iter().map(|secret| secret.subject).collect();
    left.sort();
    assert_eq!(left, ["s", "y"]);
}

/// Each statement is a round trip in the transaction that others wait for.
#[tokio::test]
async fn a_change_of_a_thousand_users_takes_a_statement_for_each_kind_of_row() {
    const COUNT: &str = "
        CREATE TABLE public.statements (on_table text);
        CREATE FUNCTION public.count_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            'BEGIN INSERT INTO public.statements VALUES (TG_TABLE_NAME); RETURN NULL; END';
        CREATE TRIGGER counted AFTER INSERT OR DELETE ON ledger.names
            FOR EACH STATEMENT EXECUTE FUNCTION public.count_it();
        CREATE TRIGGER counted AFTER INSERT OR DELETE ON ledger.personal_data
            FOR EACH STATEMENT EXECUTE FUNCTION public.count_it();";
    let test_log = TestLog::in_database();
    let TestLog::Database(database) = &test_log else { panic!("it is in a database") };
    blocking(|| database.execute(COUNT));
    let log = test_log.open(&clock());
    let changed = |before, name: &'static str| {
        let rows = move |number: u128| {
            vec![
                release(number),
                claim(&format!("{name}{number}"), number),
                SideRow::PersonalData(person(number, name)),
            ]
        };
        (1..=1000).map(move |number| beside(number, before, rows(number))).collect::<Vec<_>>()
    };
    for (before, name, statements) in [(0, "a", 3), (1, "b", 6)] {
        log.append_all(changed(before, name)).await.expect("nothing conflicts");
        assert_eq!(blocking(|| test_log.number("SELECT count(*) FROM public.statements")), statements, "{name}");
        let named = format!("SELECT count(*) FROM names WHERE name LIKE '{name}%'");
        assert_eq!(blocking(|| test_log.number(&named)), 1000, "{name}");
    }
}
