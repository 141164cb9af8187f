//! `ledgerway move`: a folder's ledger in a database, the marker that it leaves, and what an interrupted one leaves.

use std::fs;

use rusqlite::Connection;
use serde_json::json;
use testing::postgres::TestDatabase;

use crate::configuration::said;
use crate::gateway::{Gateway, OPERATOR_KEY, serve_to_its_end};
use crate::shared_ledger::{PASSWORD, command, environment_of, folders, migrated, node};

/// Holds: bin.move, bin.shared-ledger
#[tokio::test(flavor = "multi_thread")]
async fn a_folders_ledger_moves_into_an_empty_database_with_its_keys_and_its_money() {
    let database = migrated();
    let [before, after] = folders();
    let mut gateway = Gateway::start_in(before.path(), &[("LEDGERWAY_DEV", "true")]);
    let data = gateway.data().display().to_string();
    let move_it = || said(&mut command("", &["move", "--from", &data, "--to", &database.url()]));
    let key = fs::read_to_string(gateway.data().join("dev.key")).expect("a key").trim().to_owned();
    let chat = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
    gateway.client(Some(&key)).post("/v1/chat/completions", &chat).await.must(200);
    let (code, words) = move_it();
    assert!(code == Some(2) && words.contains("stop it first"), "while it serves: {words}");
    let (facts, usage) = (gateway.facts().await, gateway.operator().get("/v1/usage").await.must(200).json());
    gateway.stop();
    let ledger = rusqlite::Connection::open(gateway.data().join("ledger.db")).expect("the ledger");
    let events: u64 = ledger.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).expect("a number");
    drop(ledger);
    let (code, words) = move_it();
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains(&format!("moved {events} events to postgres://")), "{words}");
    assert!(words.contains(&format!("LEDGERWAY_NODE_KEY=\"$(cat {data}/node.key)\"")), "{words}");
    assert!(words.contains("LEDGERWAY_DATABASE_URL") && words.contains("LEDGERWAY_ADMIN_KEY: the same"), "{words}");
    // With another key than that of the folder.
    let (code, words) = serve_to_its_end(after.path(), &environment_of(&database.url()));
    assert!(code == Some(2) && words.contains("LEDGERWAY_NODE_KEY is not the key"), "{words}");
    let node_key = fs::read_to_string(gateway.data().join("node.key")).expect("a key").trim().to_owned();
    let mut moved = node(&database.url(), after.path(), &[("LEDGERWAY_NODE_KEY", &node_key)]);
    assert_eq!(moved.facts().await, facts);
    let head = moved.head().await;
    let moved_usage = moved.operator().get(&format!("/v1/usage?min_position={head}")).await.must(200).json();
    assert_eq!(moved_usage["totals"], usage["totals"]);
    moved.client(Some(&key)).post("/v1/chat/completions", &chat).await.must(200);
    moved.stop();
    let (code, words) = said(&mut command(&database.url(), &["verify", "--data", &moved.data().display().to_string()]));
    assert!(code == Some(0) && words.starts_with("sound: "), "{words}");
    let (code, words) = move_it();
    assert!(code == Some(0) && words.contains(&format!("has the {events} events already")), "{words}");
    // Of a copy that nodes have used, nobody is told to remove it, and the folder is not to be served beside it.
    database
        .execute("SET session_replication_role = replica; UPDATE ledger.events SET payload = '{}' WHERE position = 3");
    let (code, words) = move_it();
    assert!(code == Some(1) && words.contains("is not sound: position 3: "), "{words}");
    assert!(words.contains("nodes may have used it") && !words.contains("remove"), "{words}");
    assert!(gateway.data().join("moved-to").exists());
}

