//! `ledgerway reseal` on a ledger in a PostgreSQL database: another node key for the whole cluster.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use testing::postgres::TestDatabase;
use testing::upstream::MockUpstream;

use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway, serve_to_its_end, type_of};
use crate::own_providers::with_own_key;
use crate::provider_keys::further_key;
use crate::shared_ledger::{NODE_KEY as OLD, folders, migrated, node};
use crate::tenant::{NATIVE, PROVIDER_SECRET, Tenant};

const NEW: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
const FURTHER_SECRET: &str = "further-provider-secret-91c3";
const PREVIOUS: &str = "LEDGERWAY_NODE_KEY_PREVIOUS";
const GIVEN: &str = "LEDGERWAY_NODE_KEY";

/// All that hangs on the node key.
const BLOBS: &str = "SELECT wrapped AS blob FROM ledger.wrapped_keys UNION ALL SELECT sealed FROM ledger.sealed_secrets
                     UNION ALL SELECT wrapped FROM ledger.tenant_keys UNION ALL SELECT tag FROM ledger.nodes";
const REPLACEMENTS: &str = "SELECT count(*) FROM events WHERE event_type = 'node_key.replaced'";
/// How many sessions are held up by the trigger of [`hold_up`].
const HELD_UP: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
const SOON: Duration = Duration::from_secs(10);

fn of_keys(url: &str, old: &str, new: &str) -> Command {
    let mut command = ledgerway();
    command.arg("reseal").env("LEDGERWAY_DATABASE_URL", url).env(PREVIOUS, old).env(GIVEN, new);
    command
}

fn reseal(url: &str, old: &str, new: &str) -> (Option<i32>, String) {
    said(&mut of_keys(url, old, new))
}

#[track_caller]
fn replace(url: &str, old: &str, new: &str) -> String {
    let (code, words) = reseal(url, old, new);
    assert_eq!(code, Some(0), "{words}");
    words
}

fn waits_until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From now on, whoever writes sealed secrets waits in the middle of its transaction.
fn hold_up(database: &TestDatabase, seconds: u32) {
    database.execute(&format!(
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN PERFORM pg_catalog.pg_sleep({seconds}); RETURN NULL; END';
         CREATE TRIGGER waits BEFORE INSERT ON ledger.sealed_secrets
         FOR EACH STATEMENT EXECUTE FUNCTION public.wait()"
    ));
}

/// Waits for those who are held up, and holds up nobody any more.
fn let_through(database: &TestDatabase) {
    database.execute("DROP TRIGGER waits ON ledger.sealed_secrets");
}

fn in_the_background(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn end_of(child: Child) -> (Option<i32>, String) {
    let ended = child.wait_with_output().expect("its end");
    (ended.status.code(), String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned())
}

/// A cluster that has sealed API keys of a shared provider, of a provider key and of a tenant's own provider, stopped.
struct SealedSetup {
    url: String,
    upstream: MockUpstream,
    /// Its provider, which all tenants share, has an API key.
    shared: Tenant,
    /// Its provider has a provider key.
    further: Tenant,
    /// The tenant that has a provider of its own.
    own: Tenant,
    folder: TempDir,
    // Declared last: it outlives those who use it.
    database: TestDatabase,
}

impl SealedSetup {
    async fn new() -> Self {
        let (database, [folder], upstream) = (migrated(), folders(), MockUpstream::start().await);
        let url = database.url();
        let mut gateway = node(&url, folder.path(), &[]);
        let shared = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let further = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let provider = format!("/v1/admin/providers/{}", further.provider);
        gateway.operator().patch(&provider, &json!({ "api_key": null })).await.must(200);
        further_key(&gateway, &further, FURTHER_SECRET, json!({})).await;
        let (own, _) = with_own_key(&gateway, &upstream).await;
        gateway.stop();
        Self { url, upstream, shared, further, own, folder, database }
    }

    fn node(&self, key: &str) -> Gateway {
        node(&self.url, self.folder.path(), &[(GIVEN, key)])
    }

    /// Everything that is sealed opens on a node with this key, which also seals, and clients' API keys work.
    async fn must_work_with(&self, key: &str) {
        let mut gateway = self.node(key);
        let seen = || [PROVIDER_SECRET, FURTHER_SECRET].map(|secret| self.upstream.seen_with(secret));
        let [before, further_before] = seen();
        for tenant in [&self.shared, &self.further, &self.own] {
            gateway.client(Some(&tenant.secret)).post(NATIVE, &tenant.ask("ok")).await.must(200);
        }
        assert_eq!(seen(), [before + 2, further_before + 1]);
        let provider = format!("/v1/admin/providers/{}", self.shared.provider);
        gateway.operator().patch(&provider, &json!({ "api_key": PROVIDER_SECRET })).await.must(200);
        gateway.client(Some(&self.shared.secret)).post(NATIVE, &self.shared.ask("ok")).await.must(200);
        assert_eq!(seen(), [before + 3, further_before + 1]);
        gateway.stop();
    }

    #[track_caller]
    fn is_refused(&self, key: &str, previous: Option<&str>) -> String {
        let mut env = vec![("LEDGERWAY_DATABASE_URL", self.url.clone()), (GIVEN, key.to_owned())];
        env.extend(previous.map(|previous| (PREVIOUS, previous.to_owned())));
        let (code, words) = serve_to_its_end(&self.folder.path().join("other"), &env);
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains("LEDGERWAY_NODE_KEY is not the key") && !words.contains(key), "{words}");
        words
    }

    fn number(&self, sql: &str) -> i64 {
        self.database.number(sql)
    }
}

