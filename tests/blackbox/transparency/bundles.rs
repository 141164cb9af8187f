//! Bundles: one tenant's events in a file that proves, without the others, that they are in the published log.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testing::upstream::MockUpstream;
use tlog::Hash;

use super::{CHECKPOINT_MAX, PUBLISHED, checkpoint_of, key, make_partners};
use crate::archive::run;
use crate::books::{nano, usd};
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, OPENAI, Tenant, made, text};

/// The script that checks a bundle without the gateway's code.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/bundle/verify.py");

/// A gateway that two tenants use at the same time, whose checkpoint has all of their events.
struct Published {
    gateway: Gateway,
    _upstream: MockUpstream,
    key: String,
    mine: Tenant,
    other: Tenant,
    folder: TempDir,
}

impl Published {
    async fn with_requests(count: usize) -> Self {
        let (gateway, upstream) = (Gateway::start_with(&[PUBLISHED]), MockUpstream::start().await);
        let mine = Tenant::new(&gateway, &upstream, &["ok", "paced-300"]).await;
        let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
        let key = key(gateway.operator()).await;
        mine.set_limit("4").await;
        let published =
            Self { gateway, _upstream: upstream, key, mine, other, folder: TempDir::new().expect("a folder") };
        published.ask(count).await;
        published.wait().await;
        published
    }

    async fn ask(&self, count: usize) {
        for _ in 0..count {
            self.mine.chat("ok").await.must(200);
            self.other.chat("ok").await.must(200);
            make_partners(self.gateway.operator(), 1).await;
        }
    }

    async fn wait(&self) {
        checkpoint_of(self.gateway.operator(), &self.key, self.gateway.head().await).await;
    }

    /// A bundle of my events.
    fn bundle(&self, name: &str, more: &[&str]) -> String {
        let (file, data) = (self.path(name), text(&json!(self.gateway.data())));
        let arguments = ["bundle", "--tenant", &self.mine.id, "--data", &data, "--into", &file];
        run(0, &[&arguments, more].concat());
        file
    }

    fn path(&self, name: &str) -> String {
        text(&json!(self.folder.path().join(name)))
    }

    /// Returns the verdict of `verify` and of the script on a bundle, which must agree.
    #[track_caller]
    fn verified(&self, file: &str) -> Value {
        let said = said(0, file, &self.key);
        let (code, words) = script(file, &self.key);
        let charged = text(&said["bundle"]["charged_usd"]);
        assert!(code == Some(0) && words.contains(&charged), "{words} {said}");
        said
    }

    /// Both refuse it. Returns the first bad position, as `verify` says it.
    #[track_caller]
    fn refused(&self, file: &str) -> u64 {
        let said = said(1, file, &self.key);
        let (code, words) = script(file, &self.key);
        assert_eq!(code, Some(1), "{words} {said}");
        said["broken"]["position"].as_u64().unwrap_or_else(|| panic!("{said}"))
    }
}

#[track_caller]
fn said(code: i32, file: &str, key: &str) -> Value {
    let words = run(code, &["verify", "--json", "--bundle", file, "--checkpoint-key", key]);
    serde_json::from_str(&words).unwrap_or_else(|_| panic!("{words}"))
}

fn script(file: &str, key: &str) -> (Option<i32>, String) {
    let ended = Command::new("python3").args([SCRIPT, file, key]).output().expect("python3 starts");
    (ended.status.code(), String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned())
}

/// Returns the charge of my requests.
async fn charged(published: &Published) -> i64 {
    let events = published.mine.events_of(&published.gateway, &["budget.settled", "budget.adjusted"]).await;
    let amount = |data: &Value| nano(data.get("charged_usd").unwrap_or(&data["delta_usd"]));
    events.iter().map(|event| amount(&event["data"])).sum()
}

