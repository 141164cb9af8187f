//! The load: concurrent submitters, each with one request after another, admitted and then ended once that is durable.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::ids::{IdMaker, SystemRandom};
use events::ledger::{Charge, Outcome};
use events::log::{Admitted, Log, LogOptions};
use events::time::SystemClock;
use harness::process::{Processes, bytes_written_by_threads, cpu_of_threads};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::budgets::{Customers, Spenders};
use crate::request::COST;

const WRITER: &str = "ledger-writer";
/// A page of the write-ahead log with its frame header.
const FRAME_BYTES: u64 = 4096 + 24;
/// The time before counting starts, in which statements are prepared and files grow.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// Counts and times of one process over a measured period.
#[derive(Default, Serialize, Deserialize)]
pub struct Measured {
    pub took: Duration,
    pub waits: Waits,
    /// The writer's counters in that time.
    pub batches: u64,
    pub jobs: u64,
    pub events: u64,
    pub commit_micros: u64,
    pub decided_again: u64,
    pub writer_cpu: Duration,
    /// The CPU time of all threads.
    pub all_cpu: Duration,
    /// Pages that the writer wrote, including those moved out of the write-ahead log.
    pub pages: u64,
}

/// The waits for commits, in microseconds.
#[derive(Default, Serialize, Deserialize)]
pub struct Waits {
    pub admitted: Vec<u64>,
    pub ended: Vec<u64>,
}

impl Waits {
    pub fn add(&mut self, other: Self) {
        self.admitted.extend(other.admitted);
        self.ended.extend(other.ended);
    }
}

/// The runtime of the submitters.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// Requests to a log in a folder.
pub fn measure(root: &Path, customers: Customers, submitters: usize, time: Duration) -> io::Result<Measured> {
    let folder = tempfile::tempdir_in(root)?;
    runtime()?.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let log = Log::open(folder.path(), LogOptions::new(clock.clone())).map_err(io::Error::other)?;
        let ids = IdMaker::new(clock, Arc::new(SystemRandom));
        let spenders = Arc::new(Spenders::open(&log, ids, customers).await);
        let measured = requests(&log, &spenders, submitters, time).await;
        log.close();
        Ok(measured)
    })
}

/// Submitters for this time, after a shorter one that is not counted.
pub async fn requests(log: &Log, spenders: &Arc<Spenders>, submitters: usize, time: Duration) -> Measured {
    submit(log, spenders, submitters, WARM_UP).await;
    measured(log, submit(log, spenders, submitters, time)).await
}

pub async fn measured(log: &Log, work: impl Future<Output = Waits>) -> Measured {
    let (began, before) = (Instant::now(), log.figures());
    let this = Processes::this();
    let (writer_before, all_before) = (cpu_of_threads(WRITER), this.cpu());
    let written_before = bytes_written_by_threads(WRITER);
    let waits = work.await;
    let (took, after) = (began.elapsed(), log.figures());
    Measured {
        took,
        waits,
        batches: after.batches - before.batches,
        jobs: after.jobs - before.jobs,
        events: after.events - before.events,
        commit_micros: after.commit_micros - before.commit_micros,
        decided_again: after.decided_again - before.decided_again,
        writer_cpu: cpu_of_threads(WRITER) - writer_before,
        all_cpu: this.cpu() - all_before,
        pages: (bytes_written_by_threads(WRITER) - written_before) / FRAME_BYTES,
    }
}

/// Runs the submitters for this time.
async fn submit(log: &Log, spenders: &Arc<Spenders>, submitters: usize, time: Duration) -> Waits {
    let until = Instant::now() + time;
    let mut running = JoinSet::new();
    for submitter in 0..submitters {
        running.spawn(submit_repeatedly(log.clone(), Arc::clone(spenders), submitter, submitters, until));
    }
    let mut waits = Waits::default();
    running.join_all().await.into_iter().for_each(|of_one| waits.add(of_one));
    waits
}

async fn submit_repeatedly(log: Log, spenders: Arc<Spenders>, first: usize, step: usize, until: Instant) -> Waits {
    let mut waits = Waits::default();
    for number in (first..).step_by(step) {
        if Instant::now() >= until {
            break;
        }
        let admission = spenders.admission(number);
        let sent = Instant::now();
        let Admitted::Hold(hold) = log.admit(admission, None).await.expect("the ledger decides") else {
            panic!("a budget without an end was short");
        };
        waits.admitted.push(micros(sent));
        let ended = Outcome::Completed(spenders.ended(&hold));
        let sent = Instant::now();
        hold.end(Vec::new(), ended, Charge::Settle(COST)).await.expect("the end is recorded");
        waits.ended.push(micros(sent));
    }
    waits
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
