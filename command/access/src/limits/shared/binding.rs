//! The limits that bind one request where counts are shared, and what it counts against them.

use std::sync::{Arc, Mutex, MutexGuard};

use events::event::admin::WhenUnshared;
use events::limit::{LimitName, Measure};
use shared_limits::{Correction, Count, LimitCall, LimitState, Standing};

use super::counts::{Instants, SharedCounts, kept};
use super::group::Group;
use super::mode::LocalPeriod;
use super::state::SharedLimiter;
use crate::limits::binding::{ApplicableLimit, LimitExceeded, locked};
use crate::limits::slot::Shortage;
use crate::limits::window::{BucketNumber, Fits};

/// A limit and its counts.
pub struct SharedBinding {
    pub(in crate::limits) limit: ApplicableLimit,
    /// The one that the limit belongs to, whoever asks.
    pub group: Arc<Group>,
    pub slot: Arc<Mutex<SharedCounts>>,
}

impl SharedBinding {
    /// True if the limit has places for running requests.
    fn has_places(&self) -> bool {
        self.limit.bounds.get(Measure::ConcurrentRequests).is_some()
    }
}

/// All limits that bind a request, in the order of their groups and slots; at least one. Cheap to clone.
#[derive(Clone)]
pub struct SharedLimits(Arc<Bound>);

struct Bound {
    limiter: Arc<SharedLimiter>,
    all: Vec<SharedBinding>,
}

/// What a request wants to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One request, and its place while it runs.
    Request,
    /// One request that has its place already.
    RequestAgain,
    Tokens(u64),
    /// One request that was admitted: it counts, whatever is left.
    RequestAdmitted,
    TokensAdmitted(u64),
}

impl Demand {
    /// The amount that it counts in a measure; `None` if it does not.
    pub const fn in_measure(self, measure: Measure) -> Option<u64> {
        match (self, measure) {
            (Self::Request, Measure::ConcurrentRequests) => Some(1),
            (_, Measure::ConcurrentRequests) => None,
            (Self::Tokens(tokens) | Self::TokensAdmitted(tokens), _) if measure.is_of_tokens() => Some(tokens),
            (Self::Request | Self::RequestAgain | Self::RequestAdmitted, _) if !measure.is_of_tokens() => Some(1),
            _ => None,
        }
    }

    /// For the words of a refusal.
    pub const fn amount(self) -> u64 {
        match self {
            Self::Request | Self::RequestAgain | Self::RequestAdmitted => 1,
            Self::Tokens(tokens) | Self::TokensAdmitted(tokens) => tokens,
        }
    }

    /// Each request has one such demand in each turn.
    pub const fn is_of_request(self) -> bool {
        matches!(self, Self::Request | Self::RequestAgain)
    }

    /// True for what was admitted before: nothing refuses it any more.
    pub const fn is_admitted(self) -> bool {
        matches!(self, Self::RequestAdmitted | Self::TokensAdmitted(_))
    }

    /// The bound that holds for it.
    const fn bound(self, bound: u64) -> u64 {
        match self {
            Self::Request | Self::RequestAgain | Self::Tokens(_) => bound,
            Self::RequestAdmitted | Self::TokensAdmitted(_) => u64::MAX,
        }
    }
}

/// One count of a request: the index of the limit, and the bucket of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketCount {
    index: usize,
    measure: Measure,
    bucket: BucketNumber,
    amount: u64,
}

/// What a request has counted, and in which time: its amounts are corrected where they were counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub buckets: Vec<BucketCount>,
    /// The beginning of the local period in which they were counted, if they were.
    pub local_since: Option<u64>,
    pub at_micros: i64,
}

impl Counted {
    /// Whether it was counted so long ago that it has to be counted again when its request is admitted.
    pub fn is_old(&self, limiter: &SharedLimiter) -> bool {
        !self.buckets.is_empty() && limiter.is_long_ago(self.at_micros)
    }
}

/// What there is for each limit, by group.
pub type Grouped<T> = Vec<(Arc<Group>, Vec<T>)>;

/// Why Redis is not asked.
pub(in crate::limits) enum NotForRedis<'a> {
    /// A local period has begun after this turn.
    TurnEnds,
    /// Whatever Redis would say, the log has too much.
    Exceeded(LimitExceeded<'a>),
}

/// Who learns of an amount that is taken back.
#[derive(Clone, Copy)]
pub enum Told<'a> {
    /// This node and Redis, which has counted it.
    Redis,
    /// Redis has counted it under the limits of these groups alone.
    RedisIn(&'a [Arc<Group>]),
    /// This node alone: Redis has not counted it.
    Nobody,
}