/// Waits until so many charges were corrected.
async fn until_corrected(gateway: &Gateway, charges: usize) {
    let began = Instant::now();
    while gateway.events_of("budget.adjusted.v1").await.len() < charges {
        assert!(began.elapsed() < CHECKPOINT_MAX, "the requests are not charged by the corrected price");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Holds: log.bundle
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_has_what_its_partner_narrowed_only_if_that_binds_its_requests() {
    let published = Published::with_requests(1).await;
    let (mine, operator) = (&published.mine, published.gateway.operator());
    for project in ["of-mine", "of-another-tenant"] {
        let scope = json!({ "partner_id": mine.partner, "metadata.project": project });
        made(operator, "/budgets", json!({ "scope": scope, "limit_usd": "1", "period": "day" })).await;
        made(operator, "/rate-limits", json!({ "scope": scope, "requests_per_day": 9 })).await;
    }
    let mut body = mine.ask("ok");
    body["metadata"] = json!({ "project": "of-mine" });
    mine.app.post(NATIVE, &body).await.must(200);
    published.wait().await;
    let file = published.bundle("narrowed.bundle", &[]);
    published.verified(&file);
    let content = fs::read_to_string(&file).expect("text");
    assert!(!content.contains("of-another-tenant"), "another tenant's project is in the bundle");
    assert_eq!(content.matches(r#""metadata.project":"of-mine""#).count(), 2, "a budget and a limit");
}

/// Holds: log.bundle
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_proves_one_tenants_charges_and_shows_nothing_of_others() {
    let published = Published::with_requests(6).await;
    let file = published.bundle("all.bundle", &[]);
    let said = published.verified(&file);
    assert_eq!(said["bundle"]["requests"], 6);
    assert_eq!(said["open_holds"], 0);
    assert_eq!(said["proven"], json!(["inclusion", "order", "holds", "costs"]));
    assert_eq!(said["not_proven"].as_array().map(Vec::len), Some(5), "{said}");
    assert_eq!(said["bundle"]["charged_usd"], json!(usd(charged(&published).await)));
    let content = fs::read_to_string(&file).expect("text");
    let (mine, other) = (&published.mine, &published.other);
    for foreign in [&other.id, &other.partner, &other.user, &other.key, &other.budget, &other.provider] {
        assert!(!content.contains(foreign.as_str()), "{foreign} is in the bundle");
    }
    // What is not the tenant's is what was in force for it.
    for line in content.lines().skip(1).filter(|line| !line.starts_with("{\"height\"")) {
        let event: Value = serde_json::from_str(line).expect("an event");
        let shared = ["price.created.v1", "budget.opened.v1", "rate_limit.created.v1"];
        let is_shared = shared.contains(&event["type"].as_str().expect("a type"));
        assert!(event["tenant_id"] == mine.id.as_str() || is_shared, "{line}");
    }
    // Only its owner can read the file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o077, 0);
    }
    let (code, _) = script(&file, &published.key.replacen('+', "x+", 1));
    assert_eq!(code, Some(1), "another key");
}

/// Holds: log.bundle
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_some_time_has_what_began_before_it_and_what_was_corrected() {
    let published = Published::with_requests(2).await;
    let before = charged(&published).await;
    let begun = published.mine.stream(OPENAI, "paced-300").await;
    make_partners(published.gateway.operator(), 1).await;
    let from = text(&published.gateway.events().await.last().expect("events")["recorded_at"]);
    begun.rest().await;
    published.ask(2).await;
    // A correction concerns all requests of the price, also those before.
    let prices = format!("/v1/admin/prices?provider_id={}&model=ok", published.mine.provider);
    let operator = published.gateway.operator();
    let price = text(&operator.get(&prices).await.must(200).json()["items"][0]["id"]);
    let corrected = json!({ "input_usd_per_mtok": "1", "output_usd_per_mtok": "2", "request_usd": "0.0005" });
    operator.patch(&format!("/v1/admin/prices/{price}"), &corrected).await.must(200);
    until_corrected(&published.gateway, 4).await;
    published.wait().await;
    let all = published.verified(&published.bundle("all.bundle", &[]));
    let some = published.verified(&published.bundle("some.bundle", &["--from", &from]));
    let to = published.verified(&published.bundle("to.bundle", &["--to", &from]));
    assert_eq!(all["bundle"]["charged_usd"], json!(usd(charged(&published).await)));
    assert_eq!(to["bundle"]["charged_usd"], json!(usd(before)));
    let of = |said: &Value| nano(&said["bundle"]["charged_usd"]);
    assert_eq!(of(&all), of(&some) + of(&to));
    assert_eq!((to["bundle"]["requests"].as_u64(), to["open_holds"].as_u64()), (Some(3), Some(1)));
    assert_eq!(some["bundle"]["requests"], 2);
    assert_eq!((all["bundle"]["requests"].as_u64(), all["open_holds"].as_u64()), (Some(5), Some(0)));
}

/// Holds: log.bundle-changes
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_changed_is_refused_at_the_first_bad_position() {
    let published = Published::with_requests(3).await;
    let file = published.bundle("all.bundle", &[]);
    let lines: Vec<String> = fs::read_to_string(&file).expect("text").lines().map(str::to_owned).collect();
    let event = |at: usize| serde_json::from_str::<Value>(&lines[at]).expect("JSON");
    let find = |name: &str| (1..lines.len()).find(|at| event(*at)["type"] == name).expect("an event");
    let (settled, completed, price) =
        (find("budget.settled.v1"), find("inference.completed.v1"), find("price.created.v1"));
    let hash = (1..lines.len()).find(|at| lines[*at].starts_with("{\"height\"")).expect("a hash");
    let cost = text(&event(completed)["data"]["cost_usd"]);
    let cheaper = |line: &str| line.replace(&format!("\"{cost}\""), "\"0.000000001\"");
    let position = |at: usize| event(at)["position"].as_u64().expect("a position");
    let write = |changed: &[(usize, Option<String>)]| {
        let mut new = lines.clone();
        for (at, line) in changed.iter().rev() {
            match line {
                Some(line) => new[*at].clone_from(line),
                None => drop(new.remove(*at)),
            }
        }
        let path = published.path("changed.bundle");
        fs::write(&path, new.join("\n") + "\n").expect("written");
        path
    };
    let with = |changed: &[(usize, Option<String>)]| published.refused(&write(changed));
    let later = lines[completed].replace("\"latency_ms\":", "\"latency_ms\":1");
    assert_eq!(with(&[(settled, Some(cheaper(&lines[settled])))]), position(settled), "charge");
    assert_eq!(with(&[(completed, Some(cheaper(&lines[completed])))]), position(completed), "cost");
    let both = [(completed, Some(cheaper(&lines[completed]))), (settled, Some(cheaper(&lines[settled])))];
    assert_eq!(with(&both), position(completed), "cost and charge");
    let other_price =
        lines[price].replace("\"output_usd_per_mtok\":\"15.000000000\"", "\"output_usd_per_mtok\":\"16.000000000\"");
    assert_eq!(with(&[(price, Some(other_price))]), position(completed), "price");
    // Its hold is at the next position.
    let admitted = find("inference.admitted.v1");
    assert_eq!(with(&[(admitted, None)]), position(admitted), "an event removed");
    let swapped = [(admitted, Some(lines[admitted + 1].clone())), (admitted + 1, Some(lines[admitted].clone()))];
    assert_eq!(with(&swapped), position(admitted), "reordered");
    // The root is right: only the order of the stream shows it.
    let hidden = |at: usize| Some(format!("{{\"height\":0,\"hash\":\"{}\"}}", Hash::of_leaf(lines[at].as_bytes())));
    let held = find("budget.reserved.v1");
    assert_eq!(with(&[(held, hidden(held))]), position(held + 1), "a hidden hold");
    assert_eq!(with(&[(completed, hidden(completed))]), position(settled), "a hidden outcome");
    // The script does not know which budgets were in force.
    let changed = find("budget.changed.v1");
    let said = said(1, &write(&[(changed, hidden(changed))]), &published.key);
    assert_eq!(said["broken"]["position"], position(admitted), "a hidden change of a budget: {said}");
    // Nothing but the root shows these.
    assert_eq!(with(&[(completed, Some(later))]), 1, "what no rule is about");
    let mut other_hash = event(hash);
    other_hash["hash"] = json!("bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=");
    let other_hash = format!("{{\"height\":{},\"hash\":{}}}", other_hash["height"], other_hash["hash"]);
    assert_eq!(with(&[(hash, Some(other_hash))]), 1, "a hash");
    let header = lines[0].replace(&published.mine.id, &published.other.id);
    let first = (1..lines.len()).find(|at| event(*at)["tenant_id"] == published.mine.id.as_str()).expect("an event");
    assert_eq!(with(&[(0, Some(header))]), position(first), "another tenant");
    let header = lines[0].replacen("{", "{\"to\":\"2026-01-01T00:00:00.000000Z\",", 1);
    let shown = (1..lines.len()).find(|at| !lines[*at].starts_with("{\"height\"")).expect("an event");
    assert_eq!(with(&[(0, Some(header))]), position(shown), "events after the range");
    let header = lines[0].replace("\\n\\n", "\\n\\n\\n");
    assert_eq!(with(&[(0, Some(header))]), 1, "the checkpoint");
}

/// Holds: log.bundle
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bundled_or_checked_is_said() {
    let published = Published::with_requests(1).await;
    let (data, file) = (text(&json!(published.gateway.data())), published.path("x.bundle"));
    let bundle = |code: i32, more: &[&str]| {
        let words = run(code, &[&["bundle", "--data", &data, "--into", &file], more].concat());
        assert!(!Path::new(&file).exists(), "{words}");
        words
    };
    let mine = published.mine.id.as_str();
    let unpublished = Gateway::start();
    let elsewhere = ["--tenant", mine, "--into", &file, "--data", &text(&json!(unpublished.data()))].map(str::to_owned);
    let words = run(2, &[&["bundle"], &elsewhere.each_ref().map(String::as_str)[..]].concat());
    assert!(words.contains("docs/transparency.md says how to publish one"), "{words}");
    assert!(bundle(2, &["--tenant", "acme"]).contains("--tenant must be an id such as ten_"));
    let unknown = "ten_00000000000000000000000000000001";
    assert!(bundle(2, &["--tenant", unknown]).contains("there is no tenant"));
    assert!(bundle(2, &["--tenant", mine, "--from", "yesterday"]).contains("--from is \"yesterday\""));
    let backwards = ["--tenant", mine, "--from", "2026-11-02T00:00:00Z", "--to", "2026-11-01T00:00:00Z"];
    assert!(bundle(2, &backwards).contains("--to must be after --from"));
    assert!(bundle(2, &["--tenant", mine, "--from", "2999-01-01T00:00:00Z"]).contains("--from is in the future"));
    fs::write(published.path("other.bundle"), "hello\n").expect("written");
    let other = published.path("other.bundle");
    let verify = |code: i32, file: &str, key: &str| run(code, &["verify", "--bundle", file, "--checkpoint-key", key]);
    assert!(verify(2, &other, &published.key).contains("it is not a bundle"));
    assert!(verify(2, &file, &published.key).contains("x.bundle"));
    assert!(run(2, &["verify", "--bundle", &other]).contains("--checkpoint-key"));
    let file = published.bundle("all.bundle", &[]);
    let backwards = fs::read_to_string(&file).expect("text").replacen(
        '{',
        "{\"from\":\"2026-11-02T00:00:00.000000Z\",\"to\":\"2026-11-01T00:00:00.000000Z\",",
        1,
    );
    fs::write(published.path("backwards.bundle"), backwards).expect("written");
    let backwards = published.path("backwards.bundle");
    assert!(verify(2, &backwards, &published.key).contains("a range that ends before it begins"));
    let (code, words) = script(&backwards, &published.key);
    assert!(code == Some(1) && words.contains("its range ends before it begins"), "{words}");
    let of_witness = "witness.example.org/w1+a27d8a4d+BHMwCHH0TBaOfJSd4sdQ5gwsm7j/UwAXxaJnI06ctNuO";
    assert!(verify(2, &file, of_witness).contains("which belongs in --witness-key"));
    let cosigned = ["verify", "--bundle", &file, "--checkpoint-key", &published.key, "--witness-key", of_witness];
    assert!(run(1, &cosigned).contains("has not cosigned the checkpoint"));
}
