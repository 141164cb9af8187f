//! Options given to the binary before it serves, and the content of a folder from its first start.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::{BINARY, Gateway, OPERATOR_KEY, ledgerway, serve_to_its_end, without_settings};

const READY_LINE: &str = "ledgerway listening on http://127.0.0.1:";
const READY_MAX: Duration = Duration::from_secs(20);

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Exit code and words of what is expected to end.
pub fn said(command: &mut Command) -> (Option<i32>, String) {
    let (out, err) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
    let copies = [&out, &err].map(|file| file.try_clone().expect("the same file"));
    let mut running = Running(command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("it starts"));
    let began = Instant::now();
    let code = loop {
        if let Some(status) = running.0.try_wait().expect("its state") {
            break status.code();
        }
        assert!(began.elapsed() < READY_MAX, "it does not end: {command:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut words = String::new();
    for mut file in copies {
        file.rewind().expect("its beginning");
        file.read_to_string(&mut words).expect("text");
    }
    (code, words)
}

/// Waits until a file has these words.
fn wait_for(file: &Path, words: &str) -> String {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.contains(words) {
            return text;
        }
        assert!(began.elapsed() < READY_MAX, "no {words:?} in {text:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The commands that the binary names.
fn commands() -> Vec<String> {
    let (_, help) = said(ledgerway().arg("--help"));
    let listed = help.split_once("Commands:\n").and_then(|(_, rest)| rest.split_once("\n\n")).expect("commands").0;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every flag of a command with what is said of it.
fn flags(command: &str) -> Vec<(String, String)> {
    let (_, help) = said(ledgerway().args([command, "-h"]));
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        match line.trim_start().split_once("--").filter(|(before, _)| before.is_empty() || before.ends_with(", ")) {
            Some((_, flag)) => {
                let name = flag.split([' ', '=', '[']).next().unwrap_or_default();
                flags.push((name.to_owned(), line.to_owned()));
            }
            None => flags.iter_mut().last().into_iter().for_each(|(_, text)| text.push_str(line)),
        }
    }
    flags.retain(|(name, _)| !["help", "version"].contains(&name.as_str()));
    flags
}

/// Holds: bin.flags-are-variables, bin.listen, bin.data
#[test]
fn every_flag_has_a_variable() {
    let commands = commands();
    assert!(commands.len() >= 5, "{commands:?}");
    let mut seen = BTreeSet::new();
    // What a command is asked to do is no setting.
    for command in commands.iter().filter(|command| {
        !["apply", "move", "restore", "export", "bundle", "what-if", "witness"].contains(&command.as_str())
    }) {
        let is_setting = |flag: &str| {
            !matches!(
                (command.as_str(), flag),
                (
                    "verify",
                    "bundle"
                        | "checkpoint"
                        | "checkpoint-key"
                        | "content"
                        | "copy"
                        | "receipt"
                        | "shallow"
                        | "witness-key"
                ) | ("replay", "as-of" | "into")
                    | (_, "archive")
            )
        };
        for (flag, text) in flags(command).into_iter().filter(|(flag, _)| is_setting(flag)) {
            let variable = format!("[env: LEDGERWAY_{}=", flag.replace('-', "_").to_uppercase());
            assert!(text.contains(&variable), "{command} --{flag}: {text}");
            seen.insert(text);
        }
    }
    for default in ["[default: 127.0.0.1:8080]", "[default: ./ledgerway-data]"] {
        assert!(seen.iter().any(|text| text.contains(default)), "{default} in {seen:?}");
    }
}

/// Holds: bin.flags-are-variables, bin.listen, bin.data, bin.embedded, bin.ready-line, bin.operator-key-made
#[test]
fn with_hardly_a_word_it_serves_from_a_folder_that_it_makes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut command = ledgerway();
    command.arg("serve").current_dir(folder.path()).env("LEDGERWAY_LISTEN", "127.0.0.1:0").stdin(Stdio::null());
    command.stdout(fs::File::create(&out).expect("a file")).stderr(fs::File::create(&err).expect("a file"));
    let mut running = Running(command.spawn().expect("the binary starts"));
    let text = wait_for(&out, "\n");
    assert!(text.starts_with(READY_LINE), "{text}");
    let port = text.lines().next().and_then(|line| line.rsplit(':').next()).expect("a port");
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0 && port != 8080), "{text}");
    let stopped = Command::new("sh").args(["-c", &format!("kill -TERM {}", running.0.id())]).status().expect("a shell");
    assert!(stopped.success() && running.0.wait().expect("its end").success());

    let data = folder.path().join("ledgerway-data");
    let key = fs::read_to_string(data.join("admin.key")).expect("the operator's key").trim().to_owned();
    assert_eq!(fs::metadata(data.join("admin.key")).expect("the file").permissions().mode() & 0o777, 0o600);
    let told = format!("{}{}", fs::read_to_string(&out).expect("stdout"), fs::read_to_string(&err).expect("stderr"));
    assert!(key.len() >= 32 && told.contains("admin.key") && !told.contains(&key), "{told}");
    for database in ["ledger.db", "views.db"] {
        let bytes = fs::read(data.join(database)).expect("a database");
        assert!(bytes.starts_with(b"SQLite format 3\0"), "{database}");
    }
    let (code, words) = said(ledgerway().args(["verify"]).env("LEDGERWAY_DATA", &data).env("LEDGERWAY_JSON", "true"));
    let sound: Value = serde_json::from_str(&words).unwrap_or_default();
    assert_eq!((code, &sound["sound"]), (Some(0), &Value::Bool(true)), "{words}");
    let (_, words) = said(ledgerway().args(["verify"]).env("LEDGERWAY_DATA", &data).env("LEDGERWAY_JSON", "false"));
    assert!(serde_json::from_str::<Value>(&words).is_err(), "{words}");
}

/// Holds: bin.migrate
#[test]
fn migrate_makes_the_databases_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (code, words) = said(ledgerway().args(["migrate", "--data"]).arg(&data));
    assert_eq!(code, Some(0), "{words}");
    assert!(data.join("ledger.db").exists(), "{words}");
    let created = "so a new, empty one was created: if you expected one, check --data";
    assert_eq!(words.trim(), format!("there was no ledger in {}, {created}", data.display()));
    let (code, words) = said(ledgerway().args(["migrate", "--data"]).arg(&data));
    assert_eq!((code, words.trim()), (Some(0), format!("the ledger in {} is up to date", data.display()).as_str()));
    let (_, help) = said(ledgerway().arg("--help"));
    assert!(help.contains("creates an empty ledger"), "what it creates is said: {help}");
    let (_, help) = said(ledgerway().args(["serve", "--help"]));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("whose usage is unknown, after a crash or if its response never came"), "{help}");
    let mut gateway = Gateway::start_in(folder.path(), &[]);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: bin.wrong-configuration, bin.operator-key
