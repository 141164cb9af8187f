//! The cost of a request through Ledgerway compared with a direct request to the upstream and with one through nginx. The
//! request is governed by a key, four budgets and a rate limit, and durable before it is dispatched and before its last byte.
//!
//! `cargo bench --bench overhead` starts the binary, nginx, a fast upstream and a load generator on this machine. Latencies
//! depend on the number of cores that they share; the CPU time per request does not. The fsync time of the same disk in the
//! same run shows the disk's part of a latency. With `-- postgres` there is a second gateway whose log is in a PostgreSQL on
//! this machine, as the path `postgres`; the streams at once and the memory are of the embedded one.
//!
//! | variable | default | |
//! |---|---|---|
//! | `OVERHEAD_ONLY` | | `whole`, `streams` or `memory`: only this part |
//! | `OVERHEAD_SECONDS` | 5 | for each path and number of connections |
//! | `OVERHEAD_PACED_SECONDS` | 9 | the same for paced streams, and the length of each concurrent stream |
//! | `OVERHEAD_STREAMS` | 512 | concurrent streams |
//! | `OVERHEAD_NGINX` | 1 | 0 leaves nginx out |
//! | `OVERHEAD_BESIDE` | | another build of the gateway, as the path `beside` |
//! | `OVERHEAD_CONNECTIONS` | | the only number of connections for whole answers and bursts |

mod nginx;
mod paced;
mod path;
mod throughput;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use harness::admin::Price;
use harness::disk::{Fsync, fdatasync};
use harness::figures::mebibytes;
use harness::gateway::Gateway;
use harness::postgres::{SETTINGS, Session};
use harness::process::{Memory, Processes};
use harness::verdict::exit_code;
use harness::{descriptors, settings, table};
use testing::postgres::{TestDatabase, TestServer};
use testing::upstream::prepared::{BURST_TOKENS, PreparedUpstream, model};

use nginx::Nginx;
use path::Path;

const PRICE: Price = Price { input: "0.1", cache_read: "0.05", output: "0.4" };
/// The time after the start in which memory settles.
const IDLE: Duration = Duration::from_secs(2);
/// How long the time of a commit is measured.
const COMMITS: Duration = Duration::from_secs(1);
const WHOLE_ENDS_WITH: &str = r#""completion_tokens":9,"total_tokens":21}}"#;

struct Settings {
    only: Option<&'static str>,
    time: Duration,
    paced: Duration,
    streams: u32,
    with_nginx: bool,
    beside: Option<String>,
    with_postgres: bool,
    connections: Vec<usize>,
}

impl Settings {
    fn read() -> Result<Self, String> {
        let streams = settings::count("OVERHEAD_STREAMS", 512)?;
        let connections = match settings::count("OVERHEAD_CONNECTIONS", 0)? {
            0 => throughput::CONNECTIONS.to_vec(),
            alone => vec![usize::try_from(alone).map_err(|_| "OVERHEAD_CONNECTIONS is too large".to_owned())?],
        };
        Ok(Self {
            only: settings::word("OVERHEAD_ONLY", &["whole", "streams", "memory"])?,
            time: settings::seconds("OVERHEAD_SECONDS", 5)?,
            paced: settings::seconds("OVERHEAD_PACED_SECONDS", 9)?,
            streams: u32::try_from(streams).map_err(|_| "OVERHEAD_STREAMS is too large".to_owned())?,
            with_nginx: settings::count("OVERHEAD_NGINX", 1)? != 0,
            beside: std::env::var("OVERHEAD_BESIDE").ok(),
            with_postgres: with_postgres()?,
            connections,
        })
    }

    fn has(&self, part: &str) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

/// Whether the one argument that this benchmark knows was given.
fn with_postgres() -> Result<bool, String> {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [] => Ok(false),
        [one] if one == "postgres" => Ok(true),
        other => Err(format!("{other:?} is not known: nothing, or `postgres`")),
    }
}

fn main() -> ExitCode {
    let measured = Bench::prepare().and_then(|mut bench| bench.run().map_err(|error| error.to_string()));
    exit_code(measured.map(|()| true))
}

struct Bench {
    settings: Settings,
    gateway: Gateway,
    _beside: Option<Gateway>,
    shared: Option<SharedGateway>,
    paths: Vec<Path>,
    _nginx: Option<Nginx>,
    memory: Vec<(String, Memory)>,
}

