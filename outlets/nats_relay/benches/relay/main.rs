//! How fast the relay fills an empty stream from a log that was recorded before.
//!
//! `cargo bench -p nats_relay --bench relay` records a million events and relays them three times, each time to a new NATS server on this
//! machine. `RELAY_EVENTS` sets their number, `RELAY_DATA` selects an existing data folder. With `RELAY_POSTGRES=1`, the log is first
//! copied into a PostgreSQL server of its own.

#[path = "../../../../log/benches/verify/story.rs"]
mod story;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::time::SystemClock;
use events_log::role::{Role, RoleStatus};
use events_log::{CopyCallbacks, DatabaseAddress, LEDGER_FILE, Log, LogOptions, copy_to_shared};
use harness::postgres::SETTINGS;
use harness::process::Processes;
use harness::settings;
use harness::verdict::exit_code;
use nats_relay::{NatsRelay, StreamLimits};
use outlets::AnyOutlet;
use testing::nats::NatsServer;
use testing::postgres::TestServer;
use tokio::time::sleep;

const EVENTS: u64 = 1_000_000;
const ROUNDS: u32 = 3;

fn main() -> ExitCode {
    exit_code(run().map(|()| true))
}

fn run() -> Result<(), String> {
    let events = settings::count("RELAY_EVENTS", EVENTS)?;
    let is_shared = settings::count("RELAY_POSTGRES", 0)? > 0;
    measure(events, is_shared).map_err(|error| error.to_string())
}

fn measure(events: u64, is_shared: bool) -> io::Result<()> {
    let made = tempfile::tempdir()?;
    let folder = std::env::var_os("RELAY_DATA").map(PathBuf::from);
    if folder.is_none() {
        story::record(made.path(), events, Duration::ZERO, |_| ());
    }
    let folder = folder.as_deref().unwrap_or(made.path());
    let options = LogOptions::new(Arc::new(SystemClock::new()));
    if !is_shared {
        return relay_rounds(&Log::open(folder, options).map_err(io::Error::other)?);
    }
    let server = TestServer::start_with(&SETTINGS);
    let database = server.create_database();
    let address: DatabaseAddress = database.url().parse().map_err(io::Error::other)?;
    copy(folder, &address)?;
    relay_rounds(&Log::open_shared(&address, "0123456789abcdef", options).map_err(io::Error::other)?)
}

fn copy(folder: &Path, address: &DatabaseAddress) -> io::Result<()> {
    Log::migrate_shared(address).map_err(io::Error::other)?;
    let callbacks = CopyCallbacks { progress: &mut |_, _| (), before_commit: &mut || Ok(()) };
    copy_to_shared(&folder.join(LEDGER_FILE), None, address, callbacks).map_err(io::Error::other)?;
    Ok(())
}

fn relay_rounds(log: &Log) -> io::Result<()> {
    // As in the gateway, where one thread has the relay and what else follows the log.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let head = log.head().position;
    for _ in 0..ROUNDS {
        let nats = NatsServer::start();
        let (this, server) = (Processes::this(), Processes::one(nats.id()));
        let (cpu, server_cpu, began) = (this.cpu(), server.cpu(), Instant::now());
        runtime.block_on(relay_up_to(log, &nats.url(), head));
        let (took, cpu, server_cpu) = (began.elapsed(), this.cpu() - cpu, server.cpu() - server_cpu);
        let each = |time: Duration| time.as_nanos() / u128::from(head.max(1)) / 100;
        writeln!(
            io::stdout(),
            "relayed {head} events in {} ms, {} a second; CPU for each: {}.{} µs of the relay, {}.{} µs of NATS",
            took.as_millis(),
            u128::from(head) * 1000 / took.as_millis().max(1),
            each(cpu) / 10,
            each(cpu) % 10,
            each(server_cpu) / 10,
            each(server_cpu) % 10,
        )?;
    }
    Ok(())
}

/// Relays until NATS has acknowledged the position.
async fn relay_up_to(log: &Log, url: &str, position: u64) {
    let status = RoleStatus::new(Role::Relay);
    let limits = StreamLimits { replicas: 1, bytes_max: None };
    let relay = NatsRelay::new(url.parse().expect("an address"), limits);
    let reached = async {
        while status.read().position < position {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = AnyOutlet::from(relay).run(log.clone(), status.clone(), Arc::new(SystemClock::new())) => {}
        () = reached => {}
    }
}
