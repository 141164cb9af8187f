//! The reader of a shared ledger says what the reader of an embedded one says of the same story, and the check finds damage in
//! both.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use events::event::access::AccessDenied;
use events::event::admin::Scope;
use events::event::{Access, Actor, Context, Event, Resource, Stream, StreamKind};
use events::ids::{BudgetId, KeyId, PartnerId, PriceId, RequestId, TenantId, UserId};
use events::refusal::ErrorCode;
use events::time::{Clock, ManualClock, Period};
use events_log::verify::{Depth, VerifyError, verify};
use events_log::{
    Append, ClientAddress, CopyCallbacks, DatabaseAddress, EventFilter, Fingerprint, Idempotency, KeySecret,
    LEDGER_FILE, Log, LogError, LogOptions, Name, Note, PersonalData, Reader, RegisteredNode, SealedSecret, SideRow,
    TenantKey, copy_to_shared, open_reader, open_shared_reader,
};
use tempfile::TempDir;
use testing::postgres::TestDatabase;

use crate::damage::story::SampleLog;
use crate::facts::{append, budget, clock, id, opened, start};

fn database(test: &TestDatabase) -> DatabaseAddress {
    test.url().parse().expect("an address")
}

/// Rows of every side table.
fn side_rows() -> Vec<SideRow> {
    let person = |number: u128, name: &str, email: Option<&str>| {
        let (name, email) = (name.to_owned(), email.map(str::to_owned));
        SideRow::PersonalData(PersonalData { subject: id(number), name, email, salt: vec![0, 255, 7] })
    };
    let secret = |generation, mac| {
        SideRow::KeySecret(KeySecret { key_id: id(1), generation, salt: vec![1], hash: vec![2, 0], mac })
    };
    let sealed = |subject: &str, generation, sealed: &[u8]| {
        let (subject, key_scope) = (subject.to_owned(), "platform".to_owned());
        SideRow::SealedSecret(SealedSecret { subject, key_scope, generation, sealed: sealed.to_vec() })
    };
    let wrapped = |scope: &str| SideRow::WrappedKey { scope: scope.to_owned(), wrapped: vec![9] };
    let key = |tenant: &str, node: &str| {
        SideRow::TenantKey(TenantKey { tenant: tenant.to_owned(), node: node.to_owned(), wrapped: vec![3] })
    };
    let node = |node: &str| {
        let (node, recipient, serves) = (node.to_owned(), "age1".to_owned(), "all".to_owned());
        SideRow::Node(RegisteredNode { node, recipient, serves, tag: vec![4] })
    };
    let address = |number: u128, user_agent: Option<&str>| {
        let (ip, user_agent) = ("192.0.2.1".to_owned(), user_agent.map(str::to_owned));
        SideRow::ClientAddress(ClientAddress { request_id: id(number), ip, user_agent })
    };
    let name = Name { kind: StreamKind::Tenant, scope: "ptn".to_owned(), name: "a".to_owned() };
    vec![
        SideRow::ClaimName { name, owner: "tnt".to_owned() },
        person(1, "Zoë", Some("z@example.com")),
        person(2, "Zoë", None),
        person(3, "anna", None),
        secret(1, None),
        secret(2, Some(vec![5, 0])),
        sealed("prv_b", 1, b"1"),
        sealed("prv_b", 2, b"2"),
        sealed("prv_B", 1, b""),
        wrapped("platform"),
        wrapped("Z"),
        wrapped("a"),
        key("t1", "n2"),
        key("t1", "N1"),
        key("t2", "n1"),
        node("n2"),
        node("N1"),
        address(1, None),
        address(2, Some("curl")),
    ]
}

/// The story of [`SampleLog`], with all kinds of rows next to it.
async fn story() -> SampleLog {
    let story = SampleLog::whole().await;
    let last = embedded(story.folder.path()).head().expect("a head").recorded_at.expect("a time");
    let clock = Arc::new(ManualClock::at(last + TimeDelta::seconds(1)));
    let log = Log::open(story.folder.path(), LogOptions::new(clock)).expect("the log opens");
    let event = opened(budget(50, Scope::Tenant(id(1)), i64::MAX, Period::Total));
    let idempotency = Idempotency {
        scope: "operator".to_owned(),
        key: "k".to_owned(),
        fingerprint: Fingerprint { keyed: [7; 32], unkeyed: [7; 32] },
        status: 201,
        body: "{}".to_owned(),
    };
    let change = append(StreamKind::Budget, id(50), 0, event);
    let change = Append { side: side_rows(), idempotency: Some(idempotency), ..change };
    let appended = log.append(change).await.map(drop);
    assert!(appended.is_ok(), "{appended:?}");
    log.close();
    story
}

