//! The paths to the upstream that are compared.

use std::net::SocketAddr;
use std::time::Duration;

use harness::admin::Admin;
use harness::connection::Expected;
use harness::figures::hundredths;
use harness::load::{self, Tally, Workload};
use harness::process::Processes;
use harness::request;

/// Rounds of each measurement. The paths take turns in each, so that other work of the machine affects all of them.
const ROUNDS: u32 = 10;

pub struct Path {
    pub name: &'static str,
    pub whole: SocketAddr,
    pub streams: SocketAddr,
    /// The secret of the key that sends the requests.
    pub secret: String,
    /// The processes between client and upstream; none for the direct path.
    pub processes: Processes,
    /// The gateway of the path, whose views are waited for.
    pub admin: Option<Admin>,
    /// The process of the database server that has the gateway's log.
    pub database: Option<u32>,
}

impl Path {
    pub fn whole_workload(&self, ending: &'static str) -> Workload {
        let (request, expected) = (request::whole(&self.secret).into(), Expected::Whole { ending });
        Workload { address: self.whole, request, expected, warm_up: 256, ramp_up: Duration::ZERO }
    }

    pub fn stream_workload(&self, model: &str, tokens: u64, warm_up: usize) -> Workload {
        let request = request::stream(model, tokens, &self.secret).into();
        let expected = Expected::Stream { tokens: usize::try_from(tokens).unwrap_or(usize::MAX) };
        Workload { address: self.streams, request, expected, warm_up, ramp_up: Duration::ZERO }
    }

    async fn round(&self, workload: &Workload, connections: usize, time: Duration) -> Tally {
        let open = load::warm(workload, connections).await;
        self.wait_for_views();
        let database = self.database.map(Processes::with_children).unwrap_or_default();
        let before = (self.processes.cpu(), database.cpu());
        let mut tally = load::run(workload, open, time).await;
        self.wait_for_views();
        tally.cpu = self.processes.cpu().saturating_sub(before.0);
        tally.database_cpu = database.cpu().saturating_sub(before.1);
        tally
    }

    /// Waits for the views: their work is part of a round's cost, and must not count towards the next round.
    pub fn wait_for_views(&self) {
        if let Some(admin) = self.admin {
            admin.wait_for_views();
        }
    }
}

/// Two cells: CPU-µs per request, and its ratio to nginx's, which can be compared between days. Empty for paths without a
/// process; the ratio also without nginx.
pub fn cpu_cells(path: &Path, cpu: Duration, nginx: Option<Duration>) -> [String; 2] {
    if path.processes.count() == 0 {
        return [String::new(), String::new()];
    }
    let multiple = nginx.map(|nginx| hundredths(cpu.as_nanos(), nginx.as_nanos()));
    [cpu.as_micros().to_string(), multiple.unwrap_or_default()]
}

/// The CPU time per request of the path through nginx, if it is among these.
pub fn nginx_cpu(paths: &[Path], each: impl IntoIterator<Item = Duration>) -> Option<Duration> {
    paths.iter().zip(each).find(|(path, _)| path.name == "nginx").map(|(_, cpu)| cpu)
}

/// Measures all paths for `time` each. Returns their tallies in the same order.
pub async fn take_turns(
    paths: &[Path],
    workload: impl Fn(&Path) -> Workload,
    connections: usize,
    time: Duration,
) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = paths.iter().map(|_| Tally::default()).collect();
    for _ in 0..ROUNDS {
        for (path, tally) in paths.iter().zip(&mut tallies) {
            tally.merge(path.round(&workload(path), connections, time / ROUNDS).await);
        }
    }
    tallies
}