/// Holds: bin.move, bin.moved-folder
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_interrupted_is_finished_by_the_next_one_and_has_marked_the_folder_before_the_copy_is_there() {
    let (database, other) = (migrated(), migrated());
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &[]);
    gateway.stop();
    let data = gateway.data().display().to_string();
    let marker = gateway.data().join("moved-to");
    let move_to = |database: &TestDatabase| said(&mut command("", &["move", "--from", &data, "--to", &database.url()]));
    let events_in = |database: &TestDatabase| database.number("SELECT count(*) FROM events");
    let at_commit = |body: &str| {
        database.execute(&format!(
            "CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$;
             DROP TRIGGER IF EXISTS at_commit ON ledger.events;
             CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON ledger.events DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW WHEN (NEW.position = 1) EXECUTE FUNCTION at_commit()"
        ));
    };
    at_commit("RAISE EXCEPTION 'not today'");
    let (code, words) = move_to(&database);
    assert!(code == Some(1) && words.contains("not today"), "{words}");
    assert!(!marker.exists(), "it is certain that there is no copy");
    at_commit("PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5)");
    let (code, words) = move_to(&database);
    assert!(
        code == Some(1) && words.contains("not known whether the copy is in") && words.contains("run this again"),
        "{words}"
    );
    assert!(marker.exists() && events_in(&database) == 0, "nobody can know that");
    let (code, words) = serve_to_its_end(&gateway.data(), &[]);
    assert!(code == Some(2) && words.contains("was moved to"), "{words}");
    database.execute("DROP TRIGGER at_commit ON ledger.events");
    // The budgets are spent in one place.
    let (code, words) = move_to(&other);
    assert!(code == Some(2) && words.contains("was moved to") && words.contains(database.name()), "{words}");
    assert_eq!(events_in(&other), 0);
    let (code, words) = move_to(&database);
    assert!(code == Some(0) && words.contains("moved "), "{words}");
    // As after a move by a version that marked the folder later, and was killed before that.
    fs::remove_file(&marker).expect("the marker");
    let (code, words) = move_to(&database);
    assert!(code == Some(0) && words.contains("events already, and they are sound"), "{words}");
    assert!(marker.exists());
    // What is recorded in the folder now is not in the database.
    fs::remove_file(&marker).expect("the marker");
    let name = json!({ "name": "North" });
    gateway.start_again();
    gateway.operator().post("/v1/admin/partners", &name).await.must(201);
    gateway.stop();
    let (code, words) = move_to(&database);
    assert!(code == Some(1) && words.contains("not a copy") && words.contains("DROP SCHEMA ledger CASCADE"), "{words}");
    assert!(!marker.exists());
}

/// Holds: bin.move, bin.moved-folder, bin.verify-reads
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_ledger_was_moved_is_read_but_not_served_until_somebody_deletes_the_marker() {
    let database = migrated();
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &[("LEDGERWAY_DEV", "true")]);
    gateway.stop();
    let data = gateway.data().display().to_string();
    let to = database.url().replace("postgres@", &format!("postgres:{PASSWORD}@"));
    assert!(to.contains(PASSWORD), "{to}");
    let (code, words) = said(&mut command("", &["move", "--from", &data, "--to", &to]));
    assert!(code == Some(0) && words.contains("`serve` refuses it"), "{words}");
    let (code, words) = serve_to_its_end(&gateway.data(), &[]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("was moved to postgres://") && words.contains(database.name()), "{words}");
    assert!(words.contains("LEDGERWAY_DATABASE_URL") && words.contains("delete "), "{words}");
    assert!(!words.contains(PASSWORD), "{words}");
    let (code, words) = said(&mut command("", &["verify", "--data", &data]));
    assert!(code == Some(0) && words.contains("rows of views"), "{words}");
    for (arguments, sentence) in [
        (["status", "--data", &data].as_slice(), "\nmoved to    postgres://"),
        (&["status", "--json", "--data", &data], "\"moved_to\":\"postgres://"),
        (&["rebuild", "budgets", "--data", &data], "the ledger was moved to postgres://"),
    ] {
        let (code, words) = said(&mut command("", arguments));
        assert!(code == Some(0) && words.contains(sentence) && !words.contains(PASSWORD), "{arguments:?}: {words}");
    }
    // Where the gateway was started: its folder is the default one, which nobody names.
    std::os::unix::fs::symlink(&data, folder.path().join("ledgerway-data")).expect("a link");
    for mut verify in [command("", &["verify", &to]), command(&to, &["verify"])] {
        let (code, words) = said(verify.current_dir(folder.path()));
        assert!(code == Some(0) && words.starts_with("sound: "), "{words}");
    }
    // What reads or writes the folder besides does not do that beside another ledger.
    for arguments in ["status", "rebuild"] {
        let (code, words) = said(command(&to, &[arguments]).current_dir(folder.path()));
        assert!(code == Some(2) && words.contains("a ledger of its own"), "{arguments}: {words}");
    }
    fs::remove_file(gateway.data().join("moved-to")).expect("the marker");
    gateway.start_again();
    gateway.stop();
}

