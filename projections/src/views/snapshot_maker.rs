//! Makes [snapshots](super::snapshots), on a thread of its own while a gateway runs. It reads the log as any reader does, and nobody
//! waits for it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use events::private;
use events::time::Clock;
use events_log::thread_priority;
use events_log::{Head, Log, LogError, Reader};
use tokio::sync::watch;

use super::StartError;
use super::replay::{ReplayRequest, Replayed, Watch, replay};
use super::replay_error::ReplayError;
use super::snapshots::{
    NoRoom, PassedOver, SNAPSHOTS_FOLDER, Snapshot, SnapshotBounds, clean, complete, in_folder, must_have_room,
    partial_file, remove, thin_out,
};

/// Snapshots that a folder has at most.
const COUNT_MAX: usize = 16;
/// How often it looks whether the log has grown.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pause after a failure, for example a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The pause after work, in multiples of the time that the work took: the thread takes at most a quarter of a core.
const PAUSE_PER_TIME_TAKEN: u32 = 3;
/// Where there are no snapshots yet, as in a long log, a step is this part of what is ahead.
const PART_OF_WHAT_IS_AHEAD: u64 = 4;

/// The lowest priority.
const NICENESS: i32 = 19;

/// When snapshots are made, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Events between two snapshots; not 0.
    pub every: u64,
    /// Bytes of all snapshots together.
    pub bytes_max: u64,
    /// The version of the program.
    pub version: &'static str,
}

/// The thread that makes snapshots. It ends soon after this is dropped.
pub struct SnapshotsThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SnapshotsThread {
    /// Ends the thread, and waits for it. Blocking.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that makes snapshots of the views panicked");
        }
    }
}

/// Makes snapshots in a data folder from now on.
pub fn start(
    log: &Log,
    dir: &Path,
    clock: Arc<dyn Clock>,
    settings: SnapshotSettings,
) -> Result<SnapshotsThread, StartError> {
    let (stop, stopped) = mpsc::channel();
    let folder = dir.join(SNAPSHOTS_FOLDER);
    let maker = Maker { folder, log: log.reader()?, head: log.watch_head(), clock, settings, stopped };
    let thread = std::thread::Builder::new().name("views-snapshots".to_owned()).spawn(move || maker.run())?;
    Ok(SnapshotsThread { stop, thread })
}

/// Builds the views as of a position that the log has in a file of their own in this folder. Blocking.
pub fn make(
    folder: &Path,
    log: &dyn Reader,
    request: &ReplayRequest<'_>,
    watch: &mut Watch<'_>,
) -> Result<(Snapshot, Replayed), ReplayError> {
    private::create_folder(folder)?;
    let partial = partial_file(folder, request.position);
    let made = build(&partial, log, request, watch);
    if made.is_err() {
        // What stays here is deleted at the next start.
        let _ = std::fs::remove_file(&partial);
    }
    made
}

fn build(
    partial: &Path,
    log: &dyn Reader,
    request: &ReplayRequest<'_>,
    watch: &mut Watch<'_>,
) -> Result<(Snapshot, Replayed), ReplayError> {
    let position = request.position;
    let replayed = replay(partial, log, request, watch)?;
    let snapshot = complete(partial, position, log, &mut || watch(position, position).is_continue())?;
    Ok((snapshot.ok_or(ReplayError::LogReplaced(position))?, replayed))
}

struct Maker {
    folder: PathBuf,
    log: Box<dyn Reader>,
    head: watch::Receiver<Head>,
    clock: Arc<dyn Clock>,
    settings: SnapshotSettings,
    /// Disconnected once the thread has to end.
    stopped: Receiver<()>,
}

/// The outcome of a snapshot.
enum Made {
    Kept,
    /// The snapshot alone is larger than all may be.
    TooLarge(u64),
}

