//! Metrics of the process from `/proc`, under the names that every client library uses; absent where there is no `/proc`.
//!
//! `prometheus::process_collector` counts CPU time in whole seconds, and lists the open files anew for everyone who asks, on
//! the thread that asks. Here CPU time has microseconds, and requests at the same time share one sample.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blocking_work::PROCESS;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;

use super::text::{TextWriter, seconds};

const MICROS_PER_SECOND: u64 = 1_000_000;
/// The age at which a sample is replaced.
const SAMPLE_AGE_MAX: Duration = Duration::from_millis(500);

/// The fields of `/proc/self/stat` that are exported.
struct Stat {
    cpu: Duration,
    threads: u64,
    resident_pages: u64,
}

/// The state of the process at one moment.
pub struct ProcessSample {
    stat: Option<Stat>,
    open_files: Option<usize>,
}

/// Takes samples, one at a time: requests for metrics need no key, and there are few threads for blocking work.
pub struct ProcessSampler {
    permit: Semaphore,
    last: Mutex<Option<(Instant, Arc<ProcessSample>)>>,
}

impl Default for ProcessSampler {
    fn default() -> Self {
        Self { permit: Semaphore::new(1), last: Mutex::default() }
    }
}

impl ProcessSampler {
    /// A sample that is at most half a second old; `None` while the runtime shuts down.
    pub async fn sample(&self) -> Option<Arc<ProcessSample>> {
        let _permit = self.permit.acquire().await.ok()?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, process)) = last
            && at.elapsed() < SAMPLE_AGE_MAX
        {
            return Some(process);
        }
        let process = Arc::new(PROCESS.run(None, ProcessSample::take).await.ok()?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&process)));
        Some(process)
    }
}

impl ProcessSample {
    /// Blocking: the kernel lists every open file, connections included.
    fn take() -> Self {
        Self {
            stat: fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse),
            open_files: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
        }
    }

    pub fn write(&self, text: &mut TextWriter<'_>) {
        if let Some(stat) = &self.stat {
            text.counter("process_cpu_seconds_total", "CPU time, user and system", seconds(stat.cpu));
            let resident = stat.resident_pages.saturating_mul(rustix::param::page_size() as u64);
            text.gauge("process_resident_memory_bytes", "Resident memory", resident);
            text.gauge("process_threads", "Threads", stat.threads);
        }
        if let Some(files) = self.open_files {
            text.gauge("process_open_fds", "Open files, connections included", files);
        }
        if let Some(max) = getrlimit(Resource::Nofile).current {
            text.gauge("process_max_fds", "Limit of open files", max);
        }
    }
}

impl Stat {
    /// Reads the fields after the second one: that is the program's name in parentheses, and may contain anything.
    fn parse(line: &str) -> Option<Self> {
        let (_, behind) = line.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // The first field here is the third in proc(5), which counts from 1.
        let ticks = number(11)?.saturating_add(number(12)?);
        let micros = ticks.saturating_mul(MICROS_PER_SECOND) / rustix::param::clock_ticks_per_second().max(1);
        Some(Self { cpu: Duration::from_micros(micros), threads: number(17)?, resident_pages: number(21)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_at_the_same_time_share_one_sample() {
        let sampler = ProcessSampler::default();
        let samples = tokio::join!(sampler.sample(), sampler.sample(), sampler.sample());
        let (Some(first), Some(second), Some(third)) = samples else { panic!("a sample") };
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &third));
    }

    #[test]
    fn fields_are_counted_behind_the_name_whatever_it_is() {
        let line =
            "42 (a) b (c) S 1 42 42 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 7 0 100 9000 321 18446744073709551615";
        let stat = Stat::parse(line).expect("all the fields");
        assert_eq!((stat.threads, stat.resident_pages), (7, 321));
        let ticks_a_second = rustix::param::clock_ticks_per_second();
        assert_eq!(stat.cpu, Duration::from_micros(200 * MICROS_PER_SECOND / ticks_a_second));
        assert!(Stat::parse("42 (cut off) S 1").is_none());
    }
}
