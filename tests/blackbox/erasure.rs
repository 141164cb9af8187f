//! Erasing the personal data of a user: afterwards it is in no file and in no answer, and the log is as sound as it was.

use std::time::{Duration, Instant};

use events_log::LEDGER_FILE;
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::secrets::forms::Wanted;
use crate::secrets::{Place, collect};
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{NATIVE, Tenant, made};

const NAME: &str = "Canary Hopper-4417";
const EMAIL: &str = "canary.hopper@example.com";
const AGENT: &str = "canary-client/4.4.17";
const PERSONAL: [&str; 3] = [NAME, EMAIL, AGENT];
const SOON: Duration = Duration::from_secs(20);

/// A user who has changed something, asked for an answer, and was deleted.
struct Person {
    id: String,
    path: String,
}

impl Person {
    async fn who_has_left(gateway: &Gateway, tenant: &Tenant) -> Self {
        let operator = gateway.operator();
        let user = json!({ "tenant_id": tenant.id, "name": NAME, "email": EMAIL, "roles": ["tenant_admin"] });
        let id = made(operator, "/users", user).await;
        let key = json!({ "user_id": id, "name": "app", "permissions": ["admin:access", "models:use"] });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        let own = gateway.client(key["secret"].as_str()).with("user-agent", AGENT);
        let second = json!({ "user_id": id, "name": "second", "permissions": ["models:use"] });
        own.post("/v1/admin/keys", &second).await.must(201);
        own.post(NATIVE, &tenant.ask("ok")).await.must(200);
        operator.delete(&format!("/v1/admin/users/{id}")).await.must(200);
        Self { path: format!("/v1/admin/subjects/{id}/erase"), id }
    }

    async fn shown(&self, reader: &Client) -> Value {
        reader.get(&format!("/v1/admin/users/{}", self.id)).await.must(200).json()
    }
}

fn found_in(gateway: &Gateway, personal: &str) -> Vec<String> {
    let mut places = Vec::<Place>::new();
    collect(&gateway.data(), &mut places);
    let wanted = Wanted::new(personal);
    places.into_iter().filter(|place| wanted.form_in(&place.bytes).is_some()).map(|place| place.name).collect()
}

async fn must_be_gone(gateway: &Gateway) {
    let began = Instant::now();
    while let Some(left) = PERSONAL.iter().find(|personal| !found_in(gateway, personal).is_empty()) {
        assert!(began.elapsed() < SOON, "{left} is in {:?}", found_in(gateway, left));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Holds: admin.erase
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_in_no_file_and_the_log_is_as_sound_as_before() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let person = Person::who_has_left(&gateway, &tenant).await;
    for personal in PERSONAL {
        assert!(!found_in(&gateway, personal).is_empty(), "{personal} is nowhere before");
    }
    let operator = gateway.operator();
    let shown = person.shown(operator).await;
    assert_eq!((&shown["name"], &shown["email"]), (&json!(NAME), &json!(EMAIL)));

    let once = operator.clone().with("idempotency-key", "erase-1");
    let erased = once.post(&person.path, &json!({})).await.must(200).json();
    assert_eq!((&erased["name"], &erased["email"]), (&Value::Null, &Value::Null), "{erased}");
    assert!(erased["ended_at"].is_string(), "{erased}");
    let head = gateway.head().await;
    assert_eq!(once.post(&person.path, &json!({})).await.must(200).json(), erased, "a retry");
    assert_eq!(gateway.head().await, head, "a retry changes nothing");

    must_be_gone(&gateway).await;
    assert_eq!(person.shown(operator).await["name"], Value::Null);
    let audit = operator.get(&format!("/v1/audit?min_position={head}&action=user.erased")).await.must(200).json();
    assert_eq!(audit["items"][0]["resource"], format!("user/{}", person.id), "{audit}");
    let changes = operator.get("/v1/audit?action=key.created").await.must(200).json();
    let by_person: Vec<&Value> =
        changes["items"].as_array().expect("items").iter().filter(|change| change["actor"] != "operator").collect();
    assert_eq!(by_person.len(), 1, "{changes}");
    assert_eq!((&by_person[0]["ip"], &by_person[0]["user_agent"]), (&Value::Null, &Value::Null), "{changes}");

    gateway.stop();
    let (code, words) = gateway.verify();
    assert_eq!(code, Some(0), "{words}");
    for personal in PERSONAL {
        assert!(found_in(&gateway, personal).is_empty(), "{personal} is in {:?}", found_in(&gateway, personal));
    }
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_does_not_come_back_in_earlier_answers() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let person = Person::who_has_left(&gateway, &tenant).await;
    let then = gateway.head().await;
    let paths = [
        format!("/v1/admin/users/{}?as_of={then}", person.id),
        format!("/v1/admin/users?include_ended=true&as_of={then}"),
        format!("/v1/admin/keys?include_ended=true&as_of={then}"),
        format!("/v1/usage?group_by=user&as_of={then}"),
    ];
    let answers = async || {
        let mut answers = Vec::new();
        for path in &paths {
            let answer = gateway.operator().get(path).await.must(200).json().to_string();
            assert!(answer.contains(&person.id), "{path}: {answer}");
            answers.push(answer);
        }
        answers
    };
    for answer in answers().await {
        assert!(answer.contains(NAME), "{answer}");
    }
    gateway.operator().post(&person.path, &json!({})).await.must(200);
    for answer in answers().await {
        assert!(PERSONAL.iter().all(|personal| !answer.contains(personal)), "{answer}");
    }
    // Nor is it in the file with the views of then.
    must_be_gone(&gateway).await;
}

/// Holds: admin.erase
#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_manage_a_user_erases_it_once_it_has_ended_and_only_once() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (user, erase) =
        (format!("/v1/admin/users/{}", tenant.user), format!("/v1/admin/subjects/{}/erase", tenant.user));
    let operator = gateway.operator();
    let (_, stranger) = other.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    stranger.post(&erase, &json!({})).await.must(404);
    tenant.app.post(&erase, &json!({})).await.must(403);
    let (_, own) = tenant.new_key(&gateway, json!({ "permissions": ["admin:access"] })).await;
    for live in [operator, &own] {
        live.post(&erase, &json!({})).await.must(409);
    }
    operator.post("/v1/admin/subjects/usr_00000000000000000000000000000001/erase", &json!({})).await.must(404);
    operator.delete(&user).await.must(200);
    stranger.post(&erase, &json!({})).await.must(404);
    operator.post(&erase, &json!({ "all": true })).await.must(400);
    assert_eq!(operator.post(&erase, &json!({})).await.must(200).json()["name"], Value::Null);
    assert_eq!(operator.post(&erase, &json!({})).await.must(200).json()["name"], Value::Null);
    let head = gateway.head().await;
    let audit = operator.get(&format!("/v1/audit?min_position={head}&action=user.erased")).await.must(200).json();
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(1), "there was nothing left: {audit}");
    operator.patch(&user, &json!({ "name": NAME })).await.must(409);
}

