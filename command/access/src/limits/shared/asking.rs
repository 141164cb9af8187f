//! A question to Redis that a request waits for. If the request goes meanwhile, the answer is still taken: otherwise nobody would
//! know whether something was counted.

use std::pin::Pin;
use std::sync::Arc;

use shared_limits::{CountReply, CounterError, PutReply, Standing};
use tokio::runtime::Handle;

use super::binding::Counted;
use super::group::Group;
use super::link::LOST;
use super::permit::Provisional;
use super::state::SharedLimiter;
use crate::limits::rate_limited::{LimitRefusal, RateLimited};

/// Why a request could not be counted.
pub(super) enum NotCounted {
    Refused(LimitRefusal),
    /// How limits are counted is about to change.
    TurnEnds,
    /// There is no connection yet. The conductor makes one, or ends the turn.
    NotConnected,
}

impl From<RateLimited> for NotCounted {
    fn from(limited: RateLimited) -> Self {
        Self::Refused(LimitRefusal::RateLimited(limited))
    }
}

/// The answers to the calls of a request, one for each group of its limits. There are none of the groups after one that did not
/// count it.
pub enum Reply {
    Count(Vec<GroupCount>),
    Put(Vec<(Arc<Group>, PutReply)>),
}

pub struct GroupCount {
    pub group: Arc<Group>,
    pub reply: CountReply,
    /// The marker that the group has if it had none.
    pub made_marker: String,
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
        let Some((_, call)) = &mut self.asked else { return Err(NotCounted::TurnEnds) };
        let reply = call.await;
        let Some((provisional, _)) = self.asked.take() else { return Err(NotCounted::TurnEnds) };
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
            Ok(Reply::Count(answers)) => {
                let provisional = self.counted(provisional, turn, answers)?;
                let limits = provisional.limits.clone();
                let exceeded = limits.decided_by_redis(provisional.demand, &provisional.counted, self.now_micros());
                let Some(exceeded) = exceeded else { return Ok(provisional) };
                let limited = RateLimited::of(&exceeded, provisional.demand.amount(), self.parts.clock.now());
                provisional.take_back();
                Err(limited.into())
            }
            Ok(Reply::Put(answers)) => {
                for (group, reply) in answers {
                    let PutReply::Put(answer) = reply else {
                        provisional.undo();
                        return Err(NotCounted::TurnEnds);
                    };
                    group.learn_marker(&answer.marker, self.now_micros());
                }
                Ok(provisional)
            }
            Err(error) => {
                provisional.undo();
                self.fail(turn, &error.to_string());
                Err(NotCounted::TurnEnds)
            }
        }
    }

    fn counted(
        &self,
        provisional: Provisional,
        turn: u64,
        answers: Vec<GroupCount>,
    ) -> Result<Provisional, NotCounted> {
        let now_micros = self.now_micros();
        let (mut standings, mut counted_in) = (Vec::new(), Vec::new());
        for GroupCount { group, reply, made_marker } in answers {
            match reply {
                CountReply::Counted(answer) => {
                    // Redis knew nothing of the group, though others have counted in it.
                    if answer.marker == made_marker && provisional.limits.others_have_counted_in(&group, now_micros) {
                        return Err(self.lost(provisional, turn));
                    }
                    group.learn_marker(&answer.marker, now_micros);
                    standings.extend(answer.standings);
                    counted_in.push(group);
                }
                CountReply::Refused(answer) => {
                    group.learn_marker(&answer.marker, now_micros);
                    standings.extend(answer.standings);
                    return Err(self.refused(provisional, turn, &counted_in, &standings));
                }
                CountReply::Lost => return Err(self.lost(provisional, turn)),
                CountReply::Superseded => {
                    provisional.undo();
                    return Err(NotCounted::TurnEnds);
                }
            }
        }
        provisional.limits.learn(provisional.demand, &standings, now_micros);
        provisional.limits.mark_in_redis(&provisional.counted);
        Ok(provisional)
    }

    fn lost(&self, provisional: Provisional, turn: u64) -> NotCounted {
        provisional.undo();
        self.fail(turn, LOST);
        NotCounted::TurnEnds
    }

    /// It is taken back where it was counted before another group refused it.
    fn refused(
        &self,
        provisional: Provisional,
        turn: u64,
        counted_in: &[Arc<Group>],
        standings: &[Standing],
    ) -> NotCounted {
        let (limits, demand) = (provisional.limits.clone(), provisional.demand);
        provisional.undo_in(counted_in);
        match limits.learn(demand, standings, self.now_micros()) {
            Some(exceeded) => RateLimited::of(&exceeded, demand.amount(), self.parts.clock.now()).into(),
            None => {
                self.fail(turn, "Redis refused without a reason");
                NotCounted::TurnEnds
            }
        }
    }
}
