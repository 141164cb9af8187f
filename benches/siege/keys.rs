//! A restart with many keys that ask at once: each asks on a connection of its own, and no answer is in memory yet. Exit 1 if one is
//! refused, if the slowest hundredth takes a second, or if `ledgerway verify` finds a fault.
//!
//! | variable | default | |
//! |---|---|---|
//! | `SIEGE_KEYS` | 10000 | that ask |

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use harness::admin::Admin;
use harness::connection::Connection;
use harness::figures::{Spread, millis};
use harness::gateway::Gateway;
use harness::{request, settings, table};
use tokio::task::JoinSet;

use crate::require_files;

const NODE_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// A request that any key may send, and that waits for nothing once its key is checked.
const PATH: &str = "/v1/log/head";
const P99_MAX: Duration = Duration::from_secs(1);
/// A key that is not answered within this time is refused.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Threads that create keys, each for a user of its own.
const CREATORS: u64 = 8;
/// Connections that are opened at a time. More at once would measure the kernel's backlog.
const OPENED_TOGETHER: usize = 64;

pub fn run() -> Result<bool, String> {
    let keys = settings::count("SIEGE_KEYS", 10_000)?.max(CREATORS);
    require_files(keys + 512)?;
    measure(keys).map_err(|error| error.to_string())
}

fn measure(keys: u64) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let start = || Gateway::start_on(env!("CARGO_BIN_EXE_ledgerway"), &folder.path().join("data"), NODE_KEY);
    let mut gateway = start();
    let secrets = create_keys(gateway.admin(), keys / CREATORS);
    gateway.stop();
    let mut gateway = start();
    let mut asked = runtime.block_on(ask_at_once(gateway.address, &secrets))?;
    let spread = Spread::of(&mut asked.took);
    let ended = gateway.stop();
    let (is_sound, text) = gateway.verify();
    let mut out = io::stdout().lock();
    table::header(&mut out, &["keys", "refused", "p50 ms", "p99 ms", "max ms", "aim"])?;
    let cells = [
        secrets.len().to_string(),
        asked.refused.to_string(),
        millis(spread.p50),
        millis(spread.p99),
        millis(spread.max),
        "none refused, p99 less than 1000 ms".to_owned(),
    ];
    table::row(&mut out, &cells)?;
    writeln!(out, "\nstopped with {ended}; verify: {text}")?;
    Ok(asked.refused == 0 && spread.p99 < P99_MAX && ended.success() && is_sound)
}

/// Returns the secrets of new keys, so many of each creator.
fn create_keys(admin: Admin, keys: u64) -> Vec<String> {
    let create = move |creator: u64| {
        let user = admin.create_tenant(&format!("keys-{creator}")).user;
        (0..keys).map(|_| admin.create_key(&user, &["models:use"]).secret).collect::<Vec<_>>()
    };
    let creators: Vec<_> = (0..CREATORS).map(|creator| std::thread::spawn(move || create(creator))).collect();
    creators.into_iter().flat_map(|creator| creator.join().expect("keys are created")).collect()
}

#[derive(Default)]
struct Asked {
    took: Vec<Duration>,
    refused: usize,
}

/// Sends a request with each key, all of them as soon as the last connection is open.
async fn ask_at_once(address: SocketAddr, secrets: &[String]) -> io::Result<Asked> {
    let mut ready = Vec::new();
    for some in secrets.chunks(OPENED_TOGETHER) {
        let mut opening = JoinSet::new();
        for secret in some {
            let request = request::with_body("GET", PATH, secret, b"");
            opening.spawn(async move { Connection::open(address).await.map(|connection| (connection, request)) });
        }
        for opened in opening.join_all().await {
            ready.push(opened?);
        }
    }
    let mut asking = JoinSet::new();
    for (mut connection, request) in ready {
        asking.spawn(async move {
            let answer = tokio::time::timeout(ANSWER_MAX, connection.send(&request)).await.ok()?.ok()?;
            (answer.status == 200).then_some(answer.total)
        });
    }
    let mut asked = Asked::default();
    for answer in asking.join_all().await {
        match answer {
            Some(took) => asked.took.push(took),
            None => asked.refused += 1,
        }
    }
    Ok(asked)
}
