//! Checks of keys: thousands at once after a restart, keys that an earlier version stored, and keys in a database that somebody
//! has read or changed.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use ring::pbkdf2;
use rusqlite::{Connection, params};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{made, text};

/// A request that any key may send, and that waits for nothing once the key is checked.
const HEAD: &str = "/v1/log/head";
/// Keys that ask at once, unless the variable says another number.
const KEYS: usize = 1_500;
const KEYS_VARIABLE: &str = "KEY_CHECKS";
/// Users that have these keys.
const USERS: usize = 10;
/// The time of all but the slowest hundredth; without optimisation, of the gateway and of this test, three times as much.
const SLOW_MAX: Duration = if cfg!(debug_assertions) { Duration::from_secs(3) } else { Duration::from_secs(1) };

struct Key {
    id: String,
    secret: String,
}

async fn new_key(gateway: &Gateway) -> Key {
    let key = gateway.operator().post("/v1/admin/keys", &json!({ "name": "app" })).await.must(201).json();
    Key { id: text(&key["id"]), secret: text(&key["secret"]) }
}

impl Key {
    /// The part of it that is kept secret: the part before is its id, and the last eight digits are a check.
    fn secret_part(&self) -> &str {
        &self.secret[37..80]
    }

    async fn works(&self, gateway: &Gateway) -> bool {
        let reply = gateway.client(Some(&self.secret)).get(HEAD).await;
        assert!(matches!(reply.status, 200 | 401), "{}", reply.status);
        reply.status == 200
    }
}

/// The ledger of a gateway that has ended.
fn ledger(gateway: &Gateway) -> Connection {
    Connection::open(gateway.data().join("ledger.db")).expect("the ledger")
}

/// The lengths of the HMAC and of the slow hash that are stored of a key.
fn stored(gateway: &Gateway, key: &Key) -> (Option<usize>, usize) {
    let sql = "SELECT length(mac), length(hash) FROM key_secrets WHERE key_id = ?1";
    ledger(gateway).query_row(sql, [&key.id], |row| Ok((row.get(0)?, row.get(1)?))).expect("its row")
}

fn mac_of(gateway: &Gateway, key: &Key) -> Vec<u8> {
    let sql = "SELECT mac FROM key_secrets WHERE key_id = ?1";
    ledger(gateway).query_row(sql, [&key.id], |row| row.get(0)).expect("an HMAC")
}

fn set_mac(gateway: &Gateway, key: &Key, mac: &[u8]) {
    let sql = "UPDATE key_secrets SET mac = ?1 WHERE key_id = ?2";
    assert_eq!(ledger(gateway).execute(sql, params![mac, key.id]).expect("it is changed"), 1);
}

/// Stores of a key what earlier versions stored.
fn set_slow_hash(gateway: &Gateway, key: &Key) {
    let (salt, mut hash) = ([7; 16], [0; 32]);
    let rounds = NonZeroU32::new(100_000).expect("not zero");
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, key.secret_part().as_bytes(), &mut hash);
    let sql = "UPDATE key_secrets SET salt = ?1, hash = ?2, mac = NULL WHERE key_id = ?3";
    assert_eq!(ledger(gateway).execute(sql, params![salt, hash, key.id]).expect("it is changed"), 1);
}

/// Secrets of new keys of several users.
async fn new_secrets(gateway: &Gateway, keys: usize) -> Vec<String> {
    let mut creations = JoinSet::new();
    for _ in 0..USERS {
        let operator = gateway.operator().clone();
        creations.spawn(async move {
            let user = made(&operator, "/users", json!({ "name": "many" })).await;
            let mut secrets = Vec::new();
            for _ in 0..keys / USERS {
                let key = json!({ "user_id": user, "name": "app" });
                secrets.push(text(&operator.post("/v1/admin/keys", &key).await.must(201).json()["secret"]));
            }
            secrets
        });
    }
    creations.join_all().await.concat()
}