/// Holds: bin.reseal-shared, keys.one-cluster
#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_key_takes_the_place_of_the_old_one_on_all_nodes() {
    let used = SealedSetup::new().await;
    used.database.execute(&format!("CREATE TABLE public.before AS {BLOBS}"));
    assert!(used.number("SELECT count(*) FROM public.before") >= 7, "the keys, the secrets and the node");
    // With the rights of a gateway.
    let words = replace(&used.database.gateway_url(), OLD, NEW);
    assert!(words.contains("4 API keys of providers") && words.contains("start all nodes with"), "{words}");
    assert!(!words.contains(OLD) && !words.contains(NEW) && !words.contains(":gateway@"), "{words}");
    let left = format!("SELECT count(*) FROM ({BLOBS}) AS now WHERE blob IN (SELECT blob FROM public.before)");
    assert_eq!((used.number(&left), used.number("SELECT count(*) FROM nodes")), (0, 1));
    used.is_refused(OLD, None);
    let words = used.is_refused(OTHER, Some(NEW));
    assert!(words.contains("stop all nodes") && words.contains("`ledgerway reseal`"), "{words}");
    used.must_work_with(NEW).await;
    let gateway = used.node(NEW);
    let events = gateway.events().await;
    let replaced: Vec<_> = events.iter().filter(|event| type_of(event) == "node_key.replaced.v1").collect();
    let [replaced] = replaced.as_slice() else { panic!("{replaced:?}") };
    assert_eq!((&replaced["actor"], &replaced["data"]["resealed"]), (&json!("system:reseal"), &json!(4)));
    drop(gateway);
    let (code, words) = said(ledgerway().args(["verify", &used.url, "--log-only"]));
    assert!(code == Some(0) && words.starts_with("sound: "), "{words}");
}

/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn the_database_can_be_an_argument_and_what_is_done_can_be_asked_for_again() {
    let used = SealedSetup::new().await;
    let mut given = of_keys("", OLD, NEW);
    let (code, words) = said(given.arg(&used.url));
    assert_eq!(code, Some(0), "{words}");
    let mut given = of_keys("", OLD, NEW);
    let (code, words) = said(given.args(["--data", &used.url]));
    assert!(code == Some(0) && words.contains("is already sealed under the new key"), "{words}");
    assert_eq!(used.number(REPLACEMENTS), 1);
    replace(&used.url, NEW, OLD);
    used.must_work_with(OLD).await;
}