impl Told<'_> {
    fn has_redis(self, group: &Arc<Group>) -> bool {
        match self {
            Self::Redis => true,
            Self::RedisIn(groups) => groups.iter().any(|counted_in| Arc::ptr_eq(counted_in, group)),
            Self::Nobody => false,
        }
    }
}

impl SharedLimits {
    pub fn of(limiter: Arc<SharedLimiter>, mut all: Vec<SharedBinding>) -> Self {
        // One order for all requests, so that no two of them deadlock on their slots. A slot has one group.
        all.sort_unstable_by(|one, other| (&one.group.name, one.limit.key).cmp(&(&other.group.name, other.limit.key)));
        Self(Arc::new(Bound { limiter, all }))
    }

    pub fn limiter(&self) -> &Arc<SharedLimiter> {
        &self.0.limiter
    }

    pub fn all(&self) -> &[SharedBinding] {
        &self.0.all
    }

    /// The limit that refuses everything in a local period.
    pub fn closed_limit(&self) -> Option<LimitName> {
        let closed = self.all().iter().find(|binding| binding.limit.when_unshared == WhenUnshared::Closed);
        closed.map(|binding| binding.limit.name)
    }

    /// The limits of each group, in the order of all.
    fn by_group(&self) -> impl Iterator<Item = (&Arc<Group>, &[SharedBinding])> {
        let groups = self.all().chunk_by(|one, next| Arc::ptr_eq(&one.group, &next.group));
        groups.filter_map(|of_group| Some((&of_group.first()?.group, of_group)))
    }

    /// The groups in which a request occupies a place.
    pub fn groups_with_places(&self) -> impl Iterator<Item = &Arc<Group>> {
        let have_places = |of_group: &[SharedBinding]| of_group.iter().any(SharedBinding::has_places);
        self.by_group().filter(move |(_, of_group)| have_places(of_group)).map(|(group, _)| group)
    }

    /// True if a limit counts the tokens of requests.
    pub fn count_tokens(&self) -> bool {
        self.all().iter().any(|binding| binding.limit.bounds.iter().any(|(measure, _)| measure.is_of_tokens()))
    }

