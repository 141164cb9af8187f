//! The archive of a ledger, and what is built from it: `archive`, `verify --archive`, `restore`, `export`, and a gateway that
//! archives while it serves.

mod flipped_bytes;
mod outages;
mod restored;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use rusqlite::Connection;
use serde_json::Value;

use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway, serve_to_its_end};
use crate::shared_ledger::folders;

/// How long an archive may take to have what was just recorded.
const ARCHIVED_MAX: Duration = Duration::from_secs(60);
/// Segments of a few events, complete within a second.
pub const SMALL: [(&str, &str); 3] = [
    ("LEDGERWAY_ARCHIVING", "true"),
    ("LEDGERWAY_ARCHIVE_SEGMENT_EVENTS", "7"),
    ("LEDGERWAY_ARCHIVE_SEGMENT_SECONDS", "1"),
];

pub fn address(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Runs a command, which must end with this code; returns what it says.
#[track_caller]
pub fn run(code: i32, arguments: &[&str]) -> String {
    run_with(code, arguments, ledgerway())
}

#[track_caller]
pub fn run_with(code: i32, arguments: &[&str], mut command: Command) -> String {
    let (ended, words) = said(command.args(arguments));
    assert_eq!(ended, Some(code), "{arguments:?}: {words}");
    words
}

/// Returns the JSON of `verify --archive`.
#[track_caller]
pub fn verified(code: i32, archive: &str, more: &[&str]) -> Value {
    let words = run(code, &[&["verify", "--json", "--archive", archive], more].concat());
    let line = words.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{words}"));
    serde_json::from_str(line).expect("JSON")
}

/// Waits until an archive has all up to a position, and is sound.
pub fn wait_until_archived(archive: &str, position: u64) {
    let started = Instant::now();
    loop {
        let (code, words) = said(ledgerway().args(["verify", "--json", "--shallow", "--archive", archive]));
        let line = words.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
        if code == Some(0) && line["events"].as_u64() >= Some(position) {
            return;
        }
        assert!(started.elapsed() < ARCHIVED_MAX, "not archived up to {position}: {words}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Holds: bin.archive, bin.archive-while-serving
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_archives_what_it_records_and_the_command_puts_the_rest() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &[&SMALL[..], &[("LEDGERWAY_DEV", "true")]].concat());
    let archive = address(&gateway.data().join("objects"));
    wait_until_archived(&archive, gateway.head().await);
    for number in 0..5 {
        let name = serde_json::json!({ "name": format!("partner {number}") });
        gateway.operator().post("/v1/admin/partners", &name).await.must(201);
    }
    let data = gateway.data().display().to_string();
    let words = run(0, &["archive", "--data", &data]);
    assert!(words.contains(&format!("all up to position {}", gateway.head().await)), "{words}");
    let head = gateway.head().await;
    assert_eq!(verified(0, &archive, &[])["events"], head);
    // What an archiver that was stopped may leave.
    let segments = gateway.data().join("objects/archive/v1/segments");
    let segment = fs::read_dir(&segments).expect("segments").next().expect("one").expect("a segment").path();
    let name = segment.file_name().and_then(|name| name.to_str()).expect("a name");
    let positions = name.rsplit_once('-').expect("positions and a hash").0;
    let left = b"of another archiver";
    let hash = events::hex::lower(&digest(&SHA256, left).as_ref()[..8]);
    fs::write(segments.join(format!("{positions}-{hash}.jsonl.gz")), left).expect("written");
    assert_eq!(verified(0, &archive, &["--shallow"])["unused_segments"], 1);
    // What nobody can have left.
    for (name, word) in
        [(format!("{positions}-0123456789abcdef.jsonl.gz"), "not_its_name"), ("notes.txt".to_owned(), "unknown_object")]
    {
        fs::copy(&segment, segments.join(&name)).expect("a copy");
        for more in [&["--shallow"][..], &[]] {
            let broken = &verified(1, &archive, more)["broken"];
            let object = format!("archive/v1/segments/{name}");
            assert_eq!((&broken["object"], &broken["damage"]), (&object.into(), &word.into()), "{broken}");
        }
        fs::remove_file(segments.join(&name)).expect("removed");
    }
    // One that is longer than any segment is not read.
    let long = segments.join(format!("{positions}-0123456789abcdef.jsonl.gz"));
    fs::File::create(&long).and_then(|file| file.set_len(512 * 1024 * 1024)).expect("written");
    assert_eq!(verified(1, &archive, &["--shallow"])["broken"]["damage"], "segment_length");
    fs::remove_file(&long).expect("removed");
    gateway.kill();
    let words = run(0, &["archive", "--data", &data, "--json"]);
    assert!(words.contains("\"archived\":0"), "{words}");
    let exported = run(0, &["export", "--archive", &archive]);
    // The archive is what clients are served.
    gateway.start_again();
    let served = gateway.operator().get("/v1/events?after=0&limit=1000").await.must(200).body;
    let served = String::from_utf8(served.to_vec()).expect("text");
    let served: Vec<&str> = served.lines().take(usize::try_from(head).expect("few")).collect();
    assert_eq!(exported.lines().collect::<Vec<_>>(), served);
    gateway.stop();
}

/// Holds: bin.archive-behind
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_restored_from_an_older_copy_is_not_served() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &SMALL);
    gateway.stop();
    let ledger = gateway.data().join("ledger.db");
    let older = folder.path().join("older.db");
    fs::copy(&ledger, &older).expect("a copy");
    gateway.start_again();
    gateway.operator().post("/v1/admin/partners", &serde_json::json!({ "name": "late" })).await.must(201);
    let head = gateway.head().await;
    gateway.stop();
    let data = gateway.data().display().to_string();
    run(0, &["archive", "--data", &data]);
    let settings: Vec<_> = SMALL.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let refused = |what: &str| {
        let (code, words) = serve_to_its_end(&gateway.data(), &settings);
        assert_eq!(code, Some(1), "{what}: {words}");
        assert!(words.contains("ledgerway restore"), "{what}: {words}");
        words
    };
    let at = |position: u64| format!("position {position}");
    fs::copy(&older, &ledger).expect("the older copy");
    let words = refused("an older copy");
    assert!(words.contains(&at(head)) && words.contains(&format!("ends at {}", at(head - 1))), "{words}");
    // It was served without its archive meanwhile, and has another event there.
    let mut gone_on = Gateway::start_in(folder.path(), &[]);
    gone_on.operator().post("/v1/admin/partners", &serde_json::json!({ "name": "other" })).await.must(201);
    gone_on.stop();
    let words = refused("another history");
    assert!(words.contains(&format!("another event at {}", at(head))), "{words}");
    // There is no ledger at all.
    for entry in fs::read_dir(gateway.data()).expect("the data folder") {
        let file = entry.expect("an entry").path();
        let name = file.file_name().expect("a name").to_string_lossy();
        if ["ledger.db", "views.db"].iter().any(|database| name.starts_with(database)) {
            fs::remove_file(&file).expect("a file");
        }
    }
    let words = refused("no ledger");
    assert!(words.contains(&at(head)) && words.contains("ends at position 0"), "{words}");
    assert!(!ledger.exists(), "nothing was created");
    let words = run(0, &["restore", "--archive", &address(&gateway.data().join("objects")), "--to", &data]);
    assert!(words.contains(&format!("restored {head} events")), "{words}");
    gateway.start_again();
    assert_eq!(gateway.head().await, head);
    gateway.stop();
}

