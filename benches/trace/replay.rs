//! A replay of a trace: each request is sent when it is due, however long earlier ones take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::connection::{Connection, Expected};
use harness::pool::Pool;
use harness::request;
use tokio::task::JoinSet;

use crate::rows::Row;

/// An English token has about four letters.
const BYTES_PER_TOKEN: usize = 4;
/// The text of the prompts, which begin at different offsets.
const SENTENCES: &str = "The river had risen in the night, and by morning the lower fields were a sheet of grey water. \
     Nobody in the village could remember such a spring. They carried what they could to the old mill, counted the \
     children, and waited for the boats. When the rain stopped, an hour after noon, the silence was so large that even \
     the dogs looked up. ";
const OFFSETS: usize = 251;
/// The time limit after the last request was sent.
const LAST_RESPONSE_MAX: Duration = Duration::from_secs(120);

/// A trace and the speed of its replay.
pub struct Replay {
    rows: Vec<Row>,
    /// Milliseconds of the trace per second of the replay.
    millis_per_second: u64,
    text: Vec<u8>,
    secret: String,
}

/// The times of one response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTimes {
    pub first: Duration,
    pub total: Duration,
    /// The delay between the due time and the sending.
    pub late: Duration,
}

/// The outcome of each row, in order.
pub type Outcomes = Vec<Result<ResponseTimes, String>>;

impl Replay {
    /// A replay with `per_second` requests per second on average.
    pub fn new(rows: Vec<Row>, length: Duration, per_second: u64, secret: String) -> Self {
        let longest = rows.iter().map(|row| row.input_tokens).max().unwrap_or_default();
        let bytes = usize::try_from(longest).unwrap_or(usize::MAX) * BYTES_PER_TOKEN + OFFSETS;
        let text = SENTENCES.bytes().cycle().take(bytes).collect();
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
        let millis_per_second = (length * per_second / rows.len().max(1) as u64).max(1);
        Self { rows, millis_per_second, text, secret }
    }

    /// The speed relative to the recording, in hundredths.
    pub const fn speed_hundredths(&self) -> u64 {
        self.millis_per_second / 10
    }

    /// The size of all bodies together.
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
        let length = usize::try_from(row.input_tokens).unwrap_or(usize::MAX) * BYTES_PER_TOKEN;
        let text = self.text.get(at % OFFSETS..).unwrap_or_default();
        let text = text.get(..length).unwrap_or(text);
        request::of_trace(into, &self.secret, row.input_tokens, row.cached_tokens, row.output_tokens, text);
    }

    fn due(&self, row: &Row) -> Duration {
        Duration::from_micros(u64::try_from(row.at.as_micros()).unwrap_or(u64::MAX) * 1000 / self.millis_per_second)
    }

    pub async fn run(self: &Arc<Self>, address: SocketAddr) -> Outcomes {
        let pool = Arc::new(Pool::new(address));
        let (mut in_flight, started) = (JoinSet::new(), Instant::now());
        for (at, row) in self.rows.iter().enumerate() {
            let due = started + self.due(row);
            tokio::time::sleep_until(due.into()).await;
            in_flight.spawn(Arc::clone(self).send(at, due, Arc::clone(&pool)));
        }
        let ended = tokio::time::timeout(LAST_RESPONSE_MAX, in_flight.join_all());
        let mut outcomes = ended.await.expect("responses in time");
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn send(self: Arc<Self>, at: usize, due: Instant, pool: Arc<Pool>) -> (usize, Result<ResponseTimes, String>) {
        let mut connection = match pool.take().await {
            Ok(connection) => connection,
            Err(error) => return (at, Err(error.to_string())),
        };
        let outcome = self.send_on(&mut connection, at, due).await;
        if outcome.is_ok() {
            pool.give_back(connection);
        }
        (at, outcome)
    }

    async fn send_on(&self, connection: &mut Connection, at: usize, due: Instant) -> Result<ResponseTimes, String> {
        let mut bytes = Vec::new();
        self.write(at, &mut bytes);
        let late = due.elapsed();
        let response = connection.send(&bytes).await.map_err(|error| error.to_string())?;
        let tokens = self.rows.get(at).map_or(0, |row| row.output_tokens);
        response.check(Expected::Stream { tokens: usize::try_from(tokens).unwrap_or_default() })?;
        Ok(ResponseTimes { first: response.first.unwrap_or_default(), total: response.total, late })
    }
}

/// The offset of the body.
fn head_length(request: &[u8]) -> usize {
    request.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |end| end + 4)
}
