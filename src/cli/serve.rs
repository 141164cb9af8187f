//! `ledgerway serve`: starts the engines and the server, and shuts them down in the right order.
//!
//! Shutdown: not ready, but serving, for the drain delay; then new requests are refused until those in flight have ended or
//! the drain timeout is over; then connections are closed, and the engines stop, the log last, because the others write to
//! it. A second signal skips the waits. Nothing that was recorded is lost, however the process ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use access::auth::hashing::KeyHasher;
use access::auth::{AuthParts, Authenticator};
use access::limits::RateLimiter;
use access::rollup::AccessRollup;
use command::admin::setup;
use command::admin::{self, AdminState, ImportQueue};
use command::body::memory::{BodyBounds, BodyMemory};
use command::doctor::{self, Doctor};
use command::environment::{Environment, EnvironmentParts, NamedProviders};
use command::figures::RequestFigures;
use command::inference::{self, AbandonedCalls, AccessTokens, Gateway, LargeBodies, ProviderKeys};
use command::tokens::TokenCounter;
use command::trace::{Exporting, TraceFigures, Tracer};
use command::{opened_keys, revaluation};
use dialects::surfaces::MODELS_WORDING;
use events::concurrency::ConcurrencyLimiter;
use events::event::admin::Model;
use events::ids::{IdMaker, SystemRandom};
use events::log::{
    Log, LogError, LogOptions, OpenError,
    lock::{self, FolderError},
};
use events::time::{Clock, SystemClock};
use projections::BackgroundTask;
use projections::figures::{self, Figures};
use projections::last_use::LastUses;
use projections::tables::{self, Tables, TablesHandle};
use projections::views::{self, ViewsHandle, ViewsThread};
use prometheus::Registry;
use query::{Capabilities, LimitsLeft, QueryState};
use secrets::node_key::NodeKeyError;
use secrets::reseal::StoredSecrets;
use secrets::wrong_key::WrongNodeKey;
use secrets::{NodeKey, Secret, Vault, VaultError, operator_key};
use tokio::signal::unix::{Signal, SignalKind, signal};
use upstream::{LoopMark, UpstreamClients};

use super::welcome::Welcome;
use super::{Failure, exit, logging, print_line, single_threaded_runtime, variable};
use crate::config::arguments::ServeArgs;
use crate::config::setting::{LISTEN, METRICS_LISTEN};
use crate::config::{Config, Flags, ListenAddress, Setting, WrongConfig, log_filter};
use crate::http::{Cors, Door, DoorParts, Health, Server, WorkerThreads, health_routes, metrics_alone, published};
use crate::in_flight::InFlight;
use crate::metrics::{self, BodyMemories, Metrics, ProcessSampler, ResponseMetrics};

/// How long the start waits for the tables, and after which part of it that is said.
const TABLES_WAIT_MAX: Duration = Duration::from_secs(60);
const TABLES_WAIT_UNSAID: Duration = Duration::from_secs(2);
/// Time for the last bytes of the last response to leave the socket.
const LAST_BYTES_WAIT: Duration = Duration::from_millis(50);

/// Time limit for the ledger and the views to write what they still have.
const STOP_MAX: Duration = Duration::from_secs(15);
/// The time limit for what must end at once: abandoned calls, workers, and everything after a second signal.
const STOP_AT_ONCE_MAX: Duration = Duration::from_secs(1);

/// The most connections to the separate address for metrics.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// Why the gateway did not start or stop cleanly; one sentence.
type ServeError = Box<dyn std::error::Error + Send + Sync>;

pub fn run(args: &ServeArgs, flags: &Flags) -> ExitCode {
    exit(start(args, flags))
}