/// Events that hashes cannot tell from others, because the ledger itself was changed before it was archived.
/// Holds: bin.archive-damage
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_ledger_that_is_not_sound_is_whole_and_still_refused() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &[("LEDGERWAY_DEV", "true")]);
    let key = fs::read_to_string(gateway.data().join("dev.key")).expect("a key").trim().to_owned();
    let chat = serde_json::json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
    gateway.client(Some(&key)).post("/v1/chat/completions", &chat).await.must(200);
    gateway.stop();
    let ledger = Connection::open(gateway.data().join("ledger.db")).expect("the ledger");
    ledger
        .execute_batch(
            "DROP TRIGGER events_are_never_changed;
             UPDATE events SET payload = json_set(payload, '$.charged_usd', '0.000000001') WHERE event_type = 'budget.settled'",
        )
        .expect("another amount");
    let settled: u64 = ledger
        .query_row("SELECT position FROM events WHERE event_type = 'budget.settled'", [], |row| row.get(0))
        .expect("its position");
    drop(ledger);
    let (archive, data) = (address(&folder.path().join("archive")), gateway.data().display().to_string());
    run(0, &["archive", "--data", &data, "--archive", &archive]);
    assert_eq!(verified(0, &archive, &["--shallow"])["sound"], true);
    let broken = verified(1, &archive, &[]);
    assert_eq!(broken["broken"]["damage"], "ledger", "{broken}");
    assert_eq!(broken["broken"]["position"], settled, "{broken}");
    assert!(broken["broken"]["object"].as_str().expect("a name").starts_with("archive/v1/segments/"), "{broken}");
    let restored = folder.path().join("restored");
    let words = run(1, &["restore", "--archive", &archive, "--to", &restored.display().to_string()]);
    assert!(words.contains("nothing was restored") && words.contains("not sound"), "{words}");
    assert!(!restored.join("ledger.db").exists() && !restored.join("restore.partial").exists());
}

