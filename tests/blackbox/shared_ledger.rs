//! Gateways that share the ledger in a PostgreSQL database.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::postgres::TestDatabase;
use testing::upstream::MockUpstream;

use crate::configuration::said;
use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway, serve_to_its_end};
use crate::tenant::{NATIVE, PROVIDER_SECRET, Setup, Tenant, made, text};

pub const NODE_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub const PASSWORD: &str = "hunter2-of-the-database";

pub fn environment_of(url: &str) -> Vec<(&'static str, String)> {
    vec![("LEDGERWAY_DATABASE_URL", url.to_owned()), ("LEDGERWAY_NODE_KEY", NODE_KEY.to_owned())]
}

/// A command with the database in its environment; with none if the address is empty.
pub fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = ledgerway();
    command.args(arguments).envs(environment_of(url)).env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY);
    command.env("LEDGERWAY_LISTEN", "127.0.0.1:0");
    if url.is_empty() {
        command.env_remove("LEDGERWAY_DATABASE_URL");
    }
    command
}

/// A node in a folder of its own, which is to outlive it.
pub fn node(url: &str, folder: &Path, more: &[(&'static str, &str)]) -> Gateway {
    let env = environment_of(url);
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect();
    Gateway::start_in(folder, &env)
}

pub fn migrated() -> TestDatabase {
    let database = TestDatabase::create();
    let (code, words) = said(&mut command(&database.url(), &["migrate"]));
    assert_eq!(code, Some(0), "{words}");
    database
}

pub fn folders<const N: usize>() -> [tempfile::TempDir; N] {
    std::array::from_fn(|_| tempfile::tempdir().expect("a folder"))
}

/// A change is in force on every node within a second.
async fn wait_until_in_force(node: &Gateway, key: &str) {
    let started = Instant::now();
    while node.client(Some(key)).get("/v1/me").await.status == 401 {
        assert!(started.elapsed() < Duration::from_secs(1), "the key is not in force on every node");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Holds: bin.shared-ledger
#[test]
fn serve_without_a_schema_names_migrate_which_alone_makes_one() {
    let database = TestDatabase::create();
    let [folder] = folders();
    let (code, words) = serve_to_its_end(folder.path(), &environment_of(&database.url()));
    assert!(code == Some(1) && words.contains("`ledgerway migrate`"), "{code:?} {words}");
    let (code, words) = said(&mut command(&database.url(), &["migrate"]));
    assert!(code == Some(0) && words.contains("a new, empty one was created"), "{words}");
    let (code, words) = said(&mut command("", &["migrate", &database.url()]));
    assert!(code == Some(0) && words.contains("is up to date"), "{words}");
    let mut gateway = node(&database.url(), folder.path(), &[]);
    let files: Vec<_> = ["ledger.db", "node.key", "admin.key"].map(|file| gateway.data().join(file).exists()).into();
    assert_eq!(files, [false, false, false]);
    gateway.stop();
    assert!(gateway.stdout().contains("ledger: postgres://"), "{}", gateway.stdout());
}

/// Holds: bin.shared-ledger, bin.wrong-configuration
#[test]
fn the_keys_of_a_cluster_are_required_and_a_folder_with_a_ledger_is_refused() {
    let url = format!("postgres://ledgerway:{PASSWORD}@127.0.0.1:1/ledgerway");
    let [folder] = folders();
    let data = folder.path().join("data").display().to_string();
    for missing in ["LEDGERWAY_NODE_KEY", "LEDGERWAY_ADMIN_KEY"] {
        for empty in [false, true] {
            let mut serve = command(&url, &["serve", "--listen", "127.0.0.1:0", "--data", &data]);
            let serve = if empty { serve.env(missing, "") } else { serve.env_remove(missing) };
            let (code, words) = said(serve);
            assert_eq!(code, Some(2), "{words}");
            assert!(words.starts_with(&format!("ledgerway: {missing} ")) && words.contains("openssl rand"), "{words}");
            assert!(!words.contains(PASSWORD), "{words}");
        }
    }
    let mut embedded = Gateway::start_in(folder.path(), &[]);
    embedded.stop();
    for arguments in [["serve", "--data", &data].as_slice(), &["verify", "--data", &data], &["status", "--data", &data]]
    {
        let (code, words) = said(&mut command(&url, arguments));
        assert!(code == Some(2) && words.contains("a ledger of its own"), "{arguments:?}: {words}");
        assert!(words.contains("LEDGERWAY_DATABASE_URL") && !words.contains(PASSWORD), "{words}");
    }
    let (code, words) = said(&mut command(&url, &["reseal", "--data", &data]));
    assert!(code == Some(2) && words.contains("LEDGERWAY_DATABASE_URL"), "{words}");
}

/// A secret that was not filled in: the node would serve an empty ledger of its own.
/// Holds: bin.shared-ledger, bin.wrong-configuration
#[test]
fn an_empty_address_is_refused_instead_of_making_a_ledger_in_the_folder() {
    let [folder] = folders();
    let data = folder.path().join("data").display().to_string();
    for empty in ["", " "] {
        for arguments in ["serve", "migrate", "verify", "status", "rebuild", "reseal"] {
            let mut command = command("", &[arguments, "--data", &data]);
            let (code, words) = said(command.env("LEDGERWAY_DATABASE_URL", empty));
            assert!(code == Some(2) && words.starts_with("ledgerway: LEDGERWAY_DATABASE_URL is empty"), "{words}");
        }
    }
    assert!(!Path::new(&data).exists(), "nothing was made");
}

/// Holds: bin.database-password, bin.wrong-configuration
#[test]
fn a_password_is_shown_nowhere_whatever_else_is_wrong() {
    let [folder] = folders();
    let data = folder.path().join("data").display().to_string();
    for wrong in [
        format!("mysql://ledgerway:{PASSWORD}@db/ledgerway"),
        format!("postgres//ledgerway:{PASSWORD}@db/ledgerway"),
        format!("postgres://ledgerway:{PASSWORD}@db:port/ledgerway"),
        format!("postgres://ledgerway:{PASSWORD}@db"),
        format!("postgres://ledgerway:{PASSWORD}@db/ledgerway?sslmode=perhaps"),
    ] {
        for arguments in ["serve", "migrate", "verify", "status", "rebuild", "reseal"] {
            let (code, words) = said(&mut command(&wrong, &[arguments, "--data", &data]));
            assert!(code == Some(2) && words.starts_with("ledgerway: LEDGERWAY_DATABASE_URL "), "{words}");
            assert!(words.contains("for example") && words.trim().lines().count() == 1, "{words}");
            assert!(!words.contains(PASSWORD), "{words}");
        }
        let (code, words) = said(&mut command("", &["verify", &wrong, "--data", &data]));
        assert!(code == Some(2) && !words.contains(PASSWORD), "{words}");
    }
    // Nothing listens on port 1.
    let away = format!("postgres://ledgerway:{PASSWORD}@127.0.0.1:1/ledgerway");
    let exits = [("serve", 1), ("migrate", 1), ("verify", 2), ("status", 2), ("rebuild", 2), ("reseal", 2)];
    for (arguments, exit) in exits {
        let (code, words) = said(&mut command(&away, &[arguments, "--data", &data]));
        assert_eq!(code, Some(exit), "{arguments}: {words}");
        assert!(words.contains("127.0.0.1:1") && !words.contains(PASSWORD), "{arguments}: {words}");
        assert!(!words.contains("panicked"), "{words}");
    }
}

/// Holds: bin.database-password, bin.wrong-configuration
#[test]
fn an_address_in_place_of_a_folder_or_a_view_is_refused_without_its_password() {
    let [folder] = folders();
    let url = format!("postgres://ledgerway:{PASSWORD}@127.0.0.1:1/ledgerway");
    let must_be_refused = |command: &mut Command, sentence: &str| {
        let (code, words) = said(command.current_dir(folder.path()));
        assert_eq!(code, Some(2), "{command:?}: {words}");
        assert!(words.contains(sentence) && !words.contains(PASSWORD), "{command:?}: {words}");
    };
    for arguments in [
        ["serve"].as_slice(),
        &["rebuild"],
        &["catalogue", "list"],
        &["catalogue", "search", "gpt"],
        &["catalogue", "show", "gpt"],
        &["catalogue", "update", "newer.json"],
        &["models", "list"],
        &["models", "try", "sim-small"],
        &["doctor"],
    ] {
        must_be_refused(command("", arguments).args(["--data", &url]), "--data must be a folder");
        must_be_refused(command("", arguments).env("LEDGERWAY_DATA", &url), "LEDGERWAY_DATA must be a folder");
    }
    must_be_refused(&mut command("", &["rebuild", &url]), "with --data DIR");
    // A switch takes no value but one after `=`, so that the address stays the argument that it is.
    for arguments in
        [["verify", "--log-only"], ["verify", "--json"], ["status", "--json"], ["reseal", "--previous-key-lost"]]
    {
        let mut at_the_end = command("", &arguments);
        must_be_refused(at_the_end.arg(&url).env("LEDGERWAY_NODE_KEY", NODE_KEY), "127.0.0.1:1");
        let flag = format!("{}={url}", arguments[1]);
        must_be_refused(&mut command("", &[arguments[0], &flag]), "is \"postgres://…\", but must be true or false");
    }
    must_be_refused(command("", &["verify"]).env("LEDGERWAY_JSON", &url), "LEDGERWAY_JSON is \"postgres://…\"");
    must_be_refused(&mut command("", &["serve", "--listen", &url]), "--listen is \"postgres://…\"");
    must_be_refused(&mut command("", &["move", "--from", &url, "--to", &url]), "--from must be a data folder");
    must_be_refused(&mut command("", &["serve", &url]), "unexpected argument");
    must_be_refused(&mut command("", &[&url]), "unrecognized subcommand");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "no folder has the name of the address");
}

/// Holds: bin.database-password, bin.shared-ledger-read
#[test]
fn a_database_without_a_folder_is_shown_without_its_password() {
    let (database, [folder]) = (migrated(), folders());
    let url = format!("{}&password={PASSWORD}", database.url());
    let words_of = |arguments: &[&str]| {
        let (code, words) = said(command("", arguments).args(["--data", &url]).current_dir(folder.path()));
        assert_eq!(code, Some(0), "{arguments:?}: {words}");
        assert!(!words.contains(PASSWORD), "{arguments:?}: {words}");
        words
    };
    let screen = words_of(&["status"]);
    assert!(screen.contains("\ndatabase    postgres://") && !screen.contains("data in"), "{screen}");
    assert!(!screen.contains("\ngateway ") && !screen.contains("\nviews "), "it is known of folders alone: {screen}");
    let status: Value = serde_json::from_str(&words_of(&["status", "--json"])).expect("one object");
    assert_eq!((&status["data"], &status["running"]), (&Value::Null, &Value::Null));
    assert!(words_of(&["verify"]).starts_with("sound: "));
    assert!(words_of(&["migrate"]).contains("is up to date"));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "no folder has the name of the address");
}

/// Holds: keys.one-cluster
#[test]
fn a_node_with_another_key_is_refused_by_a_database_that_has_one() {
    let database = migrated();
    let [first, second] = folders();
    let mut gateway = node(&database.url(), first.path(), &[]);
    let mut env = environment_of(&database.url());
    env[1].1 = OTHER_KEY.to_owned();
    let (code, words) = serve_to_its_end(second.path(), &env);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("LEDGERWAY_NODE_KEY is not the key"), "{words}");
    assert!(!words.contains(OTHER_KEY) && !words.contains(NODE_KEY), "{words}");
    gateway.stop();
}

/// Holds: bin.shared-ledger, keys.one-cluster
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_on_an_empty_database_have_one_tenancy_one_key_and_one_budget() {
    let database = migrated();
    let folders: [_; 3] = folders();
    let dev = [("LEDGERWAY_DEV", "true")];
    let url = database.url();
    let mut nodes: Vec<Gateway> = std::thread::scope(|scope| {
        let starts: Vec<_> = folders.iter().map(|it| scope.spawn(|| node(&url, it.path(), &dev))).collect();
        starts.into_iter().map(|start| start.join().expect("a node")).collect()
    });
    let events = nodes[0].events().await;
    let setup: Vec<&str> = events.iter().take(3).filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(setup, ["partner.created.v1", "tenant.created.v1", "user.created.v1"]);
    let count = |kind: &str| events.iter().filter(|event| event.to_string().contains(kind)).count();
    assert_eq!(["partner.created", "tenant.created", "user.created"].map(count), [1, 1, 1], "{events:?}");
    assert_eq!(database.number("SELECT count(*) FROM ledger.wrapped_keys"), 1);
    assert_eq!(database.number("SELECT count(*) FROM ledger.nodes"), 1);
    // A key that one node made is a key on all of them, and what one of them spends is spent on all.
    let key = fs::read_to_string(nodes[0].data().join("dev.key")).expect("a key").trim().to_owned();
    let chat = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
    for node in &nodes {
        wait_until_in_force(node, &key).await;
        node.client(Some(&key)).post("/v1/chat/completions", &chat).await.must(200);
    }
    for node in &mut nodes {
        node.stop();
    }
    let (code, words) =
        said(&mut command(&database.url(), &["verify", "--data", &nodes[0].data().display().to_string()]));
    assert!(code == Some(0) && words.starts_with("sound: ") && words.contains("rows of views"), "{words}");
}

/// Holds: bin.shared-ledger, keys.one-cluster
#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_that_one_node_sealed_opens_on_another() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let folders: [_; 2] = folders();
    let [one, other] = folders.each_ref().map(|folder| node(&database.url(), folder.path(), &[]));
    // Sealed with the platform's key, and then with the tenant's.
    let tenant = Tenant::new(&one, &upstream, &["ok"]).await;
    let own = json!({ "name": "own", "kind": "openai", "base_url": upstream.base_url("openai"), "tenant_id": tenant.id,
                      "allow_private_network": true, "api_key": "sk-of-the-tenant",
                      "secret_headers": { "x-gateway-auth": "first" } });
    let own = made(one.operator(), "/providers", own).await;
    let price = json!({ "provider_id": own, "model": "ok", "input_usd_per_mtok": "2", "output_usd_per_mtok": "4" });
    made(one.operator(), "/prices", price).await;
    let target = json!({ "provider_id": own, "model": "ok", "default_max_output_tokens": 64 });
    let model = json!({ "name": tenant.model("own"), "tenant_id": tenant.id, "targets": [target] });
    made(one.operator(), "/models", model).await;
    // Made last: where it is in force, the models are.
    let key = json!({ "user_id": tenant.user, "name": "last" });
    let key = text(&one.operator().post("/v1/admin/keys", &key).await.must(201).json()["secret"]);
    wait_until_in_force(&other, &key).await;
    for (model, api_key) in [("ok", PROVIDER_SECRET), ("own", "sk-of-the-tenant")] {
        other.client(Some(&key)).post(NATIVE, &tenant.ask(model)).await.must(200);
        assert_eq!(upstream.seen_with(api_key), 1, "{model}");
    }
    let sent = || upstream.seen().last().and_then(|seen| seen.headers.get("x-gateway-auth").cloned());
    assert_eq!(sent().expect("a header"), "first");
    // What is opened already is replaced, too.
    let change = json!({ "secret_headers": { "x-gateway-auth": "second" } });
    one.operator().patch(&format!("/v1/admin/providers/{own}"), &change).await.must(200);
    let started = Instant::now();
    while sent().expect("a header") != "second" {
        assert!(started.elapsed() < Duration::from_secs(5), "the other node still sends what was replaced");
        tokio::time::sleep(Duration::from_millis(20)).await;
        other.client(Some(&key)).post(NATIVE, &tenant.ask("own")).await.must(200);
    }
}

