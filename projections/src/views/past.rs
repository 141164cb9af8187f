//! The views as of earlier positions, for queries that ask for one: each position in a file of its own, which a [`replay`]
//! builds on a thread of its own, one after the other, and which stays for the next queries of that position.
//!
//! A query that finds no file waits for it. If that takes too long, it is refused, and the file is there when it is repeated. Tenants
//! share the thread and the files, and the platform comes before them: `queue.rs` says what is built next, `kept_files.rs` which few files
//! stay, and `failures.rs` what is not tried again for a while. `cache.rs` holds the files, and who waits for them.
//!
//! The files are named as [snapshots](super::snapshots), so that a build begins with the nearest one of either folder.
//!
//! [`replay`]: super::replay::replay

mod build_error;
mod cache;
mod failures;
mod holders;
mod kept_files;
mod queue;

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::time::Clock;
use events_log::concurrency::QueryPermit;
use events_log::thread_priority;
use events_log::{Log, Reader};

use super::pool::Pool;
use super::replay::ReplayRequest;
use super::snapshot_maker::make;
use super::snapshots::{NoRoom, PassedOver, SNAPSHOTS_FOLDER, Snapshot, must_have_room, partial_file, remove};
use super::{AsOf, Question, StartError, VIEWS_FILE, ViewsError};
use crate::tables::Tables;

use build_error::BuildError;
use cache::PastViewsCache;

pub use cache::PastViewsHandle;

/// The folder with the files, in the data folder. It is emptied at the start.
pub const PAST_FOLDER: &str = "as-of";
/// The priority below the process's own, as that of the threads that queries run on.
const NICENESS: i32 = 10;
/// How often the thread looks whether it has to end.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The views as of an earlier position. The file is deleted with the last user of this.
pub struct PastViews {
    /// When the event at the position was recorded; `None` at position 0.
    recorded_at: Option<DateTime<Utc>>,
    snapshot: Snapshot,
    pool: Arc<Pool>,
    /// The tables of providers, their keys and prices as of the position.
    provider_tables: Arc<Tables>,
}

impl PastViews {
    pub const fn position(&self) -> u64 {
        self.snapshot.position
    }

    pub const fn recorded_at(&self) -> Option<DateTime<Utc>> {
        self.recorded_at
    }

    fn bytes(&self) -> u64 {
        self.snapshot.bytes()
    }

    /// Providers, their keys and prices as of the position.
    pub fn provider_tables(&self) -> Arc<Tables> {
        Arc::clone(&self.provider_tables)
    }

    /// Answers as [`super::ViewsHandle::ask`] would have at the position.
    pub async fn ask<Q: Question>(&self, permit: &QueryPermit, question: Q) -> Result<AsOf<Q::Answer>, ViewsError> {
        self.pool.ask(permit, question).await
    }
}

impl Drop for PastViews {
    fn drop(&mut self) {
        // No other one has this name: when it was made is in it, and so in the digest of its content. What stays here is deleted at
        // the next start.
        let _ = fs::remove_file(&self.snapshot.path);
    }
}

/// The thread that builds them. It ends soon after this is dropped.
pub struct PastViewsThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl PastViewsThread {
    /// Ends the thread, and waits for it. Blocking.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that builds views as of earlier positions panicked");
        }
    }
}

/// Empties the folder, and starts the thread. `version` is that of the program. Blocking.
pub fn start(
    log: &Log,
    dir: &Path,
    clock: Arc<dyn Clock>,
    version: &'static str,
) -> Result<(PastViewsHandle, PastViewsThread), StartError> {
    let folder = dir.join(PAST_FOLDER);
    match fs::remove_dir_all(&folder) {
        // What stays is of no harm: whatever it is, it is named by what it has in it.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, "old files with views as of earlier positions cannot be deleted");
        }
        _ => {}
    }
    let (handle, (stop, stopped)) = (PastViewsHandle::new(Arc::clone(&clock)), mpsc::channel());
    let builder = PastBuilder {
        snapshots: dir.join(SNAPSHOTS_FOLDER),
        views: dir.join(VIEWS_FILE),
        folder,
        log: log.reader()?,
        clock,
        version,
        cache: handle.cache(),
        stopped,
    };
    let thread = std::thread::Builder::new().name("views-as-of".to_owned()).spawn(move || builder.run())?;
    Ok((handle, PastViewsThread { stop, thread }))
}

