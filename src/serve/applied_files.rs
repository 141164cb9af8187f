//! Applies files of configuration while the gateway runs: at its start, at `SIGHUP`, and, if that is asked, whenever they change.
//! It puts the requests that `ledgerway apply` sends through the door of this process, so that both do the same, on the record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use blocking_work::CONFIGURATION;
use cli::apply::files::{self, SourceFile};
use cli::apply::{OwnGateway, OwnRoutes};
use cli::{Failure, apply};
use events_log::role::{Role, RoleStatus};
use events_log::{Lease, Log};
use projections::figures::registered;
use prometheus::{IntGauge, Registry};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::config::AppliedFiles;
use crate::http::{ConnectionRequests, Door, RequestHandler};

/// Between two looks at the files, and between two readings that have to agree.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After files that could not be applied, for the first time; then twice as long each time.
const RETRY_AFTER: Duration = Duration::from_secs(30);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30 * 60);
/// How often files are read until two readings agree.
const READINGS_MAX: usize = 30;
/// How long a node waits until it knows the events of others.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

/// The task that applies the files of this process.
pub struct FilesApplier {
    settings: AppliedFiles,
    log: Log,
    hangup: Signal,
    failing: IntGauge,
}

/// A failure that has been logged, and how long to wait before the next attempt.
struct LastFailure {
    why: String,
    retry_after: Duration,
}

/// The files as far as a look shows: which there are, how long they are, and when they were changed.
type FileStates = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// Catches `SIGHUP`, which does not end the process from here on.
pub fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Shows whether files cannot be applied, also of a process that applies none.
pub fn register(registry: &Registry) -> Result<IntGauge, prometheus::Error> {
    let help = "1 while the files of LEDGERWAY_APPLY cannot be applied";
    registered(registry, IntGauge::new("ledgerway_applied_files_failing", help)?)
}

impl FilesApplier {
    /// `failing` is what [`register`] returned.
    pub fn new(settings: AppliedFiles, hangup: Signal, log: &Log, failing: IntGauge) -> Self {
        Self { settings, log: log.clone(), hangup, failing }
    }

    /// Never ends.
    pub async fn run(mut self, gateway: OwnGateway) {
        let mut last_failure: Option<LastFailure> = None;
        loop {
            let before = states(&self.settings.path);
            let applied = self.apply(&gateway).await;
            self.failing.set(applied.is_err().into());
            last_failure = match applied {
                Ok(done) => {
                    tracing::info!(done, files = %self.settings.path.display(), "the files of configuration are applied");
                    None
                }
                Err(why) => Some(LastFailure::after(last_failure, why)),
            };
            self.wait(before, last_failure.as_ref().map(|failure| failure.retry_after)).await;
        }
    }

    /// One process at a time, so that two do not make the same resource; and after what others have recorded is known here.
    async fn apply(&self, gateway: &OwnGateway) -> Result<String, String> {
        let lease = self.log.lease(&RoleStatus::new(Role::Configuration)).wait().await;
        let applied = self.apply_under(&lease, gateway).await;
        lease.release().await;
        applied
    }

    async fn apply_under(&self, lease: &Lease, gateway: &OwnGateway) -> Result<String, String> {
        if self.log.is_shared() {
            let caught_up = timeout(CATCH_UP_MAX, self.log.wait_for_head_check()).await;
            caught_up.map_err(|_| "what other gateways have recorded is not known yet".to_owned())?;
        }
        let may_go_on = Arc::new(AtomicBool::new(true));
        // Files are read there, and what they become does not move between threads.
        let mut applying = {
            let (settings, gateway, may_go_on) = (self.settings.clone(), gateway.clone(), Arc::clone(&may_go_on));
            CONFIGURATION.turn(None).await.start(move || apply_files(&settings, &gateway, &may_go_on))
        };
        let applied = tokio::select! {
            applied = &mut applying => applied,
            () = lease.lost() => {
                may_go_on.store(false, Ordering::Relaxed);
                applying.await
            }
        };
        match applied {
            Ok(applied) => applied.map_err(|failure| failure.to_string()),
            Err(panicked) => Err(panicked.to_string()),
        }
    }

    /// Waits until the files are to be applied again: for a signal; for a change since `before`, if changes are noticed; and after a
    /// failure, for a while.
    async fn wait(&mut self, before: FileStates, retry_after: Option<Duration>) {
        let Self { settings, hangup, .. } = self;
        tokio::select! {
            _ = hangup.recv() => tracing::info!("SIGHUP: applying the files of configuration"),
            () = changed(&settings.path, before), if settings.hot_reload => {}
            () = sleep(retry_after.unwrap_or_default()), if retry_after.is_some() => {}
        }
    }
}

impl LastFailure {
    /// Logs the failure if it is news.
    fn after(last: Option<Self>, why: String) -> Self {
        let retry_after = match last {
            Some(last) if last.why == why => last.retry_after.saturating_mul(2).min(RETRY_AFTER_MAX),
            Some(_) | None => {
                tracing::error!(why, "cannot apply the files of configuration: trying again");
                RETRY_AFTER
            }
        };
        Self { why, retry_after }
    }
}

/// The routes behind a door, for requests of this process, which come from this machine.
pub fn routes_behind(door: &Door) -> OwnRoutes {
    let door = door.clone();
    Arc::new(move |request: http::Request<Vec<u8>>| {
        let own = Arc::new(ConnectionRequests::of_this_process());
        let answer = door.clone().answer(request.map(Body::from), own);
        Box::pin(async move {
            let (parts, body) = answer.await.into_parts();
            // Without its end, a body is no JSON, which is said where it is read.
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            http::Response::from_parts(parts, body.into())
        })
    })
}

fn apply_files(settings: &AppliedFiles, gateway: &OwnGateway, may_go_on: &AtomicBool) -> Result<String, Failure> {
    let files = read_twice(&settings.path)?;
    let may_go_on = || may_go_on.load(Ordering::Relaxed);
    // What the routes begin may last longer than their answers, so it runs where other requests do.
    Handle::current().block_on(apply::apply_to(gateway, &files, settings.prune.as_ref(), may_go_on))
}

/// Reads the files until two readings in a row agree: one that is still being written, or is replaced just now, would say that what
/// it does not have yet is to be deleted.
fn read_twice(path: &Path) -> Result<Vec<SourceFile>, Failure> {
    let read = || files::read(path).map_err(Failure::NotBegun);
    let mut last = read()?;
    for _ in 0..READINGS_MAX {
        std::thread::sleep(LOOK_EVERY);
        let now = read()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    Err(Failure::NotBegun(format!("{} changes all the time", path.display())))
}

/// Waits until the files differ from `before`.
async fn changed(path: &Path, before: FileStates) {
    while states(path) == before {
        sleep(LOOK_EVERY).await;
    }
}

/// The states of the files. A file that cannot be read is left out: applying the files says why.
fn states(path: &Path) -> FileStates {
    let of = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok()?;
        Some((path, metadata.len(), metadata.modified().ok()))
    };
    files::paths(path).unwrap_or_default().into_iter().filter_map(of).collect()
}
