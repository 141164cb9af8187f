//! Counting under limits that nodes share: in Redis while nodes count together, by this node's share otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::event::Chain;
use events::log::Log;
use events::time::Clock;
use projections::tables::{Tables, TablesHandle};
use prometheus::Registry;
use shared_limits::{Answer, CountReply, CounterError, NodeState, PutReply, RedisAddress};
use tokio_util::task::TaskTracker;

use super::asking::{Asking, Reply};
use super::binding::{Counted, Demand, SharedBinding, SharedLimits};
use super::conductor::LOST;
use super::corrections::Corrections;
use super::counts::{Instants, SharedCounts};
use super::figures::SharedFigures;
use super::group::{Group, Groups};
use super::link::{Link, LinkFailure, Phase};
use super::mode::{Alone, Mode, Modes};
use super::permit::{Provisional, ReservedTokens, SharedPermit};
use crate::limits::binding::{ApplicableLimit, locked};
use crate::limits::rate_limited::{LimitRefusal, LimitsUnavailable, RateLimited};
use crate::limits::remaining::{RemainingLimit, TightestLimit};
use crate::limits::slots::Slots;
use crate::limits::{DefaultLimits, later};

/// How long a request waits until it is known how limits are counted.
const MODE_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a request is counted, if that changes meanwhile.
const MODES_TRIED_MAX: u32 = 4;
/// A request that was counted longer ago than this counts anew when it is admitted: a window by the times of admissions must not
/// hold more than one by the times of the counts.
const COUNTED_LATELY: Duration = Duration::from_millis(250);

/// What a shared limiter is made of.
pub struct SharedLimiterParts {
    /// As in the register of running nodes, if there is one.
    pub node: String,
    pub address: RedisAddress,
    pub log: Log,
    pub tables: TablesHandle,
    pub clock: Arc<dyn Clock>,
    pub defaults: DefaultLimits,
}

/// The limits that this node counts together with others.
pub struct SharedLimiter {
    pub(super) parts: SharedLimiterParts,
    pub(super) slots: Slots<SharedCounts>,
    pub(super) groups: Groups,
    pub(super) corrections: Corrections,
    pub(super) modes: Modes,
    pub(super) link: Link,
    pub(super) figures: SharedFigures,
    /// From when on it is known what others admitted, by the monotonic clock.
    pub(super) known_since_micros: AtomicI64,
    /// The calls whose request has gone.
    pub(super) calls: TaskTracker,
    markers: AtomicU64,
    states: AtomicU64,
}

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

impl SharedLimiter {
    /// Errors: the registry already has its metrics.
    pub(super) fn new(parts: SharedLimiterParts, registry: &Registry) -> Result<Self, prometheus::Error> {
        let (figures, modes) = (SharedFigures::register(registry)?, Modes::new(&parts.node));
        Ok(Self {
            parts,
            slots: Slots::default(),
            groups: Groups::default(),
            corrections: Corrections::default(),
            modes,
            link: Link::new(),
            figures,
            known_since_micros: AtomicI64::new(i64::MAX),
            calls: TaskTracker::new(),
            markers: AtomicU64::new(0),
            states: AtomicU64::new(0),
        })
    }

    pub(in crate::limits) fn bind(
        self: &Arc<Self>,
        chain: &Chain,
        limits: Vec<ApplicableLimit>,
        tables: &Tables,
    ) -> SharedLimits {
        let group = self.groups.of(chain.partner);
        let now_micros = self.now_micros();
        let bind = |limit: ApplicableLimit| {
            let make = || self.new_counts(&group);
            SharedBinding { slot: self.slots.get_or_make(limit.key, tables, now_micros, make), limit }
        };
        let all = limits.into_iter().map(bind).collect();
        SharedLimits::of(Arc::clone(self), group, all)
    }

    fn new_counts(&self, group: &Arc<Group>) -> SharedCounts {
        let mut counts = SharedCounts::new(Arc::clone(group));
        if let Mode::Alone(Alone { member_since: Some(since), .. }) = &*self.modes.mode() {
            counts.begin_alone(*since);
        }
        counts
    }

