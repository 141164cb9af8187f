//! Requests at a fixed rate, however long the ones before them take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::connection::Answer;
use harness::pool::Pool;
use tokio::task::JoinSet;

use crate::mix::{Kind, Mix};

/// Requests that run at once. Beyond it the gateway cannot follow, and what is not sent counts as an error.
const IN_FLIGHT_MAX: usize = 2048;
/// A single request may take so long.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Different errors that are kept to be shown.
const ERRORS_SHOWN: usize = 10;

pub struct Load {
    mix: Arc<Mix>,
    pool: Arc<Pool>,
    between: Duration,
    next: u64,
    in_flight: JoinSet<(Kind, Result<Answer, String>)>,
}

/// The results of one row of the table.
#[derive(Default)]
pub struct LoadResults {
    pub requests: usize,
    pub errors: usize,
    /// Of whole answers.
    pub whole: Vec<Duration>,
    /// To the first token of streams.
    pub firsts: Vec<Duration>,
}

/// What went wrong, and how often.
#[derive(Default)]
pub struct Errors(pub BTreeMap<String, usize>);

impl Load {
    pub fn new(mix: Mix, pool: Pool, per_second: u64) -> Self {
        let between = Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1);
        Self { mix: Arc::new(mix), pool: Arc::new(pool), between, next: 0, in_flight: JoinSet::new() }
    }

    /// Keeps the rate until then.
    pub async fn run_until(&mut self, started: Instant, until: Instant, errors: &mut Errors) -> LoadResults {
        let mut came = LoadResults::default();
        loop {
            let due = started + nth(self.between, self.next);
            if due >= until {
                tokio::time::sleep_until(until.into()).await;
                self.take_in(&mut came, errors);
                return came;
            }
            tokio::time::sleep_until(due.into()).await;
            self.take_in(&mut came, errors);
            if self.in_flight.len() < IN_FLIGHT_MAX {
                self.send();
            } else {
                came.add(Kind::of(self.next), Err("not sent: too many are in flight".to_owned()), errors);
            }
            self.next += 1;
        }
    }

    /// What is in flight ends.
    pub async fn finish(mut self, errors: &mut Errors) -> LoadResults {
        let mut came = LoadResults::default();
        while let Some(joined) = self.in_flight.join_next().await {
            let (kind, answer) = joined.expect("a request that ends");
            came.add(kind, answer, errors);
        }
        came
    }

    fn send(&mut self) {
        let (kind, request) = (Kind::of(self.next), self.mix.request(self.next));
        self.in_flight.spawn(ask_in_time(kind, request, Arc::clone(&self.pool)));
    }

    fn take_in(&mut self, came: &mut LoadResults, errors: &mut Errors) {
        while let Some(joined) = self.in_flight.try_join_next() {
            let (kind, answer) = joined.expect("a request that ends");
            came.add(kind, answer, errors);
        }
    }
}

/// When request `number` is due: reckoned from the start, so that no rounding adds up.
fn nth(between: Duration, number: u64) -> Duration {
    Duration::from_nanos(u64::try_from(between.as_nanos()).unwrap_or(u64::MAX).saturating_mul(number))
}

async fn ask_in_time(kind: Kind, request: Arc<[u8]>, pool: Arc<Pool>) -> (Kind, Result<Answer, String>) {
    let answer = tokio::time::timeout(ANSWER_MAX, ask(kind, &request, &pool)).await;
    (kind, answer.unwrap_or_else(|_| Err(format!("no whole answer within {ANSWER_MAX:?}"))))
}

async fn ask(kind: Kind, request: &[u8], pool: &Pool) -> Result<Answer, String> {
    let mut connection = pool.take().await.map_err(|error| error.to_string())?;
    let answer =
        connection.ask_until(request, |answer| kind.has_enough(answer)).await.map_err(|error| error.to_string())?;
    answer.judge(kind.wanted())?;
    if kind != Kind::Abort {
        pool.give_back(connection);
    }
    Ok(answer)
}

impl LoadResults {
    fn add(&mut self, kind: Kind, answer: Result<Answer, String>, errors: &mut Errors) {
        self.requests += 1;
        match (kind, answer) {
            (_, Err(why)) => {
                self.errors += 1;
                errors.add(format!("{kind:?}: {why}"));
            }
            (Kind::Whole, Ok(answer)) => self.whole.push(answer.total),
            (Kind::Stream, Ok(answer)) => self.firsts.extend(answer.first),
            (Kind::Abort | Kind::Refused | Kind::Change | Kind::Query, Ok(_)) => {}
        }
    }
}

impl Errors {
    fn add(&mut self, what: String) {
        if self.0.len() < ERRORS_SHOWN || self.0.contains_key(&what) {
            *self.0.entry(what).or_default() += 1;
        }
    }
}
