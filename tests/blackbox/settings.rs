//! How settings are given: as variables, as flags, or by mistake.

use std::fs;
use std::path::Path;

use crate::configuration::said;
use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway, serve_to_its_end};

/// Exit code, and what it says.
fn run(arguments: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    said(ledgerway().args(arguments).envs(env.iter().copied()))
}

/// Returns its words on stderr: one sentence, and exit 2.
#[track_caller]
fn wrong(arguments: &[&str], env: &[(&str, &str)]) -> String {
    let (code, words) = run(arguments, env);
    assert_eq!(code, Some(2), "{arguments:?} {env:?}: {words}");
    assert!(words.starts_with("ledgerway: ") && words.trim().lines().count() == 1, "{words}");
    words.trim().trim_start_matches("ledgerway: ").to_owned()
}

/// A data folder that no command minds.
fn served_once(folder: &Path) -> String {
    let mut gateway = Gateway::start_in(folder, &[]);
    gateway.stop();
    gateway.data().display().to_string()
}

/// Holds: bin.unknown-variable
#[test]
fn an_unknown_variable_ends_every_command_with_the_nearest_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = served_once(folder.path());
    for command in ["serve", "migrate", "verify", "rebuild", "reseal", "status"] {
        let said = wrong(&[command, "--data", &data], &[("LEDGERWAY_HOLD_TTL_SECOND", "60")]);
        assert!(said.starts_with("LEDGERWAY_HOLD_TTL_SECOND "), "{command}: {said}");
        assert!(said.contains("for example LEDGERWAY_HOLD_TTL_SECONDS=900"), "{command}: {said}");
    }
    for (mistaken, nearest) in [
        ("LEDGERWAY_LISTN", "LEDGERWAY_LISTEN"),
        ("LEDGERWAY_LISTEN_", "LEDGERWAY_LISTEN"),
        ("LEDGERWAY_Data", "LEDGERWAY_DATA"),
        ("LEDGERWAY_ADMINKEY", "LEDGERWAY_ADMIN_KEY"),
        ("LEDGERWAY_METRIC_LISTEN", "LEDGERWAY_METRICS_LISTEN"),
        ("LEDGERWAY_METRICS_PORT", "LEDGERWAY_METRICS_LISTEN"),
        ("LEDGERWAY_HOLD_TTL", "LEDGERWAY_HOLD_TTL_SECONDS"),
        ("LEDGERWAY_LOG", "RUST_LOG"),
        ("LEDGERWAY_PORT", "LEDGERWAY_LISTEN=127.0.0.1:9090"),
        ("LEDGERWAY_DATABASE_URI", "LEDGERWAY_DATABASE_URL"),
    ] {
        let said = wrong(&["verify", "--data", &data], &[(mistaken, "9090")]);
        assert!(
            said.starts_with(&format!("{mistaken} ")) && said.contains(&format!(" {nearest}")),
            "{mistaken}: {said}"
        );
    }
    // A name that has little to do with it is worse than none.
    for far in ["LEDGERWAY_SERVICES", "LEDGERWAY_", "LEDGERWAY_X"] {
        let said = wrong(&["verify", "--data", &data], &[(far, "1")]);
        assert_eq!(said, format!("{far} is not a setting; `ledgerway serve --help` lists them"));
    }
    let secret = wrong(&["serve", "--data", &data], &[("LEDGERWAY_NODEKEY", "a-secret-value")]);
    assert!(!secret.contains("a-secret-value"), "{secret}");
    // Also where it is empty.
    wrong(&["verify", "--data", &data], &[("LEDGERWAY_LISTN", "")]);
    let (code, script) = run(&["completions", "bash"], &[("LEDGERWAY_LISTN", "x")]);
    assert!(code == Some(0) && !script.is_empty(), "which read no setting");
}

