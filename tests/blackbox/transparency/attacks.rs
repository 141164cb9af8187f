//! Attacks by somebody with every right on the database and on the object store, on a ledger that was published. Each
//! change is found from files alone, at the first position that is another.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::random::SplitMix64;
use testing::upstream::MockUpstream;
use tlog::{Checkpoint, SignedCheckpoint, Signer, VerifierKey};

use super::{CHECKPOINT_MAX, PUBLISHED, checkpoint_of, key, make_partners, unlocked};
use crate::archive::{address, run as run_command};
use crate::gateway::{Gateway, ledgerway};
use crate::tenant::Tenant;

const CHATS: usize = 6;
/// How often each change of the database is made, at places that a seed chooses.
const ROUNDS: u64 = 4;
/// Clears the state that a ledger has beside its events: it follows from them, and is computed again.
const FORGET_STATE: &str = "DELETE FROM balances; DELETE FROM open_holds; DELETE FROM owner_blocks; UPDATE ledger_checkpoint SET position = 0;";

/// A change of the events. Returns the first position that has another event than before.
type Change = fn(&Connection, &mut SplitMix64) -> u64;

const CHANGES: [(&str, Change); 9] = [
    ("actor", other_actor),
    ("tokens, cost and charge", doubled_charge),
    ("rewritten", rewritten),
    ("deleted", deleted),
    ("inserted", inserted),
    ("reordered", reordered),
    ("price", other_price),
    ("key of the log", other_log_key),
    ("tail", cut_tail),
];

/// Data folders of one gateway, each later than the one before, whose checkpoint has all of their events.
struct History {
    key: String,
    states: Vec<TempDir>,
}

impl History {
    async fn recorded() -> Self {
        let (mut gateway, upstream) = (Gateway::start_with(&[PUBLISHED]), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let key = key(gateway.operator()).await;
        let mut states = Vec::new();
        for _ in 0..3 {
            make_partners(gateway.operator(), 4).await;
            for _ in 0..CHATS {
                tenant.chat("ok").await.must(200);
            }
            checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
            gateway.stop();
            states.push(copied(&gateway.data()));
            gateway.start_again();
        }
        Self { key, states }
    }

    fn newest(&self) -> &Path {
        self.states.last().expect("states").path()
    }

    /// A copy of the newest state, whose checkpoints and tiles are those that were published.
    fn copy(&self) -> TempDir {
        copied(self.newest())
    }

    /// Returns the first bad position, as an auditor finds it who has the key, the published files and checkpoints that
    /// were kept.
    fn found(&self, folder: &Path, published: &Path, kept: &[PathBuf]) -> Option<u64> {
        let mut verify = ledgerway();
        verify.args(["verify", "--json", "--log-only", "--checkpoint-key", &self.key, "--data"]).arg(folder);
        for checkpoint in kept {
            verify.arg("--checkpoint").arg(checkpoint);
        }
        let ended = verify.env("LEDGERWAY_OBJECT_STORE_URL", address(published)).output().expect("it starts");
        let said: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(ended.status.code(), Some(i32::from(said["sound"] != true)), "{said}");
        said["broken"]["position"].as_u64()
    }
}

/// Holds: log.published-changes
#[tokio::test(flavor = "multi_thread")]
async fn every_attack_is_found_from_files_alone_at_the_first_bad_position() {
    let history = History::recorded().await;
    let honest = history.newest().join("objects");
    let newest = checkpoint_in(history.newest());
    assert_eq!(history.found(history.newest(), &honest, std::slice::from_ref(&newest)), None, "nobody changed it");
    for (name, apply) in CHANGES {
        for round in 0..ROUNDS {
            let folder = history.copy();
            let position = changed(folder.path(), apply, round);
            let found = history.found(folder.path(), &honest, std::slice::from_ref(&newest));
            assert_eq!(found, Some(position), "{name}, round {round}");
        }
    }
    for state in &history.states[..2] {
        let last = head(state.path());
        assert_eq!(history.found(state.path(), &honest, &[]), Some(last + 1), "rolled back to {last}");
        let forked = forked(state.path(), &[]).await;
        assert_eq!(history.found(forked.path(), &honest, &[]), Some(last + 1), "forked after {last}");
        // Another node of another copy signs with the same key.
        let signed = forked_and_signed(&history, state.path()).await;
        let kept = [checkpoint_in(state.path()), checkpoint_in(signed.path())];
        assert_eq!(history.found(history.newest(), &honest, &kept), Some(last + 1), "two logs after {last}");
        // Checkpoints and tiles are replaced by those of the fork, which the kept checkpoint is not of.
        let replaced = signed.path().join("objects");
        assert_eq!(history.found(signed.path(), &replaced, &kept[..1]), None, "the fork agrees with itself");
        assert!(
            history.found(signed.path(), &replaced, std::slice::from_ref(&newest)) > Some(0),
            "and not with what was kept"
        );
        let forged = forged(&history, state.path());
        assert_eq!(history.found(forged.path(), &forged.path().join("objects"), &[]), Some(1), "another key");
        // The same, and the ledger names the forger's key where it named the honest one.
        let position = changed(forged.path(), other_log_key, 0);
        assert_eq!(history.found(forged.path(), &honest, &[]), Some(position), "another key in the ledger");
        assert_eq!(history.found(forged.path(), &forged.path().join("objects"), &[]), Some(1), "in both");
    }
}

/// Files that are older than a checkpoint, or are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_checkpoint_is_enough_where_the_published_files_are_not() {
    let history = History::recorded().await;
    let newest = checkpoint_in(history.newest());
    let (folder, empty) = (history.copy(), tempfile::tempdir().expect("a folder"));
    let kept = [checkpoint_in(history.states[0].path()), newest.clone()];
    assert_eq!(history.found(folder.path(), empty.path(), &kept), None, "nobody changed it");
    changed(folder.path(), cut_tail, 0);
    assert!(history.found(folder.path(), empty.path(), &kept) > Some(0), "without the files");
    // The archive and the published log were rolled back together.
    let older = copied(history.states[0].path());
    let data = older.path().display().to_string();
    run_command(0, &["archive", "--data", &data]);
    let archive = address(&older.path().join("objects"));
    let verify = ["verify", "--json", "--archive", &archive, "--checkpoint-key", &history.key, "--checkpoint"];
    let [early, late] = kept.map(|checkpoint| checkpoint.display().to_string());
    let said = run_command(1, &[&verify[..], &[&early, "--checkpoint", &late]].concat());
    let broken = format!("\"position\":{}", head(older.path()) + 1);
    assert!(said.contains(&broken), "{said}");
    run_command(0, &[&verify[..], &[&early]].concat());
}