/// Holds: bin.export
#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_exported_alike_from_the_ledger_and_from_the_archive() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &SMALL);
    for number in 0..20 {
        let name = serde_json::json!({ "name": format!("a \"partner\", {number}") });
        gateway.operator().post("/v1/admin/partners", &name).await.must(201);
    }
    gateway.stop();
    let data = gateway.data().display().to_string();
    run(0, &["archive", "--data", &data]);
    let archive = address(&gateway.data().join("objects"));
    for format in ["jsonl", "csv"] {
        let export =
            |from: &[&str]| run(0, &[&["export", "--from", "5", "--to", "19", "--format", format], from].concat());
        let of_ledger = export(&["--data", &data]);
        assert_eq!(of_ledger, export(&["--archive", &archive]), "{format}");
        if format == "jsonl" {
            let positions: Vec<Value> = of_ledger
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["position"].clone())
                .collect();
            assert_eq!(positions, (5..=19).map(Value::from).collect::<Vec<_>>());
        } else {
            assert!(of_ledger.starts_with("position,recorded_at,type,stream,sequence,actor,"), "{of_ledger}");
            assert!(of_ledger.contains("\r\n19,") && !of_ledger.contains("\r\n20,"), "{of_ledger}");
            assert!(of_ledger.contains(",partner.created.v1,partner-par_"), "{of_ledger}");
        }
    }
    for (arguments, code, part) in [
        (vec!["--from", "0"], 2, "--from is \"0\""),
        (vec!["--from", "9", "--to", "8"], 2, "--to is before --from"),
        (vec!["--to", "1000"], 1, "there is no position 1000"),
        (vec!["--format", "xml"], 2, "xml"),
    ] {
        for place in [["--data", &data], ["--archive", &archive]] {
            let words = run(code, &[&["export"], &arguments[..], &place].concat());
            assert!(words.contains(part), "{arguments:?}: {words}");
        }
    }
}

/// Holds: bin.archive-secrets
#[test]
fn an_address_is_never_repeated_and_a_wrong_one_says_what_is_wrong() {
    let [folder] = folders();
    let data = folder.path().join("data").display().to_string();
    let wrong = "s3://AKIA:canary-secret@Bucket_X/p";
    for arguments in [
        vec!["verify", "--archive", wrong],
        vec!["restore", "--to", &data, "--archive", wrong],
        vec!["export", "--archive", wrong],
    ] {
        let words = run(2, &arguments);
        assert!(!words.contains("canary") && words.contains("name of the bucket"), "{words}");
        let mut from_variable = ledgerway();
        from_variable.env("LEDGERWAY_OBJECT_STORE_URL", wrong);
        let arguments: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != wrong).collect();
        let arguments = if arguments[0] == "restore" { &arguments[..3] } else { &arguments[..] };
        let words = run_with(2, arguments, from_variable);
        assert!(!words.contains("canary") && words.contains("LEDGERWAY_OBJECT_STORE_URL"), "{words}");
    }
    let (code, words) = serve_to_its_end(Path::new(&data), &[("LEDGERWAY_OBJECT_STORE_URL", wrong.to_owned())]);
    assert!(code == Some(2) && !words.contains("canary"), "{words}");
    let missing = address(&folder.path().join("missing"));
    let words = run(2, &["verify", "--archive", &missing]);
    assert!(words.contains("missing"), "{words}");
    let empty = address(folder.path());
    let words = run(2, &["verify", "--archive", &empty]);
    assert!(words.contains("there is no archive"), "{words}");
    let words = run(2, &["verify", "--archive"]);
    assert!(words.contains("LEDGERWAY_OBJECT_STORE_URL"), "{words}");
}