    /// Counts one request against all limits or, if one has nothing left, against none.
    pub async fn acquire(self: &Arc<Self>, limits: &SharedLimits) -> Result<SharedPermit, LimitRefusal> {
        let (turn, counted) = self.count(limits, Demand::Request, None).await?;
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
            if permit.turn != self.modes.mode().turn() || self.is_old(&permit.requests) {
                self.count_request_again(permit).await?;
            }
            if !permit.limits.count_tokens() {
                return Ok(());
            }
            let limits = permit.limits.clone();
            let (turn, counted) = self.count(&limits, Demand::Tokens(bound), None).await?;
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
        let replaced = std::mem::take(&mut permit.requests);
        let (turn, counted) = self.count(&limits, Demand::RequestAgain, Some(replaced)).await?;
        (permit.turn, permit.requests) = (turn, counted);
        Ok(())
    }

    /// Counts an admitted request from now on, whatever the limits have left.
    pub async fn count_as_admitted(self: &Arc<Self>, permit: &mut SharedPermit) {
        let limits = permit.limits.clone();
        let requests = std::mem::take(&mut permit.requests);
        permit.requests = self.count_from_now(&limits, Demand::RequestAdmitted, requests).await;
        if let Some(tokens) = &mut permit.tokens {
            let counted = std::mem::take(&mut tokens.counted);
            tokens.counted = self.count_from_now(&limits, Demand::TokensAdmitted(tokens.amount), counted).await;
        }
    }

    async fn count_from_now(self: &Arc<Self>, limits: &SharedLimits, demand: Demand, replaced: Counted) -> Counted {
        match self.count(limits, demand, Some(replaced)).await {
            Ok((_, counted)) => counted,
            // It was admitted, so that it counts in any case.
            Err(_) => match &*self.modes.mode() {
                Mode::Together { .. } => limits.count_here(demand, None, self.now_micros()),
                Mode::Alone(alone) => limits.count_here(demand, alone.member_since, self.now_micros()),
            },
        }
    }

    pub(super) fn is_old(&self, counted: &Counted) -> bool {
        let lately = i64::try_from(COUNTED_LATELY.as_micros()).unwrap_or(0);
        !counted.buckets.is_empty() && self.now_micros().saturating_sub(counted.at_micros) > lately
    }

    /// Counts what a request takes. Returns the turn in which it was counted.
    async fn count(
        self: &Arc<Self>,
        limits: &SharedLimits,
        demand: Demand,
        mut replaced: Option<Counted>,
    ) -> Result<(u64, Counted), LimitRefusal> {
        for _ in 0..MODES_TRIED_MAX {
            let mode = self.modes.mode();
            let counted = match &*mode {
                Mode::Together { turn } => self.count_together(limits, demand, replaced.take(), *turn).await,
                Mode::Alone(alone) => self.count_alone(limits, demand, replaced.take(), alone).await,
            };
            match counted {
                Ok(counted) => return Ok((mode.turn(), counted)),
                Err(NotCounted::Refused(refused)) => return Err(refused),
                Err(NotCounted::InThisTurn) if self.changes_soon(&mode).await => {}
                Err(NotCounted::InThisTurn) => break,
            }
        }
        Err(LimitRefusal::Unavailable(LimitsUnavailable::new(None)))
    }

    /// Waits until limits are counted in another way than this. Returns false if that takes too long.
    async fn changes_soon(&self, mode: &Mode) -> bool {
        let turn = mode.turn();
        let other_turn = self.modes.wait_for(|known| known.mode.turn() != turn, MODE_WAIT_MAX);
        if mode.is_together() {
            return other_turn.await;
        }
        let mut phase = self.link.watch_phase();
        let is_away = async { phase.wait_for(|phase| *phase == Phase::Away).await.is_ok() };
        tokio::select! {
            has_changed = other_turn => has_changed,
            is_away = is_away => is_away,
        }
    }

    async fn count_together(
        self: &Arc<Self>,
        limits: &SharedLimits,
        demand: Demand,
        replaced: Option<Counted>,
        turn: u64,
    ) -> Result<Counted, NotCounted> {
        let Some(connection) = self.link.connection() else {
            self.fail(turn, "not connected to Redis");
            return Err(NotCounted::InThisTurn);
        };
        let now_micros = self.now_micros();
        let Some((counted, calls)) = limits.count_for_redis(demand, replaced.as_ref(), turn, now_micros) else {
            return Err(NotCounted::InThisTurn);
        };
        if calls.iter().all(|call| call.counts.is_empty() && call.corrections.is_empty()) {
            return Ok(counted);
        }
        let (limiter, group) = (Arc::clone(self), Arc::clone(limits.group()));
        let call = async move {
            let (marker, new_marker, began) = (group.marker(now_micros), limiter.new_marker(), Instant::now());
            let state = NodeState {
                group: &group.name,
                turn,
                marker: marker.as_deref(),
                new_marker: &new_marker,
                has_running: group.has_running(),
            };
            let reply = connection.count(&state, &calls).await;
            limiter.figures.answered_after(began.elapsed());
            reply.map(|reply| Reply::Count { reply, made_marker: new_marker })
        };
        let provisional = Provisional { limits: limits.clone(), counted, demand };
        Asking::new(Arc::clone(self), provisional, turn, Box::pin(call)).answer().await
    }

