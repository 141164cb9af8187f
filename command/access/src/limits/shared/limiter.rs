//! Counting under limits that nodes share: in Redis while counts are shared, by this node's share in a local period.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::event::Chain;
use events::ids::PartnerId;
use events::limit::Measure;
use projections::tables::Tables;
use shared_limits::{CountReply, LimitCall, NodeState};

use super::asking::{Asking, GroupCount, NotCounted, Reply};
use super::binding::{Counted, Demand, NotForRedis, SharedBinding, SharedLimits};
use super::counts::SharedCounts;
use super::group::Group;
use super::link::Phase;
use super::mode::{LocalPeriod, Mode};
use super::permit::{PreviousCount, Provisional, ReservedTokens, SharedPermit};
use super::state::SharedLimiter;
use crate::limits::binding::{ApplicableLimit, LimitHolder, locked};
use crate::limits::later;
use crate::limits::rate_limited::{LimitRefusal, LimitsUnavailable, RateLimited};
use crate::limits::remaining::{RemainingLimit, TightestLimit};

/// How long a request waits until it is known how limits are counted, or for a connection.
const MODE_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a request is counted, if one of these changes meanwhile.
const MODES_TRIED_MAX: u32 = 4;

impl SharedLimiter {
    pub(in crate::limits) fn bind(
        self: &Arc<Self>,
        chain: &Chain,
        limits: Vec<ApplicableLimit>,
        tables: &Tables,
    ) -> SharedLimits {
        let now_micros = self.now_micros();
        let bind = |limit: ApplicableLimit| {
            let make = || self.new_counts(&self.groups.of(partner_of(&limit, chain, tables)));
            let slot = self.slots.get_or_make(limit.key, tables, now_micros, make);
            let group = Arc::clone(&locked(&slot).group);
            SharedBinding { limit, group, slot }
        };
        let all = limits.into_iter().map(bind).collect();
        SharedLimits::of(Arc::clone(self), all)
    }

    fn new_counts(&self, group: &Arc<Group>) -> SharedCounts {
        let mut counts = SharedCounts::new(Arc::clone(group));
        if let Mode::Local(LocalPeriod { member_since: Some(since), .. }) = &*self.modes.mode() {
            counts.begin_local(*since);
        }
        counts
    }

    /// Counts one request against all limits or, if one has nothing left, against none.
    pub async fn acquire(self: &Arc<Self>, limits: &SharedLimits) -> Result<SharedPermit, LimitRefusal> {
        let (turn, counted) = self.count(PreviousCount::none(limits), Demand::Request).await?;
        Ok(SharedPermit::new(limits.clone(), turn, counted))
    }

    /// Makes a request ready to be admitted: counted lately, as limits are counted now, with the most tokens that it can take.
    /// Refused, it counts no longer.
    pub async fn reserve_tokens(self: &Arc<Self>, permit: &mut SharedPermit, bound: u64) -> Result<(), LimitRefusal> {
        let reserved = self.recount_and_reserve(permit, bound).await;
        if reserved.is_err() {
            permit.take_back();
        }
        reserved
    }

    async fn recount_and_reserve(self: &Arc<Self>, permit: &mut SharedPermit, bound: u64) -> Result<(), LimitRefusal> {
        permit.settle(0);
        // Tokens may be counted in a later turn than requests: then these are counted again.
        for _ in 0..MODES_TRIED_MAX {
            if permit.turn != self.modes.mode().turn() || permit.requests.is_old(self) {
                self.count_request_again(permit).await?;
            }
            if !permit.limits.count_tokens() {
                return Ok(());
            }
            let limits = permit.limits.clone();
            let (turn, counted) = self.count(PreviousCount::none(&limits), Demand::Tokens(bound)).await?;
            permit.tokens = Some(ReservedTokens { counted, amount: bound });
            if turn == permit.turn {
                return Ok(());
            }
            permit.settle(0);
        }
        Err(LimitRefusal::Unavailable(LimitsUnavailable::new(None)))
    }

    async fn count_request_again(self: &Arc<Self>, permit: &mut SharedPermit) -> Result<(), LimitRefusal> {
        let limits = permit.limits.clone();
        let replaced = PreviousCount::of(&limits, &mut permit.requests);
        let (turn, counted) = self.count(replaced, Demand::RequestAgain).await?;
        (permit.turn, permit.requests) = (turn, counted);
        Ok(())
    }

    /// Counts an admitted request from now on, whatever the limits have left.
    pub(super) async fn count_as_admitted(self: &Arc<Self>, permit: &mut SharedPermit) {
        let limits = permit.limits.clone();
        permit.requests = self.count_from_now(&limits, Demand::RequestAdmitted, &mut permit.requests).await;
        if let Some(tokens) = &mut permit.tokens {
            let demand = Demand::TokensAdmitted(tokens.amount);
            tokens.counted = self.count_from_now(&limits, demand, &mut tokens.counted).await;
        }
    }

