//! What this process has used, as Linux counts it.

use std::fs;
use std::time::Duration;

/// `sysconf(_SC_CLK_TCK)` of every Linux that this runs on: ticks of 10 ms in `/proc/PID/stat`.
const TICK: Duration = Duration::from_millis(10);

/// CPU of all threads, ended ones too.
pub fn cpu() -> Duration {
    cpu_in("/proc/self/stat")
}

/// CPU of the running threads of one name.
pub fn cpu_of(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process");
    let tasks = tasks.map(|task| task.expect("a thread").path());
    let named = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    named.map(|task| cpu_in(&task.join("stat").to_string_lossy())).sum()
}

fn cpu_in(path: &str) -> Duration {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name, in parentheses, may hold anything; the fields after it are numbers.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = |at: usize| fields.split(' ').nth(at).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
    TICK * (ticks(11) + ticks(12))
}

/// Forgets what memory was used before; see [`memory_peak_mib`].
pub fn forget_memory_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("a process may forget its own peak");
}

/// The most memory that was resident since then.
pub fn memory_peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("a peak in KiB") / 1024
}