    fn lock(&self, now_micros: i64) -> Vec<MutexGuard<'_, SharedCounts>> {
        let mut slots: Vec<_> = self.all().iter().map(|binding| locked(&binding.slot)).collect();
        slots.iter_mut().for_each(|slot| slot.advance(now_micros));
        slots
    }

    /// The measures that a demand counts in: the index of the limit, the measure, its bound, and the amount.
    fn measures(&self, demand: Demand) -> impl Iterator<Item = (usize, Measure, u64, u64)> + '_ {
        let of = move |(index, binding): (usize, &SharedBinding)| {
            let bounds = binding.limit.bounds;
            Measure::ALL.iter().filter_map(move |measure| {
                let bound = demand.bound(bounds.get(*measure)?);
                Some((index, *measure, bound, demand.in_measure(*measure)?))
            })
        };
        self.all().iter().enumerate().flat_map(of)
    }

    fn count_in(
        &self,
        slots: &mut [MutexGuard<'_, SharedCounts>],
        demand: Demand,
        local_since: Option<u64>,
        now_micros: i64,
    ) -> Counted {
        let buckets = self.measures(demand).filter_map(|(index, measure, _, amount)| {
            let bucket = slots[index].count(measure, amount, local_since, now_micros)?;
            Some(BucketCount { index, measure, bucket, amount })
        });
        let counted = Counted { buckets: buckets.collect(), local_since, at_micros: now_micros };
        if demand == Demand::Request {
            // Where there are no places, none would be freed.
            let slots = self.all().iter().zip(slots).filter(|(binding, _)| binding.has_places());
            slots.for_each(|(_, slot)| slot.begin_request());
        }
        counted
    }

    /// Counts on this node alone what Redis is then asked to count, and returns the calls for it, one for each group.
    /// `replaced` is taken back in the same calls.
    pub(in crate::limits) fn count_for_redis(
        &self,
        demand: Demand,
        replaced: Option<&Counted>,
        turn: u64,
        now_micros: i64,
    ) -> Result<(Counted, Grouped<LimitCall>), NotForRedis<'_>> {
        let mut slots = self.lock(now_micros);
        let mut are_shared = true;
        for slot in &mut slots {
            are_shared &= slot.begin_shared(turn);
        }
        if let Some(replaced) = replaced {
            self.correct_in(&mut slots, replaced, |_| 0, Told::Redis);
        }
        if !are_shared {
            return Err(NotForRedis::TurnEnds);
        }
        let by_log = |index: usize, measure, bound, amount| slots[index].shortage_by_log((measure, bound), amount);
        if let Some(exceeded) = self.exceeded(demand, by_log) {
            return Err(NotForRedis::Exceeded(exceeded));
        }
        let must_be_there: Vec<bool> = slots.iter_mut().map(|slot| slot.must_be_in_redis(now_micros)).collect();
        let counted = self.count_in(&mut slots, demand, None, now_micros);
        counted.buckets.iter().for_each(|count| slots[count.index].add_undecided(count.measure, count.amount));
        let corrections = &self.limiter().corrections;
        let mut calls: Vec<LimitCall> = self
            .all()
            .iter()
            .zip(must_be_there)
            .map(|(binding, must_be_there)| {
                let (limit, corrections) = (binding.limit.key.to_string(), corrections.take_of(binding.limit.key));
                LimitCall { limit, must_be_there, corrections, counts: Vec::new() }
            })
            .collect();
        drop(slots);
        let bucket_of = |index, measure| {
            let of = |count: &&BucketCount| count.index == index && count.measure == measure;
            counted.buckets.iter().find(of).map_or(0, |count| count.bucket.number())
        };
        for (index, measure, bound, amount) in self.measures(demand) {
            let (kept, bucket) = (kept(measure).unwrap_or_default(), bucket_of(index, measure));
            calls[index].counts.push(Count { measure, kept, bound, amount, bucket });
        }
        Ok((counted, self.grouped(calls)))
    }

    /// Divides what there is for each limit.
    fn grouped<T>(&self, of_limits: Vec<T>) -> Grouped<T> {
        let mut of_limits = of_limits.into_iter();
        let of_group = |(group, limits): (&Arc<Group>, &[SharedBinding])| {
            (Arc::clone(group), of_limits.by_ref().take(limits.len()).collect())
        };
        self.by_group().map(of_group).collect()
    }

    /// Counts on this node, whatever is left. Redis learns of it with the next state that is put.
    pub fn count_here(&self, demand: Demand, local_since: Option<u64>, now_micros: i64) -> Counted {
        self.count_in(&mut self.lock(now_micros), demand, local_since, now_micros)
    }

    /// Counts against this node's share of all limits, or of none.
    pub(in crate::limits) fn count_locally(
        &self,
        demand: Demand,
        replaced: Option<&Counted>,
        (period, member_since): (&LocalPeriod, u64),
        instants: Instants,
    ) -> Result<Counted, LimitExceeded<'_>> {
        let mut slots = self.lock(instants.now_micros);
        slots.iter_mut().for_each(|slot| slot.begin_local(member_since));
        if let Some(replaced) = replaced {
            self.correct_in(&mut slots, replaced, |_| 0, Told::Redis);
        }
        let of_share = |index: usize, measure, bound, amount| {
            slots[index].shortage_of_share((measure, bound), amount, period, instants)
        };
        if let Some(exceeded) = self.exceeded(demand, of_share) {
            return Err(exceeded);
        }
        Ok(self.count_in(&mut slots, demand, Some(member_since), instants.now_micros))
    }

    /// All that this node counts of these limits, to be put into Redis. Corrections that were not told yet are part of it.
    pub fn states(&self, now_micros: i64) -> Grouped<LimitState> {
        let corrections = &self.limiter().corrections;
        let state = |binding: &SharedBinding| {
            let mut slot = locked(&binding.slot);
            corrections.drop_for_state(binding.limit.key);
            slot.state(binding.limit.key.to_string(), self.limiter().next_state(), now_micros)
        };
        self.grouped(self.all().iter().map(state).collect())
    }

    /// Keeps what Redis said of the limits that it was asked for, and returns the one that has too little left, with the longest wait.
    pub(in crate::limits) fn learn(
        &self,
        demand: Demand,
        standings: &[Standing],
        now_micros: i64,
    ) -> Option<LimitExceeded<'_>> {
        let mut exceeded: Option<LimitExceeded<'_>> = None;
        for ((index, measure, bound, _), standing) in self.measures(demand).zip(standings) {
            let binding = &self.all()[index];
            locked(&binding.slot).learn(measure, standing.counted, now_micros);
            let Some(shortage) = standing.shortage else { continue };
            let shortage = match shortage {
                shared_limits::Shortage::Concurrency => Shortage::Concurrency,
                shared_limits::Shortage::After(wait) => Shortage::Window(Fits::After(wait)),
                shared_limits::Shortage::Never => Shortage::Window(Fits::Never),
            };
            if exceeded.as_ref().is_none_or(|exceeded| exceeded.shortage < shortage) {
                exceeded = Some(LimitExceeded { limit: &binding.limit, measure, bound, shortage });
            }
        }
        exceeded
    }

    /// Redis has counted what was counted here for it. Returns the limit that it exceeds by the log, which may have more than Redis. One
    /// step under one lock: of two such requests, only the second sees the first.
    pub(in crate::limits) fn decided_by_redis(
        &self,
        demand: Demand,
        counted: &Counted,
        now_micros: i64,
    ) -> Option<LimitExceeded<'_>> {
        let mut slots = self.lock(now_micros);
        counted.buckets.iter().for_each(|count| slots[count.index].remove_undecided(count.measure, count.amount));
        // The amount is counted already.
        self.exceeded(demand, |index, measure, bound, _| slots[index].shortage_by_log((measure, bound), 0))
    }

    /// Of the limits that lack something for a demand, the one with the longest wait.
    fn exceeded(
        &self,
        demand: Demand,
        shortage: impl Fn(usize, Measure, u64, u64) -> Option<Shortage>,
    ) -> Option<LimitExceeded<'_>> {
        let exceeded = self.measures(demand).filter_map(|(index, measure, bound, amount)| {
            let shortage = shortage(index, measure, bound, amount)?;
            Some(LimitExceeded { limit: &self.all()[index].limit, measure, bound, shortage })
        });
        exceeded.max_by_key(|exceeded| exceeded.shortage)
    }

    /// Redis has counted this against all of them.
    pub fn mark_in_redis(&self, counted: &Counted) {
        self.all().iter().for_each(|binding| locked(&binding.slot).running_counted_by_redis());
        for BucketCount { index, measure, bucket, .. } in &counted.buckets {
            locked(&self.all()[*index].slot).bucket_counted_by_redis(*measure, *bucket, counted.at_micros);
        }
    }

    /// Nobody has heard what became of a call about them.
    pub fn mark_in_doubt(&self) {
        let limits = self.all().iter().map(|binding| (binding.limit.key, Arc::clone(&binding.group)));
        self.limiter().corrections.doubt(limits);
    }

    /// Whether other nodes have counted against one of the limits of this group, as far as this node knows.
    pub fn others_have_counted_in(&self, group: &Arc<Group>, now_micros: i64) -> bool {
        let slots = self.lock(now_micros);
        let of_group = self.all().iter().zip(&slots).filter(|(binding, _)| Arc::ptr_eq(&binding.group, group));
        of_group.into_iter().any(|(_, slot)| slot.others_have_counted())
    }

    /// Replaces what a request has counted.
    pub fn correct(&self, counted: &Counted, is: impl Fn(u64) -> u64, told: Told<'_>) {
        for count in &counted.buckets {
            let binding = &self.all()[count.index];
            self.correct_one(binding, &mut locked(&binding.slot), count, counted.local_since, is(count.amount), told);
        }
    }

    /// Takes back what was counted for Redis and is not decided, in one step: it never counts as decided.
    pub fn take_back_undecided(&self, counted: &Counted, told: Told<'_>) {
        for count in &counted.buckets {
            let binding = &self.all()[count.index];
            let slot = &mut locked(&binding.slot);
            if counted.local_since.is_none() {
                slot.remove_undecided(count.measure, count.amount);
            }
            self.correct_one(binding, slot, count, counted.local_since, 0, told);
        }
    }

    fn correct_in(
        &self,
        slots: &mut [MutexGuard<'_, SharedCounts>],
        counted: &Counted,
        is: impl Fn(u64) -> u64,
        told: Told<'_>,
    ) {
        for count in &counted.buckets {
            let (binding, slot) = (&self.all()[count.index], &mut slots[count.index]);
            self.correct_one(binding, slot, count, counted.local_since, is(count.amount), told);
        }
    }

    fn correct_one(
        &self,
        binding: &SharedBinding,
        slot: &mut SharedCounts,
        count: &BucketCount,
        local_since: Option<u64>,
        is: u64,
        told: Told<'_>,
    ) {
        let BucketCount { measure, bucket, amount: was, .. } = *count;
        slot.correct(measure, bucket, local_since, (was, is));
        if told.has_redis(&binding.group) {
            let delta = difference(is, was);
            self.tell(binding, Correction { measure, bucket: bucket.number(), delta });
        }
    }

    /// Frees the places of a request that has ended.
    pub fn end_request(&self, told: Told<'_>) {
        for binding in self.all().iter().filter(|binding| binding.has_places()) {
            let mut slot = locked(&binding.slot);
            slot.end_request();
            if told.has_redis(&binding.group) {
                self.tell(binding, Correction { measure: Measure::ConcurrentRequests, bucket: 0, delta: -1 });
            }
        }
    }

    fn tell(&self, binding: &SharedBinding, correction: Correction) {
        self.limiter().corrections.add(binding.limit.key, &binding.group, correction);
    }
}

fn difference(is: u64, was: u64) -> i64 {
    let difference = i128::from(is) - i128::from(was);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}
