//! The gateway under a thousand hostile connections of one tenant's key: what the operator and another tenant notice.
//!
//! `cargo bench --bench siege` alternates between two phases. In the first, another tenant asks at a modest, steady rate and
//! has the gateway to itself. In the second, it goes on beside the crowd: slow bodies, slow readers of streams, expensive
//! queries and half-open streams, in equal parts, all with one key. The operator changes a limit twice a second in both, and
//! deletes a key at the end of both: at the end of the second, that of the crowd, whose connections are watched for a while.
//! Nothing is asserted of the figures. Exit 1 where a request of the other tenant or of the operator failed, or where
//! `ledgerway verify` finds fault with what was recorded.
//!
//! | variable | default | |
//! |---|---|---|
//! | `SIEGE_CONNECTIONS` | 1000 | hostile ones |
//! | `SIEGE_ONLY` | all | `bodies`, `readers`, `queries` or `half-open`: hostile connections of one kind alone |
//! | `SIEGE_ROUNDS` | 3 | of both phases |
//! | `SIEGE_SECONDS` | 15 | of each phase |
//! | `SIEGE_RATE` | 100 | requests a second of the other tenant |
//! | `SIEGE_REQUESTS` | 5000 | of the hostile tenant beforehand, for its queries to find |

mod crowd;
mod hostile;
mod operator;
mod report;
mod steady;
mod usage;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::admin::{Account, Admin, Price, TenantKey};
use harness::connection::Wanted;
use harness::gateway::Gateway;
use harness::load::{Aim, warm};
use harness::pool::Pool;
use harness::process::Processes;
use harness::verdict::exit_code;
use harness::{descriptors, request, settings};
use testing::upstream::prepared::PreparedUpstream;

use crowd::{Crowd, Kind};
use operator::Changes;
use report::{Phase, Report, Round};
use steady::Steady;
use usage::{Usage, accepted_connections};

const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
/// Connections that the hostile tenant's earlier requests are sent on.
const FILLING_CONNECTIONS: usize = 16;
/// How long the crowd has been complete when the second phase begins: by then its streams have filled their buffers.
const SETTLES_IN: Duration = Duration::from_secs(10);
/// When the crowd is looked at after the `DELETE` of its key. A body may be slow for fifteen seconds.
const LOOKS_AFTER: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];
/// Between the end of a crowd and the next round.
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
    // The crowd's own connections and the upstream's end of their streams; the gateway needs both as well.
    descriptors::require(settings.connections as u64 * 3 + 256)?;
    siege(&settings).map_err(|error| error.to_string())
}

/// Whether everything that was asked for was answered as it has to be.
fn siege(settings: &Settings) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    let upstream = PreparedUpstream::start();
    let mut gateway = Gateway::start(env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"));
    let admin = gateway.admin();
    let account = admin.set_up(upstream.address, PRICE);
    let user = admin.user_of_own_tenant("hostile");
    runtime.block_on(fill(settings, gateway.address, &admin.key_of(&user, &PERMISSIONS)));
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
    let (is_sound, words) = gateway.verify();
    writeln!(out, "\nstopped with {ended}; verify: {words}")?;
    Ok(report.is_without_errors() && ended.success() && is_sound)
}

/// Requests of the hostile tenant, for its queries to find.
async fn fill(settings: &Settings, address: SocketAddr, hostile: &TenantKey) {
    let aim = Aim {
        address,
        request: request::whole(&hostile.secret).into(),
        wanted: Wanted::Status(200),
        warm_up: settings.requests,
        begin_within: Duration::ZERO,
    };
    drop(warm(&aim, FILLING_CONNECTIONS).await);
}

struct Bench<'a> {
    settings: &'a Settings,
    address: SocketAddr,
    gateway: Processes,
    admin: Admin,
    account: Account,
    /// Whose keys are the crowd's.
    user: String,
}

impl Bench<'_> {
    async fn round(&self) -> Round {
        let Settings { connections, kinds, per_second, .. } = self.settings;
        let [spare, hostile] = [(); 2].map(|()| self.admin.key_of(&self.user, &PERMISSIONS));
        let steady = Steady::new(Pool::new(self.address), request::whole(&self.account.secret), *per_second);
        // The connections that it needs are opened before anything is measured.
        steady.ask_for(REST).await;
        let own = accepted_connections(self.address);
        let alone = self.phase(&steady, &spare).await;
        let crowd = Crowd::begin(self.address, &hostile.secret, *connections, kinds);
        steady.ask_for(crowd::BEGIN_WITHIN + SETTLES_IN).await;
        let beside = self.phase(&steady, &hostile).await;
        let deleted = Instant::now();
        crowd.key_has_ended(deleted);
        let held = || accepted_connections(self.address).saturating_sub(own);
        let mut holds = vec![(Duration::ZERO, held())];
        for look in LOOKS_AFTER {
            tokio::time::sleep_until((deleted + look).into()).await;
            holds.push((look, held()));
        }
        Round { alone, beside, holds, crowd: crowd.end() }
    }

    /// What the other tenant and the operator meet; at its end, how long the `DELETE` of a key takes.
    async fn phase(&self, steady: &Steady, key: &TenantKey) -> Phase {
        let changes = Changes::begin(self.admin, self.account.rate_limit.clone());
        let before = Usage::of(&self.gateway);
        let came = steady.ask_for(self.settings.phase).await;
        let usage = Usage::of(&self.gateway).since(before);
        let changes = changes.end();
        let deleted = operator::delete(self.admin, key.clone()).await;
        Phase { came, usage, changes, deleted, peak: self.gateway.memory().peak }
    }
}
