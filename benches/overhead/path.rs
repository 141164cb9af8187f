//! The ways to the upstream that are measured side by side.

use std::net::SocketAddr;
use std::time::Duration;

use harness::admin::Admin;
use harness::connection::Wanted;
use harness::load::{self, Aim, Tally};
use harness::process::Processes;
use harness::request;

/// Every figure is of so many rounds, in which the paths take turns: what else the machine does then falls on all.
const ROUNDS: u32 = 10;

pub struct Path {
    pub name: &'static str,
    pub whole: SocketAddr,
    pub streams: SocketAddr,
    /// Of the key that asks.
    pub secret: String,
    /// Nobody's where nothing is in between.
    pub processes: Processes,
    /// Whose views have to be waited for.
    pub admin: Option<Admin>,
}

impl Path {
    pub fn aim_whole(&self, ending: &'static str) -> Aim {
        let (request, wanted) = (request::whole(&self.secret).into(), Wanted::Whole { ending });
        Aim { address: self.whole, request, wanted, warm_up: 256, begin_within: Duration::ZERO }
    }

    pub fn aim_stream(&self, model: &str, tokens: u64, warm_up: usize) -> Aim {
        let request = request::stream(model, tokens, &self.secret).into();
        let wanted = Wanted::Stream { tokens: usize::try_from(tokens).unwrap_or(usize::MAX) };
        Aim { address: self.streams, request, wanted, warm_up, begin_within: Duration::ZERO }
    }

    async fn round(&self, aim: &Aim, connections: usize, time: Duration) -> Tally {
        let open = load::warm(aim, connections).await;
        self.calm_down();
        let cpu = self.processes.cpu();
        let mut tally = load::spend(aim, open, time).await;
        self.calm_down();
        tally.cpu = self.processes.cpu().saturating_sub(cpu);
        tally
    }

    /// What views still do of a round is part of its cost, and must not weigh on the next one.
    pub fn calm_down(&self) {
        if let Some(admin) = self.admin {
            admin.wait_for_views();
        }
    }
}

/// Measures all paths for `time` each; their tallies in the same order.
pub async fn take_turns(paths: &[Path], aim: impl Fn(&Path) -> Aim, connections: usize, time: Duration) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = paths.iter().map(|_| Tally::default()).collect();
    for _ in 0..ROUNDS {
        for (path, tally) in paths.iter().zip(&mut tallies) {
            tally.merge(path.round(&aim(path), connections, time / ROUNDS).await);
        }
    }
    tallies
}
