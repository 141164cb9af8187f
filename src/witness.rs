//! `ledgerway witness`: cosigns the checkpoints of logs that others publish. It needs no gateway and no ledger.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cli::arguments::{WitnessArgs, is_address};
use cli::{CommandRuntime, Failure, print_line, printable, variable};
use events::ids::{IdMaker, SystemRandom};
use events::time::{Clock, SystemClock};
use events_log::lock;
use tlog::{KeyName, VerifierKey};
use tokio::task::JoinSet;
use witness::{KnownLogs, Witness};

use crate::config::{ListenAddress, log_filter};
use crate::http::{ConnectionThreads, OpenDoor, Server};
use crate::in_flight::InFlight;
use crate::logging;
use crate::server_process::{LAST_BYTES_WAIT, Signals, block_on_server};

/// The most connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// How long the end waits for requests in flight. What they have stored is durable, however they end.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The arguments, checked.
struct Settings {
    listen: ListenAddress,
    data: PathBuf,
    name: KeyName,
    logs: KnownLogs,
}

pub fn run(args: &WitnessArgs, runtime: CommandRuntime) -> Result<(), Failure> {
    let settings = Settings::read(args)?;
    logging::start(log_filter::read(variable("RUST_LOG").as_deref())?);
    block_on_server(runtime, serve(settings))
}

impl Settings {
    fn read(args: &WitnessArgs) -> Result<Self, Failure> {
        let listen = ListenAddress::parse(&args.listen).ok_or_else(|| {
            let problem = format!("is {:?}, which is not an address with a port", printable(&args.listen));
            wrong("listen", problem, "127.0.0.1:8090")
        })?;
        let name = args.name.parse();
        let name = name.map_err(|error| wrong("name", format!("is not a name: {error}"), "witness.example/w1"))?;
        Ok(Self { listen, data: folder(&args.data)?, name, logs: logs(&args.log_key)? })
    }
}

fn folder(data: &Path) -> Result<PathBuf, Failure> {
    let is_folder = !data.as_os_str().is_empty() && !data.to_str().is_some_and(is_address);
    let refused = || wrong("data", "must be a folder".to_owned(), "./witness-data");
    is_folder.then(|| data.to_owned()).ok_or_else(refused)
}

/// Each value is a key, or several on a line each, as a log shows them.
fn logs(values: &[String]) -> Result<KnownLogs, Failure> {
    let refused =
        |problem: String| wrong("log-key", problem, "'log.example/ledger+12345678+AbCd…', a line of /v1/log/key");
    let lines = values.iter().flat_map(|value| value.lines()).map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| line.parse().map_err(|error| (line, error))).collect::<Result<Vec<VerifierKey>, _>>();
    let keys = keys.map_err(|(line, error)| {
        refused(format!("is {:?}, which is not the key of a log: {error}", shown_name(line)))
    })?;
    KnownLogs::new(keys).map_err(|error| refused(format!("is not the key of a log: {error}")))
}

/// A key by its name alone: it might be one that signs.
fn shown_name(key: &str) -> String {
    printable(key.split('+').next().unwrap_or_default())
}

/// The sentence for a wrong value of a flag.
fn wrong(flag: &str, problem: String, example: &str) -> Failure {
    Failure::NotBegun(format!("--{flag} {problem}; for example --{flag} {example}"))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut signals = Signals::listen().map_err(Failure::not_begun)?;
    // Bound first: if the address is in use, no key has been made yet.
    let server = bind(&settings.listen).await?;
    let address = server.address().map_err(Failure::not_begun)?;
    let witness = Witness::open(&settings.data, &settings.name, settings.logs, Arc::clone(&clock), &SystemRandom);
    let witness = Arc::new(witness.map_err(Failure::not_begun)?);
    if let Err(error) = lock::publish_address(&settings.data, &format!("http://{address}")) {
        tracing::warn!(%error, "cannot write the address to the lock file");
    }
    let in_flight = InFlight::default();
    let ids = IdMaker::new(clock, Arc::new(SystemRandom));
    let door =
        OpenDoor::new(witness::routes(Arc::clone(&witness)), in_flight.clone(), ids).map_err(Failure::not_begun)?;
    let threads = ConnectionThreads::start().map_err(Failure::not_begun)?;
    let mut serving = JoinSet::new();
    serving.spawn(server.serve_at_most(CONNECTIONS_MAX, door, threads.runtimes()));
    print_line(&format!("ledgerway witness listening on http://{address}"));
    print_line(&format!("its key, for the operators of the logs: {}", witness.verifier_key()));
    witness.sizes().for_each(|(origin, size)| print_line(&shown(origin, size)));
    signals.next().await;
    tokio::select! {
        () = in_flight.drain() => tokio::time::sleep(LAST_BYTES_WAIT).await,
        () = tokio::time::sleep(DRAIN_MAX) => {}
        () = signals.next() => {}
    }
    Ok(())
}

fn shown(origin: &str, size: u64) -> String {
    let origin = printable(origin);
    if size == 0 { format!("{origin}: nothing cosigned yet") } else { format!("{origin}: cosigned up to size {size}") }
}

async fn bind(listen: &ListenAddress) -> Result<Server, Failure> {
    let resolved = listen.resolve().await;
    let resolved = resolved.map_err(|error| {
        wrong("listen", format!("is \"{listen}\", a name that does not resolve ({error})"), "127.0.0.1:8090")
    })?;
    Server::bind(resolved).await.map_err(|error| {
        let next = listen.with_next_port().to_string();
        wrong("listen", format!("is {listen}, and listening there failed ({error})"), &next)
    })
}
