//! Output of the command line for a folder.

use std::path::Path;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::{BINARY, Gateway, OPERATOR_KEY, ledgerway, without_settings};
use crate::tenant::{Setup, Tenant};

/// Exit code, stdout and stderr.
pub fn run(arguments: &[&str], data: Option<&Path>) -> (Option<i32>, String, String) {
    let mut command = ledgerway();
    command.args(arguments);
    if let Some(data) = data {
        command.arg("--data").arg(data);
    }
    let ended = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

fn status(gateway: &Gateway) -> Value {
    let (code, out, err) = run(&["status", "--json"], Some(&gateway.data()));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    serde_json::from_str(&out).expect("one object")
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_how_the_folder_stands_with_and_without_a_gateway() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::with(&gateway, &upstream, &["ok", "hang"], Setup::default()).await;
    tenant.chat("ok").await.must(200);
    crate::views::caught_up(&gateway).await;
    let spent = gateway.budget(&tenant.budget).await["settled_usd"].clone();
    tenant.set_limit(spent.as_str().expect("money")).await;
    crate::views::caught_up(&gateway).await;
    let running = status(&gateway);
    assert_eq!((&running["running"], &running["head"]["position"]), (&json!(true), &json!(gateway.head().await)));
    assert_eq!(running["listening"], format!("http://127.0.0.1:{}", gateway.port()));
    assert_eq!((&running["open_holds"]["count"], &running["open_holds"]["oldest_at"]), (&json!(0), &Value::Null));
    let near = running["budgets_near_limit"].as_array().expect("a list");
    let ours = near.iter().find(|budget| budget["budget_id"] == json!(tenant.budget)).expect("the budget");
    assert_eq!((&ours["used_percent"], &ours["settled_usd"]), (&json!(100), &spent), "{running}");
    assert_eq!(ours["scope_name"], json!(tenant.name));
    let today = running["today"]["tenants"].as_array().expect("a list");
    let ours = today.iter().find(|row| row["tenant_id"] == json!(tenant.id)).expect("the tenant");
    assert_eq!((&ours["name"], &ours["cost_usd"], &ours["requests"]), (&json!(tenant.name), &spent, &json!(1)));
    assert!(running["views"].as_array().is_some_and(|views| views.iter().all(|view| view["lag_events"] == 0)));
    let (code, screen, _) = run(&["status"], Some(&gateway.data()));
    assert!(code == Some(0) && screen.contains("running at http://") && screen.contains("100 % of "), "{screen}");
    assert!(screen.contains(&format!("{} of tenant {}: ", tenant.budget, tenant.name)), "{screen}");
    assert!(screen.lines().count() < 25, "one screen: {screen}");
    gateway.kill();
    let dead = status(&gateway);
    assert_eq!((&dead["running"], &dead["listening"]), (&json!(false), &Value::Null));
    assert_eq!(dead["head"], running["head"]);
    assert!(!screen.contains("unknown"), "{screen}");
    std::fs::remove_file(gateway.data().join("views.db")).expect("the views");
    let (code, screen, _) = run(&["status"], Some(&gateway.data()));
    assert!(code == Some(0) && screen.contains("refusals of today are unknown until the views are built"), "{screen}");
    let (code, _, err) = run(&["status"], Some(Path::new("/nonexistent")));
    assert!(code == Some(2) && err.contains("--data must be the data folder"), "{err}");
}

/// Nobody gave a folder, so it is the current folder that is most likely wrong.
#[test]
fn in_a_folder_without_data_a_command_says_where_to_run_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().canonicalize().expect("its path");
    for command in ["status", "verify", "rebuild"] {
        let ended = ledgerway().arg(command).current_dir(&here).output().expect("the binary starts");
        let err = String::from_utf8(ended.stderr).expect("text");
        let begins = format!("ledgerway: there is no ledgerway-data/ledger.db in {}: ", here.display());
        assert!(ended.status.code() == Some(2) && err.starts_with(&begins), "{err}");
        assert!(err.trim().ends_with("give the data folder with --data DIR") && !err.contains("LEDGERWAY_"), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_counts_the_holds_that_a_dead_process_left() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["hang"]).await;
    let (app, body) = (tenant.app.clone(), tenant.ask("hang"));
    let mut asking = tokio::task::JoinSet::new();
    asking.spawn(async move { app.try_post(crate::tenant::NATIVE, &body).await.is_ok() });
    let began = std::time::Instant::now();
    while status(&gateway)["open_holds"]["count"] != 1 {
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{}", status(&gateway));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    gateway.kill();
    let left = status(&gateway);
    assert_eq!(left["open_holds"]["count"], 1);
    let reserved = &tenant_hold(&gateway.data());
    assert_eq!(&left["open_holds"]["last_expires_at"], reserved);
    let (_, screen, _) = run(&["status"], Some(&gateway.data()));
    assert!(screen.contains(&format!(", the last ends by {}", reserved.as_str().expect("a time"))), "{screen}");
    assert!(left["open_holds"]["held_usd"] != "0.000000000" && left["open_holds"]["oldest_at"].is_string(), "{left}");
}

/// When the one hold that was made ends, as its event says.
fn tenant_hold(data: &Path) -> Value {
    let ledger = rusqlite::Connection::open(data.join("ledger.db")).expect("the ledger");
    let sql = "SELECT payload ->> '$.expires_at' FROM events WHERE event_type = 'budget.reserved'";
    ledger.query_row(sql, [], |row| row.get::<_, String>(0)).expect("a hold").into()
}

/// A request can cost more than is left of a budget that is far from its limit.
#[tokio::test(flavor = "multi_thread")]
async fn status_names_a_budget_that_refuses_requests_however_little_of_it_is_used() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { limit_usd: "0.000001", ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["ok"], setup).await;
    for _ in 0..2 {
        tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED");
    }
    crate::views::caught_up(&gateway).await;
    let shown = status(&gateway);
    let near = shown["budgets_near_limit"].as_array().expect("a list");
    assert_eq!(near.len(), 1, "{shown}");
    let seen = (&near[0]["budget_id"], &near[0]["used_percent"], &near[0]["refused_today"]);
    assert_eq!(seen, (&json!(tenant.budget), &json!(0), &json!(2)));
    let (_, screen, _) = run(&["status"], Some(&gateway.data()));
    let line = screen.lines().find(|line| line.starts_with("budgets ")).expect("budgets");
    assert!(line.contains(&tenant.name) && line.ends_with(", refused 2 requests today"), "{screen}");
}

#[test]
fn shells_are_told_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&["completions", shell], None);
        assert_eq!(code, Some(0));
        for command in ["serve", "verify", "rebuild", "replay", "reseal", "status", "completions"] {
            assert!(script.contains(command), "{command} for {shell}");
        }
        for value in ["usage_by_hour", "charge_hold", "powershell"] {
            assert!(script.contains(value), "{value} for {shell}");
        }
    }
    assert_eq!(run(&["completions", "cobol"], None).0, Some(2));
}

