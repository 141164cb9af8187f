//! The engines beside the requests: the log, the tables, the views and the counters.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use access_control::limits::{
    RateLimiter, SharedLimiter, SharedLimiterParts, SharedLimitsError, SharedLimitsTask, node_that_shares,
};
use access_control::rollup::AccessRollup;
use access_log::AccessLog;
use analysts::Copier;
use blocking_work::STARTING;
use cli::settings::WrongConfig;
use cli::{moved_ledger, variable};
use command::body::memory::{BodyBounds, BodyMemory};
use events::hex;
use events::ids::IdMaker;
use events::private::{self, create_folder};
use events::time::Clock;
use events_log::lock::{FolderError, FolderLock};
use events_log::role::{Role, RoleStatus};
use events_log::{DatabaseAddress, LEDGER_FILE, LimitSharing, LimitSharingSign, Log, LogOptions, OpenError};
use object_storage::{Objects, Open};
use projections::BackgroundTask;
use projections::figures::{self, Figures};
use projections::tables::{self, TablesHandle};
use projections::views::past::{self, PastViewsHandle, PastViewsThread};
use projections::views::snapshot_maker::{self, SnapshotSettings, SnapshotsThread};
use projections::views::{self, CopiedPosition, NodeViews, VIEWS_FILE, View, ViewHandles, ViewsHandle, ViewsThread};
use prometheus::Registry;
use provider_client::{LoopMark, UpstreamClients};

use super::ServeError;
use crate::config::{Config, LimitCounts};
use crate::in_flight::InFlight;
use crate::metrics::{BodyMemories, Metrics, ProcessSampler};

/// The copy for analysts that earlier versions kept in a data folder.
const FORMER_COPY: &str = "analytics.db";

const SETUP_VIEWS_WAIT_MAX: Duration = Duration::from_secs(1);

/// The engines beside the requests, in the order of their start.
pub struct Engines {
    pub log: Log,
    /// The lock of a folder whose ledger is in a database: its views have one writer. The embedded log has a folder's lock itself.
    pub folder: Option<FolderLock>,
    pub tables: TablesHandle,
    pub tables_task: BackgroundTask,
    /// `None` if this node keeps none.
    pub views: Option<KeptViews>,
    pub access: Arc<AccessRollup>,
    /// `None` if there is none.
    pub access_log: Option<AccessLog>,
    pub limits: Arc<RateLimiter>,
    /// `None` if this process counts rate limits alone; taken when it begins to run.
    pub limits_task: Option<SharedLimitsTask>,
    pub registry: Registry,
    pub figures: Figures,
    pub figures_task: BackgroundTask,
    pub memories: BodyMemories,
    /// The clients of providers, for requests and for what local servers are asked.
    pub upstreams: Arc<UpstreamClients>,
    /// The roles that this process may have for all nodes.
    pub roles: Vec<RoleStatus>,
    /// The object store of the published log; `None` if the log is not published.
    pub published: Option<Open<Objects>>,
}

pub async fn start_engines(
    config: &Config,
    roles: Vec<RoleStatus>,
    clock: &Arc<dyn Clock>,
    ids: &IdMaker,
    upstreams_max: usize,
) -> Result<Engines, ServeError> {
    let (data, engines_clock) = (config.data.clone(), Arc::clone(clock));
    let options =
        LogOptions::new(Arc::clone(clock)).with_unknown_usage(config.unknown_usage).with_hold_ttl(config.hold_ttl);
    let sign = LimitSharingSign::default();
    let options = if config.mode.serves_requests() {
        let is_shared = matches!(config.limit_counts, LimitCounts::Shared(_));
        sign.show(if is_shared { LimitSharing::Starting } else { LimitSharing::Off });
        options.with_limit_sharing(sign.clone())
    } else {
        options.without_requests()
    };
    let (database, node) = (config.database.clone(), hex::lower(&ids.bytes::<8>()));
    check_data_folder(config)?;
    if database.is_some() {
        tracing::info!(node_id = node, "the id of this node among those that share the database");
    }
    let copied = roles.iter().any(|status| status.role() == Role::Analysts).then(CopiedPosition::default);
    let (keeps_views, snapshots) = (config.views, config.snapshots);
    let node_name = node.clone();
    let opened = STARTING.run(None, move || {
        let (log, folder) = match database {
            None => (Log::open(&data, options)?, None),
            Some(database) => {
                let folder = lock_folder(&data)?;
                (Log::open_shared(&database, &node, options)?, Some(folder))
            }
        };
        delete_former_copy(&data);
        let views =
            keeps_views.then(|| KeptViews::start(&log, &data, &engines_clock, copied, snapshots)).transpose()?;
        Ok::<_, ServeError>((log, folder, views))
    });
    let (log, folder, views) = opened.await?.map_err(|error| open_failure(config, error))?;
    let (tables, tables_task) = tables::start(&log).await?;
    let access = Arc::new(AccessRollup::new(log.clone(), Arc::clone(clock)));
    let registry = Registry::new();
    let start_access_log = |settings| AccessLog::start(settings, Arc::clone(clock), &registry);
    let access_log = config.access_log.as_ref().map(start_access_log).transpose()?;
    let (figures, figures_task) = figures::start(&log, &tables, &registry)?;
    let place = LimiterPlace { log: &log, node: node_name, sign };
    let (limits, limits_task) = start_limits(config, place, clock, &registry).await?;
    let memories = BodyMemories {
        inference: BodyMemory::new(config.bodies),
        answers: BodyMemory::new(config.answers),
        administration: BodyMemory::new(BodyBounds::of_administration()),
    };
    let upstreams = Arc::new(UpstreamClients::new(LoopMark::new(ids.bytes()), upstreams_max)?);
    Ok(Engines {
        log,
        folder,
        tables,
        tables_task,
        views,
        access,
        access_log,
        limits,
        limits_task,
        registry,
        figures,
        figures_task,
        memories,
        upstreams,
        roles,
        published: None,
    })
}

