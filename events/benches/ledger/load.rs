//! The load: concurrent submitters, each with one request after another, admitted and then ended once that is durable.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::ids::{IdMaker, SystemRandom};
use events::ledger::{Charge, Outcome};
use events::log::{Admitted, BatchFigures, Log, LogOptions};
use events::time::SystemClock;
use harness::figures::per_mille;
use harness::process::{Processes, bytes_written_by_threads, cpu_of_threads};
use tokio::task::JoinSet;

use crate::budgets::{COST, Customers, Spenders};

const WRITER: &str = "ledger-writer";
/// A page of the write-ahead log with its frame header.
const FRAME_BYTES: u64 = 4096 + 24;
/// The time before counting starts, in which statements are prepared and files grow.
const WARM_UP: Duration = Duration::from_millis(500);

pub struct Measured {
    /// Requests that were admitted and ended.
    pub requests: u64,
    pub took: Duration,
    /// The writer's counters in that time.
    pub figures: BatchFigures,
    /// The wait for a commit. A request has two.
    pub p50: Duration,
    pub p99: Duration,
    pub writer_cpu: Duration,
    /// The CPU time of all threads.
    pub all_cpu: Duration,
    /// Pages that the writer wrote, including those moved out of the write-ahead log.
    pub pages: u64,
}

pub fn measure(root: &Path, customers: Customers, submitters: usize, time: Duration) -> io::Result<Measured> {
    let folder = tempfile::tempdir_in(root)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let log = Log::open(folder.path(), LogOptions::new(clock.clone())).map_err(io::Error::other)?;
        let ids = IdMaker::new(clock, Arc::new(SystemRandom));
        let spenders = Arc::new(Spenders::open(&log, ids, customers).await);
        submit(&log, &spenders, submitters, WARM_UP).await;
        let (began, before) = (Instant::now(), log.figures());
        let this = Processes::this();
        let (writer_before, all_before) = (cpu_of_threads(WRITER), this.cpu());
        let written_before = bytes_written_by_threads(WRITER);
        let mut waits = submit(&log, &spenders, submitters, time).await;
        let (took, after) = (began.elapsed(), log.figures());
        let (writer_cpu, all_cpu) = (cpu_of_threads(WRITER) - writer_before, this.cpu() - all_before);
        let pages = (bytes_written_by_threads(WRITER) - written_before) / FRAME_BYTES;
        log.close();
        let (p50, p99) = (per_mille(&mut waits, 500), per_mille(&mut waits, 990));
        let figures = BatchFigures {
            batches: after.batches - before.batches,
            jobs: after.jobs - before.jobs,
            events: after.events - before.events,
            commit_micros: after.commit_micros - before.commit_micros,
            ..after
        };
        let requests = waits.len() as u64 / 2;
        Ok(Measured { requests, took, figures, p50, p99, writer_cpu, all_cpu, pages })
    })
}

/// Runs the submitters for this time. Returns the waits for commits.
async fn submit(log: &Log, spenders: &Arc<Spenders>, submitters: usize, time: Duration) -> Vec<Duration> {
    let until = Instant::now() + time;
    let mut running = JoinSet::new();
    for submitter in 0..submitters {
        running.spawn(submit_repeatedly(log.clone(), Arc::clone(spenders), submitter, submitters, until));
    }
    running.join_all().await.concat()
}

async fn submit_repeatedly(
    log: Log,
    spenders: Arc<Spenders>,
    first: usize,
    step: usize,
    until: Instant,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    for number in (first..).step_by(step) {
        if Instant::now() >= until {
            break;
        }
        let admission = spenders.admission(number);
        let sent = Instant::now();
        let Admitted::Hold(hold) = log.admit(admission, None).await.expect("the ledger decides") else {
            panic!("a budget without an end was short");
        };
        waits.push(sent.elapsed());
        let ended = Outcome::Completed(spenders.ended(&hold));
        let sent = Instant::now();
        hold.end(Vec::new(), ended, Charge::Settle(COST)).await.expect("the end is recorded");
        waits.push(sent.elapsed());
    }
    waits
}