/// Holds: bin.shared-ledger-read, bin.verify-reads, bin.rebuild
#[tokio::test(flavor = "multi_thread")]
async fn verify_status_and_rebuild_read_the_ledger_in_the_database() {
    let database = migrated();
    let [folder, elsewhere] = folders();
    let mut gateway = node(&database.url(), folder.path(), &[]);
    let data = gateway.data().display().to_string();
    let name = json!({ "name": "North" });
    gateway.operator().post("/v1/admin/partners", &name).await.must(201);
    // While it serves.
    let (code, words) = said(&mut command(&database.url(), &["rebuild", "budgets", "--data", &data]));
    assert!(code == Some(0) && words.contains("rebuilt budgets"), "{words}");
    let status = |data: &str| -> Value {
        let (code, words) = said(&mut command(&database.url(), &["status", "--json", "--data", data]));
        assert_eq!(code, Some(0), "{words}");
        serde_json::from_str(&words).expect("one object")
    };
    let served = status(&data);
    assert_eq!((&served["running"], &served["ledger_bytes"]), (&json!(true), &Value::Null));
    assert!(served["database"].as_str().is_some_and(|database| database.starts_with("postgres://")), "{served}");
    gateway.stop();
    let (code, words) = said(&mut command(&database.url(), &["rebuild", "--data", &data]));
    assert_eq!(code, Some(0), "{words}");
    let none = elsewhere.path().join("none").display().to_string();
    for arguments in [
        ["verify", &database.url(), "--log-only"],
        ["verify", "--data", &database.url()],
        ["verify", &database.url(), &format!("--data={none}")],
        ["verify", &database.url(), &format!("--data={data}")],
    ] {
        let (code, words) = said(&mut command("", &arguments));
        assert!(code == Some(0) && words.starts_with("sound: "), "{arguments:?}: {words}");
    }
    assert_eq!(status(&none)["head"]["position"], served["head"]["position"], "with no folder at all");
    assert!(!Path::new(&none).exists());
    let (_, words) = said(command(&database.url(), &["status"]).current_dir(elsewhere.path()));
    assert!(words.contains("database    postgres://"), "{words}");
}

