//! What a process uses, from `/proc`.

use std::fs;
use std::time::Duration;

/// `sysconf(_SC_CLK_TCK)` of every Linux that this runs on: the kernel counts nanoseconds and shows ticks of 10 ms.
const TICK: Duration = Duration::from_millis(10);

/// Processes that do one thing together.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    ids: Vec<u32>,
}

/// Bytes in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub now: u64,
    /// The most since the process began.
    pub peak: u64,
}

impl Processes {
    pub fn one(id: u32) -> Self {
        Self { ids: vec![id] }
    }

    /// This one and those that it started.
    pub fn with_children(id: u32) -> Self {
        let entries = fs::read_dir("/proc").expect("a list of processes");
        let others = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = others.filter(|other| stat_field(*other, PARENT) == Some(u64::from(id)));
        Self { ids: std::iter::once(id).chain(children).collect() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// CPU of all threads, also of those that have ended, user and kernel.
    pub fn cpu(&self) -> Duration {
        self.ids.iter().map(|id| cpu_of(*id)).sum()
    }

    /// Together; pages that they share are counted for each.
    pub fn memory(&self) -> Memory {
        let each = self.ids.iter().map(|id| fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default());
        each.fold(Memory::default(), |sum, status| Memory {
            now: sum.now + kibibytes(&status, "VmRSS:") * 1024,
            peak: sum.peak + kibibytes(&status, "VmHWM:") * 1024,
        })
    }

    pub fn threads(&self) -> u64 {
        self.ids.iter().filter_map(|id| stat_field(*id, THREADS)).sum()
    }

    /// Open files, connections among them.
    pub fn open_files(&self) -> usize {
        self.ids.iter().filter_map(|id| fs::read_dir(format!("/proc/{id}/fd")).ok()).map(Iterator::count).sum()
    }
}

/// CPU of everything on this machine since it was started.
pub fn machine_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("what the machine does");
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // User, nice, system, idle, waiting for disks, two kinds of interrupts; what follows is of other machines or counted
    // already.
    let busy = (0..).zip(ticks).filter(|(at, _)| matches!(at, 0..=2 | 5..=6));
    let ticks: u64 = busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum();
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Fields of `stat` behind the name.
const PARENT: usize = 1;
const USER_TICKS: usize = 11;
const KERNEL_TICKS: usize = 12;
const THREADS: usize = 17;

fn cpu_of(id: u32) -> Duration {
    let ticks = stat_field(id, USER_TICKS).unwrap_or(0) + stat_field(id, KERNEL_TICKS).unwrap_or(0);
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

fn stat_field(id: u32, at: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything; the fields after it are numbers.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(at)?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn this_process_is_measured() {
        let this = Processes::one(std::process::id());
        let memory = this.memory();
        assert!(memory.now > 0 && memory.peak >= memory.now, "{memory:?}");
        assert!(this.threads() > 0 && this.open_files() > 0);
    }

    #[test]
    fn children_are_found_and_their_cpu_counted() {
        let this = std::process::id();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            // Otherwise its group is the test's, as its parent is.
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
