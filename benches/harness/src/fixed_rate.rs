//! Load at a fixed rate: each request is sent when it is due, however long earlier ones take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::connection::{Expected, Response};
use crate::pool::Pool;

/// A request with its expected response.
#[derive(Clone, Debug)]
pub struct Request {
    pub bytes: Arc<[u8]>,
    pub expected: Expected,
    /// The client closes the connection after this many events.
    pub abort_after: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent requests. A gateway that falls further behind cannot keep up, and requests that are not sent count as
    /// errors.
    pub in_flight: usize,
    /// The time limit of a single response.
    pub time: Duration,
}

/// The result of a request.
pub type Outcome = Result<Response, String>;

pub struct FixedRate {
    pool: Arc<Pool>,
    interval: Duration,
    limits: Limits,
    pub started: Instant,
    /// The number of the next request, from 0.
    next: u64,
    in_flight: JoinSet<(u64, Outcome)>,
}

impl FixedRate {
    /// The first request is due immediately.
    pub fn start(pool: Arc<Pool>, per_second: u64, limits: Limits) -> Self {
        let interval = Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1);
        Self { pool, interval, limits, started: Instant::now(), next: 0, in_flight: JoinSet::new() }
    }

    /// Sends the requests that are due before `until`. Passes the number and the outcome of each that ends meanwhile to
    /// `record`.
    pub async fn run_until(
        &mut self,
        until: Instant,
        request: impl Fn(u64) -> Request,
        mut record: impl FnMut(u64, Outcome),
    ) {
        loop {
            let due = self.started + self.due(self.next);
            tokio::time::sleep_until(due.min(until).into()).await;
            while let Some(ended) = self.in_flight.try_join_next() {
                let (number, outcome) = ended.expect("a request does not panic");
                record(number, outcome);
            }
            if due >= until {
                return;
            }
            if self.in_flight.len() < self.limits.in_flight {
                let (pool, number, time_max) = (Arc::clone(&self.pool), self.next, self.limits.time);
                self.in_flight.spawn(send_in_time(number, request(number), pool, time_max));
            } else {
                record(self.next, Err("not sent: too many are in flight".to_owned()));
            }
            self.next += 1;
        }
    }

    /// Waits for the responses to all requests in flight.
    pub async fn finish(self, mut record: impl FnMut(u64, Outcome)) {
        for (number, outcome) in self.in_flight.join_all().await {
            record(number, outcome);
        }
    }

    /// The time of a request after the start, which is computed from the start so that rounding errors do not add up.
    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos(u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX).saturating_mul(number))
    }
}

async fn send_in_time(number: u64, request: Request, pool: Arc<Pool>, time_max: Duration) -> (u64, Outcome) {
    let outcome = tokio::time::timeout(time_max, send(&request, &pool)).await;
    (number, outcome.unwrap_or_else(|_| Err(format!("no whole response within {time_max:?}"))))
}

async fn send(request: &Request, pool: &Pool) -> Outcome {
    let mut connection = pool.take().await.map_err(|error| error.to_string())?;
    let is_enough = |response: &Response| request.abort_after.is_some_and(|events| response.events >= events);
    let response = connection.send_until(&request.bytes, is_enough).await.map_err(|error| error.to_string())?;
    response.check(request.expected)?;
    if request.abort_after.is_none() {
        pool.give_back(connection);
    }
    Ok(response)
}