/// The log itself shows nothing of the two changes that are consistent.
#[tokio::test(flavor = "multi_thread")]
async fn a_consistent_change_is_found_by_nothing_but_a_checkpoint() {
    let history = History::recorded().await;
    for (name, apply) in &CHANGES[..2] {
        let folder = history.copy();
        changed(folder.path(), *apply, 0);
        let ended =
            ledgerway().args(["verify", "--log-only", "--data"]).arg(folder.path()).output().expect("it starts");
        assert_eq!(ended.status.code(), Some(0), "{name}: {ended:?}");
    }
}

/// Whoever has an old copy of a gateway has a key that was replaced since: what it signs on another history, although that is longer,
/// passes nowhere, and keeps no gateway from its start, nor from publishing its own again.
/// Holds: log.published-checked
#[tokio::test(flavor = "multi_thread")]
async fn a_longer_log_that_a_replaced_key_has_signed_passes_nowhere() {
    let (mut gateway, first) = published_and_stopped().await;
    let before = copied(&gateway.data());
    gateway.start_again();
    gateway.operator().post("/v1/admin/log/key/rotate", &json!({})).await.must(200);
    let second = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &second, gateway.head().await).await;
    gateway.stop();
    let data = gateway.data();
    let (honest, fork) = (checkpoint_in(&data), forked(before.path(), &[PUBLISHED]).await);
    let longer = fs::read(checkpoint_in(fork.path())).expect("a checkpoint");
    assert!(head(fork.path()) > head(&data), "the fork is longer");
    fs::write(&honest, &longer).expect("replaced");
    for keys in [&["--checkpoint-key", &first, "--checkpoint-key", &second][..], &["--checkpoint-key", &second], &[]] {
        run_command(1, &[&["verify", "--data", &data.display().to_string()][..], keys].concat());
    }
    gateway.start_again();
    let (anybody, began) = (gateway.client(None), Instant::now());
    // Until the publisher has put back the one that it remembers.
    loop {
        let reply = anybody.get("/v1/log/checkpoint").await;
        if reply.status == 200 {
            break;
        }
        reply.must_be(503, "PUBLISHED_LOG_UNAVAILABLE");
        assert!(began.elapsed() < CHECKPOINT_MAX, "no checkpoint is served: {}", gateway.stderr());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(fs::read(&honest).expect("a checkpoint"), longer);
    assert!(gateway.stderr().contains("signed by no key that was in force"), "{}", gateway.stderr());
    make_partners(gateway.operator(), 1).await;
    checkpoint_of(gateway.operator(), &second, gateway.head().await).await;
    gateway.stop();
}