/// Holds: bin.unknown-variable
#[test]
fn what_kubernetes_injects_is_no_mistake() {
    let injected = [
        ("LEDGERWAY_SERVICE_HOST", "10.0.0.1"),
        ("LEDGERWAY_SERVICE_PORT", "8080"),
        ("LEDGERWAY_SERVICE_PORT_HTTP", "8080"),
        ("LEDGERWAY_PORT", "tcp://10.0.0.1:8080"),
        ("LEDGERWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("LEDGERWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        // Of services whose names begin like that, such as `ledgerway-metrics`.
        ("LEDGERWAY_METRICS_SERVICE_HOST", "10.0.0.2"),
        ("LEDGERWAY_METRICS_SERVICE_PORT_HTTP", "9090"),
        ("LEDGERWAY_METRICS_PORT", "tcp://10.0.0.2:9090"),
        ("LEDGERWAY_METRICS_PORT_9090_TCP_PROTO", "tcp"),
        ("LEDGERWAY_HEADLESS_PORT_53_UDP", "udp://10.0.0.3:53"),
    ];
    let mut gateway = Gateway::start_with(&injected);
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
}

/// Holds: bin.secret-files
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_can_be_in_a_file_that_its_variable_names() {
    const IN_FILE: &str = "operator-key-in-a-file-0123456789abcdef";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("admin_key");
    fs::write(&file, format!("{IN_FILE}\n")).expect("a file");
    let file = file.to_str().expect("a path");
    // A template may leave the other variable empty.
    let env = [("LEDGERWAY_ADMIN_KEY", ""), ("LEDGERWAY_ADMIN_KEY_FILE", file)];
    let mut gateway = Gateway::start_in(folder.path(), &env);
    gateway.client(Some(IN_FILE)).get("/v1/me").await.must(200);
    gateway.operator().get("/v1/me").await.must_be(401, "UNAUTHENTICATED");
    assert!(gateway.stdout().contains(&format!("Bearer $(cat {file})")), "{}", gateway.stdout());
    gateway.stop();
    let data = gateway.data().display().to_string();
    for command in ["serve", "verify", "reseal"] {
        let said = wrong(&[command, "--data", &data], &[("LEDGERWAY_NODE_KEY_FILE", "/nowhere/at/all")]);
        assert!(said.starts_with("LEDGERWAY_NODE_KEY_FILE names a file that cannot be read"), "{said}");
    }
    let not_shown = "names a file that cannot be read; its name is not shown, because it may be the key itself";
    let said = wrong(
        &["models", "try", "any-model", "--url", "http://127.0.0.1:9"],
        &[("LEDGERWAY_KEY_FILE", "sgk_given/as-a-file")],
    );
    assert!(said.starts_with(&format!("LEDGERWAY_KEY_FILE {not_shown}")) && !said.contains("sgk_given"), "{said}");
    fs::write(folder.path().join("admin_key"), "too short").expect("a file");
    let said = wrong(&["serve", "--data", &data], &[env[1]]);
    assert!(said.starts_with("LEDGERWAY_ADMIN_KEY_FILE names a file whose content must have at least 32 "), "{said}");
    let said = wrong(&["verify", "--data", &data], &[env[1], ("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY)]);
    assert_eq!(said, "LEDGERWAY_ADMIN_KEY_FILE is set, and so is LEDGERWAY_ADMIN_KEY, so unset it");
}

/// Holds: bin.wrong-configuration
#[test]
fn a_mistake_is_named_as_it_was_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a-file");
    fs::write(&file, "no folder").expect("a file");
    let (file, nothing) = (file.display().to_string(), folder.path().join("nothing").display().to_string());
    let base = ["serve", "--data", &nothing];
    for (flag, variable, value) in [
        ("--listen", "LEDGERWAY_LISTEN", "nowhere"),
        ("--metrics-listen", "LEDGERWAY_METRICS_LISTEN", "9090"),
        ("--hold-ttl-seconds", "LEDGERWAY_HOLD_TTL_SECONDS", "0"),
        ("--hold-share", "LEDGERWAY_HOLD_SHARE", "2"),
        ("--unknown-usage", "LEDGERWAY_UNKNOWN_USAGE", "refund"),
        ("--drain-timeout-seconds", "LEDGERWAY_DRAIN_TIMEOUT_SECONDS", "soon"),
        ("--drain-delay-seconds", "LEDGERWAY_DRAIN_DELAY_SECONDS", "1.5"),
        ("--rate-limit-requests", "LEDGERWAY_RATE_LIMIT_REQUESTS", "none"),
        ("--admin-rate-limit-requests", "LEDGERWAY_ADMIN_RATE_LIMIT_REQUESTS", "many"),
        ("--body-memory-mib", "LEDGERWAY_BODY_MEMORY_MIB", "65"),
        ("--answer-memory-mib", "LEDGERWAY_ANSWER_MEMORY_MIB", "65"),
        ("--nats-replicas", "LEDGERWAY_NATS_REPLICAS", "6"),
        ("--nats-max-gib", "LEDGERWAY_NATS_MAX_GIB", "0.5"),
        ("--cors-origins", "LEDGERWAY_CORS_ORIGINS", "example.com"),
        ("--dev", "LEDGERWAY_DEV", "perhaps"),
        ("--mode", "LEDGERWAY_MODE", "banana"),
        ("--serves-tenants", "LEDGERWAY_SERVES_TENANTS", "Acme Corp"),
    ] {
        // A switch takes its value after `=`.
        let between = if flag == "--dev" { "=" } else { " " };
        let given = format!("{flag}={value}");
        let by_flag = wrong(&[base.as_slice(), &[&given]].concat(), &[]);
        assert!(
            by_flag.starts_with(&format!("{flag} is ")) || by_flag.starts_with(&format!("{flag} has ")),
            "{by_flag}"
        );
        assert!(
            by_flag.contains(&format!("for example {flag}{between}")) && !by_flag.contains("LEDGERWAY_"),
            "{by_flag}"
        );
        let by_variable = wrong(&base, &[(variable, value)]);
        assert!(by_variable.starts_with(&format!("{variable} ")), "{by_variable}");
        assert!(
            by_variable.contains(&format!("for example {variable}=")) && !by_variable.contains("--"),
            "{by_variable}"
        );
        // A flag is heard instead of its variable.
        let both = wrong(&[base.as_slice(), &[&given]].concat(), &[(variable, value)]);
        assert!(both.starts_with(flag), "{both}");
    }
    // Something may listen where it would by itself.
    let free = ("LEDGERWAY_LISTEN", "127.0.0.1:0");
    assert!(wrong(&["serve", "--data", &file], &[free]).starts_with("--data "));
    assert!(wrong(&["serve"], &[("LEDGERWAY_DATA", &file), free]).starts_with("LEDGERWAY_DATA "));
    for command in ["verify", "rebuild", "status"] {
        let said = wrong(&[command, "--data", &nothing], &[]);
        assert!(said.contains("--data") && !said.contains("LEDGERWAY_DATA"), "{command}: {said}");
        let said = wrong(&[command], &[("LEDGERWAY_DATA", &nothing)]);
        assert!(said.contains("LEDGERWAY_DATA") && !said.contains("--data"), "{command}: {said}");
    }
    for (flag, variable) in [("--json", "LEDGERWAY_JSON"), ("--log-only", "LEDGERWAY_LOG_ONLY")] {
        assert!(wrong(&["verify", &format!("{flag}=perhaps")], &[]).starts_with(flag));
        assert!(wrong(&["verify"], &[(variable, "perhaps")]).starts_with(variable));
    }
}

/// Holds: bin.wrong-configuration
#[test]
fn a_number_below_zero_is_a_value_and_a_port_alone_is_answered_with_the_flag_that_there_is() {
    for flag in [
        "--hold-ttl-seconds",
        "--drain-timeout-seconds",
        "--drain-delay-seconds",
        "--rate-limit-requests",
        "--admin-rate-limit-requests",
        "--body-memory-mib",
        "--retry-percent",
    ] {
        let said = wrong(&["serve", flag, "-1"], &[]);
        assert!(said.starts_with(&format!("{flag} is \"-1\", but must be a whole number of ")), "{said}");
    }
    let (code, words) = run(&["serve", "--port", "1"], &[]);
    assert!(code == Some(2) && words.contains("tip: ") && words.contains("--listen"), "{words}");
}

/// Holds: bin.listen-name
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_this_machine_is_an_address_too() {
    let folder = tempfile::tempdir().expect("a folder");
    // Behind the helper's own flag nothing else is heard: this goes by the one that is not given.
    let gateway = Gateway::start_in(folder.path(), &[("LEDGERWAY_METRICS_LISTEN", "localhost:0")]);
    let said = gateway.stderr();
    let line = said.lines().find(|line| line.contains("metrics are served")).expect("where metrics are");
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
    assert!(address.starts_with("127.0.0.1:") || address.starts_with("[::1]:"), "{address}");
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    gateway.client_on(port).get("/metrics").await.must(200);
    drop(gateway);
    let other = tempfile::tempdir().expect("a folder");
    let data = other.path().join("data").display().to_string();
    for (value, why) in [
        ("no-such-host.invalid:8080", "does not resolve"),
        ("localhost", "not an address with a port"),
        ("localhost:99999", "not an address with a port"),
        ("localhost:+80", "not an address with a port"),
        (":8080", "not an address with a port"),
        ("http://localhost:8080", "not an address with a port"),
        ("1.2.3:8080", "not an address with a port"),
    ] {
        let said = wrong(&["serve", "--data", &data, "--listen", value], &[]);
        assert!(said.starts_with(&format!("--listen is {value:?}")) && said.contains(why), "{said}");
        assert!(said.contains("for example --listen 127.0.0.1:"), "{said}");
    }
}

/// Holds: bin.rust-log
#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_there_is_not_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    for value in ["wran", "info,ledgerway=wran", "6", "ledgerway=", "info,,=", "warn ledgerway"] {
        let (code, words) = serve_to_its_end(&data, &[("RUST_LOG", value.to_owned())]);
        assert_eq!(code, Some(2), "{value}: {words}");
        assert!(words.starts_with(&format!("ledgerway: RUST_LOG is {value:?}")), "{words}");
        assert!(words.contains("for example RUST_LOG=") && words.trim().lines().count() == 1, "{words}");
    }
    for value in ["", "INFO", "warn,ledgerway=debug", "off", "2", "ledgerway", "hyper=trace", "command::inference"] {
        let mut gateway = Gateway::start_with(&[("RUST_LOG", value)]);
        gateway.stop();
    }
    // It is the gateway's alone.
    assert_eq!(run(&["status", "--data", &data.display().to_string()], &[("RUST_LOG", "wran")]).0, Some(2));
    let data = served_once(folder.path());
    let env = [("RUST_LOG", "wran"), ("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY)];
    assert_eq!(run(&["status", "--data", &data], &env).0, Some(0));
}
