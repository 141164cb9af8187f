//! The requests of the other tenant, at a fixed rate.

use std::sync::Arc;
use std::time::Duration;

use harness::connection::Expected;
use harness::fixed_rate::{FixedRate, Limits, Outcome, Request};
use harness::pool::Pool;

const LIMITS: Limits = Limits { in_flight: 512, time: Duration::from_secs(10) };

pub struct SteadyLoad {
    pool: Arc<Pool>,
    request: Request,
    per_second: u64,
}

/// The results of one phase.
#[derive(Debug, Default)]
pub struct PhaseResults {
    pub took: Vec<Duration>,
    pub errors: usize,
    pub first_error: Option<String>,
}

impl PhaseResults {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Ok(response) => self.took.push(response.total),
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

impl SteadyLoad {
    pub fn new(pool: Pool, request: Vec<u8>, per_second: u64) -> Self {
        let request = Request { bytes: request.into(), expected: Expected::Status(200), abort_after: None };
        Self { pool: Arc::new(pool), request, per_second }
    }

    /// Sends requests for this time, and waits for the last response.
    pub async fn run(&self, time: Duration) -> PhaseResults {
        let mut results = PhaseResults::default();
        let mut load = FixedRate::start(Arc::clone(&self.pool), self.per_second, LIMITS);
        let until = load.started + time;
        load.run_until(until, |_| self.request.clone(), |_, outcome| results.add(outcome)).await;
        load.finish(|_, outcome| results.add(outcome)).await;
        results
    }
}