/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_changes_nothing() {
    let used = SealedSetup::new().await;
    let mut without = ledgerway();
    without.arg("reseal").env("LEDGERWAY_DATABASE_URL", &used.url).env(GIVEN, NEW);
    let mut nothing = ledgerway();
    nothing.arg("reseal").env("LEDGERWAY_DATABASE_URL", &used.url);
    let mut lost = ledgerway();
    lost.args(["reseal", "--previous-key-lost"]).env("LEDGERWAY_DATABASE_URL", &used.url).env(GIVEN, OLD);
    let place = format!("postgres://postgres@127.0.0.1:{}/{}", used.database.socket().port(), used.database.name());
    for (mut command, wanted) in [
        (of_keys(&used.url, OTHER, NEW), format!("{PREVIOUS} is not the key that {place} is sealed under")),
        (of_keys(&used.url, NEW, OLD), "are the two swapped?".to_owned()),
        (of_keys(&used.url, OLD, OLD), "there is no new key".to_owned()),
        (of_keys(&used.url, "0f", NEW), PREVIOUS.to_owned()),
        (without, format!("set {PREVIOUS} to the key that {place} is sealed under")),
        (nothing, "there is no new key".to_owned()),
        (lost, "so nothing is lost".to_owned()),
    ] {
        let (code, words) = said(&mut command);
        assert_eq!(code, Some(2), "{words}");
        assert!(words.starts_with("ledgerway: ") && words.trim().lines().count() == 1, "{words}");
        assert!(words.contains(&wanted) && !words.contains(OLD) && !words.contains(NEW), "{wanted}: {words}");
    }
    assert_eq!(used.number(REPLACEMENTS), 0);
    let empty = migrated();
    let (code, words) = reseal(&empty.url(), OLD, NEW);
    assert!(code == Some(2) && words.contains("start `ledgerway serve` once"), "{words}");
    let none = TestDatabase::create();
    let (code, words) = reseal(&none.url(), OLD, NEW);
    assert!(code == Some(2) && words.contains("`ledgerway migrate`"), "{words}");
    used.must_work_with(OLD).await;
}

/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_runs_refuses_it_and_so_does_one_that_was_killed_until_it_counts_as_gone() {
    let used = SealedSetup::new().await;
    let mut gateway = used.node(OLD);
    let running = || {
        let (code, words) = reseal(&used.url, OLD, NEW);
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains("connected from 127.0.0.1: stop all gateways that use it"), "{words}");
        assert!(words.trim().lines().count() == 1, "{words}");
    };
    running();
    gateway.client(Some(&used.shared.secret)).post(NATIVE, &used.shared.ask("ok")).await.must(200);
    gateway.kill();
    running();
    assert_eq!(used.number(REPLACEMENTS), 0);
    waits_until(|| reseal(&used.url, OLD, NEW).0 == Some(0));
    used.must_work_with(NEW).await;
}

/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_meanwhile_waits_and_is_refused() {
    let used = SealedSetup::new().await;
    hold_up(&used.database, 1);
    let resealing = in_the_background(&mut of_keys(&used.url, OLD, NEW));
    waits_until(|| used.number(HELD_UP) == 1);
    used.is_refused(OLD, None);
    assert_eq!(end_of(resealing).0, Some(0));
    let_through(&used.database);
    used.must_work_with(NEW).await;
}

/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_is_done_and_the_other_changes_nothing() {
    let used = SealedSetup::new().await;
    hold_up(&used.database, 1);
    let both = [NEW, OTHER].map(|new| (new, in_the_background(&mut of_keys(&used.url, OLD, new))));
    let ends = both.map(|(new, child)| (new, end_of(child)));
    let_through(&used.database);
    let done: Vec<_> = ends.iter().filter(|(_, (code, _))| *code == Some(0)).map(|(new, _)| *new).collect();
    let [winner] = done.as_slice() else { panic!("{ends:?}") };
    let (_, (code, words)) = ends.iter().find(|(new, _)| new != winner).expect("the other");
    assert_eq!(*code, Some(2), "{words}");
    assert!(words.contains("nothing was changed: run this again"), "{words}");
    assert_eq!((used.number(REPLACEMENTS), used.number("SELECT count(*) FROM nodes")), (1, 1));
    used.must_work_with(winner).await;
}

/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_has_changed_nothing() {
    let used = SealedSetup::new().await;
    hold_up(&used.database, 2);
    let mut resealing = in_the_background(&mut of_keys(&used.url, OLD, NEW));
    waits_until(|| used.number(HELD_UP) == 1);
    resealing.kill().expect("a process to kill");
    resealing.wait().expect("its end");
    let_through(&used.database);
    assert_eq!(used.number(REPLACEMENTS), 0);
    used.must_work_with(OLD).await;
    replace(&used.url, OLD, NEW);
    used.must_work_with(NEW).await;
}