/// Somebody who reads keeps the write-ahead log from being emptied. It is emptied once nobody does, without another change.
/// Holds: admin.erase
#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_keeps_is_gone_when_it_has_read() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let person = Person::who_has_left(&gateway, &tenant).await;
    let reader = Connection::open(gateway.data().join(LEDGER_FILE)).expect("the ledger opens");
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").expect("it reads");
    gateway.operator().post(&person.path, &json!({})).await.must(200);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!found_in(&gateway, NAME).is_empty(), "the reader may still ask for it");
    reader.execute_batch("COMMIT").expect("it has read");
    must_be_gone(&gateway).await;
}

/// Holds: admin.erase
#[tokio::test(flavor = "multi_thread")]
async fn a_person_whom_one_node_erases_is_gone_for_all_of_them() {
    let (database, [here, there], upstream) = (migrated(), folders(), MockUpstream::start().await);
    // With the rights that gateways have.
    let url = database.gateway_url();
    let (one, two) = (node(&url, here.path(), &[]), node(&url, there.path(), &[]));
    let tenant = Tenant::new(&one, &upstream, &["ok"]).await;
    let person = Person::who_has_left(&one, &tenant).await;
    let rows_with = |text: &str| {
        let tables = ["personal_data", "client_addresses", "idempotency", "events", "contexts"];
        let rows = tables.map(|table| format!("SELECT row::text FROM ledger.{table} AS row")).join(" UNION ALL ");
        database.number(&format!("SELECT count(*) FROM ({rows}) AS rows (row) WHERE row LIKE '%{text}%'"))
    };
    assert!(PERSONAL.iter().all(|personal| rows_with(personal) > 0));
    two.operator().post(&person.path, &json!({})).await.must(200);
    for node in [&one, &two] {
        assert_eq!(person.shown(node.operator()).await["name"], Value::Null);
    }
    assert_eq!(PERSONAL.map(rows_with), [0; 3]);
    assert!(rows_with(&person.id) > 0, "the events are still there");
    let files_with = |text: &str| {
        database.execute("CHECKPOINT");
        let found = |table: &str| {
            // The file may be replaced meanwhile.
            let file = format!("pg_read_binary_file(pg_relation_filepath('ledger.{table}'), 0, 10000000, true)");
            database.number(&format!("SELECT coalesce(position('{text}'::bytea in {file}), 1)::bigint"))
        };
        ["personal_data", "client_addresses"].into_iter().filter(|table| found(table) > 0).count()
    };
    let began = Instant::now();
    while PERSONAL.map(files_with) != [0; 3] {
        assert!(began.elapsed() < SOON, "{:?}", PERSONAL.map(files_with));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
