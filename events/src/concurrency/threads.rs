//! The threads that queries run on. Their priority is lower than that of the threads that serve requests and record them:
//! where processors are short, a query takes longer, and an inference does not.
//!
//! The thread that became idle last gets the next job, so that few threads have work where few queries run. Each keeps
//! memory of its own for the next answer: jobs that went round all of them would multiply it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Job = Box<dyn FnOnce(BecomesIdle) + Send>;

/// How far below the process's own priority, as `nice` counts: a tenth of a processor's share beside a busy thread of the
/// usual priority.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// A bounded number of threads, each started when it is first needed.
pub(super) struct Threads {
    number: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    started: usize,
    /// The way to each thread that has nothing to do. The last to become idle is at the end.
    idle: Vec<SyncSender<Job>>,
}

/// No thread takes the job: all of them have one, or none could be started.
#[derive(Debug)]
pub(super) struct NoThread;

impl Threads {
    pub(super) fn new(number: usize) -> Self {
        Self { number, state: Arc::default() }
    }

    /// Does this on one of the threads, and then tells what came of it; `None` where it panicked. The thread counts as idle
    /// before it tells: whoever is told finds a thread for what comes next.
    pub(super) fn run<T: 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        tell: impl FnOnce(Option<T>) + Send + 'static,
    ) -> Result<(), NoThread> {
        let job: Job = Box::new(move |thread| {
            let worked = catch_unwind(AssertUnwindSafe(work)).ok();
            thread.becomes_idle();
            tell(worked);
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = match state.idle.pop() {
            Some(thread) => thread,
            None if state.started < self.number => {
                let thread = start(state.started, &self.state)?;
                state.started += 1;
                thread
            }
            None => return Err(NoThread),
        };
        drop(state);
        thread.try_send(job).map_err(|_| NoThread)
    }
}

fn start(number: usize, state: &Arc<Mutex<State>>) -> Result<SyncSender<Job>, NoThread> {
    let (thread, mut jobs) = sync_channel::<Job>(1);
    let state = Arc::downgrade(state);
    let work_off = move || {
        lower_priority();
        // There is no sender any more once the state has gone, and with it the thread.
        while let Ok(job) = jobs.recv() {
            let (thread, next) = sync_channel(1);
            job(BecomesIdle { state: Weak::clone(&state), thread });
            jobs = next;
        }
    };
    match std::thread::Builder::new().name(format!("query-{number}")).spawn(work_off) {
        Ok(_) => Ok(thread),
        Err(error) => {
            tracing::error!(%error, "start a thread for queries");
            Err(NoThread)
        }
    }
}

/// A thread that has a job, and takes the next one on this channel.
struct BecomesIdle {
    state: Weak<Mutex<State>>,
    thread: SyncSender<Job>,
}

impl BecomesIdle {
    fn becomes_idle(self) {
        if let Some(state) = self.state.upgrade() {
            state.lock().unwrap_or_else(PoisonError::into_inner).idle.push(self.thread);
        }
    }
}

/// Of this thread alone. Elsewhere than on Linux it would be that of the process.
#[cfg(target_os = "linux")]
fn lower_priority() {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "lower the priority of a thread for queries");
    }
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn done_on(threads: &Threads, work: impl FnOnce() + Send + 'static) -> Option<ThreadId> {
        let (tell, told) = channel();
        let work = move || {
            work();
            std::thread::current().id()
        };
        threads.run(work, move |worked| tell.send(worked).expect("somebody waits")).expect("a thread");
        told.recv_timeout(SOON).expect("what came of it")
    }

    #[test]
    fn one_job_after_another_runs_on_one_thread_also_where_one_panics() {
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
    fn as_many_jobs_run_at_a_time_as_there_are_threads_and_then_one_thread_has_all_that_come_singly() {
        let threads = Threads::new(3);
        let (all, (tell, told)) = (Arc::new(Barrier::new(4)), channel());
        for _ in 0..3 {
            let (all, tell) = (Arc::clone(&all), tell.clone());
            threads.run(move || _ = all.wait(), move |_| tell.send(()).expect("somebody waits")).expect("a thread");
        }
        assert!(threads.run(|| (), |_| ()).is_err());
        all.wait();
        (0..3).for_each(|_| told.recv_timeout(SOON).expect("its end"));
        let first = done_on(&threads, || ());
        assert!((0..100).all(|_| done_on(&threads, || ()) == first), "of three idle threads one has the work");
    }
}
