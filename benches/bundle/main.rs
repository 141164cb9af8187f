//! How long it takes to write a bundle of one of two tenants that send requests at the same time, and to check it: with
//! `ledgerway verify --bundle`, and with the script of the documentation.
//!
//! `cargo bench --bench bundle`. `BUNDLE_REQUESTS` (10000) is the number of each tenant's requests, `BUNDLE_ROUNDS` (3) how often
//! each command runs.

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::admin::{Admin, Price};
use harness::connection::Expected;
use harness::figures::millis;
use harness::gateway::Gateway;
use harness::load::{Workload, send_on_each, warm};
use harness::verdict::exit_code;
use harness::{request, settings, table};
use testing::upstream::prepared::PreparedUpstream;

const BINARY: &str = env!("CARGO_BIN_EXE_ledgerway");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/bundle/verify.py");
const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
const PUBLISHED: [(&str, &str); 1] = [("LEDGERWAY_TRANSPARENCY", "true")];
/// Connections of each tenant.
const CONNECTIONS: usize = 8;
const LOAD_MAX: Duration = Duration::from_secs(600);
const CHECKPOINT_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    let requests = settings::count("BUNDLE_REQUESTS", 10_000)?;
    let rounds = settings::count("BUNDLE_ROUNDS", 3)?;
    measure(requests, rounds).map_err(|error| error.to_string())
}

fn measure(requests: u64, rounds: u64) -> io::Result<()> {
    let gateway = Gateway::start_with(&PUBLISHED, BINARY, env!("CARGO_TARGET_TMPDIR"));
    let (upstream, admin) = (PreparedUpstream::start(), gateway.admin());
    let account = admin.set_up(upstream.address, PRICE);
    let other = admin.create_key(&admin.create_tenant("other").user, &["models:use"]);
    let tenant = admin.get(&format!("/v1/admin/users/{}", account.user))?["tenant_id"].clone();
    let tenant = tenant.as_str().ok_or_else(|| io::Error::other("the user has no tenant"))?;
    send(&gateway, [&account.secret, &other.secret], requests)?;
    let size = wait_for_checkpoint(admin)?;
    let key = admin.get("/v1/events?limit=1&types=log_key.created.v1")?["data"]["verifier_key"].clone();
    let key = key.as_str().ok_or_else(|| io::Error::other("the log has no key"))?;
    let file = gateway.folder().join("tenant.bundle");
    let data = gateway.data().display().to_string();
    let path = file.display().to_string();
    let mut out = io::stdout().lock();
    table::header(&mut out, &["command", "ms", "says"])?;
    for _ in 0..rounds {
        let _ = std::fs::remove_file(&file);
        row(
            &mut out,
            "bundle",
            Command::new(BINARY).args(["bundle", "--tenant", tenant, "--data", &data, "--into", &path]),
        )?;
        let verify = ["verify", "--bundle", &path, "--checkpoint-key", key];
        row(&mut out, "verify --bundle", Command::new(BINARY).args(verify))?;
        row(&mut out, "verify.py", Command::new("python3").args([SCRIPT, &path, key]))?;
    }
    writeln!(out, "\n{} bytes, of a log of {size} events", std::fs::metadata(&file)?.len())
}

/// Both tenants send this many requests, at the same time.
fn send(gateway: &Gateway, secrets: [&str; 2], requests: u64) -> io::Result<()> {
    let each = usize::try_from(requests).map_err(io::Error::other)?.div_ceil(CONNECTIONS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let of_tenant = |secret: &str| {
            let workload = Workload {
                address: gateway.address,
                request: Arc::from(request::whole(secret)),
                expected: Expected::Status(200),
                warm_up: 0,
                ramp_up: Duration::ZERO,
            };
            async move { send_on_each(&workload, warm(&workload, CONNECTIONS).await, each, LOAD_MAX).await }
        };
        tokio::join!(of_tenant(secrets[0]), of_tenant(secrets[1]));
    });
    Ok(())
}

/// Waits until a checkpoint has all events, and returns how many these are.
fn wait_for_checkpoint(admin: Admin) -> io::Result<u64> {
    let (began, head) = (Instant::now(), admin.head());
    loop {
        let proof = admin.get("/v1/log/proof?position=1");
        let size = proof.ok().and_then(|proof| proof["size"].as_u64()).unwrap_or(0);
        if size >= head {
            return Ok(size);
        }
        if began.elapsed() > CHECKPOINT_MAX {
            return Err(io::Error::other(format!("no checkpoint has {head} events, the newest {size}")));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Runs a command, which must succeed, and prints what it took and the first line of what it says.
fn row(out: &mut impl Write, name: &str, command: &mut Command) -> io::Result<()> {
    let began = Instant::now();
    let ended = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let took = began.elapsed();
    if !ended.status.success() {
        return Err(io::Error::other(format!("{name}: {}", String::from_utf8_lossy(&ended.stdout))));
    }
    let said = String::from_utf8_lossy(&ended.stdout).lines().next().unwrap_or_default().to_owned();
    table::row(out, &[name.to_owned(), millis(took), said])
}