/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_instant_it_is_finished_by_asking_again() {
    const ROUNDS: u32 = 24;
    let used = SealedSetup::new().await;
    let (mut old, mut new) = (OLD, NEW);
    let began = Instant::now();
    replace(&used.url, old, new);
    let whole = began.elapsed();
    (old, new) = (new, old);
    for round in 0..ROUNDS {
        let mut resealing = in_the_background(&mut of_keys(&used.url, old, new));
        std::thread::sleep(whole * round / ROUNDS);
        // It may have ended already, which is one of the instants.
        let _ = resealing.kill();
        resealing.wait().expect("its end");
        // The database may still be busy with what the killed one sent.
        waits_until(|| reseal(&used.url, old, new).0 == Some(0));
        assert_eq!(used.number(REPLACEMENTS), i64::from(round) + 2, "round {round}: neither none nor two");
        (old, new) = (new, old);
    }
    used.must_work_with(old).await;
}

/// One that did not answer for so long that it counted as gone.
/// Holds: bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_the_old_key_that_comes_back_appends_nothing() {
    let used = SealedSetup::new().await;
    let gateway = used.node(OLD);
    let signal = |name: &str| {
        let done = Command::new("kill").args([name, &gateway.pid().to_string()]).status().expect("a shell");
        assert!(done.success(), "{name}");
    };
    signal("-STOP");
    used.database.execute("UPDATE ledger.running_nodes SET seen_at = 0");
    replace(&used.url, OLD, NEW);
    let head = used.number("SELECT max(position) FROM events");
    signal("-CONT");
    // It would make the tenant's first key, from the old node key.
    let own = json!({ "name": "late", "kind": "openai", "base_url": used.upstream.base_url("openai"),
                      "allow_private_network": true, "tenant_id": used.further.id, "api_key": "late-secret" });
    gateway.operator().post("/v1/admin/providers", &own).await.must_be(503, "LEDGER_UNAVAILABLE");
    let app = gateway.client(Some(&used.shared.secret));
    waits_until_refused(&app, &used.shared).await;
    gateway.client(None).get("/health/ready").await.must(503);
    let began = Instant::now();
    while !gateway.stderr().contains("was replaced by `ledgerway reseal`") {
        assert!(began.elapsed() < SOON, "{}", gateway.stderr());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(used.number("SELECT max(position) FROM events"), head);
    drop(gateway);
    used.database.execute("DELETE FROM ledger.running_nodes");
    used.must_work_with(NEW).await;
    replace(&used.url, NEW, OTHER);
}

async fn waits_until_refused(app: &crate::client::Client, tenant: &Tenant) {
    let began = Instant::now();
    while app.post(NATIVE, &tenant.ask("ok")).await.status != 503 {
        assert!(began.elapsed() < SOON, "it goes on to serve");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Holds: bin.reseal-lost, bin.reseal-shared
#[tokio::test(flavor = "multi_thread")]
async fn without_the_old_key_a_cluster_goes_on_without_what_was_sealed() {
    let used = SealedSetup::new().await;
    let mut lost = ledgerway();
    lost.args(["reseal", "--previous-key-lost"]).env("LEDGERWAY_DATABASE_URL", &used.url).env(GIVEN, NEW);
    let (code, words) = said(&mut lost);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains(&format!("{} ({})", used.shared.name, used.shared.provider)), "{words}");
    let gateway = used.node(NEW);
    let app = gateway.client(Some(&used.shared.secret));
    app.post(NATIVE, &used.shared.ask("ok")).await.must_be(401, "UNAUTHENTICATED");
    let one = format!("/v1/admin/providers/{}", used.shared.provider);
    assert_eq!(gateway.operator().get(&one).await.must(200).json()["api_key_set"], false);
    let given = gateway.operator().patch(&one, &json!({ "api_key": PROVIDER_SECRET })).await.must(200).json();
    assert_eq!(given["api_key_set"], true, "{given}");
}
