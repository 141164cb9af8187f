//! Many hostile tenants at once, beside honest ones. Each hostile tenant does what
//! [`HostileTenant`](testing::hostile_tenants::HostileTenant) says, drawn by the seed. The honest ones send requests at a steady rate,
//! at first alone, while the operator creates and deletes budgets that announce an alert at the next request. Alerts go to a webhook,
//! and the log to NATS, if that is installed. Exit 1 beyond a bound of [`report`].
//!
//! | variable | default | |
//! |---|---|---|
//! | `SIEGE_TENANTS` | 1000 | hostile ones |
//! | `SIEGE_SECONDS` | 60 | of the siege; half of it before, alone |
//! | `SIEGE_RATE` | 100 | requests a second of all honest tenants |
//! | `SIEGE_SEED` | 1 | draws what the hostile tenants do |
//! | `SIEGE_PAUSE_MS` | 1000 | the average pause of a hostile tenant between two acts |
//! | `SIEGE_BATCH` | 10 | resources that it creates at once |

mod alerts;
mod commands;
mod relay;
mod report;

use std::io::{self, Write};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::admin::{Account, Admin, OPERATOR_KEY};
use harness::gateway::Gateway;
use harness::pool::Pool;
use harness::{request, settings};
use serde_json::json;
use testing::hostile_tenants::{Answers, FILES_OF_TENANT, HostileTenant, Siege, add};
use testing::name_server::NameServer;
use testing::nats::NatsServer;
use testing::upstream::prepared::PreparedUpstream;
use tokio::task::JoinSet;

use crate::crowd::{NICENESS, RAMP_UP};
use crate::steady::SteadyLoad;
use crate::{PRICE, require_files};
use alerts::AlertReceiver;
use commands::Commands;
use relay::RelayWatch;
use report::{Phase, Report};

/// The honest tenants besides the first, whose budgets the operator changes.
const OTHER_HONEST: u64 = 3;
/// Files of this process and of the gateway besides those of hostile tenants.
const OTHER_FILES: u64 = 1024;
const REST: Duration = Duration::from_secs(2);

struct Settings {
    tenants: u64,
    time: Duration,
    per_second: u64,
    seed: u64,
    pause: Duration,
    batch: u64,
}

pub fn run() -> Result<bool, String> {
    let settings = Settings {
        tenants: settings::count("SIEGE_TENANTS", 1000)?,
        time: settings::seconds("SIEGE_SECONDS", 60)?.max(Duration::from_secs(2)),
        per_second: settings::count("SIEGE_RATE", 100)?,
        seed: settings::count("SIEGE_SEED", 1)?,
        pause: Duration::from_millis(settings::count("SIEGE_PAUSE_MS", 1000)?),
        batch: settings::count("SIEGE_BATCH", 10)?,
    };
    require_files(settings.tenants * FILES_OF_TENANT + OTHER_FILES)?;
    besiege(&settings).map_err(|error| error.to_string())
}

