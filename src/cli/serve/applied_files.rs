//! Applies files of configuration while the gateway runs: at its start, at `SIGHUP`, and, if that is asked, whenever they change.
//! It sends the gateway itself the requests that `ledgerway apply` sends, so that both do the same, on the record.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use events::log::Log;
use events::role::{Role, RoleStatus};
use prometheus::{IntGauge, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::ServeError;
use crate::cli::apply::{self, files};
use crate::cli::{Failure, single_threaded_runtime};
use crate::config::AppliedFiles;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After files that could not be applied.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What applies the files of this process.
pub struct FilesApplier {
    settings: AppliedFiles,
    log: Log,
    hangup: Signal,
    failing: IntGauge,
}

/// The gateway that the files are applied to: this one.
#[derive(Clone)]
pub struct OwnGateway {
    pub url: String,
    /// Its data folder, which may have its key.
    pub data: PathBuf,
}

/// The files as far as a look shows: which there are, how long they are, and when they were changed.
type FileStates = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl FilesApplier {
    /// From here on, `SIGHUP` does not end the process.
    pub fn new(settings: AppliedFiles, log: &Log, registry: &Registry) -> Result<Self, ServeError> {
        let failing =
            IntGauge::new("ledgerway_applied_files_failing", "1 while the files of LEDGERWAY_APPLY cannot be applied")?;
        registry.register(Box::new(failing.clone()))?;
        Ok(Self { settings, log: log.clone(), hangup: signal(SignalKind::hangup())?, failing })
    }

    /// Never ends.
    pub async fn run(mut self, gateway: OwnGateway) {
        let mut last_failure = None;
        loop {
            let before = self.states();
            let applied = self.apply(&gateway).await;
            self.failing.set(applied.is_err().into());
            match applied {
                Ok(done) => {
                    tracing::info!(done, files = %self.settings.path.display(), "the files of configuration are applied");
                    last_failure = None;
                }
                Err(why) if last_failure.as_ref() != Some(&why) => {
                    tracing::error!(why, "cannot apply the files of configuration: trying again");
                    last_failure = Some(why);
                }
                Err(_) => {}
            }
            self.wait(before, last_failure.is_some()).await;
        }
    }

    /// One process at a time, so that two do not make the same resource.
    async fn apply(&self, gateway: &OwnGateway) -> Result<String, String> {
        let lease = self.log.lease(&RoleStatus::new(Role::Configuration)).wait().await;
        let (settings, gateway) = (self.settings.clone(), gateway.clone());
        // Files are read, and what they become does not move between threads.
        let applied = tokio::task::spawn_blocking(move || apply_files(&settings, &gateway)).await;
        lease.release().await;
        match applied {
            Ok(applied) => applied.map_err(|failure| failure.to_string()),
            Err(panicked) => Err(panicked.to_string()),
        }
    }

    /// Waits until the files are to be applied again: for a signal; for a change since `before`, if changes are noticed; and after a
    /// failure, for a while.
    async fn wait(&mut self, before: FileStates, has_failed: bool) {
        let Self { settings, hangup, .. } = self;
        tokio::select! {
            _ = hangup.recv() => tracing::info!("SIGHUP: applying the files of configuration"),
            () = changed(&settings.path, before), if settings.hot_reload => {}
            () = sleep(RETRY_AFTER), if has_failed => {}
        }
    }

    fn states(&self) -> FileStates {
        states(&self.settings.path)
    }
}

fn apply_files(settings: &AppliedFiles, OwnGateway { url, data }: &OwnGateway) -> Result<String, Failure> {
    single_threaded_runtime()?.block_on(apply::apply_to(url, data, &settings.path, settings.prune.as_ref()))
}

/// Waits until the files differ from `before`, and for two looks are the same: one that is still being written is left alone.
async fn changed(path: &Path, before: FileStates) {
    let mut seen = before.clone();
    loop {
        sleep(LOOK_EVERY).await;
        let now = states(path);
        if now == seen && now != before {
            return;
        }
        seen = now;
    }
}

/// What cannot be read is left out: applying the files says why.
fn states(path: &Path) -> FileStates {
    let of = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok()?;
        Some((path, metadata.len(), metadata.modified().ok()))
    };
    files::paths(path).unwrap_or_default().into_iter().filter_map(of).collect()
}
