//! The CPU time that this process has used, as Linux counts it. Shared by the benchmarks.

use std::fs;
use std::time::Duration;

/// The ticks per second of `/proc/PID/stat`: `sysconf(_SC_CLK_TCK)` on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of all threads, including ended ones.
pub fn of_process() -> Duration {
    used("/proc/self/stat")
}

/// The CPU time of the running threads of this name.
pub fn of_threads(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process");
    let tasks = tasks.map(|task| task.expect("a thread").path());
    let named = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    named.map(|task| used(&task.join("stat").to_string_lossy())).sum()
}

fn used(path: &str) -> Duration {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name, in parentheses, may contain anything. The fields after it are numbers.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = |at: usize| fields.split(' ').nth(at).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
    TICK * (ticks(11) + ticks(12))
}
