//! The load of a soak and its results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::fixed_rate::{FixedRate, Limits, Outcome};
use harness::pool::Pool;

use crate::mix::{Kind, Mix};

const LIMITS: Limits = Limits { in_flight: 2048, time: Duration::from_secs(30) };
/// Different errors that are kept to show them.
const ERRORS_SHOWN: usize = 10;

pub struct Load {
    mix: Mix,
    requests: FixedRate,
}

/// The results of one row of the table.
#[derive(Default)]
pub struct LoadResults {
    pub requests: usize,
    pub errors: usize,
    /// The times of whole answers.
    pub whole: Vec<Duration>,
    /// The times to the first token of streams.
    pub firsts: Vec<Duration>,
}

/// The number of occurrences of each error.
#[derive(Default)]
pub struct Errors(pub BTreeMap<String, usize>);

impl Load {
    pub fn start(mix: Mix, pool: Pool, per_second: u64) -> Self {
        Self { mix, requests: FixedRate::start(Arc::new(pool), per_second, LIMITS) }
    }

    pub async fn run_until(&mut self, until: Instant, errors: &mut Errors) -> LoadResults {
        let mut results = LoadResults::default();
        let request = |number| self.mix.request(number);
        self.requests.run_until(until, request, |number, outcome| results.add(number, outcome, errors)).await;
        results
    }

    /// Waits for the responses to all requests in flight.
    pub async fn finish(self, errors: &mut Errors) -> LoadResults {
        let mut results = LoadResults::default();
        self.requests.finish(|number, outcome| results.add(number, outcome, errors)).await;
        results
    }
}

impl LoadResults {
    fn add(&mut self, number: u64, outcome: Outcome, errors: &mut Errors) {
        self.requests += 1;
        match (Kind::of(number), outcome) {
            (kind, Err(error)) => {
                self.errors += 1;
                errors.add(format!("{kind:?}: {error}"));
            }
            (Kind::Whole, Ok(response)) => self.whole.push(response.total),
            (Kind::Stream, Ok(response)) => self.firsts.extend(response.first),
            (Kind::Abort | Kind::Refused | Kind::Change | Kind::Query, Ok(_)) => {}
        }
    }
}

impl Errors {
    fn add(&mut self, error: String) {
        if self.0.len() < ERRORS_SHOWN || self.0.contains_key(&error) {
            *self.0.entry(error).or_default() += 1;
        }
    }
}
