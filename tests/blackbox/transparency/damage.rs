//! Damage to the files of the published log: `verify` names the file, and the gateway serves nothing of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testing::random::SplitMix64;
use tlog::{Checkpoint, Hash, SignedCheckpoint, Signer, TreeHead, VerifierKey, verify_inclusion};

use super::{PUBLISHED, checkpoint_of, hashes, key, lines, make_partners};
use crate::archive::{address, run, verified};
use crate::gateway::{Gateway, ledgerway};
use crate::shared_ledger::{folders, migrated, node};

/// More than a tile has.
const PARTNERS: usize = 300;
/// A few, since each starts the binary twice. A test beside the code flips thousands.
const FLIPS: usize = 24;
/// How long a repair may take on a busy machine.
const REPAIR_MAX: Duration = Duration::from_secs(30);

/// A gateway that has published more than a tile, and has ended, with the key of its log.
async fn published() -> (Gateway, String) {
    let mut gateway = Gateway::start_with(&[PUBLISHED]);
    make_partners(gateway.operator(), PARTNERS).await;
    let key = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    (gateway, key)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("flipped");
}

/// The object that `verify --json` of a data folder names.
fn named(data: &Path, more: &[&str]) -> Value {
    let ended = ledgerway().args(["verify", "--json", "--data"]).arg(data).args(more).output().expect("it starts");
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(ended.status.code(), Some(i32::from(said["sound"] != true)), "{said}");
    said["broken"]["object"].clone()
}

/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn each_flipped_byte_is_named_in_the_folder_and_beside_the_archive() {
    let (gateway, key) = published().await;
    let (data, objects) = (gateway.data(), gateway.data().join("objects"));
    run(0, &["archive", "--data", &data.display().to_string()]);
    let words = run(0, &["verify", "--data", &data.display().to_string()]);
    let (proven, not_proven) = words.split_once("NOT PROVEN").expect("a table");
    assert!(proven.contains("published files") && not_proven.contains("completeness"), "{words}");
    let mut files = Vec::new();
    files_below(&objects.join("tlog"), &mut files);
    files_below(&objects.join("archive/v1/segments"), &mut files);
    files.sort();
    let mut random = SplitMix64::new(13);
    let mut below = |end: usize| usize::try_from(random.next_u64() % end as u64).expect("few");
    for _ in 0..FLIPS {
        let file = &files[below(files.len())];
        let name: Value = file.strip_prefix(&objects).expect("below it").display().to_string().into();
        let at = below(usize::try_from(fs::metadata(file).expect("a file").len()).expect("few"));
        flip(file, at);
        let is_published = name.as_str().is_some_and(|name| name.starts_with("tlog/"));
        let in_folder = named(&data, &[]);
        assert!(in_folder == name || !is_published && in_folder.is_null(), "byte {at} of {name}: {in_folder}");
        assert!(named(&data, &["--log-only"]).is_null(), "the log alone is as it was");
        let beside = verified(1, &address(&objects), &["--checkpoint-key", &key]);
        assert_eq!(beside["broken"]["object"], name, "byte {at}: {beside}");
        flip(file, at);
    }
    fs::remove_file(objects.join("tlog/tile/0/000")).expect("gone");
    assert_eq!(named(&data, &[]), "tlog/tile/0/000");
}

/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn a_garbled_checkpoint_is_named_and_served_to_nobody() {
    let (mut gateway, key) = published().await;
    let file = gateway.data().join("objects/tlog/checkpoint");
    let data = gateway.data().display().to_string();
    let checkpoint = fs::read(&file).expect("published");
    let other_name = [&checkpoint[..10], &b"!"[..], &checkpoint[10..]].concat();
    for garbled in [&b"?"[..], &other_name[..], &[b'x'; 70_000][..]] {
        fs::write(&file, garbled).expect("garbled");
        for more in [&["--checkpoint-key", &key][..], &[]] {
            let words = run(1, &[&["verify", "--data", &data][..], more].concat());
            assert!(words.contains("broken: ") && words.contains("tlog/checkpoint"), "{words}");
        }
    }
    fs::write(&file, &checkpoint).expect("as it was");
    gateway.start_again();
    let anybody = gateway.client(None);
    anybody.get("/v1/log/checkpoint").await.must(200);
    // Signed by somebody else under the same name.
    let signed = SignedCheckpoint::parse(&checkpoint).expect("a checkpoint");
    let verifier: VerifierKey = key.parse().expect("a key");
    let forger = Signer::from_seed(verifier.name().clone(), &[9; 32]).expect("a key");
    let forged = Checkpoint::new(&verifier.name().to_string(), *signed.unverified().head()).expect("a checkpoint");
    let forged = SignedCheckpoint::sign(forged, &forger).expect("signed").to_string().into_bytes();
    for other in [b"?".to_vec(), forged] {
        fs::write(&file, other).expect("replaced");
        for path in ["/v1/log/checkpoint", "/v1/log/proof?position=1", "/v1/log/tile/0/000"] {
            anybody.get(path).await.must_be(503, "PUBLISHED_LOG_UNAVAILABLE");
        }
    }
    fs::write(&file, &checkpoint).expect("as it was");
    anybody.get("/v1/log/checkpoint").await.must(200);
}

