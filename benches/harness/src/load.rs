//! Load: so many connections, each of them one request after another, for so long.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::connection::{Answer, Connection, Wanted};

/// Beyond the time of a load: what is in flight then gets so long to end.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(60);
/// A connection that fails so often is of no use.
const ERRORS_MAX: usize = 10;

/// What is asked, where, and what has to come.
#[derive(Clone)]
pub struct Aim {
    pub address: SocketAddr,
    pub request: Arc<[u8]>,
    pub wanted: Wanted,
    /// Requests before the clock starts, over all connections.
    pub warm_up: usize,
    /// The connections begin within this time, one after the other. Clients that take equally long would otherwise stay in
    /// step for ever, and each measure how long all of the others take.
    pub begin_within: Duration,
}

/// What came of it; grows from round to round.
#[derive(Debug, Default)]
pub struct Tally {
    pub totals: Vec<Duration>,
    /// To the first event of each stream.
    pub firsts: Vec<Duration>,
    /// Between the tokens of all streams.
    pub gaps: Vec<Duration>,
    pub errors: usize,
    pub first_error: Option<String>,
    pub took: Duration,
    /// Of what is measured; whoever measures it puts it here.
    pub cpu: Duration,
}

impl Tally {
    pub fn add(&mut self, answer: io::Result<Answer>, wanted: Wanted) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.fail(error.to_string()),
        };
        if let Err(what) = answer.judge(wanted) {
            return self.fail(what);
        }
        self.totals.push(answer.total);
        self.firsts.extend(answer.first);
        self.gaps.extend_from_slice(answer.token_gaps());
    }

    pub fn fail(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }

    /// How many, and the first of them in words.
    pub fn errors_in_words(&self) -> String {
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
    }
}

/// Connections that have been used: every answer has to be right, what is wrong here would be measured for nothing.
pub async fn warm(aim: &Aim, connections: usize) -> Vec<Connection> {
    let mut open = JoinSet::new();
    for _ in 0..connections {
        open.spawn(warmed_up(aim.clone(), aim.warm_up.div_ceil(connections)));
    }
    tokio::time::timeout(LAST_ANSWER_MAX, open.join_all()).await.expect("warm connections in time")
}

async fn warmed_up(aim: Aim, requests: usize) -> Connection {
    let mut connection = Connection::open(aim.address).await.expect("a connection");
    for _ in 0..requests {
        let answer = connection.ask(&aim.request).await.expect("an answer");
        answer.judge(aim.wanted).expect("a right answer");
    }
    connection
}

/// Asks on these connections for so long.
pub async fn spend(aim: &Aim, open: Vec<Connection>, time: Duration) -> Tally {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    let step = aim.begin_within / u32::try_from(open.len().max(1)).unwrap_or(u32::MAX);
    for (at, connection) in (0..).zip(open) {
        let (aim, begin) = (aim.clone(), started + step * at);
        workers.spawn(async move {
            tokio::time::sleep_until(begin.into()).await;
            ask_again_and_again(connection, aim, started + time).await
        });
    }
    let tallies = tokio::time::timeout(time + LAST_ANSWER_MAX, workers.join_all()).await.expect("answers in time");
    let mut all = Tally { took: started.elapsed(), ..Tally::default() };
    tallies.into_iter().for_each(|tally| all.merge(tally));
    all
}

async fn ask_again_and_again(mut connection: Connection, aim: Aim, until: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < until && tally.errors < ERRORS_MAX {
        let answer = connection.ask(&aim.request).await;
        let has_gone = answer.is_err();
        tally.add(answer, aim.wanted);
        if has_gone {
            match Connection::open(aim.address).await {
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

/// So many streams, one a connection, each begun a little after the other within `spread`; they have to end within `max`.
pub async fn crowd(aim: &Aim, streams: u32, spread: Duration, max: Duration) -> Tally {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for at in 0..streams {
        workers.spawn(ask_once(aim.clone(), started + spread * at / streams.max(1)));
    }
    let tallies = tokio::time::timeout(max, workers.join_all()).await.expect("streams that end in time");
    let mut all = Tally { took: started.elapsed(), ..Tally::default() };
    tallies.into_iter().for_each(|tally| all.merge(tally));
    all
}

async fn ask_once(aim: Aim, begin: Instant) -> Tally {
    let mut tally = Tally::default();
    tokio::time::sleep_until(begin.into()).await;
    match Connection::open(aim.address).await {
        Ok(mut connection) => tally.add(connection.ask(&aim.request).await, aim.wanted),
        Err(error) => tally.fail(error.to_string()),
    }
    tally
}