/// Holds: bin.move
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_not_sound_is_not_moved_and_a_copy_that_is_not_sound_is_removed_with_its_schema() {
    let database = migrated();
    let [before, broken, after] = folders();
    let mut gateway = Gateway::start_in(before.path(), &[("LEDGERWAY_DEV", "true")]);
    gateway.stop();
    let data = gateway.data().display().to_string();
    let move_from = |from: &str| said(&mut command("", &["move", "--from", from, "--to", &database.url()]));
    for file in ["ledger.db", "node.key"] {
        fs::copy(gateway.data().join(file), broken.path().join(file)).expect("a copy");
    }
    let ledger = Connection::open(broken.path().join("ledger.db")).expect("the ledger");
    let damage = "DROP TRIGGER events_are_never_changed; UPDATE events SET payload = '{}' WHERE position = 3";
    ledger.execute_batch(damage).expect("damage");
    drop(ledger);
    let (code, words) = move_from(&broken.path().display().to_string());
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("nothing was copied") && words.contains("not sound: position 3: "), "{words}");
    assert_eq!(database.number("SELECT count(*) FROM events"), 0);
    assert!(!broken.path().join("moved-to").exists(), "it is still the only one");
    // A copy that comes out wrong.
    database.execute(
        "CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.payload := '{}'; RETURN NEW; END $$;
         CREATE TRIGGER damage BEFORE INSERT ON ledger.events FOR EACH ROW WHEN (NEW.position = 3)
             EXECUTE FUNCTION damage()",
    );
    let (code, words) = move_from(&data);
    assert!(code == Some(1) && words.contains("is not sound, do not use it: position 3: "), "{words}");
    assert!(words.contains("docs/operations.md#moving-a-ledger"), "{words}");
    assert!(!gateway.data().join("moved-to").exists(), "it is still the only one");
    let (code, words) = move_from(&data);
    assert!(
        code == Some(1) && words.contains("is not sound, do not use it: position 3: "),
        "it is found again: {words}"
    );
    assert!(!gateway.data().join("moved-to").exists(), "it is still the only one");
    // What the documentation says.
    database.execute("DROP SCHEMA ledger CASCADE");
    let (code, words) = said(&mut command(&database.url(), &["migrate"]));
    assert_eq!(code, Some(0), "{words}");
    fs::write(gateway.data().join("admin.key"), OPERATOR_KEY).expect("a key");
    let (code, words) = move_from(&data);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains(&format!("LEDGERWAY_ADMIN_KEY=\"$(cat {data}/admin.key)\"")), "{words}");
    let node_key = fs::read_to_string(gateway.data().join("node.key")).expect("a key").trim().to_owned();
    node(&database.url(), after.path(), &[("LEDGERWAY_NODE_KEY", &node_key)]).stop();
}

/// Holds: bin.wrong-configuration
#[test]
fn a_move_says_what_it_lacks() {
    let [folder] = folders();
    let from = folder.path().display().to_string();
    let to = format!("postgres://ledgerway:{PASSWORD}@127.0.0.1:1/ledgerway");
    let (code, words) = said(&mut command("", &["move", "--from", &from]));
    assert!(code == Some(2) && words.contains("--to postgres://"), "{words}");
    let (code, words) = said(&mut command("", &["move", "--from", &from, "--to", &to]));
    assert!(code == Some(2) && words.contains("--from must be the data folder"), "{words}");
    assert!(!words.contains(PASSWORD), "{words}");
}