/// Nobody ties a folder to an address: the folder of another node may just be the one that commands look in.
/// Holds: bin.shared-ledger-read, bin.verify-reads
#[tokio::test(flavor = "multi_thread")]
async fn views_of_another_ledger_are_neither_compared_nor_shown() {
    let (first, second, [folder, other]) = (migrated(), migrated(), folders());
    let mut gateway = node(&first.url(), folder.path(), &[("LEDGERWAY_DEV", "true")]);
    let data = gateway.data();
    let key = fs::read_to_string(data.join("dev.key")).expect("a key").trim().to_owned();
    let chat = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
    gateway.client(Some(&key)).post("/v1/chat/completions", &chat).await.must(200);
    crate::views::caught_up(&gateway).await;
    gateway.stop();
    // Its log ends before these views do.
    let mut gateway = node(&second.url(), other.path(), &[]);
    let words_of = |arguments: &[&str]| {
        let (code, words) = said(command(&second.url(), arguments).env("LEDGERWAY_DATA", &data));
        assert_eq!(code, Some(0), "{arguments:?}: {words}");
        words
    };
    let words = words_of(&["verify"]);
    let of_another = format!("the views in {} have an event at position ", data.display());
    assert!(words.starts_with("sound: ") && words.contains(&of_another), "{words}");
    let verified: Value = serde_json::from_str(&words_of(&["verify", "--json"])).expect("one object");
    assert_eq!((&verified["sound"], &verified["views"]), (&json!(true), &json!("of_another_ledger")));
    let screen = words_of(&["status"]);
    assert!(
        screen.contains("are of another ledger, or of this one before a restore: not shown")
            && screen.contains("unknown: there are no views"),
        "{screen}"
    );
    assert!(!screen.contains("\ngateway ") && !screen.contains("requests"), "{screen}");
    let status: Value = serde_json::from_str(&words_of(&["status", "--json"])).expect("one object");
    assert_eq!((&status["data"], &status["today"], &status["views"]), (&Value::Null, &Value::Null, &json!([])));
    assert_eq!(status["foreign_views"], json!(data), "why there are none");
    // The nodes are those of the database, wherever the command runs.
    let [running] = status["nodes"].as_array().expect("a list").as_slice() else { panic!("one node: {status}") };
    let id = text(&running["node_id"]);
    assert!(screen.contains(&format!("\nnodes       {id} from ")), "{screen}");
    gateway.stop();
    assert!(gateway.stderr().contains(&id), "a node says its own id");
    assert!(words_of(&["status"]).contains("\nnodes       none running"));
    // A rebuild makes the folder one of this database, and says which.
    assert!(words_of(&["rebuild"]).contains(&format!(", in {}", data.display())));
    assert!(words_of(&["verify"]).contains("rows of views"));
}

