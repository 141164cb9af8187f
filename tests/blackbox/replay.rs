//! `ledgerway replay`: the views as they stood, in a file of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use events::time::{parse_rfc3339, rfc3339};
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway};
use crate::shared_ledger::{PASSWORD, command, folders, migrated, node};
use crate::tenant::{PROVIDER_SECRET, Tenant};
use crate::views::{Dump, caught_up, dump, dump_of, leave_traces};

/// Runs `replay`, which must end with this code. Returns what it says.
#[track_caller]
fn replay(code: i32, as_of: &str, into: &Path, more: &[&str]) -> String {
    let mut replay = ledgerway();
    replay.args(["replay", "--as-of", as_of, "--into"]).arg(into).args(more);
    let (ended, words) = said(&mut replay);
    assert_eq!(ended, Some(code), "--as-of {as_of}: {words}");
    words
}

/// The views in a file, and what it says of itself.
fn read(file: &Path) -> (Dump, String) {
    let mut dump = dump_of(file);
    let said = dump.remove("replay").expect("what the file is");
    assert_eq!(said.len(), 1, "{said:?}");
    (dump, said[0].clone())
}

/// The position at which all views of a gateway stand that was stopped, and when its event was recorded.
fn stopped_at(gateway: &Gateway) -> (u64, String) {
    let views = Connection::open(gateway.data().join("views.db")).expect("the views");
    let sql = "SELECT min(position), max(position), max(recorded_at) FROM rows_projections";
    let row = views.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?)));
    let (position, last, micros): (u64, u64, i64) = row.expect("the positions");
    assert_eq!(position, last, "all views stand at one position");
    (position, rfc3339(events::time::from_micros(micros)))
}

fn microseconds_after(time: &str, micros: i64) -> String {
    let at = parse_rfc3339(time).expect("a time").timestamp_micros() + micros;
    rfc3339(events::time::from_micros(at))
}

fn files_of(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Holds: bin.replay
#[tokio::test(flavor = "multi_thread")]
async fn the_views_of_a_gateway_that_was_stopped_come_back_as_they_stood() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let [folder] = folders();
    let file = |name: &str| folder.path().join(name);
    leave_traces(&gateway, &upstream).await;
    caught_up(&gateway).await;
    gateway.stop();
    let (stopped, (position, recorded_at)) = (dump(&gateway), stopped_at(&gateway));
    assert!(stopped.values().filter(|rows| !rows.is_empty()).count() >= 8, "{:?}", stopped.keys());
    gateway.start_again();
    leave_traces(&gateway, &upstream).await;
    caught_up(&gateway).await;
    let data = gateway.data().display().to_string();
    // While it serves.
    let words = replay(0, &position.to_string(), &file("then.sqlite"), &["--data", &data]);
    let done = format!("wrote the views as of position {position}, recorded at {recorded_at}, to ");
    assert!(words.contains(&done) && words.contains("replaying: 100 %"), "{words}");
    let (then, told) = read(&file("then.sqlite"));
    assert!(then == stopped, "rows differ");
    let version = env!("CARGO_PKG_VERSION");
    assert!(told.starts_with(&format!("{position}|{recorded_at:?}|\"{position}\"|{version:?}|")), "{told}");
    let mode = fs::metadata(file("then.sqlite")).expect("the file").permissions().mode();
    assert_eq!((mode & 0o777, files_of(folder.path())), (0o600, vec!["then.sqlite".to_owned()]));

    // By its time, and by one at which nothing was recorded: the next event is of the next start.
    let with_offset = recorded_at.replace('Z', "+00:00");
    let after = microseconds_after(&recorded_at, 1);
    for (name, as_of) in [("at", &recorded_at), ("offset", &with_offset), ("after", &after)] {
        let words = replay(0, as_of, &file(name), &["--json", "--data", &data]);
        let line = words.lines().find(|line| line.starts_with('{')).expect("an object");
        let object: Value = serde_json::from_str(line).expect("JSON");
        let expected = [json!(as_of), json!(position), json!(recorded_at), json!(position)];
        assert_eq!(["as_of", "position", "recorded_at", "events"].map(|field| object[field].clone()), expected);
        let rows: usize =
            stopped.iter().filter(|(table, _)| *table != "rows_projections").map(|(_, rows)| rows.len()).sum();
        assert_eq!((&object["rows"], &object["file"]), (&json!(rows), &json!(file(name).display().to_string())));
        assert!(object["duration_ms"].is_u64(), "{object}");
        assert!(read(&file(name)).0 == stopped, "--as-of {as_of}");
    }
    // Before the event, and before all of them.
    let words = replay(0, &microseconds_after(&recorded_at, -1), &file("before"), &["--data", &data]);
    let before = read(&file("before")).1;
    let before: u64 = before.split('|').next().and_then(|number| number.parse().ok()).expect("a position");
    assert!(before < position, "{words}");
    let words = replay(0, "2001-01-01T00:00:00Z", &file("long ago"), &["--data", &data]);
    assert!(words.contains("as of position 0, before the first event"), "{words}");
    let (none, told) = read(&file("long ago"));
    assert!(told.starts_with("0|null|"), "{told}");
    assert!(none.iter().all(|(table, rows)| rows.is_empty() || table == "rows_projections"), "{none:?}");
    assert_eq!(none.keys().collect::<Vec<_>>(), stopped.keys().collect::<Vec<_>>(), "tables");

    gateway.stop();
    let (stopped, (head, _)) = (dump(&gateway), stopped_at(&gateway));
    let files = files_of(&gateway.data());
    replay(0, &head.to_string(), &file("head"), &["--data", &data]);
    assert!(head > position && read(&file("head")).0 == stopped, "rows at the head differ");
    assert_eq!(files_of(&gateway.data()), files, "nothing is left in the folder");
}