    async fn count_from_now(
        self: &Arc<Self>,
        limits: &SharedLimits,
        demand: Demand,
        replaced: &mut Counted,
    ) -> Counted {
        if let Ok((_, counted)) = self.count(PreviousCount::of(limits, replaced), demand).await {
            return counted;
        }
        // It was admitted, so that it counts in any case.
        let counted = match &*self.modes.mode() {
            Mode::Shared { .. } => limits.count_here(demand, None, self.now_micros()),
            Mode::Local(period) => limits.count_here(demand, period.member_since, self.now_micros()),
        };
        limits.mark_in_doubt();
        counted
    }

    /// Counts what a request takes, in place of what it has counted. Returns the turn in which it was counted.
    async fn count(
        self: &Arc<Self>,
        mut replaced: PreviousCount<'_>,
        demand: Demand,
    ) -> Result<(u64, Counted), LimitRefusal> {
        for _ in 0..MODES_TRIED_MAX {
            let mode = self.modes.mode();
            let counted = match &*mode {
                Mode::Shared { turn } => self.count_shared(&mut replaced, demand, *turn).await,
                Mode::Local(period) => self.count_locally(&mut replaced, demand, period).await,
            };
            match counted {
                Ok(counted) => return Ok((mode.turn(), counted)),
                Err(NotCounted::Refused(refused)) => return Err(refused),
                Err(NotCounted::TurnEnds) if self.changes_soon(&mode).await => {}
                Err(NotCounted::NotConnected) if self.connects_soon(mode.turn()).await => {}
                Err(NotCounted::TurnEnds | NotCounted::NotConnected) => break,
            }
        }
        Err(LimitRefusal::Unavailable(LimitsUnavailable::new(None)))
    }

    /// Waits until limits are counted in another way than this. Returns false if that takes too long.
    async fn changes_soon(&self, mode: &Mode) -> bool {
        let turn = mode.turn();
        let other_turn = self.modes.wait_for(|known| known.mode.turn() != turn, MODE_WAIT_MAX);
        // While counts are shared, and for a node that has no share yet, only another turn helps.
        if !matches!(mode, Mode::Local(LocalPeriod { member_since: Some(_), .. })) {
            return other_turn.await;
        }
        let mut phase = self.link.watch_phase();
        let is_away = async { phase.wait_for(|phase| *phase == Phase::Away).await.is_ok() };
        tokio::select! {
            has_changed = other_turn => has_changed,
            is_away = is_away => is_away,
        }
    }

    /// Waits until the conductor has connected, or has ended this turn. Returns false if that takes too long.
    async fn connects_soon(&self, turn: u64) -> bool {
        tokio::select! {
            () = self.link.connected() => true,
            has_changed = self.modes.wait_for(|known| known.mode.turn() != turn, MODE_WAIT_MAX) => has_changed,
        }
    }

    async fn count_shared(
        self: &Arc<Self>,
        replaced: &mut PreviousCount<'_>,
        demand: Demand,
        turn: u64,
    ) -> Result<Counted, NotCounted> {
        let limits = replaced.limits;
        let connection = self.link.connection().ok_or(NotCounted::NotConnected)?;
        let now_micros = self.now_micros();
        let (counted, calls) = match limits.count_for_redis(demand, replaced.take().as_ref(), turn, now_micros) {
            Ok(counted) => counted,
            Err(NotForRedis::TurnEnds) => return Err(NotCounted::TurnEnds),
            Err(NotForRedis::Exceeded(exceeded)) => {
                return Err(RateLimited::of(&exceeded, demand.amount(), self.parts.clock.now()).into());
            }
        };
        let says_nothing = |call: &LimitCall| call.counts.is_empty() && call.corrections.is_empty();
        if calls.iter().flat_map(|(_, calls)| calls).all(says_nothing) {
            return Ok(counted);
        }
        let (limiter, bound) = (Arc::clone(self), limits.clone());
        let call = async move {
            let (mut answers, mut is_counted) = (Vec::with_capacity(calls.len()), true);
            for (group, mut calls) in calls {
                if !is_counted {
                    // Not this request, but what is known of earlier ones: nobody else says it.
                    calls.iter_mut().for_each(|call| call.counts.clear());
                    calls.retain(|call| !call.corrections.is_empty());
                    if !calls.is_empty() && !limiter.tell(&connection, &group, turn, &calls).await {
                        bound.mark_in_doubt();
                    }
                    continue;
                }
                let (marker, made_marker, began) = (group.marker(now_micros), limiter.new_marker(), Instant::now());
                let state = NodeState {
                    group: &group.name,
                    turn,
                    marker: marker.as_deref(),
                    new_marker: &made_marker,
                    has_running: group.has_running(),
                };
                let reply = connection.count(&state, &calls).await;
                limiter.figures.answered_after(began.elapsed());
                let reply = reply?;
                is_counted = matches!(reply, CountReply::Counted(_));
                answers.push(GroupCount { group, reply, made_marker });
            }
            Ok(Reply::Count(answers))
        };
        let provisional = Provisional { limits: limits.clone(), counted, demand };
        Asking::new(Arc::clone(self), provisional, turn, Box::pin(call)).answer().await
    }