/// The views of a node, and the thread that writes them.
pub struct KeptViews {
    handle: ViewsHandle,
    thread: ViewsThread,
    /// Those as of earlier positions, which queries ask for.
    past: (PastViewsHandle, PastViewsThread),
    /// `None` if no snapshots of them are made.
    snapshots: Option<SnapshotsThread>,
    /// Up to where they are copied for analysts; `None` if they are not.
    copied: Option<CopiedPosition>,
}

impl KeptViews {
    fn start(
        log: &Log,
        data: &Path,
        clock: &Arc<dyn Clock>,
        copied: Option<CopiedPosition>,
        snapshots: Option<SnapshotSettings>,
    ) -> Result<Self, views::StartError> {
        let (handle, thread) = match &copied {
            Some(copied) => views::start_copied(log, data, Arc::clone(clock), copied.clone())?,
            None => views::start(log, data, Arc::clone(clock))?,
        };
        let past = past::start(log, data, Arc::clone(clock), env!("CARGO_PKG_VERSION"))?;
        let start = |settings| snapshot_maker::start(log, data, Arc::clone(clock), settings);
        let snapshots = snapshots.map(start).transpose()?;
        Ok(Self { handle, thread, past, snapshots, copied })
    }

    /// Waits until they show what this process has recorded so far, so that the first reader misses nothing of it; a second at
    /// most, since the views of a log that is being read again take longer.
    pub async fn wait_for_setup(&self, recorded: u64) {
        let wait = async {
            for (view, status) in View::ALL.iter().zip(self.handle.status()) {
                // A view that has stopped never has it, and says so where it is read.
                if status.error.is_some() {
                    continue;
                }
                let _ = self.handle.wait_for(*view, recorded).await;
            }
        };
        if tokio::time::timeout(SETUP_VIEWS_WAIT_MAX, wait).await.is_err() {
            tracing::info!(position = recorded, "the views do not show all that was recorded at the start yet");
        }
    }

    /// Stops what writes them. Blocking.
    fn stop(self) {
        if let Some(snapshots) = self.snapshots {
            snapshots.stop();
        }
        self.past.1.stop();
        self.thread.stop();
    }

    /// Their copy in this database; `None` if they are not copied.
    pub fn copy(&self, database: DatabaseAddress) -> Option<Copier> {
        Some(Copier { views: self.handle.clone(), copied: self.copied.clone()?, database })
    }
}

impl Engines {
    pub fn node_views(&self) -> NodeViews {
        NodeViews::new(
            self.views.as_ref().map(|views| ViewHandles { now: views.handle.clone(), past: views.past.0.clone() }),
        )
    }
}

/// Refuses a data folder that is not one of the configured ledger.
pub fn check_data_folder(config: &Config) -> Result<(), WrongConfig> {
    let data = &config.data;
    let has_ledger = data.join(LEDGER_FILE).exists();
    if let Some(database) = &config.database {
        return if has_ledger { Err(config.two_ledgers(database)) } else { Ok(()) };
    }
    if let Some(moved_to) = moved_ledger::moved_to(data).map_err(|error| config.data_unusable(data, &error))? {
        return Err(config.moved_ledger(&moved_to, &moved_ledger::marker(data)));
    }
    if data.join(VIEWS_FILE).exists() && !has_ledger { Err(config.views_without_ledger()) } else { Ok(()) }
}

