//! Load as fast as the responses come: a number of connections, each with one request after another.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::connection::{Connection, Expected, Response};

/// The time that requests in flight have to end after the load.
const LAST_RESPONSE_MAX: Duration = Duration::from_secs(60);
/// A connection stops after this many errors.
const ERRORS_MAX: usize = 10;

/// A request to repeat, the address to send it to, and the expected response.
#[derive(Clone)]
pub struct Workload {
    pub address: SocketAddr,
    pub request: Arc<[u8]>,
    pub expected: Expected,
    /// Requests of all connections together before the measurement.
    pub warm_up: usize,
    /// The time in which the connections begin, one after another. Clients that began together would stay in step, and each
    /// would measure the time of all others.
    pub ramp_up: Duration,
}

/// The results of one or several rounds.
#[derive(Debug, Default)]
pub struct Tally {
    pub totals: Vec<Duration>,
    /// The time to the first event of each stream.
    pub firsts: Vec<Duration>,
    /// The times between the tokens of all streams.
    pub gaps: Vec<Duration>,
    pub errors: usize,
    pub first_error: Option<String>,
    pub took: Duration,
    /// The CPU time of the measured processes, which the caller sets.
    pub cpu: Duration,
    /// The CPU time of the database behind them, which the caller sets.
    pub database_cpu: Duration,
}

impl Tally {
    pub fn add(&mut self, response: io::Result<Response>, expected: Expected) {
        let response = match response {
            Ok(response) => response,
            Err(error) => return self.fail(error.to_string()),
        };
        if let Err(error) = response.check(expected) {
            return self.fail(error);
        }
        self.totals.push(response.total);
        self.firsts.extend(response.first);
        self.gaps.extend_from_slice(response.token_gaps());
    }

    pub fn fail(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    /// The number of errors, with the text of the first.
    pub fn errors_as_text(&self) -> String {
        match &self.first_error {
            None => self.errors.to_string(),
            Some(first) => format!("{}: {}", self.errors, first.replace('|', "/")),
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.totals.extend(other.totals);
        self.firsts.extend(other.firsts);
        self.gaps.extend(other.gaps);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.took += other.took;
        self.cpu += other.cpu;
        self.database_cpu += other.database_cpu;
    }
}

/// Opens connections and warms them up. Panics on a wrong response, since measuring it would be useless.
pub async fn warm(workload: &Workload, connections: usize) -> Vec<Connection> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(workload.address).await.expect("a connection"));
    }
    send_on_each(workload, open, workload.warm_up.div_ceil(connections), LAST_RESPONSE_MAX).await
}

/// Sends `requests` requests on each of these connections, all of them within `time_max`. Panics on a wrong response.
pub async fn send_on_each(
    workload: &Workload,
    open: Vec<Connection>,
    requests: usize,
    time_max: Duration,
) -> Vec<Connection> {
    let mut workers = JoinSet::new();
    for mut connection in open {
        let workload = workload.clone();
        workers.spawn(async move {
            for _ in 0..requests {
                let response = connection.send(&workload.request).await.expect("a response");
                response.check(workload.expected).expect("the expected response");
            }
            connection
        });
    }
    tokio::time::timeout(time_max, workers.join_all()).await.expect("responses in time")
}

/// Sends requests on these connections for this time.
pub async fn run(workload: &Workload, open: Vec<Connection>, time: Duration) -> Tally {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    let step = workload.ramp_up / u32::try_from(open.len().max(1)).unwrap_or(u32::MAX);
    for (at, connection) in (0..).zip(open) {
        let (workload, begin) = (workload.clone(), started + step * at);
        workers.spawn(async move {
            tokio::time::sleep_until(begin.into()).await;
            repeat(connection, workload, started + time).await
        });
    }
    sum_of(workers, started, time + LAST_RESPONSE_MAX).await
}

async fn sum_of(workers: JoinSet<Tally>, started: Instant, time_max: Duration) -> Tally {
    let tallies = tokio::time::timeout(time_max, workers.join_all()).await.expect("responses in time");
    let mut sum = Tally { took: started.elapsed(), ..Tally::default() };
    tallies.into_iter().for_each(|tally| sum.merge(tally));
    sum
}

async fn repeat(mut connection: Connection, workload: Workload, until: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < until && tally.errors < ERRORS_MAX {
        let response = connection.send(&workload.request).await;
        let is_broken = response.is_err();
        tally.add(response, workload.expected);
        if is_broken {
            match Connection::open(workload.address).await {
                Ok(new) => connection = new,
                Err(error) => {
                    tally.fail(error.to_string());
                    return tally;
                }
            }
        }
    }
    tally
}

/// Sends `requests` requests, each on a connection of its own. They begin evenly within the ramp-up and must end within
/// `time_max`.
pub async fn run_each_once(workload: &Workload, requests: u32, time_max: Duration) -> Tally {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for at in 0..requests {
        workers.spawn(send_once(workload.clone(), started + workload.ramp_up * at / requests.max(1)));
    }
    sum_of(workers, started, time_max).await
}

async fn send_once(workload: Workload, begin: Instant) -> Tally {
    let mut tally = Tally::default();
    tokio::time::sleep_until(begin.into()).await;
    match Connection::open(workload.address).await {
        Ok(mut connection) => tally.add(connection.send(&workload.request).await, workload.expected),
        Err(error) => tally.fail(error.to_string()),
    }
    tally
}
