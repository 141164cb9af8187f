//! What a node knows of one limit whose counts are shared.

use std::sync::Arc;
use std::time::Duration;

use events::limit::Measure;
use shared_limits::{BucketState, LimitState, WindowState};

use super::group::Group;
use super::mode::LocalPeriod;
use crate::limits::slot::{Shortage, Slot};
use crate::limits::slots::Counts;
use crate::limits::window::{BucketNumber, Fits, Keeping};

/// The wait that is advised where a share of a limit is used up and nobody knows when it will be larger.
const SHARE_WAIT: Duration = Duration::from_secs(1);

/// What Redis has counted is in the log by then, or was not admitted.
const ADMITTED_SOON: Duration = Duration::from_secs(1);

/// The counts of one limit, as one node has them.
pub struct SharedCounts {
    pub group: Arc<Group>,
    /// All that this node has counted.
    own: Slot,
    /// What of it Redis has not decided yet.
    undecided: Vec<(Measure, u64)>,
    /// What other nodes have admitted, by the log.
    others: Slot,
    /// What Redis had counted beyond both, when it was last asked.
    unseen: Vec<Unseen>,
    /// In a local period.
    local: Option<LocalCounts>,
    /// Redis has counted a request of this node since none was running.
    has_running_in_redis: bool,
    /// What Redis has counted last of this node's own, by measure.
    last_in_redis: Vec<LastInRedis>,
}

struct LastInRedis {
    measure: Measure,
    bucket: BucketNumber,
    at_micros: i64,
}

struct Unseen {
    measure: Measure,
    amount: u64,
    /// All of others, those that this node has seen in the log as well.
    of_others: u64,
    at_micros: i64,
}

struct LocalCounts {
    began: u64,
    /// All that was admitted before by all nodes, as far as it is known.
    base: Slot,
    /// What this node has admitted since.
    admitted: Slot,
}

/// What a decision of one node needs to know of the time.
#[derive(Clone, Copy)]
pub struct Instants {
    pub now_micros: i64,
    /// From when on the node knows what others admitted.
    pub known_since_micros: i64,
}

impl Instants {
    /// Whether everything is known that a window holds which keeps its counts for so long.
    fn know_all_of(self, kept: Duration) -> bool {
        let begins = self.now_micros.saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
        self.known_since_micros <= begins
    }
}

/// How long a measure keeps what it counts; `None` for running requests.
pub fn kept(measure: Measure) -> Option<Duration> {
    measure.window().map(|span| Keeping::Longer.kept(span))
}

impl SharedCounts {
    pub fn new(group: Arc<Group>) -> Self {
        Self {
            group,
            own: Slot::shared(),
            undecided: Vec::new(),
            others: Slot::shared(),
            unseen: Vec::new(),
            local: None,
            has_running_in_redis: false,
            last_in_redis: Vec::new(),
        }
    }

    pub fn advance(&mut self, now_micros: i64) {
        self.own.advance(now_micros);
        self.others.advance(now_micros);
        if let Some(local) = &mut self.local {
            local.base.advance(now_micros);
            local.admitted.advance(now_micros);
        }
    }

    /// Counts an amount of this node's own, since this local period began or while counts are shared. `None` for a measure
    /// without a window.
    pub fn count(
        &mut self,
        measure: Measure,
        amount: u64,
        local_since: Option<u64>,
        now_micros: i64,
    ) -> Option<BucketNumber> {
        if let Some(local) = self.local.as_mut().filter(|local| local_since == Some(local.began)) {
            local.admitted.count(measure, amount, now_micros);
        }
        self.own.count(measure, amount, now_micros)
    }

    /// This amount, which is counted, waits for Redis.
    pub fn add_undecided(&mut self, measure: Measure, amount: u64) {
        match self.undecided.iter_mut().find(|(known, _)| *known == measure) {
            Some((_, asked)) => *asked = asked.saturating_add(amount),
            None => self.undecided.push((measure, amount)),
        }
    }