/// Views are there and their ledger is not: the variable may be missing, or the ledger lost.
/// Holds: bin.shared-ledger, bin.wrong-configuration
#[test]
fn a_folder_of_a_node_is_not_served_without_its_database() {
    let (database, [folder]) = (migrated(), folders());
    let mut gateway = node(&database.url(), folder.path(), &[]);
    gateway.stop();
    let (code, words) = serve_to_its_end(&gateway.data(), &[("LEDGERWAY_NODE_KEY", NODE_KEY.to_owned())]);
    assert!(code == Some(2) && words.contains("if it is in a database, set LEDGERWAY_DATABASE_URL"), "{words}");
    assert!(!gateway.data().join("ledger.db").exists(), "no other ledger was begun");
}

/// Holds: bin.deadline
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_admission_took_long_is_over_before_its_hold_would_be() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [folder] = folders();
    let gateway = node(&database.url(), folder.path(), &[("LEDGERWAY_HOLD_TTL_SECONDS", "7")]);
    let setup = Setup { timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["hang"], setup).await;
    database.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
         CREATE TRIGGER slow AFTER INSERT ON ledger.events FOR EACH ROW WHEN (NEW.event_type = 'budget.reserved')
             EXECUTE FUNCTION slow()",
    );
    let request = tenant.chat("hang").await.must(504).request_id();
    let types = gateway.types_of(&request).await;
    assert!(types.len() > 2 && !types.contains(&"budget.expired.v1".to_owned()), "{types:?}");
}