impl Bench {
    fn prepare() -> Result<Self, String> {
        let settings = Settings::read()?;
        descriptors::require(u64::from(settings.streams) * 4 + 512)?;
        let upstream = PreparedUpstream::start();
        // First, so that a missing nginx is reported at once.
        let measures_nginx = settings.with_nginx && settings.only != Some("memory");
        let nginx = measures_nginx.then(|| Nginx::start(upstream.address)).transpose()?;
        let gateway = Gateway::start(env!("CARGO_BIN_EXE_ledgerway"), env!("CARGO_TARGET_TMPDIR"));
        std::thread::sleep(IDLE);
        let idle = gateway.processes().memory();
        let ledgerway = gateway_path("ledgerway", &gateway, &upstream);
        let memory = vec![
            ("2 s after the start, before any request".to_owned(), idle),
            ("set up".to_owned(), gateway.processes().memory()),
        ];
        let other = settings.beside.as_deref().map(|binary| Gateway::start(binary, env!("CARGO_TARGET_TMPDIR")));
        let beside = other.as_ref().map(|other| gateway_path("beside", other, &upstream));
        let shared = settings.with_postgres.then(SharedGateway::start);
        let postgres = shared.as_ref().map(|shared| shared.path(&upstream));
        let paths = other_paths(&upstream, nginx.as_ref(), &ledgerway.secret);
        let paths = paths.chain([ledgerway]).chain(beside).chain(postgres).collect();
        Ok(Self { settings, gateway, _beside: other, shared, paths, _nginx: nginx, memory })
    }

    fn run(&mut self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut out = io::stdout().lock();
        let before = fdatasync(self.gateway.data())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        writeln!(out, "{cores} cores shared by gateway, nginx, upstream and load generator")?;
        writeln!(out, "{before} at the start")?;
        if self.shared.is_some() {
            writeln!(out, "PostgreSQL with its own settings, except {}", SETTINGS.join(", "))?;
        }
        if self.settings.has("whole") {
            runtime.block_on(self.whole(&mut out, before))?;
        }
        if self.settings.has("streams") {
            runtime.block_on(self.streams(&mut out))?;
        }
        if self.settings.only == Some("memory") {
            runtime.block_on(self.load_for_memory())?;
        }
        if self.settings.only != Some("whole") {
            runtime.block_on(self.concurrent_streams(&mut out))?;
        }
        self.memory_rows(&mut out)?;
        writeln!(out, "\n{} at the end", fdatasync(self.gateway.data())?)
    }

    async fn whole(&mut self, out: &mut impl Write, before: Fsync) -> io::Result<()> {
        writeln!(out, "\nWhole answers of nine words:\n")?;
        throughput::header(out, "request")?;
        for &connections in &self.settings.connections {
            let workload = |path: &Path| path.whole_workload(WHOLE_ENDS_WITH);
            let commit = self.commit(connections)?;
            let medians = throughput::rows(out, &self.paths, workload, connections, self.settings.time).await?;
            if connections == 1 {
                let fsync = (before.p50 + fdatasync(self.gateway.data())?.p50) / 2;
                write_added(out, &medians, "ledgerway", ("fsyncs", fsync))?;
            }
            if let (Some(before), Some(after)) = (commit, self.commit(connections)?) {
                write_added(out, &medians, "postgres", ("commits", (before + after) / 2))?;
            }
        }
        self.memory.push(("whole answers served".to_owned(), self.gateway.processes().memory()));
        Ok(())
    }

    /// The median time of a commit of one row, which is told from the latency of a request at one connection.
    fn commit(&self, connections: usize) -> io::Result<Option<Duration>> {
        let Some(shared) = self.shared.as_ref().filter(|_| connections == 1) else { return Ok(None) };
        let measure = || Session::open(&shared.database.url())?.commit(COMMITS);
        // On a thread of its own, because a session has a runtime, and this one is driving another.
        std::thread::scope(|scope| scope.spawn(measure).join().expect("no panic")).map(Some)
    }

    async fn streams(&mut self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nStreams of {BURST_TOKENS} tokens that come at once:\n")?;
        throughput::header(out, "stream")?;
        for &connections in &self.settings.connections {
            let workload = |path: &Path| path.stream_workload(model::BURST, BURST_TOKENS, 256);
            throughput::rows(out, &self.paths, workload, connections, self.settings.time).await?;
        }
        paced::few(out, &self.paths, self.settings.paced).await
    }