#[test]
fn wrong_configuration_is_one_sentence_that_names_the_variable_and_an_example() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a-file");
    fs::write(&file, "no folder").expect("a file");
    let short = &OPERATOR_KEY[..31];
    for (variable, value) in [
        ("LEDGERWAY_LISTEN", "nowhere"),
        ("LEDGERWAY_METRICS_LISTEN", "9090"),
        ("LEDGERWAY_GRPC_LISTEN", "8081"),
        ("LEDGERWAY_HOLD_TTL_SECONDS", "-1"),
        ("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "soon"),
        ("LEDGERWAY_DRAIN_DELAY_SECONDS", "1.5"),
        ("LEDGERWAY_RATE_LIMIT_REQUESTS", "0"),
        ("LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS", "many"),
        ("LEDGERWAY_CORS_ORIGINS", "example.com"),
        ("LEDGERWAY_DEV", "perhaps"),
        ("LEDGERWAY_MODE", "banana"),
        ("LEDGERWAY_ADMIN_KEY", short),
    ] {
        // A flag of the command line would be heard instead of its variable.
        let mut command = ledgerway();
        command.arg("serve").env("LEDGERWAY_DATA", folder.path().join("data")).env("LEDGERWAY_LISTEN", "127.0.0.1:0");
        let (code, words) = said(command.env(variable, value));
        assert_eq!(code, Some(2), "{variable}={value}: {words}");
        assert!(words.starts_with(&format!("ledgerway: {variable} ")), "{words}");
        assert!(words.contains("for example") && words.trim().lines().count() == 1, "{words}");
        assert!(!words.contains("panicked") && !words.contains(short), "{words}");
    }
    let (code, words) = serve_to_its_end(&file, &[]);
    assert!(code == Some(2) && words.starts_with("ledgerway: --data ") && !words.contains("panicked"), "{words}");
    assert!(words.contains("for example"), "{words}");
}

/// Holds: bin.operator-key, admin.operator
#[tokio::test(flavor = "multi_thread")]
async fn a_given_key_of_32_characters_is_the_operators() {
    let given = &OPERATOR_KEY[..32];
    let gateway = Gateway::start_with(&[("LEDGERWAY_ADMIN_KEY", given)]);
    assert!(!gateway.data().join("admin.key").exists());
    let operator = gateway.client(Some(given));
    for path in ["/v1/admin/partners", "/v1/usage", "/v1/audit", "/v1/events", "/v1/projections", "/v1/models"] {
        operator.get(path).await.must(200);
    }
    gateway.operator().get("/v1/models").await.must_be(401, "invalid_api_key");
}