    async fn count_locally(
        self: &Arc<Self>,
        replaced: &mut PreviousCount<'_>,
        demand: Demand,
        period: &LocalPeriod,
    ) -> Result<Counted, NotCounted> {
        let limits = replaced.limits;
        if let Some(name) = limits.closed_limit().filter(|_| !demand.is_admitted()) {
            self.figures.decided_locally(false);
            return Err(NotCounted::Refused(LimitRefusal::Unavailable(LimitsUnavailable::new(Some(name)))));
        }
        let Some(member_since) = period.member_since else { return Err(NotCounted::TurnEnds) };
        let instants = self.instants();
        let replaced = replaced.take();
        let counted = match limits.count_locally(demand, replaced.as_ref(), (period, member_since), instants) {
            Ok(counted) => counted,
            Err(exceeded) => {
                self.figures.decided_locally(false);
                return Err(RateLimited::of(&exceeded, demand.amount(), self.parts.clock.now()).into());
            }
        };
        // Read after it was counted: either it is put here, or it was counted before all slots are put.
        let counted = match self.link.phase() {
            Phase::Putting { turn } if turn == period.turn => self.put_counted(limits, demand, counted, turn).await?,
            Phase::Putting { .. } | Phase::Away => counted,
        };
        if demand.is_of_request() {
            self.figures.decided_locally(true);
        }
        Ok(counted)
    }

    /// Tells Redis what this node now counts of these limits, before anything comes of it.
    async fn put_counted(
        self: &Arc<Self>,
        limits: &SharedLimits,
        demand: Demand,
        counted: Counted,
        turn: u64,
    ) -> Result<Counted, NotCounted> {
        let provisional = Provisional { limits: limits.clone(), counted, demand };
        let Some(connection) = self.link.connection() else {
            provisional.undo();
            self.fail(turn, "not connected to Redis");
            return Err(NotCounted::TurnEnds);
        };
        let states = limits.states(self.now_micros());
        let limiter = Arc::clone(self);
        let call = async move {
            let mut answers = Vec::with_capacity(states.len());
            for (group, states) in states {
                let reply = connection.put(&limiter.putting(&group, turn, &limiter.new_marker()), &states).await?;
                answers.push((group, reply));
            }
            Ok(Reply::Put(answers))
        };
        Asking::new(Arc::clone(self), provisional, turn, Box::pin(call)).answer().await
    }

    pub(super) fn putting<'a>(&self, group: &'a Group, turn: u64, new_marker: &'a str) -> NodeState<'a> {
        NodeState { group: &group.name, turn, marker: None, new_marker, has_running: false }
    }

    /// The tightest of the limits, by what this node knows now.
    pub fn tightest(&self, limits: &SharedLimits) -> Option<TightestLimit> {
        let (mode, now) = (self.modes.mode(), self.parts.clock.now());
        let mut tightest: Option<TightestLimit> = None;
        for SharedBinding { limit, slot, .. } in limits.all() {
            let mut slot = locked(slot);
            for (measure, bound) in limit.bounds.iter() {
                let remaining = self.remaining_of(&mut slot, (measure, bound), &mode);
                let next = TightestLimit::new(measure, bound, remaining, now);
                tightest = Some(tightest.map_or(next, |tightest| tightest.tighter(next)));
            }
        }
        tightest
    }

    /// As [`RateLimiter::remaining`](crate::limits::RateLimiter::remaining).
    pub(in crate::limits) fn remaining(&self, limits: Vec<ApplicableLimit>) -> Vec<RemainingLimit> {
        let (mode, now) = (self.modes.mode(), self.parts.clock.now());
        let mut all = Vec::new();
        for ApplicableLimit { key, name, holder, bounds, .. } in limits {
            let slot = self.slots.get(key);
            let mut slot = slot.as_deref().map(locked);
            for (measure, limit) in bounds.iter() {
                let remaining = slot.as_mut().map(|slot| self.remaining_of(slot, (measure, limit), &mode));
                let (remaining, more_in) = remaining.unwrap_or((limit, None));
                let resets_at = more_in.filter(|wait| !wait.is_zero() && remaining < limit);
                let resets_at = resets_at.and_then(|wait| later(now, wait));
                all.push(RemainingLimit { name, holder: holder.clone(), measure, limit, remaining, resets_at });
            }
        }
        all
    }

    fn remaining_of(
        &self,
        slot: &mut SharedCounts,
        (measure, limit): (Measure, u64),
        mode: &Mode,
    ) -> (u64, Option<Duration>) {
        let instants = self.instants();
        slot.advance(instants.now_micros);
        match mode {
            Mode::Shared { .. } => slot.remaining(measure, limit, instants),
            Mode::Local(period) => slot.remaining_share((measure, limit), period, instants),
        }
    }
}

/// The partner that a limit belongs to: also if its key asks in a tenant of another one.
fn partner_of(limit: &ApplicableLimit, chain: &Chain, tables: &Tables) -> Option<PartnerId> {
    match &limit.holder {
        LimitHolder::Scope(scope) => tables.chain_of_scope(scope.owner).map_or(chain.partner, |owners| owners.partner),
        LimitHolder::Operator => None,
    }
}