    /// Serves whole answers before the memory is measured, if that part of the benchmark is left out.
    async fn load_for_memory(&mut self) -> io::Result<()> {
        self.paths.retain(|path| path.admin.is_some());
        let workload = |path: &Path| path.whole_workload(WHOLE_ENDS_WITH);
        throughput::rows(&mut io::sink(), &self.paths, workload, 128, self.settings.time).await?;
        self.memory.push(("whole answers served".to_owned(), self.gateway.processes().memory()));
        Ok(())
    }

    async fn concurrent_streams(&mut self, out: &mut impl Write) -> io::Result<()> {
        let (streams, time) = (self.settings.streams, self.settings.paced);
        let during = paced::concurrent(out, &self.paths, streams, time).await?;
        self.memory.push((format!("{streams} streams at once"), during));
        self.memory.push(("after them".to_owned(), self.gateway.processes().memory()));
        Ok(())
    }

    fn memory_rows(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nMemory of the gateway:\n")?;
        table::header(out, &["when", "VmRSS MiB", "VmHWM MiB"])?;
        for (when, memory) in &self.memory {
            table::row(out, &[when.clone(), mebibytes(memory.now), mebibytes(memory.peak)])?;
        }
        Ok(())
    }
}

/// A gateway whose log is in a PostgreSQL of this benchmark's own.
struct SharedGateway {
    // Declared in the order in which they end: each needs the next one.
    gateway: Gateway,
    database: TestDatabase,
    server: TestServer,
}

impl SharedGateway {
    fn start() -> Self {
        let server = TestServer::start_with(&SETTINGS);
        let database = server.create_database();
        let binary = env!("CARGO_BIN_EXE_ledgerway");
        let gateway = Gateway::start_shared(binary, &database.url(), env!("CARGO_TARGET_TMPDIR"));
        Self { gateway, database, server }
    }

    fn path(&self, upstream: &PreparedUpstream) -> Path {
        Path { database: Some(self.server.id()), ..gateway_path("postgres", &self.gateway, upstream) }
    }
}

/// The paths without a gateway.
fn other_paths(upstream: &PreparedUpstream, nginx: Option<&Nginx>, secret: &str) -> impl Iterator<Item = Path> + use<> {
    let (address, secret) = (upstream.address, secret.to_owned());
    let direct = Path {
        name: "direct",
        whole: address,
        streams: address,
        secret: secret.clone(),
        processes: Processes::default(),
        admin: None,
        database: None,
    };
    let nginx = nginx.map(|nginx| Path {
        name: "nginx",
        whole: nginx.whole,
        streams: nginx.streams,
        secret,
        processes: nginx.processes(),
        admin: None,
        database: None,
    });
    std::iter::once(direct).chain(nginx)
}

/// The path through a gateway, with everything that a request needs.
fn gateway_path(name: &'static str, gateway: &Gateway, upstream: &PreparedUpstream) -> Path {
    let (admin, address) = (gateway.admin(), gateway.address);
    let secret = admin.set_up(upstream.address, PRICE).secret;
    admin.wait_for_views();
    Path {
        name,
        whole: address,
        streams: address,
        secret,
        processes: gateway.processes(),
        admin: Some(admin),
        database: None,
    }
}

/// Prints the latency that a gateway adds at one connection, and what of it is not the two writes of a request.
fn write_added(
    out: &mut impl Write,
    medians: &throughput::Medians,
    name: &str,
    (writes, write): (&str, Duration),
) -> io::Result<()> {
    let median = |name| {
        let found = medians.iter().find(|(path, _)| *path == name);
        found.map(|(_, median)| signed_micros(*median)).ok_or_else(|| io::Error::other(format!("no path {name}")))
    };
    let added = median(name)? - median("direct")?;
    let besides = added - 2 * signed_micros(write);
    for (what, added) in [
        (format!("{name}: added"), added),
        (format!("{name}: added less two {writes} of {} µs", write.as_micros()), besides),
    ] {
        let mut cells = vec!["1".to_owned(), what, String::new(), added.to_string()];
        cells.resize(11, String::new());
        table::row(out, &cells)?;
    }
    Ok(())
}

/// Signed, since a difference is negative if the disk was slower in the other measurement.
fn signed_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