/// An older checkpoint that was put back while the gateway was away is one that it continues: to the log that there was.
/// Holds: log.published-checked
#[tokio::test(flavor = "multi_thread")]
async fn an_older_checkpoint_that_was_put_back_before_a_start_leads_to_the_same_log() {
    let (mut gateway, key) = published_and_stopped().await;
    let (file, data) = (checkpoint_in(&gateway.data()), gateway.data().display().to_string());
    let older = fs::read(&file).expect("a checkpoint");
    gateway.start_again();
    make_partners(gateway.operator(), 5).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    let kept = gateway.data().join("kept");
    fs::copy(&file, &kept).expect("kept");
    fs::write(&file, &older).expect("put back");
    gateway.start_again();
    make_partners(gateway.operator(), 1).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    let kept = kept.display().to_string();
    run_command(0, &["verify", "--data", &data, "--checkpoint-key", &key, "--checkpoint", &kept]);
}

/// A gateway that has published a few events, and has ended, with the key of its log.
async fn published_and_stopped() -> (Gateway, String) {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    make_partners(gateway.operator(), 3).await;
    let key = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    (gateway, key)
}

/// Changes the ledger of a folder at a place of this seed, and all that follows from its events.
fn changed(folder: &Path, apply: Change, seed: u64) -> u64 {
    let db = unlocked(folder);
    db.execute_batch(FORGET_STATE).expect("forgotten");
    apply(&db, &mut SplitMix64::new(seed))
}

fn other_actor(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'partner.created' AND metadata LIKE '%operator%'", random);
    run(db, "UPDATE events SET metadata = replace(metadata, 'operator', 'key_1') WHERE position = ?1", position);
    position
}

fn doubled_charge(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'inference.completed'", random);
    let mut completed = payload(db, position);
    for (_, tokens) in completed["usage"].as_object_mut().expect("usage") {
        if let Some(count) = tokens.as_u64() {
            *tokens = (count * 2).into();
        }
    }
    let cost = dollars(2 * nanos(&completed["cost_usd"]) - request_price(db));
    completed["cost_usd"] = cost.clone();
    // The settlement is recorded with the end.
    let mut settled = payload(db, position + 1);
    settled["charged_usd"] = cost;
    set_payload(db, position, &completed);
    set_payload(db, position + 1, &settled);
    position
}

fn rewritten(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'partner.created'", random);
    let mut partner = payload(db, position);
    partner["name"] = json!("somebody else");
    set_payload(db, position, &partner);
    position
}

fn deleted(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "position > 3 AND position < (SELECT max(position) FROM events)", random);
    run(db, "DELETE FROM events WHERE position = ?1", position);
    shift(db, position, -1);
    position
}

fn inserted(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'partner.created'", random);
    shift(db, position, 1);
    let copy = "INSERT INTO events SELECT ?1 + 1, recorded_at, aggregate_type, aggregate_id, sequence + 1, event_type, \
                event_version, payload, metadata FROM events WHERE position = ?1";
    run(db, copy, position);
    position + 1
}

fn reordered(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'partner.created'", random);
    let swap = "UPDATE events SET position = -(2 * ?1 + 1 - position) WHERE position IN (?1, ?1 + 1)";
    run(db, swap, position);
    run(db, "UPDATE events SET position = -position WHERE position < 0 AND ?1", position);
    position
}

fn other_price(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'price.created'", random);
    let mut price = payload(db, position);
    price["input_usd_per_mtok"] = dollars(2 * nanos(&price["input_usd_per_mtok"]));
    set_payload(db, position, &price);
    position
}

/// A key that was never rotated to.
fn other_log_key(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'log_key.created'", random);
    let mut created = payload(db, position);
    let honest: VerifierKey = created["verifier_key"].as_str().and_then(|key| key.parse().ok()).expect("a key");
    created["verifier_key"] = forger(&honest).verifier_key().to_string().into();
    set_payload(db, position, &created);
    position
}

