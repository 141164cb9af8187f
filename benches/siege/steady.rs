//! The other tenant's requests, at a fixed rate, however long the ones before them take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::connection::Wanted;
use harness::pool::Pool;
use tokio::task::JoinSet;

/// A single request may take so long.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Requests that run at once. Beyond it the gateway cannot follow, and what is not sent counts as an error.
const IN_FLIGHT_MAX: usize = 512;

pub struct Steady {
    pool: Arc<Pool>,
    request: Arc<[u8]>,
    between: Duration,
}

/// The results of one phase.
#[derive(Debug, Default)]
pub struct PhaseResults {
    pub took: Vec<Duration>,
    pub errors: usize,
    pub first_error: Option<String>,
}

impl PhaseResults {
    fn add(&mut self, answer: Result<Duration, String>) {
        match answer {
            Ok(took) => self.took.push(took),
            Err(why) => {
                self.errors += 1;
                self.first_error.get_or_insert(why);
            }
        }
    }
}

impl Steady {
    pub fn new(pool: Pool, request: Vec<u8>, per_second: u64) -> Self {
        let between = Duration::from_secs(1) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX);
        Self { pool: Arc::new(pool), request: request.into(), between }
    }

    /// Asks for so long, and waits for the last answer.
    pub async fn ask_for(&self, time: Duration) -> PhaseResults {
        let (started, mut due, mut came, mut in_flight) =
            (Instant::now(), Duration::ZERO, PhaseResults::default(), JoinSet::new());
        while due < time {
            tokio::time::sleep_until((started + due).into()).await;
            while let Some(answer) = in_flight.try_join_next() {
                came.add(answer.expect("a request that ends"));
            }
            if in_flight.len() < IN_FLIGHT_MAX {
                in_flight.spawn(ask(Arc::clone(&self.pool), Arc::clone(&self.request)));
            } else {
                came.add(Err("not sent: too many are in flight".to_owned()));
            }
            due += self.between;
        }
        in_flight.join_all().await.into_iter().for_each(|answer| came.add(answer));
        came
    }
}

async fn ask(pool: Arc<Pool>, request: Arc<[u8]>) -> Result<Duration, String> {
    let asked = async {
        let mut connection = pool.take().await.map_err(|error| error.to_string())?;
        let answer = connection.ask(&request).await.map_err(|error| error.to_string())?;
        answer.judge(Wanted::Status(200))?;
        pool.give_back(connection);
        Ok(answer.total)
    };
    tokio::time::timeout(ANSWER_MAX, asked).await.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_MAX:?}")))
}
