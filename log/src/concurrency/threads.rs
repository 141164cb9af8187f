//! The threads that queries run on. Their priority is lower than that of the threads that serve and record requests: when
//! processors are short, queries take longer and inferences do not.
//!
//! The thread that became idle last gets the next job, so that few queries keep few threads busy. Each thread keeps memory
//! for its next answer: going round all threads would multiply that memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::QueryLost;
use crate::thread_priority;

type ThreadJob = Box<dyn FnOnce(BusyThread) + Send>;

/// The priority below the process's own, in units of `nice`: a tenth of a processor's share beside a busy thread of normal
/// priority.
const NICENESS: i32 = 10;

/// A bounded number of threads, each started when it is first needed.
pub(super) struct Threads {
    number: usize,
    state: Arc<Mutex<PoolState>>,
}

#[derive(Default)]
struct PoolState {
    started: usize,
    /// The channel to each idle thread. The last to become idle is at the end.
    idle: Vec<SyncSender<ThreadJob>>,
}

impl Threads {
    pub(super) fn new(number: usize) -> Self {
        Self { number, state: Arc::default() }
    }

    /// Runs `work` on one of the threads and passes its result to `report`; `None` if it panicked. The thread counts as idle
    /// before it reports, so that the receiver finds a thread for its next job.
    ///
    /// Errors: all threads are busy, or none could be started.
    pub(super) fn run<T: 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        report: impl FnOnce(Option<T>) + Send + 'static,
    ) -> Result<(), QueryLost> {
        let job: ThreadJob = Box::new(move |thread| {
            let result = catch_unwind(AssertUnwindSafe(work)).ok();
            thread.becomes_idle();
            report(result);
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = match state.idle.pop() {
            Some(thread) => thread,
            None if state.started < self.number => {
                let thread = start(state.started, &self.state)?;
                state.started += 1;
                thread
            }
            None => return Err(QueryLost),
        };
        drop(state);
        thread.try_send(job).map_err(|_| QueryLost)
    }
}

fn start(number: usize, state: &Arc<Mutex<PoolState>>) -> Result<SyncSender<ThreadJob>, QueryLost> {
    let (thread, mut jobs) = sync_channel::<ThreadJob>(1);
    let state = Arc::downgrade(state);
    let run_jobs = move || {
        thread_priority::lower_by(NICENESS);
        // The thread ends when the state is dropped, and the last sender with it.
        while let Ok(job) = jobs.recv() {
            let (thread, next) = sync_channel(1);
            job(BusyThread { state: Weak::clone(&state), thread });
            jobs = next;
        }
    };
    match std::thread::Builder::new().name(format!("query-{number}")).spawn(run_jobs) {
        Ok(_) => Ok(thread),
        Err(error) => {
            tracing::error!(%error, "cannot start a thread for queries");
            Err(QueryLost)
        }
    }
}

/// A busy thread, which will take its next job from this channel.
struct BusyThread {
    state: Weak<Mutex<PoolState>>,
    thread: SyncSender<ThreadJob>,
}

impl BusyThread {
    fn becomes_idle(self) {
        if let Some(state) = self.state.upgrade() {
            state.lock().unwrap_or_else(PoisonError::into_inner).idle.push(self.thread);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn done_on(threads: &Threads, work: impl FnOnce() + Send + 'static) -> Option<ThreadId> {
        let (report, reported) = channel();
        let work = move || {
            work();
            std::thread::current().id()
        };
        threads.run(work, move |result| report.send(result).expect("somebody waits")).expect("a thread");
        reported.recv_timeout(SOON).expect("what came of it")
    }

    #[test]
    fn one_job_after_another_runs_on_one_thread_even_if_one_panics() {
        let threads = Threads::new(1);
        let first = done_on(&threads, || ()).expect("no panic");
        for _ in 0..100 {
            assert_eq!(done_on(&threads, || panic!("on purpose")), None);
            assert_eq!(done_on(&threads, || ()), Some(first));
        }
        let threads = Threads::new(3);
        let first = done_on(&threads, || ());
        assert!((0..100).all(|_| done_on(&threads, || ()) == first));
    }

    #[test]
    fn as_many_jobs_run_at_a_time_as_there_are_threads_and_single_jobs_stay_on_one_thread() {
        let threads = Threads::new(3);
        let (all, (report, reported)) = (Arc::new(Barrier::new(4)), channel());
        for _ in 0..3 {
            let (all, report) = (Arc::clone(&all), report.clone());
            threads.run(move || _ = all.wait(), move |_| report.send(()).expect("somebody waits")).expect("a thread");
        }
        assert!(threads.run(|| (), |_| ()).is_err());
        all.wait();
        (0..3).for_each(|_| reported.recv_timeout(SOON).expect("its end"));
        let first = done_on(&threads, || ());
        assert!((0..100).all(|_| done_on(&threads, || ()) == first), "of three idle threads one has the work");
    }
}
