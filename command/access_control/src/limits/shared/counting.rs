//! How a request is counted under the limits that bind it: in Redis or, while that cannot be used, by this node's share.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use events::event::Chain;
use events::ids::PartnerId;
use futures_util::future::BoxFuture;
use projections::tables::Tables;
use shared_limits::CountReply;
use tokio::sync::oneshot;

use super::binding::{Asked, SharedBinding, SharedLimits};
use super::counted::{Counted, Demand, OneCount};
use super::counts::SharedCounts;
use super::group::Group;
use super::limiter::SharedLimiter;
use super::link::Connection;
use super::permit::{ReservedTokens, SharedPermit};
use super::turns::RedisTurn;
use crate::limits::binding::{ApplicableLimit, LimitExceeded, LimitHolder, locked};
use crate::limits::rate_limited::{LimitRefusal, RateLimited};
use crate::limits::remaining::TightestLimit;
use crate::limits::tokens::TokenAmounts;

/// How often Redis is asked, if it does not have what this node has sent.
const ASKED_MAX: u32 = 4;

/// Outcome of a question to Redis.
enum Answered {
    Counted(Vec<OneCount>),
    Refused(RateLimited),
    /// Redis does not have what this node has sent: it is sent again.
    Unknown,
    Failed,
}

impl SharedLimiter {
    pub(in crate::limits) fn bind(
        self: &Arc<Self>,
        chain: &Chain,
        limits: Vec<ApplicableLimit>,
        tables: &Tables,
    ) -> SharedLimits {
        let now_micros = self.now_micros();
        let bind = |limit: ApplicableLimit| {
            let make = || SharedCounts::new(self.groups.of(partner_of(&limit, chain, tables)));
            let slot = self.slots.get_or_make(limit.key, tables, now_micros, make);
            let group = Arc::clone(&locked(&slot).group);
            SharedBinding { limit, group, slot }
        };
        let all = limits.into_iter().map(bind).collect();
        SharedLimits::of(Arc::clone(self), chain.tenant, all)
    }

    /// Counts one request against all limits or, if one has nothing left, against none.
    pub async fn acquire(self: &Arc<Self>, limits: &SharedLimits) -> Result<SharedPermit, LimitRefusal> {
        let counted = self.count(limits, Demand::Request).await?;
        Ok(SharedPermit::new(limits.clone(), counted))
    }

    /// Makes a request ready to be admitted: counted lately, with the most tokens that it can take. Refused, it counts no longer.
    pub async fn reserve_tokens(
        self: &Arc<Self>,
        permit: &mut SharedPermit,
        bound: TokenAmounts,
    ) -> Result<(), LimitRefusal> {
        let reserved = self.recount_and_reserve(permit, bound).await;
        if reserved.is_err() {
            permit.take_back();
        }
        reserved
    }

    async fn recount_and_reserve(
        self: &Arc<Self>,
        permit: &mut SharedPermit,
        bound: TokenAmounts,
    ) -> Result<(), LimitRefusal> {
        permit.settle(TokenAmounts::NONE);
        let limits = permit.limits.clone();
        if self.is_old(&permit.requests) {
            limits.correct(&std::mem::take(&mut permit.requests), TokenAmounts::NONE);
            permit.requests = self.count(&limits, Demand::RequestAgain).await?;
        }
        let counted = self.count(&limits, Demand::Tokens(bound)).await?;
        permit.tokens = (!counted.counts.is_empty()).then_some(ReservedTokens { counted, amount: bound });
        Ok(())
    }

    /// Counts an admitted request from now on, whatever the limits have left.
    pub(super) async fn count_as_admitted(self: &Arc<Self>, permit: &mut SharedPermit) {
        let limits = permit.limits.clone();
        limits.correct(&std::mem::take(&mut permit.requests), TokenAmounts::NONE);
        permit.requests = self.count(&limits, Demand::RequestAdmitted).await.unwrap_or_default();
        if let Some(tokens) = &mut permit.tokens {
            limits.correct(&std::mem::take(&mut tokens.counted), TokenAmounts::NONE);
            let counted = self.count(&limits, Demand::TokensAdmitted(tokens.amount)).await;
            tokens.counted = counted.unwrap_or_default();
        }
    }