    /// Redis has decided on it, or nobody waits for it any more.
    pub fn remove_undecided(&mut self, measure: Measure, amount: u64) {
        if let Some((_, asked)) = self.undecided.iter_mut().find(|(known, _)| *known == measure) {
            *asked = asked.saturating_sub(amount);
        }
    }

    /// Counts what another node has admitted.
    pub fn count_others(&mut self, measure: Measure, amount: u64, at_micros: i64) -> Option<BucketNumber> {
        self.others.count(measure, amount, at_micros)
    }

    pub const fn begin_request(&mut self) {
        self.own.begin_request();
    }

    pub const fn end_request(&mut self) {
        self.own.end_request();
    }

    /// Redis has counted a request, in whichever measures.
    pub const fn running_counted_by_redis(&mut self) {
        self.has_running_in_redis = true;
    }

    /// Redis has counted what was counted here in this bucket at that time.
    pub fn bucket_counted_by_redis(&mut self, measure: Measure, bucket: BucketNumber, at_micros: i64) {
        let counted = LastInRedis { measure, bucket, at_micros };
        match self.last_in_redis.iter_mut().find(|last| last.measure == measure) {
            Some(last) if last.at_micros <= at_micros => *last = counted,
            Some(_) => {}
            None => self.last_in_redis.push(counted),
        }
    }

    /// Whether Redis must have something of what this node counts now.
    pub fn must_be_in_redis(&mut self, now_micros: i64) -> bool {
        self.advance(now_micros);
        self.has_running_in_redis &= self.own.running() > 0;
        self.has_running_in_redis || self.last_in_redis.iter().any(|last| self.redis_still_keeps(last, now_micros))
    }

    /// Whether Redis still keeps something of this bucket. A request that Redis refused renews the bucket on this node alone, so only
    /// what Redis has counted decides. Both keep a bucket a sixtieth longer than its window; that margin is not relied on, because
    /// clocks differ.
    fn redis_still_keeps(&self, last: &LastInRedis, now_micros: i64) -> bool {
        let Some(span) = last.measure.window() else { return false };
        let age = Duration::from_micros(now_micros.saturating_sub(last.at_micros).try_into().unwrap_or(0));
        age < span && self.own.counted_in(last.measure, last.bucket) > self.undecided(last.measure)
    }

    fn undecided(&self, measure: Measure) -> u64 {
        self.undecided.iter().find(|(known, _)| *known == measure).map_or(0, |(_, asked)| *asked)
    }

    /// Replaces an amount of this node's own, which it counted in the local period that began there, or before any.
    pub fn correct(&mut self, measure: Measure, bucket: BucketNumber, local_since: Option<u64>, (was, is): (u64, u64)) {
        self.own.correct(measure, bucket, was, is);
        if let Some(local) = &mut self.local {
            let is_since = local_since == Some(local.began);
            let counted = if is_since { &mut local.admitted } else { &mut local.base };
            counted.correct(measure, bucket, was, is);
        }
    }

    /// Replaces an amount that another node admitted at this position.
    pub fn correct_others(&mut self, measure: Measure, bucket: BucketNumber, position: u64, (was, is): (u64, u64)) {
        self.others.correct(measure, bucket, was, is);
        if let Some(local) = self.local.as_mut().filter(|local| position < local.began) {
            local.base.correct(measure, bucket, was, is);
        }
    }

    pub fn others_have_counted(&self) -> bool {
        self.others.windows().iter().any(|(_, window)| window.counted() > 0)
    }

    /// Counts are shared since this turn. Returns false if a local period has begun after it.
    pub fn begin_shared(&mut self, turn: u64) -> bool {
        self.local.take_if(|local| local.began < turn);
        self.local.is_none()
    }

