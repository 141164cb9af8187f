//! The gateway under a thousand hostile connections with one tenant's key: the effect on the operator and on another tenant. With
//! `SIEGE_MODE=tenants`, under a thousand [hostile tenants](tenants); with `SIEGE_MODE=keys`, under ten thousand [keys](keys) that ask
//! at once after a restart.
//!
//! `cargo bench --bench siege` alternates between two phases. In the first, another tenant sends requests at a modest, steady
//! rate and has the gateway to itself. In the second, it continues beside the crowd: slow bodies, slow readers of streams,
//! expensive queries and half-open streams, in equal parts, all with one key. In both, the operator changes a limit twice a
//! second, and deletes a key at the end: in the second, that of the crowd, whose connections are then watched for 20 seconds.
//! The bench asserts no figures. Exit 1 if a request of the other tenant or of the operator failed, or if `ledgerway verify`
//! finds a fault in the data folder.
//!
//! | variable | default | |
//! |---|---|---|
//! | `SIEGE_MODE` | crowd | or `tenants`, or `keys`, which have variables of their own |
//! | `SIEGE_CONNECTIONS` | 1000 | of the crowd |
//! | `SIEGE_ONLY` | all | `bodies`, `readers`, `queries` or `half-open`: hostile connections of only one kind |
//! | `SIEGE_ROUNDS` | 3 | of both phases |
//! | `SIEGE_SECONDS` | 15 | of each phase |
//! | `SIEGE_RATE` | 100 | requests a second of the other tenant |
//! | `SIEGE_REQUESTS` | 5000 | of the hostile tenant before the first round, for its queries to find |

mod crowd;
mod hostile;
mod keys;
mod operator;
mod report;
mod steady;
mod tenants;
mod usage;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::admin::{Account, Admin, Price, TenantKey};
use harness::connection::Expected;
use harness::gateway::Gateway;
use harness::load::{Workload, warm};
use harness::pool::Pool;
use harness::process::Processes;
use harness::verdict::exit_code;
use harness::{descriptors, request, settings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testing::upstream::prepared::PreparedUpstream;

use crowd::{Crowd, Kind};
use operator::Changes;
use report::{Phase, Report, Round};
use steady::SteadyLoad;
use usage::{Usage, accepted_connections};

const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
/// Connections for the requests before the first round.
const FILL_CONNECTIONS: usize = 16;
/// The time between the completion of the crowd and the second phase, in which its streams fill their buffers.
const SETTLE_TIME: Duration = Duration::from_secs(10);
/// The times after the `DELETE` at which the crowd's connections are counted. A body may be slow for fifteen seconds.
const COUNTED_AFTER: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];
/// The pause between the end of a crowd and the next round.
const REST: Duration = Duration::from_secs(2);
const PERMISSIONS: [&str; 4] = ["models:use", "usage:read", "audit:read", "events:read"];

struct Settings {
    connections: usize,
    kinds: Vec<Kind>,
    rounds: u64,
    phase: Duration,
    per_second: u64,
    requests: usize,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<bool, String> {
    match settings::word("SIEGE_MODE", &["crowd", "tenants", "keys"])? {
        Some("tenants") => tenants::run(),
        Some("keys") => keys::run(),
        _ => run_crowd(),
    }
}

/// Raises the limit of this process's open files as far as it may, and fails if that is too low.
fn require_files(needed: u64) -> Result<(), String> {
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, maximum: own.maximum })
        .map_err(|error| error.to_string())?;
    descriptors::require(needed)
}

fn run_crowd() -> Result<bool, String> {
    let whole = |variable, default| {
        settings::count(variable, default).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    };
    let settings = Settings {
        connections: whole("SIEGE_CONNECTIONS", 1000)?,
        kinds: Kind::named(settings::word("SIEGE_ONLY", &Kind::NAMES)?),
        rounds: settings::count("SIEGE_ROUNDS", 3)?,
        phase: settings::seconds("SIEGE_SECONDS", 15)?.max(Duration::from_secs(1)),
        per_second: settings::count("SIEGE_RATE", 100)?,
        requests: whole("SIEGE_REQUESTS", 5000)?,
    };
    // The crowd's connections and the upstream's side of their streams; the gateway needs both as well.
    descriptors::require(settings.connections as u64 * 3 + 256)?;
    siege(&settings).map_err(|error| error.to_string())
}