struct PastBuilder {
    folder: PathBuf,
    snapshots: PathBuf,
    /// The file with the newest views, which earlier ones are hardly larger than.
    views: PathBuf,
    log: Box<dyn Reader>,
    clock: Arc<dyn Clock>,
    version: &'static str,
    cache: Arc<PastViewsCache>,
    /// Disconnected once the thread has to end.
    stopped: Receiver<()>,
}

impl Drop for PastBuilder {
    fn drop(&mut self) {
        // Whatever ends the thread, nobody waits for it in vain.
        self.cache.close();
    }
}

impl PastBuilder {
    fn run(self) {
        thread_priority::lower_by(NICENESS);
        while !self.is_stopped() {
            if let Some(position) = self.cache.next(LOOK_AGAIN_AFTER) {
                self.build(position);
            }
        }
    }

    fn is_stopped(&self) -> bool {
        matches!(self.stopped.try_recv(), Err(TryRecvError::Disconnected))
    }

    fn build(&self, position: u64) {
        // What makes one build panic says nothing about the next one, and nothing here is changed halfway.
        let built = catch_unwind(AssertUnwindSafe(|| self.try_build(position))).unwrap_or_else(|_| {
            // What stays here is deleted at the next start.
            let _ = remove(&partial_file(&self.folder, position));
            Err(BuildError::Panicked)
        });
        let built = built.map_err(|error| {
            if !self.is_stopped() {
                tracing::warn!(position, %error, "the views as of an earlier position cannot be built");
            }
            error.for_queries(position)
        });
        self.cache.put(built.map(Arc::new));
    }

    fn try_build(&self, position: u64) -> Result<PastViews, BuildError> {
        self.make_room()?;
        let request = ReplayRequest {
            position,
            as_of: "a query",
            version: self.version,
            made_at: self.clock.now(),
            snapshots: &[&self.folder, &self.snapshots],
        };
        let mut no_room = None;
        let mut watch = |_, _| {
            // Others fill the disk as well.
            no_room = must_have_room(&self.folder, 0).err();
            if self.is_stopped() || no_room.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let made = make(&self.folder, &*self.log, &request, &mut watch);
        if let Some(no_room) = no_room {
            return Err(no_room.into());
        }
        let (snapshot, replayed) = made?;
        for PassedOver { file, reason } in
            replayed.passed_over.iter().filter(|passed_over| passed_over.reason.is_final())
        {
            tracing::warn!(file = %file.display(), %reason, "a snapshot cannot be used");
        }
        let pool = Arc::new(Pool::of_file(&snapshot.path));
        let recorded_at = replayed.recorded_at;
        // From here on, the file is deleted with these.
        let mut views = PastViews { recorded_at, snapshot, pool, provider_tables: Arc::default() };
        views.provider_tables = Arc::new(Tables::of_providers_at(&*self.log, position)?);
        let (bytes, began_at) = (views.bytes(), replayed.began_at);
        tracing::info!(position, bytes, began_at, "built the views as of an earlier position");
        Ok(views)
    }

    /// Deletes others if the disk has no room for one more, and has it then.
    fn make_room(&self) -> Result<(), BuildError> {
        let bytes = fs::metadata(&self.views)?.len();
        match must_have_room(&self.folder, bytes) {
            Err(NoRoom::DiskNearlyFull { free, needed }) if self.cache.drop_to_free(needed.saturating_sub(free)) => {
                Ok(must_have_room(&self.folder, bytes)?)
            }
            checked => Ok(checked?),
        }
    }
}
