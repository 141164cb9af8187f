//! Nodes that share a ledger: one of them records what the environment and the catalogue offer.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use super::imports::{IMPORT, document, recorded, shipped};
use super::{KEY, ON, automatic, chat};
use crate::client::Reply;
use crate::gateway::{Gateway, type_of};
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::{OPENAI, text};

/// A node that does not show that it is there is unseen after ten seconds, and counts as gone fifteen later; others look every two.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(45);
/// In this time, every node has looked again.
const LOOKS_AGAIN: Duration = Duration::from_secs(5);

fn start(url: &str, folder: &Path, env: &[(&'static str, &str)]) -> Gateway {
    let env: Vec<_> = [ON].into_iter().chain(env.iter().copied()).collect();
    node(url, folder, &env)
}

/// The names of the live providers that nodes made.
async fn providers(node: &Gateway) -> BTreeSet<String> {
    automatic(node, "providers").await.iter().map(|provider| text(&provider["name"])).collect()
}

/// Returns a node's answer. While the machine is busy, a node may not reach the database for a second, and answers 503.
async fn answered(ask: impl AsyncFn() -> Reply) -> Reply {
    let began = Instant::now();
    loop {
        let reply = ask().await;
        if reply.status != 503 || began.elapsed() > TAKES_OVER_WITHIN {
            return reply;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn head(node: &Gateway) -> u64 {
    let reply = answered(async || node.operator().get("/v1/log/head").await).await;
    reply.must(200).json()["position"].as_u64().expect("a position")
}

/// Waits until a list of the views has everything that is recorded.
async fn catch_up(node: &Gateway) {
    let path = format!("/v1/admin/providers?min_position={}", head(node).await);
    answered(async || node.operator().get(&path).await).await.must(200);
}

async fn must_stay_as_it_is(node: &Gateway) {
    // A rejected import is recorded as well, and the rest of its second after it.
    head(node).await;
    let before = node.last_fact().await;
    tokio::time::sleep(LOOKS_AGAIN).await;
    head(node).await;
    assert_eq!(node.last_fact().await, before, "nobody records anything");
}

/// Holds: environment.one-node
#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_other_variables_take_nothing_back_until_the_one_that_has_run_longest_is_gone() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [one, two] = folders();
    let (url, base_url) = (database.url(), upstream.base_url("openai"));
    let of_openai = [("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str())];
    let of_groq = [("GROQ_API_KEY", KEY), ("GROQ_BASE_URL", base_url.as_str())];
    let mut first = start(&url, one.path(), &of_openai);
    assert_eq!(providers(&first).await, ["openai".to_owned()].into());
    let mut second = start(&url, two.path(), &of_groq);
    must_stay_as_it_is(&second).await;
    catch_up(&second).await;
    assert_eq!(providers(&second).await, ["openai".to_owned()].into());
    let note = "note: OPENAI_API_KEY is not set on this node, or is set for another address: its requests for the provider openai fail";
    assert!(second.stdout().contains(note) && !first.stdout().contains("note:"), "{}", second.stdout());
    let failed = answered(async || second.operator().post(OPENAI, &chat("gpt-4o-mini")).await).await;
    let message = text(&failed.must(502).json()["error"]["message"]);
    assert!(message.contains("is not set on this node, or is set for another address"), "{message}");

    first.kill();
    let began = Instant::now();
    while providers(&second).await != ["groq".to_owned()].into() {
        assert!(began.elapsed() < TAKES_OVER_WITHIN, "{:?}", providers(&second).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let log = second.stderr();
    let line = log.lines().find(|line| line.contains("ended providers")).expect("a line");
    assert!(line.contains("WARN") && line.contains("openai (OPENAI_API_KEY)"), "{line}");
    first.start_again();
    must_stay_as_it_is(&first).await;
    catch_up(&first).await;
    assert_eq!(providers(&first).await, ["groq".to_owned()].into(), "it has not run longest any more");
    // The second one says that it ends. The process that was killed did not, and this one has not missed it for long.
    second.stop();
    let began = Instant::now();
    while first.operator().post(OPENAI, &chat("gpt-4o-mini")).await.status != 200 {
        assert!(began.elapsed() < TAKES_OVER_WITHIN, "{:?}", providers(&first).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    catch_up(&first).await;
    assert_eq!(providers(&first).await, ["openai".to_owned()].into());
    first.books().await;
}

/// Holds: environment.one-node
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_to_make_nothing_ends_what_others_made_once_it_has_run_longest() {
    let database = migrated();
    let [one, two] = folders();
    let mut first = start(&database.url(), one.path(), &[("OPENAI_API_KEY", KEY)]);
    let second = start(&database.url(), two.path(), &[("LEDGERWAY_PROVIDERS_FROM_ENV", "off")]);
    must_stay_as_it_is(&second).await;
    first.stop();
    let began = Instant::now();
    while !providers(&second).await.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", providers(&second).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// After an outage of the database, all nodes are unseen until they have connected again.
///
/// Holds: environment.one-node
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_unseen_and_has_not_left_keeps_its_place_for_a_while() {
    let database = migrated();
    let [one, two] = folders();
    let mut first = start(&database.url(), one.path(), &[("OPENAI_API_KEY", KEY)]);
    assert_eq!(providers(&first).await, ["openai".to_owned()].into(), "a node that is alone records at once");
    database.execute(
        "INSERT INTO ledger.running_nodes (node, started_at, seen_at, events_read, events_written, address)
         SELECT 'unseen', started_at + 1, seen_at - 60000000, events_read, events_written, address FROM ledger.running_nodes",
    );
    let second = start(&database.url(), two.path(), &[("GROQ_API_KEY", KEY)]);
    first.stop();
    must_stay_as_it_is(&second).await;
    database.execute("DELETE FROM ledger.running_nodes WHERE node = 'unseen'");
    let began = Instant::now();
    while providers(&second).await != ["groq".to_owned()].into() {
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", providers(&second).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Holds: environment.one-node, environment.import
#[tokio::test(flavor = "multi_thread")]
async fn an_import_on_any_node_is_the_catalogue_of_all_of_them() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [one, two, three] = folders();
    let (url, base_url) = (database.url(), upstream.base_url("openai"));
    let env = [("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str())];
    let mut first = start(&url, one.path(), &env);
    let second = start(&url, two.path(), &env);
    let output = async |node: &Gateway| {
        catch_up(node).await;
        text(&recorded(node).await["output_usd_per_mtok"])
    };
    for (days, by, price) in [(3, &second, "9.000000000"), (4, &first, "8.000000000")] {
        let sent = by.operator().post(IMPORT, &document(days, "7", price)).await.must(200);
        let wanted = json!({ "created": 0, "changed": 1, "ended": 0 });
        assert_eq!(sent.json()["recorded"]["prices"], wanted, "{days}");
        assert_eq!(output(by).await, price, "it is in force when the reply comes");
        for node in [&first, &second] {
            assert_eq!(output(node).await, price);
            let shown = node.operator().post(&format!("{IMPORT}?dry_run=true"), &document(5, "1", "1")).await;
            assert_eq!(shown.must(200).json()["from_version"], document(days, "1", "1")["version"]);
            node.operator().post(IMPORT, &document(2, "1", "1")).await.must_be(409, "CONFLICT");
        }
        must_stay_as_it_is(&first).await;
        assert!(!by.data().join("catalogue.json").exists());
    }
    let events = first.events().await;
    let by_actor = |actor: &str, name: &str| {
        events.iter().filter(|event| event["actor"] == actor && type_of(event) == name).count()
    };
    assert_eq!(by_actor("operator", "catalogue.imported.v1"), 2);
    assert_eq!(by_actor("operator", "price.changed.v1"), 1, "that of the node that records");
    assert_eq!(by_actor("system:environment", "price.changed.v1"), 1, "that of the other one");
    first.stop();
    must_stay_as_it_is(&second).await;
    let third = start(&url, three.path(), &env);
    must_stay_as_it_is(&third).await;
    let again = third.operator().post(IMPORT, &document(4, "7", "8")).await.must(200).json();
    assert_eq!(again["recorded"]["prices"], json!({ "created": 0, "changed": 0, "ended": 0 }), "it has it already");
    // Of two at once, the older one is the first or none.
    let [newer, older] =
        [(&third, document(7, "7", "6.0")), (&second, document(6, "7", "5.0"))].map(|(node, document)| {
            let client = node.operator().clone();
            async move { client.post(IMPORT, &document).await }
        });
    let (newer, older) = tokio::join!(newer, older);
    newer.must(200);
    assert!([200, 409].contains(&older.status), "{}", older.status);
    assert_eq!(output(&third).await, "6.000000000");
    third.books().await;
}

/// Holds: environment.one-node, environment.import
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_during_an_import_leaves_the_old_catalogue_or_the_new_one_with_all_its_prices() {
    let (database, upstream) = (migrated(), MockUpstream::start().await);
    let [one, two] = folders();
    let (url, base_url) = (database.url(), upstream.base_url("openai"));
    let env = [("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url.as_str())];
    let first = start(&url, one.path(), &env);
    let mut second = start(&url, two.path(), &env);
    let in_force = async || -> Value {
        let (path, later) = (format!("{IMPORT}?dry_run=true"), document(90, "1", "1"));
        answered(async || first.operator().post(&path, &later).await).await.must(200).json()["from_version"].clone()
    };
    let mut taken = 0;
    for (days, wait_ms) in (1..).zip([1, 100, 200, 400, 800]) {
        let mut newer = document(days, "1", "1");
        for model in newer["models"].as_array_mut().expect("models") {
            if model["price"].is_object() {
                model["price"]["request_usd"] = json!(format!("0.{days:09}"));
            }
        }
        let (client, before) = (second.operator().clone(), in_force().await);
        let crash = async {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            second.kill();
        };
        let _ = tokio::join!(client.try_post(IMPORT, &newer), crash);
        // The database may still carry out what it was sent before.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = in_force().await;
        assert!([&before, &newer["version"]].contains(&&after), "{after}");
        if after == newer["version"] {
            taken += 1;
            let events = first.events().await;
            let mut imports = events.iter().filter(|event| type_of(event) == "catalogue.imported.v1");
            let last = imports.next_back().expect("it is recorded with the document, whatever followed");
            assert_eq!((&last["actor"], &last["data"]["to_version"]), (&json!("operator"), &after));
            let began = Instant::now();
            loop {
                catch_up(&first).await;
                let prices = automatic(&first, "prices").await;
                if prices.iter().all(|price| price["request_usd"] == format!("0.{days:09}")) {
                    break;
                }
                assert!(began.elapsed() < TAKES_OVER_WITHIN, "{prices:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        must_stay_as_it_is(&first).await;
        second.start_again();
    }
    assert!(taken > 0, "every import was too late");
    assert_ne!(in_force().await, shipped()["version"]);
    first.books().await;
}
