//! `ledgerway serve`: starts the engines and the server, and shuts them down in the right order.
//!
//! `engines` starts and stops the log, the tables and the views, `vault` opens the node's vault, `opened_door` makes the door
//! and the routes behind it, and `shutdown` ends them. `archived` and `published` compare the ledger with its archive and its
//! published log at the start; `object_stores` opens the places of both, and of content. `roles` starts the outlets, and
//! `welcome` is what is printed.

mod applied_files;
mod archived;
mod content;
mod engines;
mod object_stores;
mod opened_door;
mod published;
mod roles;
mod shutdown;
mod vault;
mod welcome;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use cli::apply::OwnGateway;
use cli::arguments::ServeArgs;
use cli::settings::setting::{ADMIN_KEY, GRPC_LISTEN, LISTEN, METRICS_LISTEN};
use cli::settings::{Flags, ServeMode, Setting, WrongConfig};
use cli::{CommandRuntime, Failure, migrate, print_line, variable};
use command::environment::{Environment, EnvironmentParts};
use command::inference::{AbandonedCalls, Copies};
use command::trace::{Exporting, TraceFigures};
use command::{opened_keys, revaluation};
use events::ids::{IdMaker, SystemRandom};
use events::time::{Clock, SystemClock};
use events_log::lock;
use secrets::operator_key;
use secrets::wrong_key::WrongNodeKey;
use transparency::Repairer;

use crate::config::{Config, ListenAddress, log_filter};
use crate::http::{ConnectionThreads, Server, metrics_alone};
use crate::in_flight::InFlight;
use crate::open_files::{FilePlan, grpc_connections_of, metrics_connections_of};
use crate::server_process::{Signals, block_on_server};
use crate::{logging, metrics};
use applied_files::FilesApplier;
use engines::{check_data_folder, metrics_of, start_engines};
use opened_door::{DoorDependencies, OpenedDoor, RunningCalls, open_door};
use shutdown::{Running, shut_down};
use welcome::Welcome;

/// Why the gateway did not start or stop cleanly; one sentence.
type ServeError = Box<dyn std::error::Error + Send + Sync>;

pub fn run(args: &ServeArgs, flags: &Flags, runtime: CommandRuntime) -> Result<(), Failure> {
    let config = Config::read(args, flags, variable)?;
    if config.mode == ServeMode::Migrate {
        check_data_folder(&config)?;
        return migrate::bring_up_to_date(config.database.as_ref(), &config.data);
    }
    logging::start(log_filter::read(variable("RUST_LOG").as_deref())?);
    let got_second_signal = block_on_server(runtime, serve(config)).map_err(|error| {
        let is_wrongly_configured = error.is::<WrongConfig>() || error.is::<WrongNodeKey>();
        if is_wrongly_configured { Failure::not_begun(error) } else { Failure::failed(error) }
    })?;
    if got_second_signal { Err(Failure::Printed) } else { Ok(()) }
}

fn no_threads(error: io::Error) -> ServeError {
    format!("cannot start the threads that serve connections: {error}").into()
}

