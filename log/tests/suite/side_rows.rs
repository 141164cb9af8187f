//! Rows beside the events: they are written with a change or alone, and nothing is left of what was deleted.

use events::event::admin::{Scope, Tenant};
use events::event::{Change, Event, Stream, StreamKind};
use events::ids::TenantId;
use events::time::Period;
use events_log::{LEDGER_FILE, SealedSecret, SideRow, TenantKey};
use tempfile::TempDir;

use events::content::{ContentKeyOwner, content_key_name};

use crate::facts::{append, budget, clock, id, opened};
use crate::log_steps::{must_verify, open, open_budget};
use crate::test_log::{TestLog, on_both_engines};

on_both_engines! {
    side_rows_are_written_without_an_event_as_well,
    the_secrets_of_a_tenant_are_dropped_alone_and_with_those_of_its_partner,
    the_content_keys_of_one_person_are_dropped_in_every_tenant_and_no_other,
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