/// Holds: bin.replay
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_and_a_state_that_never_was_are_refused() {
    let mut gateway = Gateway::start();
    caught_up(&gateway).await;
    gateway.stop();
    let [folder] = folders();
    let (file, data) = (folder.path().join("views.sqlite"), gateway.data().display().to_string());
    let (head, recorded_at) = stopped_at(&gateway);
    let end = format!("the log ends at position {head}, recorded at {recorded_at}");
    let refused = |code: i32, as_of: &str, sentences: &[&str]| {
        let words = replay(code, as_of, &file, &["--data", &data]);
        assert!(words.starts_with("ledgerway: ") && words.trim().lines().count() == 1, "{words}");
        assert!(sentences.iter().all(|sentence| words.contains(sentence)), "{words}");
        assert_eq!(files_of(folder.path()).len(), 0, "nothing is left");
    };
    for wrong in ["yesterday", "-1", "1.5", "2026-11-01", ""] {
        let named = format!("--as-of is {wrong:?}, but must be a position or a time, for example --as-of 1200");
        refused(2, wrong, &[&named]);
    }
    for beyond in [(head + 1).to_string(), "99999999999999999999".to_owned()] {
        refused(1, &beyond, &[&format!("there is no position {beyond}"), &end]);
    }
    refused(1, "2999-01-01T00:00:00Z", &["2999-01-01T00:00:00Z is in the future", &end]);

    fs::write(&file, "somebody's").expect("a file");
    let words = replay(2, "0", &file, &["--data", &data]);
    assert!(words.contains(&format!("{} exists", file.display())), "{words}");
    assert_eq!(fs::read_to_string(&file).expect("the file"), "somebody's");
    let words = replay(2, "0", &folder.path().join("none/views.sqlite"), &["--data", &data]);
    assert!(words.contains("cannot create a file beside") && words.contains("none/views.sqlite"), "{words}");
    let words = replay(2, "0", &folder.path().join("new"), &["--data", "/nonexistent"]);
    assert!(words.contains("--data must be the data folder of a gateway"), "{words}");
    let url = format!("postgres://ledgerway:{PASSWORD}@127.0.0.1:1/ledgerway");
    let words = replay(2, "0", &PathBuf::from(&url), &["--data", &data]);
    assert!(words.contains("--into must be a file") && !words.contains(PASSWORD), "{words}");
    let words = replay(2, &url, &folder.path().join("new"), &["--data", &data]);
    assert!(words.contains("--as-of is \"postgres://…\"") && !words.contains(PASSWORD), "{words}");
    let words = replay(2, "0", &folder.path().join("new"), &[&url]);
    assert!(words.contains("127.0.0.1:1") && !words.contains(PASSWORD), "{words}");
    assert_eq!(files_of(folder.path()), ["views.sqlite"]);
    let (_, help) = said(ledgerway().args(["replay", "--help"]));
    for form in ["--as-of <POSITION|RFC3339>", "--as-of 1200 ", "--as-of 2026-11-01T00:00:00Z "] {
        assert!(help.contains(form), "{help}");
    }
}

