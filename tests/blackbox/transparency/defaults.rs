//! Lines about the published log at the start, reads that are recorded by default, and files of a log that was never
//! published. Content is kept by nobody's default.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{CHECKPOINT_MAX, checkpoint_of, key};
use crate::archive::run;
use crate::gateway::{Gateway, type_of};

/// Holds: log.published
#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_where_the_key_of_the_published_log_is() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_TRANSPARENCY", "true")]);
    // All lines are there once the operator's are answered.
    let position = gateway.operator().post("/v1/admin/partners", &json!({ "name": "one" })).await.must(201).position();
    let said = gateway.stdout();
    let line = said.lines().find_map(|line| line.strip_prefix("published log: its public key is at http://"));
    let address = line.and_then(|line| line.split_once(';')).unwrap_or_else(|| panic!("no line of it: {said}")).0;
    let path = address.split_once('/').expect("a path").1;
    assert_eq!((path, said.contains("back up ledger.db, node.key and objects/tlog")), ("v1/log/key", true), "{said}");
    let key = key(&gateway.client(None)).await;
    let published = checkpoint_of(&gateway.client(None), &key, position).await;
    gateway.stop();
    let data = gateway.data().display().to_string();
    let words = run(0, &["verify", "--data", &data, "--checkpoint-key", &key]);
    assert!(published.size >= position && words.contains("as they were published"), "{words}");
}

/// Holds: event.reads
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_start_records_who_reads_and_keeps_no_content() {
    const PROMPT: &str = "the-prompt-that-nobody-keeps-4d1c";
    let mut gateway = Gateway::start_plain(&[("LEDGERWAY_DEV", "true")]);
    let dev = fs::read_to_string(gateway.data().join("dev.key")).expect("the app key");
    let ask = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": PROMPT }] });
    gateway.client(Some(dev.trim())).post("/v1/inference/chat", &ask).await.must(200);
    gateway.operator().get("/v1/usage").await.must(200);
    gateway.stop();
    gateway.start_again();
    let log = gateway.events().await;
    let is_read = |event: &&Value| type_of(event) == "access.read.v1" && event["data"]["kind"] == "usage";
    let read = log.iter().find(is_read).unwrap_or_else(|| panic!("no read in {log:#?}"));
    assert_eq!(read["actor"], "operator");
    gateway.stop();
    let mut folders = vec![gateway.data()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).expect("a file");
            let found = bytes.windows(PROMPT.len()).any(|part| part == PROMPT.as_bytes());
            assert!(!found, "the prompt is in {}", path.display());
        }
    }
}

/// A process that is stopped before its first checkpoint leaves tiles without one.
#[tokio::test(flavor = "multi_thread")]
async fn files_from_before_the_first_checkpoint_are_no_fault() {
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_TRANSPARENCY", "true")]);
    let began = Instant::now();
    while !gateway.data().join("objects/tlog/checkpoint").exists() {
        assert!(began.elapsed() < CHECKPOINT_MAX, "nothing is published");
        sleep(Duration::from_millis(20)).await;
    }
    gateway.stop();
    let data = gateway.data();
    fs::remove_file(data.join("objects/tlog/checkpoint")).expect("published");
    assert_eq!(gateway.verify().0, Some(1), "it is known that there was one");
    fs::remove_file(data.join("roles.json")).expect("what the publisher remembers");
    assert_eq!(gateway.verify().0, Some(0), "as before the first checkpoint");
}