/// Returns the completions that bash offers for the last word.
fn offered(words: &[&str]) -> Vec<String> {
    let (_, script, _) = run(&["completions", "bash"], None);
    let (last, words_before) = (words.len() - 1, words.join("' '"));
    let ask = format!(
        "{script}\nCOMP_WORDS=('{words_before}'); COMP_CWORD={last}; _ledgerway ledgerway \"${{COMP_WORDS[{last}]}}\" \
         \"${{COMP_WORDS[{last} - 1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let ended = std::process::Command::new("bash").args(["-c", &ask]).output().expect("bash");
    let mut offered: Vec<String> = String::from_utf8_lossy(&ended.stdout).lines().map(str::to_owned).collect();
    offered.sort();
    offered
}

/// Holds: bin.completions
#[test]
fn a_shell_knows_the_values_that_there_are() {
    assert_eq!(offered(&["ledgerway", "rebuild", "usage"]), ["usage_by_hour"]);
    assert_eq!(offered(&["ledgerway", "rebuild", "usage_by_hour", "b"]), ["budgets"]);
    assert_eq!(offered(&["ledgerway", "serve", "--unknown-usage", ""]), ["charge_hold", "release"]);
    assert_eq!(offered(&["ledgerway", "serve", "--mode", ""]), ["all", "grpc", "http", "migrate", "worker"]);
    for [command, flag] in [["serve", "--dev"], ["verify", "--json"], ["verify", "--log-only"], ["status", "--json"]] {
        let next = offered(&["ledgerway", command, flag, "--da"]);
        assert_eq!(next, ["--data"], "a switch takes no value from the next argument: {command} {flag}");
    }
    assert!(offered(&["ledgerway", "completions", ""]).contains(&"zsh".to_owned()));
    assert!(offered(&["ledgerway", "serve", "--li"]).contains(&"--listen".to_owned()));
}

/// Every percentage that is shown, in order.
fn percentages(shown: &str) -> Vec<u64> {
    let before =
        shown.split(" %").map(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    let mut found: Vec<u64> = before.filter_map(|digits| digits.parse().ok()).collect();
    // What stands behind the last sign is no percentage.
    found.truncate(shown.matches(" %").count());
    found
}

/// Holds: bin.progress
#[tokio::test(flavor = "multi_thread")]
async fn progress_ends_at_its_end() {
    let mut gateway = Gateway::start();
    for _ in 0..30 {
        gateway.operator().post("/v1/admin/partners", &json!({ "name": "one of many" })).await.must(201);
    }
    crate::views::caught_up(&gateway).await;
    let rebuilt = |data: &Path| {
        let mut command = ledgerway();
        let ended = command.args(["rebuild", "--data"]).arg(data).env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY).output();
        let ended = ended.expect("it starts");
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(0), "{words}");
        percentages(&words)
    };
    // As lines, of a gateway that is asked and of one that is not there.
    let asked: Vec<Vec<u64>> = (0..5).map(|_| rebuilt(&gateway.data())).collect();
    let shown: Vec<&Vec<u64>> = asked.iter().filter(|shown| !shown.is_empty()).collect();
    assert!(!shown.is_empty() && shown.iter().all(|shown| shown.last() == Some(&100)), "{asked:?}");
    gateway.stop();
    assert_eq!(rebuilt(&gateway.data()).last(), Some(&100));
    // As bars.
    for command in ["verify", "rebuild"] {
        let screen = tempfile::NamedTempFile::new().expect("a file");
        let line = format!("{BINARY} {command} --data {}", gateway.data().display());
        let mut terminal = without_settings(std::process::Command::new("script"));
        terminal.args(["-qefc", &line]).arg(screen.path()).stdin(std::process::Stdio::null());
        assert!(terminal.output().expect("a terminal").status.success());
        let shown = std::fs::read_to_string(screen.path()).expect("the screen");
        let seen = percentages(&shown);
        assert!(seen.last() == Some(&100), "{command}: {seen:?} in {shown}");
        assert!(!shown.contains(" 0 % 0/0"), "{command}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_quiet_where_stderr_is_no_terminal() {
    let mut gateway = Gateway::start();
    gateway.stop();
    for (command, begins) in [("verify", "sound: "), ("migrate", "")] {
        let (code, out, err) = run(&[command], Some(&gateway.data()));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        // What is proven follows as a table.
        let sentence = out.split("\n\n").next().unwrap_or_default();
        assert!(sentence.starts_with(begins) && sentence.lines().count() == 1, "{out}");
    }
}
