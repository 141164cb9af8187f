//! The measurements of one folder.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::figures::{millis, per_mille};
use harness::gateway::Gateway;
use testing::blocking::BlockingWire;

use crate::folder::Folder;
use crate::requests::{self, Request};

const STARTS: usize = 3;
/// The time limit for all samples of one request: slow requests get fewer samples.
const TIME_MAX: Duration = Duration::from_secs(5);
const RESPONSE_MAX: Duration = Duration::from_secs(30);

pub struct Measured {
    pub name: &'static str,
    pub value: String,
}

pub fn measure(folder: &Folder, samples: usize) -> io::Result<Vec<Measured>> {
    let mut measured = vec![Measured { name: "events", value: folder.events.to_string() }];
    for (name, file) in [("ledger.db", "ledger.db"), ("views.db", "views.db")] {
        measured.push(Measured { name, value: format!("{} MiB", size(&folder.path.join(file))? >> 20) });
    }
    let (gateway, listening, ready) = start_repeatedly(folder);
    measured.push(Measured { name: "start to listening", value: format!("{} ms", listening.as_millis()) });
    measured.push(Measured { name: "start to ready", value: format!("{} ms", ready.as_millis()) });
    measured.push(Measured { name: "memory when ready", value: memory(&gateway) });
    for request in requests::all(gateway.admin(), folder)? {
        measured.push(latency(&gateway, &request, samples)?);
    }
    measured.push(Measured { name: "memory after all this", value: memory(&gateway) });
    Ok(measured)
}

/// A running gateway, and the median times of its starts until it listens and until it is ready. Each start follows a kill.
fn start_repeatedly(folder: &Folder) -> (Gateway, Duration, Duration) {
    let (mut listening, mut ready) = (Vec::new(), Vec::new());
    loop {
        let began = Instant::now();
        let gateway = folder.start_gateway();
        listening.push(began.elapsed());
        gateway.wait_until_ready();
        ready.push(began.elapsed());
        if ready.len() == STARTS {
            return (gateway, per_mille(&mut listening, 500), per_mille(&mut ready, 500));
        }
    }
}

fn memory(gateway: &Gateway) -> String {
    format!("{} MiB", gateway.processes().memory().now >> 20)
}

fn latency(gateway: &Gateway, request: &Request, samples: usize) -> io::Result<Measured> {
    let mut wire = BlockingWire::open(gateway.address, RESPONSE_MAX)?;
    // The first request of a key is slower, because its secret is hashed.
    request.send(&mut wire)?;
    let (mut latencies, until) = (Vec::with_capacity(samples), Instant::now() + TIME_MAX);
    while latencies.len() < samples && Instant::now() < until {
        let sent = Instant::now();
        request.send(&mut wire)?;
        latencies.push(sent.elapsed());
    }
    let (p50, p99) = (per_mille(&mut latencies, 500), per_mille(&mut latencies, 990));
    Ok(Measured { name: request.name, value: format!("{} ms / {} ms", millis(p50), millis(p99)) })
}

fn size(file: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(file)?.len())
}