    /// Why an amount does not fit below a limit by what this node has counted and others have recorded, while counts are shared.
    /// That is never more than all nodes have counted: what Redis has not decided is left out, since it may refuse it. Redis may
    /// have less, if nobody was left to put it there.
    pub fn shortage_by_log(&self, (measure, limit): (Measure, u64), amount: u64) -> Option<Shortage> {
        kept(measure)?;
        let undecided = self.undecided(measure);
        let decided = self.own.counted(measure).saturating_sub(undecided);
        if decided.saturating_add(self.others.counted(measure)).saturating_add(amount) <= limit {
            return None;
        }
        if amount > limit {
            return Some(Shortage::Window(Fits::Never));
        }
        let mut all = Slot::shared();
        all.merge(&self.own);
        all.merge(&self.others);
        all.shortage(measure, limit.saturating_add(undecided), amount)
    }

    /// This node has a share since this position. What all nodes had admitted before is known: the log was read up to there.
    pub fn begin_local(&mut self, began: u64) {
        if self.local.as_ref().is_some_and(|local| local.began >= began) {
            return;
        }
        let mut base = Slot::shared();
        base.merge(&self.own);
        base.merge(&self.others);
        self.local = Some(LocalCounts { began, base, admitted: Slot::shared() });
    }

    /// Why an amount does not fit into this node's share of a limit. A share is left while less than it is admitted, so that one
    /// request may exceed it.
    pub fn shortage_of_share(
        &self,
        (measure, limit): (Measure, u64),
        amount: u64,
        period: &LocalPeriod,
        instants: Instants,
    ) -> Option<Shortage> {
        let Some(kept) = kept(measure) else {
            let shares = period.shares(Duration::ZERO, instants.now_micros);
            return (self.own.running().saturating_mul(shares) >= limit).then_some(Shortage::Concurrency);
        };
        if amount > limit {
            return Some(Shortage::Window(Fits::Never));
        }
        let admitted = self.local.as_ref().map_or(0, |local| local.admitted.counted(measure));
        let shares = period.shares(kept, instants.now_micros);
        let is_left = admitted.saturating_mul(shares) < self.room(measure, limit, kept, shares, instants);
        (!is_left).then(|| Shortage::Window(Fits::After(self.until_share_grows(measure, limit))))
    }

    /// What a limit had left for all nodes when the local period began, and what has become free since.
    fn room(&self, measure: Measure, limit: u64, kept: Duration, shares: u64, instants: Instants) -> u64 {
        let base = self.local.as_ref().map_or(0, |local| local.base.counted(measure));
        if instants.know_all_of(kept) {
            return limit.saturating_sub(base);
        }
        match self.unseen.iter().find(|unseen| unseen.measure == measure) {
            // Nobody knows when it was counted: it leaves last.
            Some(unseen) if still_counts(unseen, kept, instants.now_micros) => {
                limit.saturating_sub(base.saturating_add(unseen.amount))
            }
            Some(_) => limit.saturating_sub(base),
            // A node that began to run in a local period, or never had a request under this limit.
            None => limit.saturating_sub(base) / shares,
        }
    }

    fn until_share_grows(&self, measure: Measure, limit: u64) -> Duration {
        let local = self.local.as_ref();
        let waits = local.map(|local| [&local.base, &local.admitted].map(|slot| slot.remaining(measure, limit).1));
        let known = waits.into_iter().flatten().flatten().filter(|wait| !wait.is_zero());
        known.min().unwrap_or(SHARE_WAIT).max(SHARE_WAIT)
    }

    /// Keeps what Redis says that all nodes have counted.
    pub fn learn(&mut self, measure: Measure, counted: u64, now_micros: i64) {
        let own = if kept(measure).is_some() { self.own.counted(measure) } else { self.own.running() };
        let of_others = counted.saturating_sub(own);
        let amount = of_others.saturating_sub(self.others.counted(measure));
        let learned = Unseen { measure, amount, of_others, at_micros: now_micros };
        match self.unseen.iter_mut().find(|unseen| unseen.measure == measure) {
            Some(unseen) => *unseen = learned,
            None => self.unseen.push(learned),
        }
    }