/// Returns whether a second signal cut the shutdown short.
async fn serve(mut config: Config) -> Result<bool, ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ids = IdMaker::new(Arc::clone(&clock), Arc::new(SystemRandom));
    let mut signals = Signals::listen()?;
    let hangup = config.applied_files.is_some().then(applied_files::hangup).transpose()?;
    // Bound first: if the address is in use, nothing has been migrated yet.
    let server = bind(&config, LISTEN, &config.listen).await?;
    let metrics_server = match &config.metrics_listen {
        Some(address) => Some(bind(&config, METRICS_LISTEN, address).await?),
        None => None,
    };
    let grpc_server = match &config.grpc_listen {
        Some(address) => Some(bind(&config, GRPC_LISTEN, address).await?),
        None => None,
    };
    let address = server.address()?;
    let file_plan = FilePlan::make();
    let mut archive = archived::open(&config).await?;
    let published = published::open(&config).await?;
    // It may wait for Redis, and for other nodes.
    let mut engines = tokio::select! {
        engines = start_engines(&config, roles::configured(&config), &clock, &ids, file_plan.upstreams) => engines?,
        () = signals.next() => return Ok(false),
    };
    engines.published = published;
    file_plan.log_if_limited();
    if let Some(archive) = &mut archive {
        archive.compare_opened(&engines.log).await?;
    }
    let in_flight = InFlight::default();
    let traces = TraceFigures::register(&engines.registry)?;
    let start = |target| Exporting::start(target, traces, ids.clone(), Arc::clone(&clock));
    let (tracer, exporting) = config.traces.take().map(start).transpose()?.unzip();
    let (abandoned, copies) = (AbandonedCalls::default(), Copies::default());
    let content = content::open(&config, &engines.registry, &ids).await?;
    let mut connection_threads = ConnectionThreads::start().map_err(no_threads)?;
    let commands = connection_threads.start_for_commands().map_err(no_threads)?;
    let dependencies = DoorDependencies {
        clock: &clock,
        ids: &ids,
        running: RunningCalls { in_flight: &in_flight, abandoned: &abandoned, copies: &copies },
        commands: &commands,
        tracer,
        content: content.as_ref(),
    };
    let OpenedDoor { door, grpc, vault, access_tokens, provider_keys, breakers, imports, repairer } =
        open_door(&config, &engines, dependencies).await?;
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
    if config.mode.serves_requests()
        && let Err(error) = environment.bring_up_to_date().await
    {
        tracing::warn!(%error, "cannot record what the environment and local servers offer: trying again later");
    }
    if let Some(views) = &engines.views {
        views.wait_for_setup(engines.log.head().position).await;
    }
    let mut serving = tokio::task::JoinSet::new();
    let publisher = published::publisher(&config, &engines, &vault, &*clock).await?;
    let pending_repairs = repairer.as_ref().map(Repairer::pending);
    if let Some(repairer) = repairer {
        serving.spawn(repairer.run());
    }
    serving.spawn(opened_keys::follow(vault, engines.tables.clone()));
    serving.spawn(access_tokens.follow(engines.tables.clone()));
    serving.spawn(provider_keys.follow(engines.tables.clone()));
    serving.spawn(revaluation::follow(engines.log.clone(), Arc::clone(&clock)));
    let failing = applied_files::register(&engines.registry)?;
    let files = config.applied_files.take().zip(hangup);
    let applier = files.map(|(files, hangup)| FilesApplier::new(files, hangup, &engines.log, failing));
    let opened = roles::Opened { archive, publisher, content: content.as_ref() };
    roles::start(&mut config, &engines, opened, &clock, &mut serving)?;
    let mut connections_max = file_plan.clients;
    if let Some(server) = metrics_server {
        let of_metrics = metrics_connections_of(connections_max);
        connections_max -= of_metrics;
        tracing::info!(address = %server.address()?, "metrics are served on a separate address");
        let door = door.with_routes(metrics_alone(metrics::routes(metrics_of(&engines, &in_flight, &clock)))?);
        serving.spawn(server.serve_at_most(of_metrics, door, connection_threads.runtimes()));
    }
    if let Some((server, door)) = grpc_server.zip(grpc) {
        let of_grpc = grpc_connections_of(connections_max);
        connections_max -= of_grpc;
        tracing::info!(address = %server.address()?, "gRPC is served on a separate address");
        serving.spawn(server.serve_at_most(of_grpc, door, connection_threads.runtimes()));
    }
    if let Some(limits) = engines.limits_task.take() {
        limits.end_start().await;
        serving.spawn(limits.run());
    }
    let own_routes = applied_files::routes_behind(&door);
    serving.spawn(server.serve_at_most(connections_max, door, connection_threads.runtimes()));
    if let Err(error) = lock::publish_address(&config.data, &format!("http://{}", reachable(address))) {
        tracing::warn!(%error, "cannot write the address to the lock file: other commands will not find this gateway");
    }
    let tables = engines.tables.load();
    let model_to_try = environment.model_to_try();
    let welcome = Welcome {
        listening: address,
        reachable: reachable(address),
        data: &config.data,
        serves_requests: config.mode.serves_requests(),
        database: config.database.as_ref(),
        published: config.publishing.as_ref().map(|publishing| publishing.place(&config.data)),
        operator_key_file: operator_key_file(&config),
        dev: config.dev,
        has_models: tables.has_models(),
        first_model: model_to_try.as_deref(),
        providers: &environment.registered(),
        notes: &environment.notes(),
        from_environment: environment.is_on(),
    };
    welcome.lines().iter().for_each(|line| print_line(line));
    drop(tables);
    if let Some(applier) = applier {
        let (url, data) = (format!("http://{}", reachable(address)), config.data.clone());
        let own = OwnGateway { url, data, routes: own_routes };
        serving.spawn(applier.run(own));
    }
    let kept_imports = environment.kept_imports();
    if config.mode.serves_requests() {
        serving.spawn(environment.follow(imports));
    }
    signals.next().await;
    let content = content.map(|content| content.writer);
    let running = Running {
        engines,
        in_flight,
        abandoned,
        copies,
        breakers,
        content,
        pending_repairs,
        kept_imports,
        serving,
        connection_threads,
        exporting,
    };
    Ok(shut_down(&config, running, signals).await)
}

async fn bind(config: &Config, setting: Setting, address: &ListenAddress) -> Result<Server, WrongConfig> {
    let resolved = address.resolve().await.map_err(|error| config.resolve_failed(setting, address, &error))?;
    Server::bind(resolved).await.map_err(|error| config.listen_failed(setting, address, &error))
}

/// The file that has the operator's key, if one has.
fn operator_key_file(config: &Config) -> Option<PathBuf> {
    let named = variable(&ADMIN_KEY.file_variable()).map(PathBuf::from);
    named.or_else(|| config.admin_key.is_none().then(|| config.data.join(operator_key::FILE)))
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