    /// Counts under the limits of one part after the other; what one of them refuses counts under none.
    fn count<'a>(
        self: &'a Arc<Self>,
        limits: &'a SharedLimits,
        demand: Demand,
    ) -> BoxFuture<'a, Result<Counted, LimitRefusal>> {
        Box::pin(self.count_one_by_one(limits, demand))
    }

    async fn count_one_by_one(
        self: &Arc<Self>,
        limits: &SharedLimits,
        demand: Demand,
    ) -> Result<Counted, LimitRefusal> {
        let mut counted = Counted { counts: Vec::new(), at_micros: self.now_micros() };
        for (group, part) in limits.parts() {
            match self.count_part(limits, &group, part, demand).await {
                Ok(counts) => counted.counts.extend(counts),
                Err(refused) => {
                    limits.correct(&counted, TokenAmounts::NONE);
                    return Err(refused);
                }
            }
        }
        Ok(counted)
    }

    async fn count_part(
        self: &Arc<Self>,
        limits: &SharedLimits,
        group: &Arc<Group>,
        part: Range<usize>,
        demand: Demand,
    ) -> Result<Vec<OneCount>, LimitRefusal> {
        for _ in 0..ASKED_MAX {
            if self.link.number().is_none() {
                break;
            }
            let turn = self.turns.take(limits.tenant(), part.len()).await;
            let Some(connection) = self.link.connection() else { break };
            let asked = limits.begin_asking(part.clone(), demand, connection.number, self.now_micros());
            let Some(asked) = asked else { return Ok(Vec::new()) };
            match self.ask(limits, group, asked, connection, turn).await {
                Answered::Counted(counts) => return Ok(counts),
                Answered::Refused(limited) => return Err(LimitRefusal::RateLimited(limited)),
                Answered::Unknown => {}
                Answered::Failed => break,
            }
        }
        self.count_share(limits, part, demand)
    }

    async fn ask(
        self: &Arc<Self>,
        limits: &SharedLimits,
        group: &Arc<Group>,
        asked: Asked,
        connection: Connection,
        turn: RedisTurn,
    ) -> Answered {
        let (sender, receiver) = oneshot::channel();
        let (limiter, limits, group) = (Arc::clone(self), limits.clone(), Arc::clone(group));
        self.calls.spawn(async move {
            let began = Instant::now();
            let reply = connection.counter.count(&group.name, &asked.calls).await;
            drop(turn);
            limiter.figures.answered_after(began.elapsed());
            let answered = match reply {
                Ok(reply) => limiter.conclude(&limits, asked, reply),
                Err(error) => {
                    limits.undo(&asked);
                    limits.forget_sent(&asked);
                    limiter.fail(connection.number, &error.to_string());
                    Answered::Failed
                }
            };
            if let Err(Answered::Counted(counts)) = sender.send(answered) {
                // The request has gone meanwhile.
                limits.correct(&Counted { counts, at_micros: 0 }, TokenAmounts::NONE);
            }
        });
        receiver.await.unwrap_or(Answered::Failed)
    }

    /// Turns an answer of Redis into the outcome for a request.
    fn conclude(&self, limits: &SharedLimits, asked: Asked, reply: CountReply) -> Answered {
        let now_micros = self.now_micros();
        match reply {
            CountReply::Counted(answer) => {
                limits.learn(&asked, &answer.standings, now_micros);
                Answered::Counted(asked.counts)
            }
            CountReply::Refused(answer) => {
                limits.undo(&asked);
                match limits.learn(&asked, &answer.standings, now_micros) {
                    Some(exceeded) => Answered::Refused(RateLimited::of(
                        &exceeded,
                        asked.demand.amount(&exceeded.limit.holder),
                        self.parts.clock.now(),
                    )),
                    None => Answered::Unknown,
                }
            }
            CountReply::Unknown => {
                limits.undo(&asked);
                limits.forget_sent(&asked);
                Answered::Unknown
            }
        }
    }

    /// Counts by this node's share.
    fn count_share(
        &self,
        limits: &SharedLimits,
        part: Range<usize>,
        demand: Demand,
    ) -> Result<Vec<OneCount>, LimitRefusal> {
        let counted = match limits.closed_limit(part.clone()).filter(|_| !demand.is_admitted()) {
            Some(closed) => Err(LimitRefusal::Unavailable(closed)),
            None => {
                let nodes = self.nodes.borrow().len() as u64;
                let counted = limits.count_share(part, demand, nodes, self.now_micros());
                let limited = |exceeded: LimitExceeded<'_>| {
                    RateLimited::of(&exceeded, demand.amount(&exceeded.limit.holder), self.parts.clock.now())
                };
                counted.map_err(limited).map_err(LimitRefusal::RateLimited)
            }
        };
        if counted.is_err() || demand.is_of_request() {
            self.figures.decided_locally(counted.is_ok());
        }
        counted
    }

    /// The tightest of the limits, by what this node knows now.
    pub fn tightest(&self, limits: &SharedLimits) -> Option<TightestLimit> {
        let now = self.parts.clock.now();
        let mut tightest: Option<TightestLimit> = None;
        for SharedBinding { limit, slot, .. } in limits.all() {
            let mut slot = locked(slot);
            for (measure, bound) in limit.bounds.iter() {
                let (remaining, more_in) = self.remaining_of(&mut slot, measure, bound);
                let next = TightestLimit::new(measure, bound, remaining, more_in, now);
                tightest = Some(tightest.map_or(next, |tightest| tightest.tighter(next)));
            }
        }
        tightest
    }
}

/// The partner that a limit belongs to: also if its key asks in a tenant of another one.
fn partner_of(limit: &ApplicableLimit, chain: &Chain, tables: &Tables) -> Option<PartnerId> {
    match &limit.holder {
        LimitHolder::Scope(scope) => tables.chain_of_scope(scope.owner).map_or(chain.partner, |owners| owners.partner),
        LimitHolder::Operator => None,
    }
}