/// A snapshot could not be made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
    #[error("the folder of the snapshots: {0}")]
    Folder(#[from] std::io::Error),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl Maker {
    fn run(self) {
        thread_priority::lower_by(NICENESS);
        if let Err(error) = clean(&self.folder, &*self.log) {
            tracing::warn!(%error, "old snapshots of the views cannot be deleted");
        }
        let mut wait = Duration::ZERO;
        while self.pauses(wait) {
            wait = match self.make_what_is_due() {
                Ok(None) => LOOK_AGAIN_AFTER,
                Ok(Some(Made::Kept)) => Duration::ZERO,
                Ok(Some(Made::TooLarge(bytes))) => {
                    tracing::warn!(
                        bytes,
                        "no more snapshots of the views are made: one is larger than all may be together"
                    );
                    return;
                }
                Err(MakeError::Replay(ReplayError::Stopped)) => return,
                // Nothing but another version of the program can apply the event.
                Err(MakeError::Replay(error @ ReplayError::Incomplete { .. })) => {
                    tracing::warn!(%error, "no more snapshots of the views are made");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "a snapshot of the views could not be made: trying again in a minute");
                    RETRY_AFTER
                }
            };
        }
    }

    /// Pauses. Returns false if the thread has to end.
    fn pauses(&self, pause: Duration) -> bool {
        matches!(self.stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
    }

    fn make_what_is_due(&self) -> Result<Option<Made>, MakeError> {
        let newest = self.newest_of_this_log()?;
        let (position, bytes) = newest.map_or((0, 0), |newest| (newest.position, newest.bytes()));
        let head = self.head.borrow().position;
        let Some(next) = next_position(position, head, self.settings.every) else { return Ok(None) };
        // It may be twice as large as the one that it begins with.
        must_have_room(&self.folder, bytes.saturating_mul(2))?;
        self.make(next).map(Some)
    }

    fn make(&self, position: u64) -> Result<Made, MakeError> {
        let mut began_at = self.clock.monotonic();
        let mut watch = |_, _| {
            let taken = self.clock.monotonic().saturating_sub(began_at);
            let goes_on = self.pauses(taken * PAUSE_PER_TIME_TAKEN);
            began_at = self.clock.monotonic();
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let request = ReplayRequest {
            position,
            as_of: "a snapshot",
            version: self.settings.version,
            made_at: self.clock.now(),
            snapshots: &[&self.folder],
        };
        let (snapshot, replayed) = make(&self.folder, &*self.log, &request, &mut watch)?;
        for PassedOver { file, reason } in replayed.passed_over {
            tracing::warn!(file = %file.display(), %reason, "a snapshot cannot be used");
            if reason.is_final() {
                remove(&file)?;
            }
        }
        let (bytes, bytes_max) = (snapshot.bytes(), self.settings.bytes_max);
        tracing::info!(position, bytes, began_at = replayed.began_at, "made a snapshot of the views");
        if bytes > bytes_max {
            // Those before it are smaller, and stay.
            remove(&snapshot.path)?;
            return Ok(Made::TooLarge(bytes));
        }
        thin_out(&self.folder, SnapshotBounds { count: COUNT_MAX, bytes: bytes_max })?;
        Ok(Made::Kept)
    }

    /// The newest snapshot of this log. Those of another one are of no use: it was restored, or the folder was.
    fn newest_of_this_log(&self) -> Result<Option<Snapshot>, MakeError> {
        for snapshot in in_folder(&self.folder)?.into_iter().rev() {
            if snapshot.is_of(&*self.log)? {
                return Ok(Some(snapshot));
            }
        }
        Ok(None)
    }
}

/// The position of the next snapshot, a multiple of `every`; `None` if the log has not reached it.
fn next_position(newest: u64, head: u64, every: u64) -> Option<u64> {
    let done = newest / every;
    let ahead = (head / every).saturating_sub(done);
    (ahead > 0).then(|| (done + (ahead / PART_OF_WHAT_IS_AHEAD).max(1)) * every)
}

#[cfg(test)]
mod tests {
    use super::next_position;

    #[test]
    fn positions_are_multiples_and_a_long_log_is_taken_in_steps_that_get_shorter() {
        assert_eq!([0, 9].map(|head| next_position(0, head, 10)), [None, None]);
        assert_eq!([10, 19, 29, 49].map(|head| next_position(0, head, 10)), [Some(10); 4]);
        assert_eq!(next_position(13, 29, 10), Some(20), "from a snapshot that another setting has left");
        assert_eq!(next_position(40, 30, 10), None, "of a log that was restored");
        let (mut at, mut positions) = (0, Vec::new());
        while let Some(next) = next_position(at, 1000, 10) {
            (at, positions) = (next, [positions, vec![next]].concat());
        }
        assert_eq!(positions[..4], [250, 430, 570, 670]);
        assert_eq!((positions.last(), positions.len()), (Some(&1000), 17));
    }
}
