//! The CPU time of the gateway, the benchmark and everything else on the machine; the connections that the gateway holds.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::process::{Processes, machine_cpu};

/// The CPU time used until an instant.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    gateway: Duration,
    /// The crowd, the upstream and the other tenant, which share this process.
    bench: Duration,
    all: Duration,
}

/// CPU time in percent of one core: 200 if two cores are busy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    pub gateway: u128,
    pub bench: u128,
    pub others: u128,
}

impl Usage {
    pub fn of(gateway: &Processes) -> Self {
        Self { at: Instant::now(), gateway: gateway.cpu(), bench: Processes::this().cpu(), all: machine_cpu() }
    }

    pub fn since(self, before: Self) -> Shares {
        let time = self.at.saturating_duration_since(before.at).as_micros().max(1);
        let share = |cpu: Duration| cpu.as_micros() * 100 / time;
        let (gateway, bench) = (self.gateway.saturating_sub(before.gateway), self.bench.saturating_sub(before.bench));
        let others = self.all.saturating_sub(before.all).saturating_sub(gateway + bench);
        Shares { gateway: share(gateway), bench: share(bench), others: share(others) }
    }
}

/// `ESTABLISHED`, and `CLOSE_WAIT`, in which only the client has closed its side.
const HELD_STATES: [&str; 2] = ["01", "08"];

/// The number of connections that the server at this address has accepted and not closed.
pub fn accepted_connections(address: SocketAddr) -> usize {
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").expect("the connections of the machine");
    let is_held = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&port)) && state.is_some_and(|state| HELD_STATES.contains(&state))
    };
    table.lines().skip(1).filter(is_held).count()
}