fn start(args: &ServeArgs, flags: &Flags) -> Result<(), Failure> {
    let config = Config::read(args, flags, variable)?;
    logging::start(log_filter::read(variable("RUST_LOG").as_deref())?);
    let runtime = single_threaded_runtime()?;
    let got_second_signal = runtime.block_on(serve(config)).map_err(|error| {
        let is_wrongly_configured = error.is::<WrongConfig>() || error.is::<WrongNodeKey>();
        if is_wrongly_configured { Failure::not_begun(error) } else { Failure::failed(error) }
    })?;
    if got_second_signal { Err(Failure::Printed) } else { Ok(()) }
}

/// What runs beside the requests, in the order of its start.
struct Engines {
    log: Log,
    tables: TablesHandle,
    tables_task: BackgroundTask,
    views: ViewsHandle,
    views_thread: ViewsThread,
    access: Arc<AccessRollup>,
    registry: Registry,
    figures: Figures,
    figures_task: BackgroundTask,
    memories: BodyMemories,
    /// The clients of providers, for requests and for what local servers are asked.
    upstreams: Arc<UpstreamClients>,
}

/// Returns whether a second signal cut the shutdown short.
async fn serve(mut config: Config) -> Result<bool, ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ids = IdMaker::new(Arc::clone(&clock), Arc::new(SystemRandom));
    let mut signals = Signals::listen()?;
    // Bound first: if the address is in use, nothing has been migrated yet.
    let server = bind(&config, LISTEN, &config.listen).await?;
    let metrics_server = match &config.metrics_listen {
        Some(address) => Some(bind(&config, METRICS_LISTEN, address).await?),
        None => None,
    };
    let address = server.address()?;
    let engines = start_engines(&config, &clock, &ids).await?;
    let in_flight = InFlight::new();
    let traces = TraceFigures::register(&engines.registry)?;
    let start = |target| Exporting::start(target, traces, ids.clone(), Arc::clone(&clock));
    let (tracer, exporting) = config.traces.take().map(start).transpose()?.unzip();
    let abandoned = AbandonedCalls::default();
    let OpenedDoor { door, vault, access_tokens, provider_keys, imports } =
        open_door(&config, &engines, &clock, &ids, &in_flight, &abandoned, tracer).await?;
    let environment = Environment::new(
        EnvironmentParts {
            log: engines.log.clone(),
            tables: engines.tables.clone(),
            ids: ids.clone(),
            clock: Arc::clone(&clock),
            vault: Arc::clone(&vault),
            upstreams: Arc::clone(&engines.upstreams),
            data: config.data.clone(),
        },
        config.providers.clone(),
    );
    if let Err(error) = environment.bring_up_to_date().await {
        tracing::warn!(%error, "cannot record what the environment and local servers offer: trying again in a minute");
    }
    let worker_threads =
        WorkerThreads::start().map_err(|error| format!("cannot start the threads that serve connections: {error}"))?;
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(opened_keys::follow(vault, engines.tables.clone()));
    serving.spawn(access_tokens.follow(engines.tables.clone()));
    serving.spawn(provider_keys.follow(engines.tables.clone()));
    serving.spawn(revaluation::follow(engines.log.clone(), Arc::clone(&clock)));
    if let Some(server) = metrics_server {
        tracing::info!(address = %server.address()?, "metrics are served on a separate address");
        let door = door.with_routes(metrics_alone(metrics::routes(metrics_of(&engines, &in_flight, &clock)))?);
        serving.spawn(server.serve_at_most(METRICS_CONNECTIONS_MAX, door, worker_threads.workers()));
    }
    serving.spawn(server.serve(door, worker_threads.workers()));
    if let Err(error) = lock::publish_address(&config.data, &format!("http://{}", reachable(address))) {
        tracing::warn!(%error, "cannot write the address to the lock file: other commands will not find this gateway");
    }
    let tables = engines.tables.load();
    let welcome = Welcome {
        listening: address,
        reachable: reachable(address),
        data: &config.data,
        operator_key_in_variable: config.admin_key.is_some(),
        dev: config.dev,
        has_models: tables.has_models(),
        first_model: first_model(&tables),
        providers: &environment.registered(),
        notes: &environment.notes(),
        from_environment: environment.is_on(),
    };
    welcome.lines().iter().for_each(|line| print_line(line));
    drop(tables);
    serving.spawn(environment.follow(imports));
    signals.next().await;
    let got_second_signal = keep_serving(&config, &in_flight, &mut signals).await;
    tracing::info!("draining: waiting for requests in flight, refusing new ones");
    // Requests that outlast the timeout are cut off and recorded, as they are by a second signal.
    let (all_ended, got_second_signal) = if got_second_signal {
        (false, true)
    } else {
        tokio::select! {
            () = async { in_flight.drain().await; abandoned.drain().await } => (true, false),
            () = tokio::time::sleep(config.drain_timeout) => (false, false),
            () = signals.next() => (false, true),
        }
    };
    let abandoned_left = abandoned.count();
    if !got_second_signal {
        tokio::time::sleep(LAST_BYTES_WAIT).await;
    }
    // Connections before the log: a request that is cut off still records its end. Calls do not continue without their
    // clients any more.
    let _ = tokio::time::timeout(STOP_AT_ONCE_MAX, abandoned.stop()).await;
    let cut_off = if all_ended { 0 } else { in_flight.count() + abandoned_left };
    serving.shutdown().await;
    let workers_stop = tokio::task::spawn_blocking(|| worker_threads.stop());
    if tokio::time::timeout(STOP_AT_ONCE_MAX, workers_stop).await.is_err() {
        tracing::warn!("stopping without waiting for a worker that is still computing");
    }
    if let Some(exporting) = exporting {
        exporting.close().await;
    }
    // A disk that hangs must not keep the process alive; what is durable by then stays durable.
    let mut stopping = std::pin::pin!(stop_engines(engines));
    let has_stopped = tokio::select! {
        () = &mut stopping => true,
        () = tokio::time::sleep(if got_second_signal { STOP_AT_ONCE_MAX } else { STOP_MAX }) => false,
        () = signals.next() => false,
    };
    if !has_stopped {
        tracing::error!("the engines did not stop in time; the next start recovers the log as far as it is durable");
        // Dropping the log would wait for its writer, which hangs.
        std::process::exit(1);
    }
    match cut_off {
        0 => tracing::info!("stopped: all requests ended"),
        requests => tracing::info!(requests, "stopped: requests were cut off"),
    }
    Ok(got_second_signal)
}