fn embedded(folder: &Path) -> Box<dyn Reader> {
    open_reader(&folder.join(LEDGER_FILE)).expect("the ledger opens")
}

fn copied(folder: &Path) -> TestDatabase {
    let (test, ledger) = (TestDatabase::create(), folder.join(LEDGER_FILE));
    let (address, mut last) = (database(&test), 0);
    std::thread::scope(|scope| {
        let copied = scope.spawn(|| {
            Log::migrate_shared(&address).expect("an empty database");
            let callbacks = CopyCallbacks { progress: &mut |at, _| last = at, before_commit: &mut || Ok(()) };
            copy_to_shared(&ledger, None, &address, callbacks)
        });
        let head = copied.join().expect("no panic").expect("a copy");
        assert_eq!(head, embedded(folder).head().expect("a head").position);
    });
    assert_eq!(last, embedded(folder).head().expect("a head").position);
    test
}

/// Answers of a reader, each with its question.
#[derive(Default)]
struct Answers(Vec<(String, String)>);

impl Answers {
    fn note<T: Debug>(&mut self, question: impl Into<String>, answer: Result<T, LogError>) {
        self.0.push((question.into(), format!("{:?}", answer.map_err(|_| "an error"))));
    }

    fn note_map<K: Ord + Debug, V: Debug>(
        &mut self,
        question: impl Into<String>,
        answer: Result<impl IntoIterator<Item = (K, V)>, LogError>,
    ) {
        self.note(question, answer.map(|map| map.into_iter().collect::<BTreeMap<K, V>>()));
    }
}

/// All that a reader can be asked.
fn answers(reader: &dyn Reader) -> Vec<(String, String)> {
    let mut answers = Answers::default();
    let head = reader.head().expect("a head").position;
    answers.note("head", reader.head());
    for (after, limit) in [(0, 7), (3, 1000), (head, 5), (head + 10, 5)] {
        answers.note(format!("after {after} {limit}"), reader.after(after, limit));
    }
    for seconds in [-10, 0, 1, 30, 61, 3600, 86_400, 1_000_000] {
        answers.note(format!("since {seconds}"), reader.first_since(start() + TimeDelta::seconds(seconds)));
    }
    answers.note("revaluation", reader.revaluation_begins_after());
    answers.note_map("at", reader.at(&[1, 5, head, head + 1, 0]));
    for kind in [StreamKind::Inference, StreamKind::Hold] {
        answers.note(format!("stream {kind:?}"), reader.stream(&Stream::new(kind, id::<RequestId>(8))));
    }
    for kind in [StreamKind::Budget, StreamKind::Price] {
        let stream = match kind {
            StreamKind::Price => Stream::new(kind, id::<PriceId>(1)),
            _ => Stream::new(kind, id::<BudgetId>(2)),
        };
        let positions = reader.stream(&stream).expect("a stream").into_iter().map(|event| Some(event.position));
        for position in positions.chain([None, Some(head + 9)]) {
            answers.note(format!("last {stream:?} {position:?}"), reader.last_of_each_type(&stream, position));
        }
    }
    for position in [0, 5, head] {
        answers.note(format!("administration {position}"), reader.administration_after(position));
    }
    for (scope, key) in [("operator", "k"), ("operator", "l")] {
        answers.note(format!("reply {key}"), reader.idempotent_reply(scope, key));
    }
    for keys in [vec![1], vec![2], vec![9, 1, 2], Vec::new()] {
        let keys: Vec<KeyId> = keys.into_iter().map(id).collect();
        answers.note(format!("secrets {keys:?}"), reader.key_secrets(&keys));
    }
    for subject in ["prv_b", "prv_B", "prv_c"] {
        answers.note(format!("sealed {subject}"), reader.sealed_secret(subject));
    }
    answers.note("all sealed", reader.sealed_secrets());
    let subjects = ["prv_b", "prv_B", "prv_c"].map(str::to_owned).to_vec();
    let open = reader.subjects_with_secret(subjects);
    answers.note_map("subjects", open.map(|open| open.into_iter().map(|subject| (subject, ()))));
    answers.note("content keys", reader.tenants_with_content_keys_of(id::<UserId>(1)));
    for scope in ["a", "b"] {
        answers.note(format!("wrapped {scope}"), reader.wrapped_key(scope));
    }
    answers.note("any wrapped", reader.any_wrapped_key());
    answers.note("all wrapped", reader.wrapped_keys());
    answers.note("nodes", reader.nodes());
    answers.note("tenant keys", reader.tenant_keys());
    answers.note("its keys", reader.tenant_keys_of("t1"));
    let people = [1, 2, 2, 4].map(id::<UserId>);
    answers.note_map("people", reader.personal_data(&people));
    for limit in [1, 9] {
        answers.note(format!("named {limit}"), reader.people_named("Zoë", limit));
    }
    answers.note_map("addresses", reader.client_addresses(&[1, 2, 3].map(id::<RequestId>)));
    let balances = reader.balances(clock().now()).expect("balances");
    let windows: BTreeMap<_, _> = balances.1.windows().map(|(window, amounts)| (window.to_string(), amounts)).collect();
    let holds: BTreeMap<_, _> = balances.1.open_holds().collect();
    answers.note("balances", Ok((balances.0, windows, holds)));
    answers.note_filtered(reader, head);
    answers.0
}