/// Deletes the copy for analysts that earlier versions kept in a data folder. Nothing follows the log there any more.
fn delete_former_copy(data: &Path) {
    let copy = data.join(FORMER_COPY);
    if !copy.is_file() {
        return;
    }
    // The database last: while it is there, the next start tries again.
    let mut files = private::BESIDE_A_DATABASE.into_iter().chain([""]).map(|suffix| private::beside(&copy, suffix));
    let deleted = files.try_for_each(|file| match std::fs::remove_file(&file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    match deleted {
        Ok(()) => tracing::info!("deleted {FORMER_COPY}: what analysts read is in {VIEWS_FILE} now, see docs/sql.md"),
        Err(error) => tracing::warn!(%error, "{FORMER_COPY} is not used any more, and cannot be deleted"),
    }
}

/// Where limits are counted.
struct LimiterPlace<'a> {
    log: &'a Log,
    node: String,
    sign: LimitSharingSign,
}

/// The rate limits, with what must run for them if their counts are shared.
async fn start_limits(
    config: &Config,
    LimiterPlace { log, node, sign }: LimiterPlace<'_>,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
) -> Result<(Arc<RateLimiter>, Option<SharedLimitsTask>), ServeError> {
    let defaults = config.default_limits;
    let alone = || Ok((Arc::new(RateLimiter::new(Arc::clone(clock), defaults)), None));
    if !config.mode.serves_requests() {
        // A process that limits nothing would only take shares from those that do.
        return alone();
    }
    let address = match &config.limit_counts {
        LimitCounts::Shared(address) => address.clone(),
        LimitCounts::AloneBesideOthers => {
            if log.is_shared() {
                tracing::warn!(
                    "LEDGERWAY_REDIS_URL is off: beside nodes with a Redis, this one admits every rate limit once more"
                );
            }
            return alone();
        }
        LimitCounts::Alone => match node_that_shares(log, &node).await? {
            Some(sharing) => return Err(Config::redis_missing(&sharing).into()),
            None => return alone(),
        },
    };
    let parts = SharedLimiterParts { node, address, sign, log: log.clone(), clock: Arc::clone(clock) };
    let (limiter, task) = SharedLimiter::start(parts, registry).await.map_err(|error| match error {
        SharedLimitsError::Unusable(error) => Config::redis_unusable(&error, variable).into(),
        error => ServeError::from(error),
    })?;
    Ok((Arc::new(RateLimiter::shared(Arc::clone(clock), defaults, limiter)), Some(task)))
}

pub fn metrics_of(engines: &Engines, in_flight: &InFlight, clock: &Arc<dyn Clock>) -> Metrics {
    Metrics {
        registry: engines.registry.clone(),
        figures: engines.figures.clone(),
        log: engines.log.clone(),
        views: engines.node_views(),
        tables: engines.tables.clone(),
        in_flight: in_flight.clone(),
        clock: Arc::clone(clock),
        process: ProcessSampler::default(),
        memories: engines.memories.clone(),
        roles: engines.roles.clone(),
    }
}

/// Stops the engines in the reverse order of writes: the log last.
pub async fn stop_engines(engines: Engines) {
    let Engines { log, folder, tables_task, views, access, access_log, figures_task, .. } = engines;
    access.close().await;
    tables_task.stop().await;
    figures_task.stop().await;
    let stopped = STARTING.run(None, move || {
        if let Some(access_log) = access_log {
            access_log.stop();
        }
        if let Some(views) = views {
            views.stop();
        }
        log.close();
        drop(folder);
    });
    if stopped.await.is_err() {
        tracing::error!("the engines did not stop cleanly");
    }
}

/// Creates the folder if it is missing, and keeps other processes out of it.
fn lock_folder(data: &Path) -> Result<FolderLock, OpenError> {
    create_folder(data).map_err(|source| FolderError::UnusableReason { path: data.to_owned(), source })?;
    Ok(FolderLock::take(data)?)
}

/// The failure to open the log or the views. A folder that cannot be used is wrong configuration; what is wrong inside it
/// is not.
fn open_failure(config: &Config, error: ServeError) -> ServeError {
    match error.downcast_ref() {
        Some(OpenError::Folder(FolderError::UnusableReason { path, source })) => {
            config.data_unusable(path, source).into()
        }
        _ => error,
    }
}
