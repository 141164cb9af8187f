//! The process as the kernel sees it, under the names that every client library uses. Where there is no `/proc` there
//! are no such metrics.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;

use super::text::{Text, seconds};

const MICROS_PER_SECOND: u64 = 1_000_000;
/// For how long a look is shown again.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// What `/proc/self/stat` says.
struct Stat {
    cpu: Duration,
    threads: u64,
    resident_pages: u64,
}

/// How it stands.
pub struct Process {
    stat: Option<Stat>,
    open_files: Option<usize>,
}

/// Looks at the process, one at a time: whoever asks for metrics needs no key, and threads for blocking work are few.
pub struct Looks {
    turns: Semaphore,
    last: Mutex<Option<(Instant, Arc<Process>)>>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { turns: Semaphore::new(1), last: Mutex::default() }
    }
}

impl Looks {
    /// How it stands, or stood a moment ago. `None` where the runtime ends.
    pub async fn fresh(&self) -> Option<Arc<Process>> {
        let _turn = self.turns.acquire().await.ok()?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, process)) = last
            && at.elapsed() < FRESH_FOR
        {
            return Some(process);
        }
        let process = Arc::new(tokio::task::spawn_blocking(Process::look).await.ok()?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&process)));
        Some(process)
    }
}

impl Process {
    /// Blocking: with many connections open the kernel has as many files to name.
    fn look() -> Self {
        Self {
            stat: fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::read),
            open_files: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
        }
    }

    pub fn write(&self, text: &mut Text) {
        if let Some(stat) = &self.stat {
            text.counter("process_cpu_seconds_total", "CPU time, user and system", seconds(stat.cpu));
            let resident = stat.resident_pages.saturating_mul(rustix::param::page_size() as u64);
            text.gauge("process_resident_memory_bytes", "Memory that is in RAM", resident);
            text.gauge("process_threads", "Threads", stat.threads);
        }
        if let Some(files) = self.open_files {
            text.gauge("process_open_fds", "Open files, connections among them", files);
        }
        if let Some(max) = getrlimit(Resource::Nofile).current {
            text.gauge("process_max_fds", "Files that may be open", max);
        }
    }
}

impl Stat {
    /// The second field is the program's name in parentheses, which may contain anything; the fields are counted behind.
    fn read(line: &str) -> Option<Self> {
        let (_, behind) = line.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // Of the manual's fields, counted from 1, the first one here is the third.
        let ticks = number(11)?.saturating_add(number(12)?);
        let micros = ticks.saturating_mul(MICROS_PER_SECOND) / rustix::param::clock_ticks_per_second().max(1);
        Some(Self { cpu: Duration::from_micros(micros), threads: number(17)?, resident_pages: number(21)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_at_the_same_time_is_shown_the_same_look() {
        let looks = Looks::default();
        let shown = tokio::join!(looks.fresh(), looks.fresh(), looks.fresh());
        let (Some(first), Some(second), Some(third)) = shown else { panic!("a look") };
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &third));
    }

    #[test]
    fn fields_are_counted_behind_the_name_whatever_it_is() {
        let line =
            "42 (a) b (c) S 1 42 42 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 7 0 100 9000 321 18446744073709551615";
        let stat = Stat::read(line).expect("all the fields");
        assert_eq!((stat.threads, stat.resident_pages), (7, 321));
        let ticks_a_second = rustix::param::clock_ticks_per_second();
        assert_eq!(stat.cpu, Duration::from_micros(200 * MICROS_PER_SECOND / ticks_a_second));
        assert!(Stat::read("42 (cut off) S 1").is_none());
    }
}