/// True if all requests of the other tenant and the operator succeeded and the folder is sound.
fn siege(settings: &Settings) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    let upstream = PreparedUpstream::start();
    let mut gateway = Gateway::start(env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"));
    let admin = gateway.admin();
    let account = admin.set_up(upstream.address, PRICE);
    let user = admin.create_tenant("hostile").user;
    runtime.block_on(fill(settings, gateway.address, &admin.create_key(&user, &PERMISSIONS)));
    admin.wait_for_views();
    let (connections, rate) = (settings.connections, settings.per_second);
    writeln!(out, "{connections} hostile connections, and {rate} requests a second of another tenant.\n")?;
    report::header(&mut out)?;
    let bench = Bench { settings, address: gateway.address, gateway: gateway.processes(), admin, account, user };
    let mut report = Report::default();
    for number in 1..=settings.rounds {
        let round = runtime.block_on(bench.round());
        round.write(&mut out, number)?;
        report.add(round);
    }
    report.write(&mut out)?;
    let ended = gateway.stop();
    let (is_sound, text) = gateway.verify();
    writeln!(out, "\nstopped with {ended}; verify: {text}")?;
    Ok(report.is_without_errors() && ended.success() && is_sound)
}

/// Sends requests of the hostile tenant, for its queries to find.
async fn fill(settings: &Settings, address: SocketAddr, hostile: &TenantKey) {
    let workload = Workload {
        address,
        request: request::whole(&hostile.secret).into(),
        expected: Expected::Status(200),
        warm_up: settings.requests,
        ramp_up: Duration::ZERO,
    };
    drop(warm(&workload, FILL_CONNECTIONS).await);
}

struct Bench<'a> {
    settings: &'a Settings,
    address: SocketAddr,
    gateway: Processes,
    admin: Admin,
    account: Account,
    /// The hostile user, to whom the crowd's keys belong.
    user: String,
}

impl Bench<'_> {
    async fn round(&self) -> Round {
        let Settings { connections, kinds, per_second, .. } = self.settings;
        let [spare, hostile] = [(); 2].map(|()| self.admin.create_key(&self.user, &PERMISSIONS));
        let steady = SteadyLoad::new(Pool::new(self.address), vec![request::whole(&self.account.secret)], *per_second);
        // Opens its connections before anything is measured.
        steady.run(REST).await;
        let own = accepted_connections(self.address);
        let alone = self.phase(&steady, &spare).await;
        let crowd = Crowd::begin(self.address, &hostile.secret, *connections, kinds);
        steady.run(crowd::RAMP_UP + SETTLE_TIME).await;
        let beside = self.phase(&steady, &hostile).await;
        let deleted = Instant::now();
        crowd.key_was_deleted(deleted);
        let count_held = || accepted_connections(self.address).saturating_sub(own);
        let mut held = vec![(Duration::ZERO, count_held())];
        for after in COUNTED_AFTER {
            tokio::time::sleep_until((deleted + after).into()).await;
            held.push((after, count_held()));
        }
        Round { alone, beside, held, crowd: crowd.end() }
    }

    /// Measures the other tenant and the operator for one phase, and deletes the key at its end.
    async fn phase(&self, steady: &SteadyLoad, key: &TenantKey) -> Phase {
        let changes = Changes::start(self.admin, self.account.rate_limit.clone());
        let before = Usage::of(&self.gateway);
        let results = steady.run(self.settings.phase).await;
        let usage = Usage::of(&self.gateway).since(before);
        let changes = changes.end();
        let deleted = operator::delete(self.admin, key.clone()).await;
        Phase { results, usage, changes, deleted, peak: self.gateway.memory().peak }
    }
}
