//! A question to Redis that a request waits for. If the request goes meanwhile, the answer is still taken: otherwise nobody would
//! know whether something was counted.

use std::pin::Pin;
use std::sync::Arc;

use shared_limits::{CountReply, CounterError, PutReply};
use tokio::runtime::Handle;

use super::binding::Counted;
use super::limiter::{NotCounted, SharedLimiter};
use super::permit::Provisional;

pub enum Reply {
    Count {
        reply: CountReply,
        /// The marker that the group has if it had none.
        made_marker: String,
    },
    Put(PutReply),
}

type Call = Pin<Box<dyn Future<Output = Result<Reply, CounterError>> + Send>>;

pub struct Asking {
    limiter: Arc<SharedLimiter>,
    turn: u64,
    /// `None` once it is answered.
    asked: Option<(Provisional, Call)>,
}

impl Asking {
    pub fn new(limiter: Arc<SharedLimiter>, provisional: Provisional, turn: u64, call: Call) -> Self {
        Self { limiter, turn, asked: Some((provisional, call)) }
    }

    pub async fn answer(mut self) -> Result<Counted, NotCounted> {
        let Some((_, call)) = &mut self.asked else { return Err(NotCounted::InThisTurn) };
        let reply = call.await;
        let Some((provisional, _)) = self.asked.take() else { return Err(NotCounted::InThisTurn) };
        self.limiter.conclude(provisional, self.turn, reply).map(|provisional| provisional.counted)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some((provisional, call)) = self.asked.take() else { return };
        // Without a runtime the process ends, and its counts with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let (limiter, turn) = (Arc::clone(&self.limiter), self.turn);
        let concluding = async move {
            let reply = call.await;
            if let Ok(counted) = limiter.conclude(provisional, turn, reply) {
                counted.take_back();
            }
        };
        self.limiter.calls.spawn_on(concluding, &runtime);
    }
}