/// Holds: bin.dev, bin.dev-key, bin.default-tenancy
#[tokio::test(flavor = "multi_thread")]
async fn dev_gives_two_models_a_key_with_five_dollars_and_a_line_to_paste() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Gateway::start_in(folder.path(), &[("LEDGERWAY_DEV", "true")]);
    // Without a position: what is recorded before the gateway says that it is ready is seen at once.
    let budgets = gateway.operator().get("/v1/budgets").await.must(200).json();
    assert_eq!(
        (&budgets["items"][0]["limit_usd"], budgets["items"].as_array().map(Vec::len)),
        (&"5.000000000".into(), Some(1))
    );
    let file = gateway.data().join("dev.key");
    let key = fs::read_to_string(&file).expect("the key").trim().to_owned();
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    let app = gateway.client(Some(&key));
    let models = app.get("/v1/models").await.must(200).json();
    let mut names: Vec<_> =
        models["data"].as_array().expect("models").iter().map(|model| model["id"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["sim-large", "sim-small"]);

    let began = Instant::now();
    let line = loop {
        let line = gateway.stdout().lines().find(|line| line.contains("/v1/chat/completions")).map(str::to_owned);
        if let Some(line) = line {
            break line;
        }
        assert!(began.elapsed() < READY_MAX, "no line to paste: {}", gateway.stdout());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!gateway.stdout().contains(&key), "the key is printed");
    let curl = &line[line.find("curl").expect("a curl")..];
    let (code, words) = said(Command::new("sh").args(["-c", curl]));
    let answer: Value = serde_json::from_str(&words).unwrap_or_default();
    assert_eq!((code, &answer["object"]), (Some(0), &"chat.completion".into()), "{curl}: {words}");

    let owners = gateway.events().await;
    let made =
        |name: &str| owners.iter().find(|event| event["type"] == name).map(|event| event["data"]["name"].clone());
    assert_eq!(
        (made("partner.created.v1"), made("tenant.created.v1")),
        (Some("default".into()), Some("default".into()))
    );
    let head = gateway.last_fact().await;
    gateway.stop();
    gateway.start_again();
    assert_eq!((gateway.last_fact().await, fs::read_to_string(&file).expect("the key").trim()), (head, key.as_str()));
}

/// Holds: bin.logs
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_json_and_as_much_as_rust_log_says() {
    let mut quiet = Gateway::start_with(&[("RUST_LOG", "error")]);
    quiet.stop();
    assert_eq!(quiet.stderr(), "");
    let mut loud = Gateway::start_with(&[("RUST_LOG", "debug")]);
    loud.client(None).get("/health").await.must(200);
    loud.stop();
    let level = |line: &str| serde_json::from_str::<Value>(line).expect("a line of JSON")["level"].clone();
    let log = loud.stderr();
    assert!(log.lines().any(|line| level(line) == "INFO") && log.lines().any(|line| level(line) == "DEBUG"), "{log}");
    assert!(!loud.stdout().contains("INFO"), "{}", loud.stdout());
}

/// Holds: bin.logs
#[tokio::test(flavor = "multi_thread")]
async fn a_number_in_a_log_line_is_a_number() {
    let mut gateway = Gateway::start_with(&[("RUST_LOG", "debug")]);
    gateway.head().await;
    gateway.stop();
    let log = gateway.stderr();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let answer = lines.iter().find(|line| line["path"] == "/v1/log/head").expect("a line about the answer");
    assert!(answer["latency_ms"].is_u64() && answer["status"] == 200, "{answer}");
    for (name, value) in lines.iter().filter_map(Value::as_object).flatten() {
        assert!(value.as_str().is_none_or(|text| text.parse::<f64>().is_err()), "{name} is the text {value}");
    }
}

/// Holds: bin.logs
#[test]
fn on_a_terminal_the_log_is_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let screen = folder.path().join("screen");
    let serve = format!("{BINARY} serve --listen 127.0.0.1:0 --data {}", folder.path().join("data").display());
    let mut terminal = without_settings(Command::new("script"));
    terminal.args(["-qefc", &serve]).arg(&screen).stdin(Stdio::null()).stdout(Stdio::null());
    let _running = Running(terminal.spawn().expect("a terminal"));
    let text = wait_for(&screen, "ledgerway listening");
    assert!(text.contains("WARN") && text.contains("created the operator's key"), "{text}");
    assert!(!text.contains("{\""), "{text}");
}