async fn start_engines(config: &Config, clock: &Arc<dyn Clock>, ids: &IdMaker) -> Result<Engines, ServeError> {
    let (data, engines_clock) = (config.data.clone(), Arc::clone(clock));
    let options = LogOptions {
        hold_ttl: config.hold_ttl,
        unknown_usage: config.unknown_usage,
        ..LogOptions::new(Arc::clone(clock))
    };
    let opened = tokio::task::spawn_blocking(move || {
        let log = Log::open(&data, options)?;
        let (views, views_thread) = views::start(&log, &data, engines_clock)?;
        Ok::<_, ServeError>((log, views, views_thread))
    });
    let (log, views, views_thread) = opened.await?.map_err(|error| open_failure(config, error))?;
    let (tables, tables_task) = tables::start(&log).await?;
    let access = Arc::new(AccessRollup::new(log.clone(), Arc::clone(clock)));
    let registry = Registry::new();
    let (figures, figures_task) = figures::start(&log, &tables, &registry)?;
    let memories = BodyMemories {
        inference: BodyMemory::new(config.bodies),
        answers: BodyMemory::new(config.answers),
        administration: BodyMemory::new(BodyBounds::of_administration()),
    };
    let upstreams = Arc::new(UpstreamClients::new(LoopMark::new(ids.bytes()))?);
    Ok(Engines {
        log,
        tables,
        tables_task,
        views,
        views_thread,
        access,
        registry,
        figures,
        figures_task,
        memories,
        upstreams,
    })
}