/// Somebody has put an old one back, which a key of the log has signed.
/// Holds: log.published-checked
#[tokio::test(flavor = "multi_thread")]
async fn an_older_checkpoint_than_the_one_that_was_served_is_served_to_nobody() {
    let gateway = Gateway::start_with(&[PUBLISHED]);
    let file = gateway.data().join("objects/tlog/checkpoint");
    make_partners(gateway.operator(), 2).await;
    let key = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    let older = fs::read(&file).expect("published");
    make_partners(gateway.operator(), 2).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    fs::write(&file, older).expect("put back");
    gateway.client(None).get("/v1/log/checkpoint").await.must_be(503, "PUBLISHED_LOG_UNAVAILABLE");
}

/// Holds: log.published-checked, log.published-repaired
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_gives_no_proof_and_is_repaired_with_an_event_and_a_warning() {
    let (mut gateway, key) = published().await;
    let tlog = gateway.data().join("objects/tlog");
    let paths = ["tile/0/000", "tile/entries/000"];
    let files = paths.map(|path| tlog.join(path));
    let whole = files.each_ref().map(|file| fs::read(file).expect("published"));
    for file in &files {
        flip(file, 40);
    }
    gateway.start_again();
    let (operator, anybody) = (gateway.operator(), gateway.client(None));
    // The first reader finds the damage, and no answer has it.
    anybody.get("/v1/log/proof?position=7").await.must_be(503, "PUBLISHED_LOG_UNAVAILABLE");
    let began = Instant::now();
    let proof = loop {
        let reply = anybody.get("/v1/log/proof?position=7").await;
        if reply.status == 200 {
            break reply.json();
        }
        reply.must_be(503, "PUBLISHED_LOG_UNAVAILABLE");
        assert!(began.elapsed() < REPAIR_MAX, "the tile was not repaired: {}", gateway.stderr());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let of = TreeHead {
        size: proof["size"].as_u64().expect("a size"),
        root: proof["root"].as_str().and_then(|root| root.parse().ok()).expect("a root"),
    };
    let leaf = Hash::of_leaf(lines(operator).await[6].as_bytes());
    assert_eq!(verify_inclusion(6, &leaf, &of, &hashes(&proof)), Ok(()), "{proof}");
    assert_eq!(fs::read(&files[0]).ok().as_ref(), Some(&whole[0]));
    operator.get("/v1/log/tile/entries/000").await.must_be(503, "PUBLISHED_LOG_UNAVAILABLE");
    while fs::read(&files[1]).ok().as_ref() != Some(&whole[1]) {
        assert!(began.elapsed() < REPAIR_MAX, "the bundle was not repaired: {}", gateway.stderr());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    operator.get("/v1/log/tile/entries/000").await.must(200);
    // The first repair is recorded at once, those within a minute after it together.
    let repaired = loop {
        let events = gateway.events().await;
        let repaired = events.into_iter().filter(|event| event["type"] == "published_log.repaired.v1");
        let repaired: Vec<Value> = repaired.collect();
        if !repaired.is_empty() {
            break repaired;
        }
        assert!(began.elapsed() < REPAIR_MAX, "the repair is not recorded: {}", gateway.stderr());
    };
    assert_eq!(repaired.len(), 1, "{repaired:?}");
    let file = &repaired[0]["data"]["files"][0];
    assert_eq!((&file["path"], &file["first"], &file["last"]), (&json!("tlog/tile/0/000"), &json!(1), &json!(256)));
    assert_eq!(repaired[0]["actor"], "system:gateway");
    assert!(gateway.stderr().contains("tlog/tile/0/000"), "{}", gateway.stderr());
    checkpoint_of(&anybody, &key, gateway.head().await).await;
    gateway.stop();
    assert!(named(&gateway.data(), &["--checkpoint-key", &key]).is_null());
}

fn size_in(tlog: &Path) -> u64 {
    let checkpoint = fs::read(tlog.join("checkpoint")).expect("published");
    SignedCheckpoint::parse(&checkpoint).expect("a checkpoint").unverified().head().size
}

/// The damaged file is one that the publisher goes on from.
/// Holds: log.published-repaired
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_edge_does_not_stop_the_publisher() {
    let (mut gateway, key) = published().await;
    let tlog = gateway.data().join("objects/tlog");
    let size = size_in(&tlog);
    flip(&tlog.join(format!("tile/0/001.p/{}", size - 256)), 40);
    flip(&tlog.join(format!("tile/entries/001.p/{}", size - 256)), 40);
    gateway.start_again();
    make_partners(gateway.operator(), 1).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    let events = gateway.events().await;
    let repaired = events.iter().find(|event| event["type"] == "published_log.repaired.v1").expect("it is recorded");
    assert_eq!(repaired["data"]["files"].as_array().map(Vec::len), Some(2), "{repaired}");
    gateway.stop();
    assert!(named(&gateway.data(), &["--checkpoint-key", &key]).is_null());
}

/// The words of `verify --json` of a ledger, if the variable names this object store.
fn said_beside(ledger: &[&str], objects: &Path) -> Value {
    let mut verify = ledgerway();
    verify.args(["verify", "--json"]).args(ledger).env("LEDGERWAY_OBJECT_STORE_URL", address(objects));
    let ended = verify.output().expect("it starts");
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(ended.status.code(), Some(i32::from(said["sound"] != true)), "{said}");
    said
}

/// A garbled checkpoint must not pass for that of another ledger, or of a later copy of this one.
/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn a_garbled_checkpoint_in_the_object_store_of_the_variable_is_named() {
    let (gateway, _) = published().await;
    let (data, objects) = (gateway.data().display().to_string(), gateway.data().join("objects"));
    let file = objects.join("tlog/checkpoint");
    let checkpoint = fs::read_to_string(&file).expect("published");
    let (origin, rest) = checkpoint.split_once('\n').expect("an origin");
    let other_origin = format!("{}{}", if origin.starts_with('x') { 'y' } else { 'x' }, &origin[1..]);
    assert!(!rest.starts_with('9'), "{checkpoint}");
    for garbled in [format!("{other_origin}\n{rest}"), format!("{origin}\n9{}", &rest[1..])] {
        fs::write(&file, &garbled).expect("garbled");
        let said = said_beside(&["--data", &data], &objects);
        assert_eq!(said["broken"]["object"], "tlog/checkpoint", "{garbled}: {said}");
    }
    fs::write(&file, &checkpoint).expect("as it was");
    assert_eq!(said_beside(&["--data", &data], &objects)["sound"], true);
}

/// Verifying a ledger needs no object store: one that is away, or has another ledger's log, is named and breaks nothing.
/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_sound_whatever_object_store_the_variable_names() {
    let ((gateway, _), (other, _)) = (published().await, published().await);
    let (data, empty) = (gateway.data().display().to_string(), TempDir::new().expect("a folder"));
    let missing = empty.path().join("missing");
    for (objects, unchecked) in [
        (missing, true),
        (other.data().join("objects"), true),
        // The role was remembered, and here it is.
        (gateway.data().join("objects"), false),
    ] {
        let said = said_beside(&["--data", &data], &objects);
        assert_eq!(said["sound"], true, "{said}");
        assert_eq!(said["unchecked"]["published_log"].is_string(), unchecked, "{said}");
        let not_proven = said["not_proven"].as_array().expect("a list");
        assert_eq!(not_proven.contains(&json!("published_files")), unchecked, "{said}");
    }
}

/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn a_published_log_that_is_gone_is_found_by_what_the_folder_remembers() {
    let (gateway, _) = published().await;
    let tlog = gateway.data().join("objects/tlog");
    fs::remove_file(tlog.join("checkpoint")).expect("gone");
    assert_eq!(named(&gateway.data(), &[]), "tlog/checkpoint");
    fs::remove_dir_all(&tlog).expect("all of it");
    assert_eq!(named(&gateway.data(), &[]), "tlog/checkpoint");
    fs::remove_dir_all(gateway.data().join("objects")).expect("the object store");
    let words = run(0, &["verify", "--data", &gateway.data().display().to_string()]);
    assert!(words.contains("unchecked: the published log: it was published"), "{words}");
}

/// Nothing beside a database remembers that it was published, but its events do.
/// Holds: log.published-files
#[tokio::test(flavor = "multi_thread")]
async fn a_published_log_of_a_database_that_is_gone_is_not_passed_over() {
    let database = migrated();
    let [objects, folder] = folders();
    let store = address(objects.path());
    let mut gateway =
        node(&database.url(), folder.path(), &[PUBLISHED, ("LEDGERWAY_OBJECT_STORE_URL", store.as_str())]);
    let key = key(gateway.operator()).await;
    checkpoint_of(gateway.operator(), &key, gateway.head().await).await;
    gateway.stop();
    let url = database.url();
    let unchecked = || said_beside(&[url.as_str()], objects.path())["unchecked"]["published_log"].clone();
    assert_eq!(unchecked(), Value::Null);
    fs::remove_dir_all(objects.path().join("tlog")).expect("gone");
    let words = unchecked();
    assert!(words.as_str().is_some_and(|words| words.contains("names a key of a published log")), "{words}");
}