/// Holds: keys.hmac
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_all_keys_are_answered_that_ask_at_once() {
    let keys = std::env::var(KEYS_VARIABLE).map_or(KEYS, |number| number.parse().expect("a number of keys"));
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, maximum: own.maximum }).expect("a higher limit");
    let mut gateway = Gateway::start();
    let secrets = new_secrets(&gateway, keys).await;
    gateway.stop();
    gateway.start_again();
    let mut asking = Vec::new();
    for secret in &secrets {
        let ask = format!("GET {HEAD} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n");
        asking.push((gateway.wire().await, ask));
    }
    let mut answers = JoinSet::new();
    for (mut wire, ask) in asking {
        answers.spawn(async move {
            let asked = Instant::now();
            assert!(wire.send(ask).await, "the connection was closed");
            let answer = wire.response().await.expect("an answer");
            (answer.status, asked.elapsed())
        });
    }
    let answers = answers.join_all().await;
    assert_eq!(answers.len(), keys / USERS * USERS);
    let refused = answers.iter().filter(|(status, _)| *status != 200).count();
    assert_eq!(refused, 0, "of {keys} keys");
    let mut times: Vec<Duration> = answers.into_iter().map(|(_, time)| time).collect();
    times.sort_unstable();
    let slow = times[times.len() * 99 / 100];
    assert!(slow < SLOW_MAX, "{slow:?}");
}

/// Holds: keys.hmac
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_hash_of_an_earlier_version_is_replaced_at_the_first_use_of_its_key() {
    let mut gateway = Gateway::start();
    let [used, unused] = [new_key(&gateway).await, new_key(&gateway).await];
    gateway.stop();
    assert_eq!(stored(&gateway, &used), (Some(32), 0));
    for key in [&used, &unused] {
        set_slow_hash(&gateway, key);
    }
    gateway.start_again();
    assert!(used.works(&gateway).await);
    gateway.stop();
    assert_eq!((stored(&gateway, &used), stored(&gateway, &unused)), ((Some(32), 0), (None, 32)));
    gateway.start_again();
    assert!(used.works(&gateway).await && unused.works(&gateway).await);
    let path = format!("/v1/admin/keys/{}/rotate", used.id);
    gateway.operator().post(&path, &json!({ "overlap_seconds": 0 })).await.must(200);
    assert!(!used.works(&gateway).await);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: keys.hmac
#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_the_database_makes_no_hmac_and_moves_none_to_another_key() {
    let mut gateway = Gateway::start();
    let [one, two] = [new_key(&gateway).await, new_key(&gateway).await];
    gateway.stop();
    let (of_one, of_two) = (mac_of(&gateway, &one), mac_of(&gateway, &two));
    assert_ne!(of_one, of_two);
    let digest_of = |key: &Key| digest(&SHA256, key.secret_part().as_bytes()).as_ref().to_vec();
    for (what, first, second) in [
        ("the other's", of_two.clone(), of_one.clone()),
        ("a digest without a key", digest_of(&one), digest_of(&two)),
        ("nothing", Vec::new(), Vec::new()),
    ] {
        set_mac(&gateway, &one, &first);
        set_mac(&gateway, &two, &second);
        gateway.start_again();
        assert!(!one.works(&gateway).await && !two.works(&gateway).await, "{what}");
        gateway.stop();
    }
    set_mac(&gateway, &one, &of_one);
    set_mac(&gateway, &two, &of_two);
    gateway.start_again();
    assert!(one.works(&gateway).await && two.works(&gateway).await);
}

/// Holds: keys.hmac
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_ledger_has_what_nodes_of_the_version_before_check_and_store() {
    const BOTH: &str = "SELECT count(*) FROM ledger.key_secrets
        WHERE length(mac) = 32 AND length(salt) = 16 AND length(hash) = 32";
    let (database, [folder, other]) = (migrated(), folders());
    let mut gateway = node(&database.url(), folder.path(), &[]);
    let key = new_key(&gateway).await;
    assert!(key.works(&gateway).await);
    assert_eq!(database.number(BOTH), 1);
    gateway.stop();
    // As such a node stores it.
    database.execute("UPDATE ledger.key_secrets SET mac = NULL");
    let gateway = node(&database.url(), other.path(), &[]);
    assert!(key.works(&gateway).await);
    let began = Instant::now();
    while database.number(BOTH) == 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "no HMAC was stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