async fn bind(config: &Config, setting: Setting, address: &ListenAddress) -> Result<Server, WrongConfig> {
    let resolved = address.resolve().await.map_err(|error| config.resolve_failed(setting, address, &error))?;
    Server::bind(resolved).await.map_err(|error| config.listen_failed(setting, address, &error))
}

fn metrics_of(engines: &Engines, in_flight: &InFlight, clock: &Arc<dyn Clock>) -> Metrics {
    Metrics {
        registry: engines.registry.clone(),
        figures: engines.figures.clone(),
        log: engines.log.clone(),
        views: engines.views.clone(),
        tables: engines.tables.clone(),
        in_flight: in_flight.clone(),
        clock: Arc::clone(clock),
        process: ProcessSampler::default(),
        memories: engines.memories.clone(),
    }
}

/// Keeps serving for the drain delay while not ready, so that load balancers stop sending requests. Returns whether a second
/// signal cut it short.
async fn keep_serving(config: &Config, in_flight: &InFlight, signals: &mut Signals) -> bool {
    in_flight.leave();
    if config.drain_delay.is_zero() {
        return false;
    }
    tracing::info!(seconds = config.drain_delay.as_secs(), "no longer ready, still serving");
    tokio::select! {
        () = tokio::time::sleep(config.drain_delay) => false,
        () = signals.next() => true,
    }
}

/// The failure to open the log or the views. A folder that cannot be used is wrong configuration; what is wrong inside it
/// is not.
fn open_failure(config: &Config, error: ServeError) -> ServeError {
    match error.downcast_ref() {
        Some(OpenError::Folder(FolderError::Unusable { path, source })) => config.data_unusable(path, source).into(),
        _ => error,
    }
}

/// The door, and what has to be followed while it is open.
struct OpenedDoor {
    door: Door,
    vault: Arc<Vault>,
    access_tokens: Arc<AccessTokens>,
    provider_keys: Arc<ProviderKeys>,
    imports: ImportQueue,
}