/// True if no bound was exceeded.
fn besiege(settings: &Settings) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstream = PreparedUpstream::start();
    let hostile_upstream = at_lowest_priority(PreparedUpstream::start);
    let receiver = at_lowest_priority(AlertReceiver::start);
    let nats = at_lowest_priority(|| NatsServer::is_installed().then(NatsServer::start));
    let names = runtime.block_on(NameServer::start());
    let mut gateway = start_gateway(&receiver, nats.as_ref(), names.as_ref());
    let admin = gateway.admin();
    let account = admin.set_up(upstream.address, PRICE);
    let steady = SteadyLoad::new(Pool::new(gateway.address), honest_requests(admin, &account), settings.per_second);
    let siege = Siege {
        gateway: gateway.address,
        upstream: hostile_upstream.address,
        operator_key: OPERATOR_KEY,
        seed: settings.seed,
        pause: settings.pause,
        batch: settings.batch,
    };
    let hostile = runtime.block_on(settle(&siege, settings.tenants))?;
    admin.wait_for_views();
    let phase = |time: Duration| {
        let (relay, commands) =
            (nats.as_ref().map(|_| RelayWatch::start(admin)), Commands::start(admin, &account.user));
        let results = runtime.block_on(steady.run(time));
        let commands = commands.end();
        let alerts = receiver.lag(&commands.alerts);
        Phase { results, commands, alerts, relay: relay.map(RelayWatch::end), peak: gateway.processes().memory().peak }
    };
    // Opens the connections before anything is measured.
    runtime.block_on(steady.run(REST));
    let alone = phase(settings.time / 2);
    let crowd = begin(hostile, settings.time);
    let beside = phase(settings.time);
    let answers = crowd.join().expect("the crowd does not panic");
    let ended = gateway.stop();
    let (is_sound, verified) = gateway.verify();
    let report = Report { alone, beside, answers, alerts: receiver.received(), is_sound: is_sound && ended.success() };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} hostile tenants (seed {}) for {} s, {} requests a second of {} honest ones; NATS: {}, a name server that hangs: {}\n",
        settings.tenants,
        settings.seed,
        settings.time.as_secs(),
        settings.per_second,
        OTHER_HONEST + 1,
        said(nats.is_some()),
        said(names.is_some()),
    )?;
    let is_within = report.write(&mut out)?;
    writeln!(out, "\nstopped with {ended}; verify: {verified}")?;
    Ok(is_within)
}

const fn said(is_there: bool) -> &'static str {
    if is_there { "yes" } else { "no" }
}

fn start_gateway(receiver: &AlertReceiver, nats: Option<&NatsServer>, names: Option<&NameServer>) -> Gateway {
    let (alerts, relay) = (receiver.url(), nats.map(NatsServer::url));
    let mut environment = vec![("LEDGERWAY_ALERTS_URL", alerts.as_str())];
    environment.extend(relay.iter().map(|url| ("LEDGERWAY_NATS_URL", url.as_str())));
    let shell = names.map(NameServer::shell_first);
    let tool: Vec<&str> = shell.iter().flat_map(|first| ["sh", "-c", first.as_str()]).collect();
    Gateway::start_under(&tool, &environment, env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"))
}

/// A request of each honest tenant.
fn honest_requests(admin: Admin, account: &Account) -> Vec<Vec<u8>> {
    let other = |number: u64| {
        let tenant = admin.create_tenant(&format!("honest-{number}"));
        let scope = json!({ "tenant_id": tenant.id });
        admin.create("/budgets", &json!({ "scope": scope, "limit_usd": "1000000", "period": "total" }));
        request::whole(&admin.create_key(&tenant.user, &["models:use"]).secret)
    };
    std::iter::once(request::whole(&account.secret)).chain((0..OTHER_HONEST).map(other)).collect()
}

async fn settle(siege: &Siege<'_>, tenants: u64) -> io::Result<Vec<HostileTenant>> {
    let mut settled = Vec::new();
    for number in 0..tenants {
        settled.push(HostileTenant::settle(siege, number).await?);
    }
    Ok(settled)
}

/// Starts a server that would run on another machine, at the lowest priority, which its threads and processes inherit: there, it would
/// take no CPU time from the gateway.
fn at_lowest_priority<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        rustix::process::nice(NICENESS).expect("a lower priority");
        start()
    });
    thread.join().expect("it starts")
}

/// Starts the hostile tenants, one after the other, on a thread of the lowest priority.
fn begin(hostile: Vec<HostileTenant>, time: Duration) -> JoinHandle<Answers> {
    let until = Instant::now() + time;
    std::thread::spawn(move || {
        rustix::process::nice(NICENESS).expect("a lower priority");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut crowd = JoinSet::new();
            let step = RAMP_UP / u32::try_from(hostile.len().max(1)).unwrap_or(u32::MAX);
            for (at, tenant) in (0..).zip(hostile) {
                crowd.spawn(async move {
                    tokio::time::sleep(step * at).await;
                    tenant.act_until(until).await
                });
            }
            let mut answers = Answers::new();
            for others in crowd.join_all().await {
                add(&mut answers, others);
            }
            answers
        })
    })
}