/// Another key under the same name.
fn forger(honest: &VerifierKey) -> Signer {
    Signer::from_seed(honest.name().clone(), &[9; 32]).expect("a key")
}

fn cut_tail(db: &Connection, random: &mut SplitMix64) -> u64 {
    let position = one_of(db, "event_type = 'inference.admitted'", random);
    run(db, "DELETE FROM events WHERE position >= ?1", position);
    position
}

/// A copy of a state that went another way, without publishing it unless told to.
async fn forked(state: &Path, env: &[(&'static str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Gateway::start_in(folder.path(), env);
    gateway.stop();
    let data = gateway.data();
    fs::remove_dir_all(&data).expect("its own data");
    copy_into(state, &data);
    gateway.start_again();
    make_partners(gateway.operator(), 2).await;
    if !env.is_empty() {
        let key = key(gateway.operator()).await;
        checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    }
    gateway.stop();
    copied(&data)
}

async fn forked_and_signed(history: &History, state: &Path) -> TempDir {
    let signed = forked(state, &[PUBLISHED]).await;
    assert!(head(signed.path()) < head(history.newest()), "it is shorter than the log of the gateway");
    signed
}

/// A copy of a state with its checkpoint signed by another key, under the same name.
fn forged(history: &History, state: &Path) -> TempDir {
    let folder = copied(state);
    let key: VerifierKey = history.key.parse().expect("a key");
    let signed = SignedCheckpoint::parse(&fs::read(checkpoint_in(state)).expect("a checkpoint")).expect("a checkpoint");
    let head = *signed.unverified().head();
    let checkpoint = Checkpoint::new(&key.name().to_string(), head).expect("a checkpoint");
    let signed = SignedCheckpoint::sign(checkpoint, &forger(&key)).expect("signed");
    fs::write(checkpoint_in(folder.path()), signed.note().to_string()).expect("written");
    folder
}

fn checkpoint_in(folder: &Path) -> PathBuf {
    folder.join("objects/tlog/checkpoint")
}

/// The last position of the ledger in a folder.
fn head(folder: &Path) -> u64 {
    let db = Connection::open(folder.join("ledger.db")).expect("the database");
    db.query_row("SELECT max(position) FROM events", [], |row| row.get(0)).expect("a position")
}

/// One of the positions with such an event.
fn one_of(db: &Connection, condition: &str, random: &mut SplitMix64) -> u64 {
    let mut select = db.prepare(&format!("SELECT position FROM events WHERE {condition}")).expect("a query");
    let positions: Vec<u64> =
        select.query_map([], |row| row.get(0)).expect("positions").collect::<Result<_, _>>().expect("positions");
    positions[usize::try_from(random.next_u64() % positions.len() as u64).expect("few")]
}

fn payload(db: &Connection, position: u64) -> Value {
    let text: String =
        db.query_row("SELECT payload FROM events WHERE position = ?1", [position], |row| row.get(0)).expect("an event");
    serde_json::from_str(&text).expect("JSON")
}

fn set_payload(db: &Connection, position: u64, payload: &Value) {
    let changed = db.execute(
        "UPDATE events SET payload = ?2 WHERE position = ?1",
        rusqlite::params![position, payload.to_string()],
    );
    assert_eq!(changed, Ok(1));
}

fn run(db: &Connection, statement: &str, position: u64) {
    assert!(db.execute(statement, [position]).expect("changed") > 0, "{statement}");
}

/// Moves the events after a position.
fn shift(db: &Connection, after: u64, by: i64) {
    let away = format!("UPDATE events SET position = -(position + {by}) WHERE position > ?1");
    run(db, &away, after);
    run(db, "UPDATE events SET position = -position WHERE position < 0 AND ?1", after);
}

/// Returns the cost of a request beside its tokens.
fn request_price(db: &Connection) -> u64 {
    let position = one_of(db, "event_type = 'price.created'", &mut SplitMix64::new(0));
    nanos(&payload(db, position)["request_usd"])
}

/// The nano-dollars of an amount with nine decimals.
fn nanos(amount: &Value) -> u64 {
    amount.as_str().expect("an amount").replace('.', "").parse().expect("digits")
}

fn dollars(nanos: u64) -> Value {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000).into()
}

fn copied(from: &Path) -> TempDir {
    let to = tempfile::tempdir().expect("a folder");
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_into(&from, &to),
            false => drop(fs::copy(&from, &to).expect("a copy")),
        }
    }
}