async fn open_door(
    config: &Config,
    engines: &Engines,
    clock: &Arc<dyn Clock>,
    ids: &IdMaker,
    in_flight: &InFlight,
    abandoned: &AbandonedCalls,
    tracer: Option<Arc<Tracer>>,
) -> Result<OpenedDoor, ServeError> {
    let (log, tables) = (&engines.log, &engines.tables);
    let given = config.node_key.as_ref().map(Secret::reveal);
    // In an empty log nothing was sealed with another key.
    let node_key = match log.head().position {
        0 => NodeKey::load_or_make(given, &config.data, ids)?,
        _ => match NodeKey::load(given, &config.data) {
            Err(NodeKeyError::Lost { .. }) => return Err(wrong_node_key(config, log).await?.into()),
            loaded => loaded?,
        },
    };
    let tenancy = setup::ensure_default_tenancy(log, ids).await?;
    let keys = config.providers.as_deref().map(NamedProviders::keys).unwrap_or_default();
    // The tables have the default tenant, which may be among those that are named.
    wait_for_tables(tables, TABLES_WAIT_UNSAID, TABLES_WAIT_MAX).await?;
    let served = config.serves_tenants.resolve(&tables.load());
    let vault = Vault::serving(served.clone(), node_key, log.clone(), ids.clone(), keys);
    let key_check = match vault.key_check().await {
        Err(VaultError::OtherNodeKey { .. }) => return Err(wrong_node_key(config, log).await?.into()),
        key_check => key_check?,
    };
    if let Err(error) = vault.register().await {
        // The disk or the clock is at fault. This node has every key that it had before.
        tracing::warn!(%error, "this node was not registered for keys of tenants; the next start tries again");
    }
    let operator_key = operator_key::load(config.admin_key.as_ref().map(Secret::reveal), &config.data, ids)?;
    if let Some(path) = &operator_key.made {
        // A warning, so that it is seen at most log levels: without this file there is no administration.
        tracing::warn!(path = %path.display(), "created the operator's key");
    }
    let (hasher, concurrency) = (KeyHasher::default(), ConcurrencyLimiter::default());
    let (importer, imports) = ImportQueue::new();
    let admin = AdminState {
        log: log.clone(),
        tables: tables.clone(),
        clock: Arc::clone(clock),
        ids: ids.clone(),
        key_check: key_check.clone(),
        hasher: hasher.clone(),
        vault: Arc::clone(&vault),
        bodies: Arc::clone(&engines.memories.administration),
        concurrency: concurrency.clone(),
        imports: importer,
    };
    if config.dev {
        setup::ensure_dev(&admin, &tenancy, &config.data).await?;
    }
    let authenticator = Authenticator::new(AuthParts {
        key_check,
        operator_key: operator_key.key,
        operator_chain: tenancy.chain(),
        log: log.clone(),
        tables: tables.clone(),
        clock: Arc::clone(clock),
        hasher,
    });
    inference::warn_of_unknown_kinds(&tables.load());
    let limits = Arc::new(RateLimiter::new(Arc::clone(clock), config.default_limits));
    let access_tokens = AccessTokens::new(Arc::clone(clock));
    let provider_keys = ProviderKeys::new(log.clone(), tables.clone(), Arc::clone(clock), ids.clone());
    let gateway = Gateway {
        log: log.clone(),
        tables: tables.clone(),
        upstreams: Arc::clone(&engines.upstreams),
        vault: Arc::clone(&vault),
        served,
        access_tokens: Arc::clone(&access_tokens),
        provider_keys: Arc::clone(&provider_keys),
        limits: Arc::clone(&limits),
        figures: Arc::new(RequestFigures::register(&engines.registry)?),
        tracer,
        access: Arc::clone(&engines.access),
        clock: Arc::clone(clock),
        ids: ids.clone(),
        timers: tokio_util::task::TaskTracker::new(),
        abandoned: abandoned.clone(),
        tokens: TokenCounter::default(),
        large_bodies: LargeBodies::default(),
        bodies: Arc::clone(&engines.memories.inference),
        answers: Arc::clone(&engines.memories.answers),
    };
    let last_uses = LastUses::new(Arc::clone(clock));
    let queries = QueryState {
        log: log.for_queries(),
        tables: tables.clone(),
        views: engines.views.clone(),
        clock: Arc::clone(clock),
        closing: in_flight.draining(),
        limits_left: limits_left(&limits, tables),
        capabilities: capabilities(config.providers.clone()),
        concurrency,
        last_uses: last_uses.clone(),
    };
    let health =
        Health { log: log.clone(), tables: tables.clone(), views: engines.views.clone(), in_flight: in_flight.clone() };
    let gateway = Arc::new(gateway);
    let doctor = Doctor::new(admin.clone(), Arc::clone(&gateway), config.providers.clone(), config.data.clone());
    let mut api = inference::routes(gateway)
        .merge(admin::routes(admin))
        .merge(doctor::routes(doctor))
        .merge(query::routes(queries, MODELS_WORDING))
        .merge(health_routes(health));
    if config.metrics_listen.is_none() {
        api = api.merge(metrics::routes(metrics_of(engines, in_flight, clock)));
    }
    let parts = DoorParts {
        authenticator,
        tables: tables.clone(),
        access: Arc::clone(&engines.access),
        limits,
        ids: ids.clone(),
        in_flight: in_flight.clone(),
        responses: ResponseMetrics::register(&engines.registry)?,
        cors: config.cors.clone().map(Cors::new),
        last_uses,
        loop_mark: engines.upstreams.loop_mark().clone(),
    };
    let door = Door::new(Arc::new(parts), published(api)?);
    Ok(OpenedDoor { door, vault, access_tokens, provider_keys, imports })
}