    async fn count_alone(
        self: &Arc<Self>,
        limits: &SharedLimits,
        demand: Demand,
        replaced: Option<Counted>,
        alone: &Alone,
    ) -> Result<Counted, NotCounted> {
        if let Some(name) = limits.closed_limit() {
            self.figures.decided_alone(false);
            return Err(NotCounted::Refused(LimitRefusal::Unavailable(LimitsUnavailable::new(Some(name)))));
        }
        let Some(member_since) = alone.member_since else { return Err(NotCounted::InThisTurn) };
        let instants = self.instants();
        let counted = match limits.count_alone(demand, replaced.as_ref(), (alone, member_since), instants) {
            Ok(counted) => counted,
            Err(exceeded) => {
                self.figures.decided_alone(false);
                return Err(RateLimited::of(&exceeded, demand.amount(), self.parts.clock.now()).into());
            }
        };
        // Read after it was counted: either it is put here, or it was counted before all slots are put.
        let counted = match self.link.phase() {
            Phase::Putting { turn } if turn == alone.turn => self.put_counted(limits, demand, counted, turn).await?,
            Phase::Putting { .. } | Phase::Away => counted,
        };
        if demand.is_of_request() {
            self.figures.decided_alone(true);
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
            return Err(NotCounted::InThisTurn);
        };
        let states = limits.states(self.now_micros());
        let (limiter, group) = (Arc::clone(self), Arc::clone(limits.group()));
        let call = async move {
            let reply = connection.put(&limiter.putting(&group, turn, &limiter.new_marker()), &states).await;
            reply.map(Reply::Put)
        };
        Asking::new(Arc::clone(self), provisional, turn, Box::pin(call)).answer().await
    }

    pub(super) fn putting<'a>(&self, group: &'a Group, turn: u64, new_marker: &'a str) -> NodeState<'a> {
        NodeState { group: &group.name, turn, marker: None, new_marker, has_running: false }
    }

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

    /// The tightest of the limits, by what this node knows now.
    pub fn tightest(&self, limits: &SharedLimits) -> Option<TightestLimit> {
        let (mode, now) = (self.modes.mode(), self.parts.clock.now());
        let mut tightest: Option<TightestLimit> = None;
        for SharedBinding { limit, slot } in limits.all() {
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
                all.push(RemainingLimit { name, holder, measure, limit, remaining, resets_at });
            }
        }
        all
    }

    fn remaining_of(
        &self,
        slot: &mut SharedCounts,
        (measure, limit): (events::limit::Measure, u64),
        mode: &Mode,
    ) -> (u64, Option<Duration>) {
        let instants = self.instants();
        slot.advance(instants.now_micros);
        match mode {
            Mode::Together { .. } => slot.remaining(measure, limit, instants),
            Mode::Alone(alone) => slot.remaining_share((measure, limit), alone, instants),
        }
    }

    pub fn known_position(&self) -> u64 {
        self.modes.known().position
    }

    /// As [`RateLimiter::wait_for`](crate::limits::RateLimiter::wait_for).
    pub async fn wait_for(&self, position: u64, deadline: Duration) -> bool {
        self.modes.wait_for(|known| known.position >= position, deadline).await
    }

    pub(super) fn fail(&self, turn: u64, reason: &str) {
        self.link.fail(LinkFailure { turn, reason: reason.to_owned() });
    }

    /// Text that no marker had before.
    pub(super) fn new_marker(&self) -> String {
        format!("{}-{}", self.parts.node, self.markers.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of the next state of a slot, which must be locked.
    pub(super) fn next_state(&self) -> u64 {
        self.states.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn instants(&self) -> Instants {
        let known_since_micros = self.known_since_micros.load(Ordering::Relaxed);
        Instants { now_micros: self.now_micros(), known_since_micros }
    }

    pub(super) fn now_micros(&self) -> i64 {
        i64::try_from(self.parts.clock.monotonic().as_micros()).unwrap_or(i64::MAX)
    }
}
