//! Requests at the times of a trace, however long the ones before them take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::connection::{Connection, Wanted};
use harness::pool::Pool;
use harness::request;
use tokio::task::JoinSet;

use crate::rows::Row;

/// A token of English is four letters or so.
const BYTES_A_TOKEN: usize = 4;
/// Prompts are pieces of it, each from another place on.
const SENTENCES: &str = "The river had risen in the night, and by morning the lower fields were a sheet of grey water. \
     Nobody in the village could remember such a spring. They carried what they could to the old mill, counted the \
     children, and waited for the boats. When the rain stopped, an hour after noon, the silence was so large that even \
     the dogs looked up. ";
const OFFSETS: usize = 251;
/// Once the last request has begun.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(120);

/// What is replayed, and how much faster than it was.
pub struct Replay {
    rows: Vec<Row>,
    /// Milliseconds of the trace that go by in a second.
    millis_a_second: u64,
    text: Vec<u8>,
    secret: String,
}

/// The times of one response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTimes {
    pub first: Duration,
    pub total: Duration,
    /// How late the request was sent.
    pub late: Duration,
}

/// One for each row, in order.
pub type Outcomes = Vec<Result<ResponseTimes, String>>;

impl Replay {
    /// So fast that `per_second` requests begin in a second on average.
    pub fn new(rows: Vec<Row>, length: Duration, per_second: u64, secret: String) -> Self {
        let longest = rows.iter().map(|row| row.input_tokens).max().unwrap_or_default();
        let bytes = usize::try_from(longest).unwrap_or(usize::MAX) * BYTES_A_TOKEN + OFFSETS;
        let text = SENTENCES.bytes().cycle().take(bytes).collect();
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
        let millis_a_second = (length * per_second / rows.len().max(1) as u64).max(1);
        Self { rows, millis_a_second, text, secret }
    }

    /// How many times as fast as it was recorded, in hundredths.
    pub const fn speed_hundredths(&self) -> u64 {
        self.millis_a_second / 10
    }

    /// Of all bodies together.
    pub fn body_bytes(&self) -> u64 {
        let mut bytes = Vec::new();
        let lengths = (0..self.rows.len()).map(|at| {
            self.write(at, &mut bytes);
            let head = head_length(&bytes);
            (bytes.len() - head) as u64
        });
        lengths.sum()
    }

    fn write(&self, at: usize, into: &mut Vec<u8>) {
        let Some(row) = self.rows.get(at) else { return };
        let length = usize::try_from(row.input_tokens).unwrap_or(usize::MAX) * BYTES_A_TOKEN;
        let text = self.text.get(at % OFFSETS..).unwrap_or_default();
        let text = text.get(..length).unwrap_or(text);
        request::of_trace(into, &self.secret, row.input_tokens, row.cached_tokens, row.output_tokens, text);
    }

    fn due(&self, row: &Row) -> Duration {
        Duration::from_micros(u64::try_from(row.at.as_micros()).unwrap_or(u64::MAX) * 1000 / self.millis_a_second)
    }

    pub async fn run(self: &Arc<Self>, address: SocketAddr) -> Outcomes {
        let pool = Arc::new(Pool::new(address));
        let (mut asking, started) = (JoinSet::new(), Instant::now());
        for (at, row) in self.rows.iter().enumerate() {
            let due = started + self.due(row);
            tokio::time::sleep_until(due.into()).await;
            asking.spawn(Arc::clone(self).ask(at, due, Arc::clone(&pool)));
        }
        let ended = tokio::time::timeout(LAST_ANSWER_MAX, asking.join_all());
        let mut outcomes = ended.await.expect("answers in time");
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn ask(self: Arc<Self>, at: usize, due: Instant, pool: Arc<Pool>) -> (usize, Result<ResponseTimes, String>) {
        let mut connection = match pool.take().await {
            Ok(connection) => connection,
            Err(error) => return (at, Err(error.to_string())),
        };
        let outcome = self.ask_on(&mut connection, at, due).await;
        if outcome.is_ok() {
            pool.give_back(connection);
        }
        (at, outcome)
    }

    async fn ask_on(&self, connection: &mut Connection, at: usize, due: Instant) -> Result<ResponseTimes, String> {
        let mut bytes = Vec::new();
        self.write(at, &mut bytes);
        let late = due.elapsed();
        let answer = connection.ask(&bytes).await.map_err(|error| error.to_string())?;
        let tokens = self.rows.get(at).map_or(0, |row| row.output_tokens);
        answer.judge(Wanted::Stream { tokens: usize::try_from(tokens).unwrap_or_default() })?;
        Ok(ResponseTimes { first: answer.first.unwrap_or_default(), total: answer.total, late })
    }
}

/// Where the body begins.
fn head_length(request: &[u8]) -> usize {
    request.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |end| end + 4)
}
