//! The limit of open files: a stream needs two in this process, and two in each proxy between.

use std::fs;

/// Fails if this process may open fewer than `needed` files; the error names the command that raises the limit.
pub fn require(needed: u64) -> Result<(), String> {
    let limits = fs::read_to_string("/proc/self/limits").map_err(|error| format!("read /proc/self/limits: {error}"))?;
    match allowed(&limits) {
        Some(allowed) if allowed < needed => {
            Err(format!("this shell allows {allowed} open files and {needed} are needed: run `ulimit -n {needed}`"))
        }
        _ => Ok(()),
    }
}

/// `None` if there is no limit.
fn allowed(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
