//! CPU time, memory, threads and files of processes, from `/proc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The tick of `/proc/PID/stat`: `sysconf(_SC_CLK_TCK)` is 100 on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// Processes that are measured together.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    ids: Vec<u32>,
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub now: u64,
    /// The peak since the start of the process, or since [`reset_peak`].
    pub peak: u64,
}

impl Processes {
    pub fn one(id: u32) -> Self {
        Self { ids: vec![id] }
    }

    /// The process that calls this.
    pub fn this() -> Self {
        Self::one(std::process::id())
    }

    /// A process and its children.
    pub fn with_children(id: u32) -> Self {
        let entries = fs::read_dir("/proc").expect("a list of processes");
        let others = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = others.filter(|other| stat_field(&stat_of(*other), PARENT) == Some(u64::from(id)));
        Self { ids: std::iter::once(id).chain(children).collect() }
    }

    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// The user and kernel time of all threads, including ended ones.
    pub fn cpu(&self) -> Duration {
        self.ids.iter().map(|id| cpu_of(&stat_of(*id))).sum()
    }

    /// The sum; shared pages count for each process.
    pub fn memory(&self) -> Memory {
        self.ids.iter().fold(Memory::default(), |sum, id| {
            let status = PathBuf::from(format!("/proc/{id}/status"));
            Memory {
                now: sum.now + number_after(&status, "VmRSS:") * 1024,
                peak: sum.peak + number_after(&status, "VmHWM:") * 1024,
            }
        })
    }

    pub fn threads(&self) -> u64 {
        self.ids.iter().filter_map(|id| stat_field(&stat_of(*id), THREADS)).sum()
    }

    /// The number of open files, including connections.
    pub fn open_files(&self) -> usize {
        self.ids.iter().filter_map(|id| fs::read_dir(format!("/proc/{id}/fd")).ok()).map(Iterator::count).sum()
    }
}

/// Resets the peak memory of this process.
pub fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own peak");
}

/// The CPU time of the running threads of this process with this name.
pub fn cpu_of_threads(name: &str) -> Duration {
    threads_named(name).map(|thread| cpu_of(&thread.join("stat"))).sum()
}

/// The bytes that the running threads of this process with this name have written.
pub fn bytes_written_by_threads(name: &str) -> u64 {
    threads_named(name).map(|thread| number_after(&thread.join("io"), "wchar:")).sum()
}

/// The CPU time that the machine has used since it started.
pub fn machine_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("the CPU time of the machine");
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // User, nice, system, idle, I/O wait, two kinds of interrupts; the other fields belong to virtual machines or are counted
    // already.
    let busy = (0..).zip(ticks).filter(|(at, _)| matches!(at, 0..=2 | 5..=6));
    let ticks: u64 = busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum();
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Fields of `stat` after the name.
const PARENT: usize = 1;
const USER_TICKS: usize = 11;
const KERNEL_TICKS: usize = 12;
const THREADS: usize = 17;

fn stat_of(id: u32) -> PathBuf {
    format!("/proc/{id}/stat").into()
}

fn cpu_of(stat: &Path) -> Duration {
    let ticks = stat_field(stat, USER_TICKS).unwrap_or(0) + stat_field(stat, KERNEL_TICKS).unwrap_or(0);
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

fn stat_field(stat: &Path, at: usize) -> Option<u64> {
    let stat = fs::read_to_string(stat).ok()?;
    // The name, in parentheses, may contain anything. The fields after it are numbers.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(at)?.parse().ok()
}

fn number_after(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn threads_named(name: &str) -> impl Iterator<Item = PathBuf> {
    let threads = fs::read_dir("/proc/self/task").expect("the threads of this process");
    let threads = threads.map(|thread| thread.expect("a thread").path());
    threads.filter(move |thread| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn this_process_is_measured() {
        let this = Processes::this();
        let memory = this.memory();
        assert!(memory.now > 0 && memory.peak >= memory.now, "{memory:?}");
        assert!(this.threads() > 0 && this.open_files() > 0);
    }

    #[test]
    fn children_are_found_and_their_cpu_counted() {
        let this = std::process::id();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            // Its group differs from its parent, so that the test reads the right field.
            .process_group(0)
            .spawn()
            .expect("a shell that does nothing for ever");
        let family = Processes::with_children(this);
        let is_found = family.ids.contains(&child.id());
        let child_alone = Processes::one(child.id());
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while child_alone.cpu() < TICK && std::time::Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        let cpu = child_alone.cpu();
        child.kill().expect("its end");
        child.wait().expect("its end");
        assert!(is_found && cpu >= TICK, "{cpu:?}");
    }
}