impl Answers {
    fn note_filtered(&mut self, reader: &dyn Reader, head: u64) {
        let times = [None, Some(start() + TimeDelta::seconds(2)), Some(start() + TimeDelta::days(1))];
        let types = |names: &[&str]| Some(names.iter().map(|name| ((*name).to_owned(), 1)).collect::<Vec<_>>());
        let administration: Vec<&str> = Resource::TYPES.iter().map(|(name, _)| *name).collect();
        let kinds = [None, types(&["budget.settled", "access.denied"]), types(&administration)];
        let owners: [(Option<PartnerId>, Option<TenantId>); 5] =
            [(None, None), (Some(id(1)), None), (None, Some(id(1))), (Some(id(1)), Some(id(1))), (None, Some(id(9)))];
        for (partner, tenant) in owners {
            for types in &kinds {
                for (from, to) in times.into_iter().flat_map(|from| times.map(|to| (from, to))) {
                    let filter = EventFilter { types: types.clone(), partner, tenant, from, to };
                    for (after, limit) in [(0, 1000), (0, 3), (40, 5), (64, 1000), (head, 5)] {
                        let question = format!("{filter:?} {after} {limit}");
                        self.note(question, reader.filtered(&filter, after, limit));
                    }
                }
            }
        }
    }
}

fn must_answer_alike(one: &dyn Reader, other: &dyn Reader) {
    for ((question, one), (_, other)) in answers(one).into_iter().zip(answers(other)) {
        assert_eq!(one, other, "{question}");
    }
}

#[tokio::test]
async fn a_shared_ledger_answers_like_the_embedded_one_that_it_was_copied_from() {
    let story = story().await;
    let test = copied(story.folder.path());
    let shared = open_shared_reader(&database(&test)).expect("a reader");
    must_answer_alike(&*shared, &*embedded(story.folder.path()));
    let check = |reader: &dyn Reader| verify(reader, Depth::Gateway, &mut |_, _| {}).expect("it is sound");
    assert_eq!(check(&*shared), check(&*embedded(story.folder.path())));
}

#[tokio::test]
async fn events_after_the_last_checkpoint_are_read_without_their_blocks() {
    let story = story().await;
    let test = copied(story.folder.path());
    let ledger = rusqlite::Connection::open(story.folder.path().join(LEDGER_FILE)).expect("the ledger");
    let earlier = "UPDATE ledger_checkpoint SET position = 0; DELETE FROM owner_blocks; DELETE FROM balances;
                   DELETE FROM open_holds;";
    ledger.execute_batch(earlier).expect("an earlier state");
    test.execute(
        "UPDATE ledger.ledger_checkpoint SET position = 0; DELETE FROM ledger.owner_blocks;
         DELETE FROM ledger.balances; DELETE FROM ledger.open_holds;",
    );
    let shared = open_shared_reader(&database(&test)).expect("a reader");
    must_answer_alike(&*shared, &*embedded(story.folder.path()));
    verify(&*shared, Depth::Gateway, &mut |_, _| {}).expect("it is sound");
}

#[tokio::test]
async fn a_ledger_with_events_is_not_copied_into() {
    let story = story().await;
    let test = copied(story.folder.path());
    let (ledger, address) = (story.folder.path().join(LEDGER_FILE), database(&test));
    let again = std::thread::spawn(move || {
        let callbacks =
            CopyCallbacks { progress: &mut |_, _| {}, before_commit: &mut || panic!("it must not get this far") };
        copy_to_shared(&ledger, None, &address, callbacks)
    });
    let error = again.join().expect("no panic").expect_err("it has events").to_string();
    assert!(error.contains("has events already"), "{error}");
}

