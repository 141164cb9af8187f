//! The peak memory of this process, as Linux counts it.

use std::fs;

/// Resets the peak that [`peak_mib`] returns.
pub fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("a process may forget its own peak");
}

/// The peak of resident memory since [`reset_peak`].
pub fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("a peak in KiB") / 1024
}
