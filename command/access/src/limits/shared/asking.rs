//! A question to Redis that a request waits for. If the request goes meanwhile, the answer is still taken: otherwise nobody would
//! know whether something was counted.

use std::pin::Pin;
use std::sync::Arc;

use shared_limits::{Answer, CountReply, CounterError, PutReply};
use tokio::runtime::Handle;

use super::binding::Counted;
use super::link::LOST;
use super::permit::Provisional;
use super::state::SharedLimiter;
use crate::limits::rate_limited::{LimitRefusal, RateLimited};

/// Why a request could not be counted.
pub(super) enum NotCounted {
    Refused(LimitRefusal),
    /// In this turn, it cannot: how limits are counted is about to change.
    InThisTurn,
}

impl From<RateLimited> for NotCounted {
    fn from(limited: RateLimited) -> Self {
        Self::Refused(LimitRefusal::RateLimited(limited))
    }
}

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

impl SharedLimiter {
    /// What an answer of Redis means for a request.
    pub(super) fn conclude(
        &self,
        provisional: Provisional,
        turn: u64,
        reply: Result<Reply, CounterError>,
    ) -> Result<Provisional, NotCounted> {
        match reply {
            Ok(Reply::Count { reply: CountReply::Counted(answer), made_marker }) => {
                self.counted(provisional, turn, &answer, &made_marker)
            }
            Ok(Reply::Count { reply: CountReply::Refused(answer), .. }) => {
                Err(self.refused(provisional, turn, &answer))
            }
            Ok(Reply::Put(PutReply::Put(answer))) => {
                provisional.limits.group().learn_marker(&answer.marker, self.now_micros());
                Ok(provisional)
            }
            Ok(Reply::Count { reply: CountReply::Superseded, .. } | Reply::Put(PutReply::Superseded)) => {
                provisional.undo();
                Err(NotCounted::InThisTurn)
            }
            Ok(Reply::Count { reply: CountReply::Lost, .. }) => {
                provisional.undo();
                self.fail(turn, LOST);
                Err(NotCounted::InThisTurn)
            }
            Err(error) => {
                provisional.undo();
                self.fail(turn, &error.to_string());
                Err(NotCounted::InThisTurn)
            }
        }
    }

    fn counted(
        &self,
        provisional: Provisional,
        turn: u64,
        answer: &Answer,
        made_marker: &str,
    ) -> Result<Provisional, NotCounted> {
        let (limits, now_micros) = (&provisional.limits, self.now_micros());
        // Redis knew nothing of the group, though others have counted in it.
        if answer.marker == made_marker && limits.others_have_counted(now_micros) {
            provisional.undo();
            self.fail(turn, LOST);
            return Err(NotCounted::InThisTurn);
        }
        limits.group().learn_marker(&answer.marker, now_micros);
        limits.learn(provisional.demand, &answer.standings, now_micros);
        Ok(provisional)
    }

    fn refused(&self, provisional: Provisional, turn: u64, answer: &Answer) -> NotCounted {
        let (limits, demand) = (provisional.limits.clone(), provisional.demand);
        provisional.undo();
        let now_micros = self.now_micros();
        limits.group().learn_marker(&answer.marker, now_micros);
        match limits.learn(demand, &answer.standings, now_micros) {
            Some(exceeded) => RateLimited::of(&exceeded, demand.amount(), self.parts.clock.now()).into(),
            None => {
                self.fail(turn, "Redis refused without a reason");
                NotCounted::InThisTurn
            }
        }
    }
}