    /// What is left of a limit, and how long until there is more, while counts are shared.
    pub fn remaining(&self, measure: Measure, limit: u64, instants: Instants) -> (u64, Option<Duration>) {
        let unseen = |kept| {
            let of_measure = self.unseen.iter().find(|unseen| unseen.measure == measure);
            of_measure.filter(|unseen| still_counts(unseen, kept, instants.now_micros))
        };
        let lately_of_others = unseen(ADMITTED_SOON).map_or(0, |unseen| unseen.of_others);
        let Some(kept) = kept(measure) else {
            return (limit.saturating_sub(self.own.running()).saturating_sub(lately_of_others), None);
        };
        let others = self.others.counted(measure);
        let others = match instants.know_all_of(kept) {
            // What Redis said beyond the log is about to be in the log.
            true => others.max(lately_of_others),
            false => others.saturating_add(unseen(kept).map_or(0, |unseen| unseen.amount)),
        };
        let counted = self.own.counted(measure).saturating_add(others);
        let waits = [&self.own, &self.others].map(|slot| slot.remaining(measure, limit).1.unwrap_or_default());
        let wait = waits.into_iter().filter(|wait| !wait.is_zero()).min();
        let unknown_wait = if counted == 0 { Duration::ZERO } else { kept };
        (limit.saturating_sub(counted), Some(wait.unwrap_or(unknown_wait)))
    }

    /// What is left of this node's share, and how long until there may be more.
    pub fn remaining_share(
        &self,
        (measure, limit): (Measure, u64),
        period: &LocalPeriod,
        instants: Instants,
    ) -> (u64, Option<Duration>) {
        let shares = period.shares(kept(measure).unwrap_or_default(), instants.now_micros);
        let Some(kept) = kept(measure) else {
            return (limit.div_ceil(shares).saturating_sub(self.own.running()), None);
        };
        let admitted = self.local.as_ref().map_or(0, |local| local.admitted.counted(measure));
        let share = self.room(measure, limit, kept, shares, instants).div_ceil(shares);
        (share.saturating_sub(admitted), Some(self.until_share_grows(measure, limit)))
    }

    /// All that this node has counted, to be put into Redis. Of two states, the one that was made later has the higher number.
    pub fn state(&mut self, limit: String, number: u64, now_micros: i64) -> LimitState {
        self.advance(now_micros);
        let bucket = |(number, newest, amount): (BucketNumber, i64, u64)| BucketState {
            number: number.number(),
            age: Duration::from_micros(now_micros.saturating_sub(newest).try_into().unwrap_or(0)),
            amount,
        };
        let windows = self.own.windows().iter();
        let windows = windows.map(|(measure, window)| WindowState {
            measure: *measure,
            buckets: window.buckets().map(bucket).collect(),
        });
        LimitState { limit, number, running: self.own.running(), windows: windows.collect() }
    }
}

fn still_counts(unseen: &Unseen, kept: Duration, now_micros: i64) -> bool {
    let age = Duration::from_micros(now_micros.saturating_sub(unseen.at_micros).try_into().unwrap_or(0));
    age < kept
}

impl Counts for SharedCounts {
    fn is_idle(&self, now_micros: i64) -> bool {
        let unseen_counts = |unseen: &Unseen| {
            unseen.amount > 0 && kept(unseen.measure).is_some_and(|kept| still_counts(unseen, kept, now_micros))
        };
        let is_idle = |local: &LocalCounts| local.base.is_idle(now_micros) && local.admitted.is_idle(now_micros);
        self.own.is_idle(now_micros)
            && self.others.is_idle(now_micros)
            && !self.unseen.iter().any(unseen_counts)
            && self.local.as_ref().is_none_or(is_idle)
    }
}
