//! How many files a process may have open: a stream takes two here and two in whatever it goes through.

use std::fs;

/// Says what to do where fewer than `wanted` are allowed.
pub fn require(wanted: u64) -> Result<(), String> {
    let limits = fs::read_to_string("/proc/self/limits").map_err(|error| format!("read /proc/self/limits: {error}"))?;
    match allowed(&limits) {
        Some(allowed) if allowed < wanted => {
            Err(format!("this shell allows {allowed} open files and {wanted} are needed: run `ulimit -n {wanted}`"))
        }
        _ => Ok(()),
    }
}

/// `None` where there is no limit.
fn allowed(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