/// Waits until the tables have every recorded change. What the start decides from older ones could not be undone: a node that
/// does not find a tenant that it serves gives up its copy of the tenant's key.
async fn wait_for_tables(tables: &TablesHandle, unsaid: Duration, max: Duration) -> Result<(), ServeError> {
    if tables.catch_up(unsaid).await {
        return Ok(());
    }
    tracing::warn!("the tables are behind the log: the start waits for them");
    if tables.catch_up(max.saturating_sub(unsaid)).await {
        return Ok(());
    }
    let seconds = max.as_secs();
    Err(format!(
        "the tables did not catch up with the log within {seconds} s, and no tenant can be served without them: look at \
         the log lines above, then start again"
    )
    .into())
}

/// The error for a node key that is not the folder's: it says which one is.
async fn wrong_node_key(config: &Config, log: &Log) -> Result<WrongNodeKey, LogError> {
    let [given, previous] = [&config.node_key, &config.previous_node_key].map(|key| key.as_ref().map(Secret::reveal));
    Ok(WrongNodeKey::find(&StoredSecrets::read(log).await?, &config.data, given, previous))
}

/// A function that returns what is left of a chain's rate limits, as JSON.
fn limits_left(limits: &Arc<RateLimiter>, tables: &TablesHandle) -> LimitsLeft {
    let (limits, tables) = (Arc::clone(limits), tables.clone());
    Arc::new(move |chain| {
        let left = limits.remaining(&tables.load(), chain);
        left.iter().filter_map(|left| serde_json::to_value(left).ok()).collect()
    })
}

/// A function that returns what a model of a provider from the environment can do.
fn capabilities(named: Option<Arc<NamedProviders>>) -> Capabilities {
    Arc::new(move |provider, backend| named.as_ref()?.capabilities(provider, backend))
}

/// Stops the engines in the reverse order of writes: the log last.
async fn stop_engines(engines: Engines) {
    let Engines { log, tables_task, views_thread, access, figures_task, .. } = engines;
    access.close().await;
    tables_task.stop().await;
    figures_task.stop().await;
    let stopped = tokio::task::spawn_blocking(move || {
        views_thread.stop();
        log.close();
    });
    if stopped.await.is_err() {
        tracing::error!("the engines did not stop cleanly");
    }
}

/// The first model for all tenants, by name, that a command in a shell can name and that needs no cap: one for embeddings has
/// no default of it. A bare name comes first.
fn first_model(tables: &Tables) -> Option<&str> {
    let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-._:/@".contains(c));
    let answers = |model: &Model| model.targets.iter().any(|target| target.default_max_output_tokens.is_some());
    let offered = tables.models_for(None).into_iter().map(|entry| &*entry.value).filter(|model| answers(model));
    let names = offered.map(|model| model.name.as_str()).filter(|name| is_plain(name));
    names.min_by_key(|name| (name.contains('/'), *name))
}

/// An address at which this machine reaches the server: for all addresses, the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// SIGTERM and SIGINT, which mean the same.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// Holds: bin.tables-first
    #[test]
    fn a_start_waits_for_tables_that_lag_and_ends_if_they_do_not_come() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let log = Log::open(folder.path(), LogOptions::new(Arc::clone(&clock))).expect("a log");
        let ids = IdMaker::new(clock, Arc::new(SystemRandom));
        // The tables follow the log only while their own runtime runs.
        let (starting, following) = (runtime(), runtime());
        let (tables, task) = following.block_on(tables::start(&log)).expect("tables");
        let waited = |millis| {
            starting.block_on(wait_for_tables(&tables, Duration::from_millis(20), Duration::from_millis(millis)))
        };
        waited(40).expect("nothing is recorded yet");
        let tenancy = starting.block_on(setup::ensure_default_tenancy(&log, &ids)).expect("a tenancy");
        let refused = waited(40).expect_err("tables that lag").to_string();
        assert!(refused.contains("the tables did not catch up with the log"), "{refused}");
        std::thread::scope(|scope| {
            scope.spawn(|| following.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await }));
            waited(30_000).expect("tables that have caught up");
        });
        let tenant = tenancy.chain().tenant.expect("a tenant");
        assert!(tables.load().tenant(tenant).is_some());
        following.block_on(task.stop());
        log.close();
    }
}
