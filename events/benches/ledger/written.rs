//! Pages written by a thread, as Linux counts them.

use std::fs;

/// A page of the write-ahead log with its frame header.
const FRAME_BYTES: u64 = 4096 + 24;

/// Pages written by the running threads of this name, including those moved out of the write-ahead log.
pub fn pages_of_threads(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process");
    let tasks = tasks.map(|task| task.expect("a thread").path());
    let named = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let bytes = named.map(|task| {
        let figures = fs::read_to_string(task.join("io")).unwrap_or_default();
        let written = figures.lines().find_map(|line| line.strip_prefix("wchar: "));
        written.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0)
    });
    bytes.sum::<u64>() / FRAME_BYTES
}
