//! The requests of other tenants, at a fixed rate.

use std::sync::Arc;
use std::time::Duration;

use harness::connection::Expected;
use harness::fixed_rate::{FixedRate, Limits, Outcome, Request};
use harness::load::Tally;
use harness::pool::Pool;

const LIMITS: Limits = Limits { in_flight: 512, time: Duration::from_secs(10) };

pub struct SteadyLoad {
    pool: Arc<Pool>,
    /// The requests, which take turns.
    requests: Vec<Request>,
    per_second: u64,
}

impl SteadyLoad {
    pub fn new(pool: Pool, requests: Vec<Vec<u8>>, per_second: u64) -> Self {
        let expected =
            |bytes: Vec<u8>| Request { bytes: bytes.into(), expected: Expected::Status(200), abort_after: None };
        Self { pool: Arc::new(pool), requests: requests.into_iter().map(expected).collect(), per_second }
    }

    /// Sends requests for this time, and waits for the last response.
    pub async fn run(&self, time: Duration) -> Tally {
        let mut tally = Tally::default();
        let mut note = |outcome: Outcome| match outcome {
            Ok(response) => tally.totals.push(response.total),
            Err(error) => tally.fail(error),
        };
        let mut load = FixedRate::start(Arc::clone(&self.pool), self.per_second, LIMITS);
        let until = load.started + time;
        let in_turn = |number: u64| self.requests[usize::try_from(number).unwrap_or(0) % self.requests.len()].clone();
        load.run_until(until, in_turn, |_, outcome| note(outcome)).await;
        load.finish(|_, outcome| note(outcome)).await;
        tally
    }
}
