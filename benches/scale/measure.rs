//! All measures of one folder.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::folder::Folder;
use crate::process::{OPERATOR_KEY, Process};
use crate::questions::{self, Question, Who};

const STARTS: usize = 3;
/// What is slow is not asked as often: no question takes longer in all.
const TIME_MAX: Duration = Duration::from_secs(5);

pub struct Measured {
    pub name: &'static str,
    pub value: String,
}

pub fn all(folder: &Folder, samples: usize) -> io::Result<Vec<Measured>> {
    let mut measured = vec![Measured { name: "events", value: folder.events.to_string() }];
    for (name, file) in [("ledger.db", "ledger.db"), ("views.db", "views.db")] {
        measured.push(Measured { name, value: format!("{} MiB", size(&folder.path.join(file))? >> 20) });
    }
    let (process, listening, ready) = starts(folder)?;
    measured.push(Measured { name: "start to listening", value: format!("{} ms", listening.as_millis()) });
    measured.push(Measured { name: "start to ready", value: format!("{} ms", ready.as_millis()) });
    measured.push(Measured { name: "memory when ready", value: format!("{} MiB", process.memory_mib()?) });
    for question in questions::all(&process, folder)? {
        measured.push(latency(&process, folder, &question, samples)?);
    }
    measured.push(Measured { name: "memory after all this", value: format!("{} MiB", process.memory_mib()?) });
    Ok(measured)
}

/// A running process, and the medians of its starts, each after a crash.
fn starts(folder: &Folder) -> io::Result<(Process, Duration, Duration)> {
    let (mut listening, mut ready) = (Vec::new(), Vec::new());
    for _ in 1..STARTS {
        let process = Process::start(&folder.path)?;
        listening.push(process.listening_after);
        ready.push(process.ready_after);
    }
    let process = Process::start(&folder.path)?;
    listening.push(process.listening_after);
    ready.push(process.ready_after);
    Ok((process, percentile(&mut listening, 50), percentile(&mut ready, 50)))
}

fn latency(process: &Process, folder: &Folder, question: &Question, samples: usize) -> io::Result<Measured> {
    let mut client = process.client(match question.who {
        Who::Operator => OPERATOR_KEY,
        Who::Tenant => &folder.secret,
    })?;
    // A key's first request hashes its secret.
    question.ask(&mut client)?;
    let (mut latencies, until) = (Vec::with_capacity(samples), Instant::now() + TIME_MAX);
    while latencies.len() < samples && Instant::now() < until {
        let asked = Instant::now();
        question.ask(&mut client)?;
        latencies.push(asked.elapsed());
    }
    let (p50, p99) = (percentile(&mut latencies, 50), percentile(&mut latencies, 99));
    Ok(Measured { name: question.name, value: format!("{} / {}", milliseconds(p50), milliseconds(p99)) })
}

/// With two digits, and the unit.
fn milliseconds(took: Duration) -> String {
    format!("{}.{:02} ms", took.as_millis(), took.as_micros() / 10 % 100)
}

fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let rank = (samples.len() * percent).div_ceil(100).saturating_sub(1);
    samples.get(rank).copied().unwrap_or_default()
}

fn size(file: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(file)?.len())
}