/// Killed at any time, it leaves no file of the name that was asked for.
/// Holds: bin.replay
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_leaves_nothing_that_looks_whole() {
    let mut gateway = Gateway::start();
    for number in 0..300 {
        gateway.operator().post("/v1/admin/partners", &json!({ "name": format!("partner {number}") })).await.must(201);
    }
    caught_up(&gateway).await;
    gateway.stop();
    let [folder] = folders();
    let head = stopped_at(&gateway).0;
    let mut killed = 0;
    for round in 0..12_u64 {
        let file = folder.path().join(round.to_string());
        let mut command = ledgerway();
        command.args(["replay", "--as-of", &head.to_string(), "--into"]).arg(&file).arg("--data").arg(gateway.data());
        let mut running = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn();
        let running = running.as_mut().expect("it starts");
        tokio::time::sleep(std::time::Duration::from_millis(round * 7)).await;
        running.kill().expect("it is killed");
        running.wait().expect("its end");
        match file.exists() {
            true => assert!(read(&file).0 == dump(&gateway), "what has its name is whole"),
            false => killed += 1,
        }
    }
    assert!(killed > 0, "none was killed in time");
    let left = files_of(folder.path()).into_iter().filter(|name| name.parse::<u64>().is_err());
    assert!(left.clone().all(|name| name.contains("-partial-")), "{:?}", left.collect::<Vec<_>>());
    // What was left is in nobody's way.
    replay(0, &head.to_string(), &folder.path().join("again"), &["--data", &gateway.data().display().to_string()]);
}

/// Holds: bin.replay
#[tokio::test(flavor = "multi_thread")]
async fn the_file_has_no_secret_and_no_person() {
    const PEOPLE: [&str; 2] = ["Ada of the replay", "ada.of.the.replay@example.com"];
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let person = json!({ "tenant_id": tenant.id, "name": PEOPLE[0], "email": PEOPLE[1] });
    let user = gateway.operator().post("/v1/admin/users", &person).await.must(201).json()["id"].clone();
    tenant.chat("ok").await.must(200);
    let head = gateway.head().await.to_string();
    gateway.stop();
    let [folder] = folders();
    let file = folder.path().join("views.sqlite");
    replay(0, &head, &file, &["--data", &gateway.data().display().to_string()]);
    let bytes = fs::read(&file).expect("the file");
    let has = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    assert!(has(user.as_str().expect("an id")) && has(&tenant.name), "users by their ids, tenants by their names");
    for hidden in [&tenant.secret, PROVIDER_SECRET, PEOPLE[0], PEOPLE[1]] {
        assert!(!has(hidden), "{}…", &hidden[..4]);
    }
}

/// Holds: bin.replay, bin.shared-ledger-read
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_in_a_database_is_replayed_like_that_of_a_folder() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [node_folder, folder] = folders();
    let mut gateway = node(&database.url(), node_folder.path(), &[]);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    for _ in 0..3 {
        tenant.chat("ok").await.must(200);
    }
    caught_up(&gateway).await;
    gateway.stop();
    let (stopped, (position, recorded_at)) = (dump(&gateway), stopped_at(&gateway));
    gateway.start_again();
    tenant.set_limit("7").await;
    let file = |name: &str| folder.path().join(name);
    // The address as an argument, in place of the folder, and in the environment.
    replay(0, &position.to_string(), &file("position"), &[&database.url()]);
    replay(0, &recorded_at, &file("time"), &["--data", &database.url()]);
    let mut of_environment = command(&database.url(), &["replay", "--as-of", &position.to_string(), "--into"]);
    let (code, words) = said(of_environment.arg(file("environment")).current_dir(folder.path()));
    assert_eq!(code, Some(0), "{words}");
    for name in ["position", "time", "environment"] {
        assert!(read(&file(name)).0 == stopped, "{name}: rows differ");
    }
    let words = replay(1, "1000000", &file("beyond"), &[&database.url()]);
    assert!(words.contains(&format!("the log ends at position {}", gateway.head().await)), "{words}");
}