/// The result of the check after this change to the copy.
fn said_after(story: &SampleLog, sql: &str) -> String {
    let test = copied(story.folder.path());
    test.execute(&format!("SET session_replication_role = replica; {sql}"));
    let shared = open_shared_reader(&database(&test)).expect("a reader");
    match verify(&*shared, Depth::Gateway, &mut |_, _| {}) {
        Ok(sound) => panic!("{sql}: {sound:?}"),
        Err(VerifyError::Unreadable(error)) => panic!("{sql}: {error}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn damage_to_a_shared_ledger_is_found() {
    let story = story().await;
    let at = story.completed;
    let delete = |table: &str| format!("DELETE FROM ledger.{table}");
    for (sql, said) in [
        (format!("DELETE FROM ledger.events WHERE position = {at}"), format!("position {at} is missing")),
        (format!("UPDATE ledger.events SET payload = '{{' WHERE position = {at}"), format!("position {at}: ")),
        (
            format!("UPDATE ledger.events SET sequence = -1 WHERE position = {at}"),
            "event 0 of inference-req_".to_owned(),
        ),
        (delete("contexts"), "cannot be read".to_owned()),
        (delete("balances"), "there is no balance".to_owned()),
        ("UPDATE ledger.balances SET settled = settled + 1".to_owned(), "in the table of balances".to_owned()),
        ("UPDATE ledger.balances SET announced = 'x'".to_owned(), "must be a fraction".to_owned()),
        (delete("open_holds"), "open holds".to_owned()),
        (delete("owner_blocks"), "the stored blocks of".to_owned()),
        (
            "ALTER TABLE ledger.events DROP CONSTRAINT events_aggregate_id_aggregate_type_sequence_key".to_owned(),
            "the index that makes streams unique is gone".to_owned(),
        ),
        ("DROP INDEX ledger.events_by_type_of_stream".to_owned(), "there is no index events_by_type".to_owned()),
        ("DROP INDEX ledger.events_of_administration".to_owned(), "there is no index events_of_admin".to_owned()),
        ("DROP TABLE ledger.nodes".to_owned(), "the table nodes is damaged".to_owned()),
        (
            "UPDATE ledger.batches SET recorded_at = recorded_at - 1 WHERE first > 0".to_owned(),
            "has another time than its last event".to_owned(),
        ),
        (
            "UPDATE ledger.batches SET first = 5 WHERE first = 1".to_owned(),
            "the batch that begins at 5 follows one that ends at 0".to_owned(),
        ),
    ] {
        let found = said_after(&story, &sql);
        assert!(found.contains(&said), "{sql}: {found}");
    }
}

/// More events than one filtered read examines, in turns of a hundred for two tenants. The rows of the state are some hundred
/// events behind.
const MANY: &str = "
    INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 70000)
    SELECT i, recorded_at + i / 7, aggregate_type, aggregate_id, i, event_type, event_version, payload,
           json_set(metadata, '$.tenant_id', iif(i / 100 % 2, '{even}', '{odd}'))
    FROM n, events WHERE position = 1;
    INSERT INTO owner_blocks (owner, block)
    SELECT DISTINCT metadata ->> '$.tenant_id', position / 64 FROM events WHERE position BETWEEN 2 AND 69300;
    UPDATE ledger_checkpoint SET position = 69300;";

async fn a_long_log() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let log = Log::open(folder.path(), LogOptions::new(clock())).expect("the log opens");
    let denied = AccessDenied { code: ErrorCode::Forbidden, count: 1 };
    let event = Event::Access(Access::Denied(Box::new(denied)));
    let stream = Stream::new(StreamKind::Access, "anonymous");
    let note = Note { stream, context: Context::of(Actor::Operator), event };
    log.note(vec![note]).await.expect("noted");
    log.close();
    let many = MANY.replace("{even}", &id::<TenantId>(2).to_string()).replace("{odd}", &id::<TenantId>(3).to_string());
    let ledger = rusqlite::Connection::open(folder.path().join(LEDGER_FILE)).expect("the ledger");
    ledger.execute_batch(&many).expect("many events");
    folder
}

#[tokio::test]
async fn a_long_log_is_copied_in_batches_and_read_in_parts() {
    let folder = a_long_log().await;
    let test = copied(folder.path());
    assert_eq!(test.number("SELECT count(*) FROM ledger.batches WHERE first > 0"), 71);
    let checkpoints = "SELECT sum(last)::bigint FROM ledger.batches WHERE is_checkpoint AND first > 0";
    assert_eq!(test.number(checkpoints), 69_300);
    let [shared, embedded] = [open_shared_reader(&database(&test)).expect("a reader"), embedded(folder.path())];
    let at = |micros| Some(start() + TimeDelta::microseconds(micros));
    for tenant in [None, Some(id(2)), Some(id(3)), Some(id(4))] {
        for (from, to) in [(None, None), (at(500), None), (None, at(9_950)), (at(9_000), at(9_999))] {
            let filter = EventFilter { tenant, from, to, ..EventFilter::default() };
            let mut after = 0;
            loop {
                let part = shared.filtered(&filter, after, 20_000).expect("a part");
                assert_eq!(part, embedded.filtered(&filter, after, 20_000).expect("a part"), "{filter:?} {after}");
                after = part.until;
                if !part.has_more() {
                    break;
                }
            }
        }
    }
}
