//! The limits that bind one request where counts are shared, and what it counts against them.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use events::event::admin::WhenUnshared;
use events::ids::TenantId;
use events::limit::{LimitName, Measure};
use shared_limits::{Correction, Count, LimitCall, Standing};

use super::conductor::LIMITS_PER_CALL;
use super::counted::{Counted, Demand, OneCount};
use super::counts::{SharedCounts, kept};
use super::group::Group;
use super::limiter::SharedLimiter;
use crate::limits::binding::{ApplicableLimit, LimitExceeded, locked};
use crate::limits::slot::Shortage;
use crate::limits::tokens::TokenAmounts;
use crate::limits::window::{BucketNumber, Fits};

/// A limit and its counts.
pub struct SharedBinding {
    pub(in crate::limits) limit: ApplicableLimit,
    /// The one that the limit belongs to, whoever asks.
    pub group: Arc<Group>,
    pub slot: Arc<Mutex<SharedCounts>>,
}

/// All limits that bind a request, in the order of their groups and slots; at least one. Cheap to clone.
#[derive(Clone)]
pub struct SharedLimits(Arc<SharedBindings>);

struct SharedBindings {
    limiter: Arc<SharedLimiter>,
    /// The tenant in which the request is made.
    tenant: Option<TenantId>,
    all: Vec<SharedBinding>,
}

/// A question to Redis, and the counts that this node made meanwhile.
pub struct Asked {
    pub demand: Demand,
    pub counts: Vec<OneCount>,
    pub calls: Vec<LimitCall>,
    /// The indexes of the limits of the calls.
    indexes: Vec<usize>,
}

impl SharedLimits {
    pub fn of(limiter: Arc<SharedLimiter>, tenant: Option<TenantId>, mut all: Vec<SharedBinding>) -> Self {
        // One order for all requests, so that no two of them deadlock on their slots. A slot has one group.
        all.sort_unstable_by(|one, other| (&one.group.name, one.limit.key).cmp(&(&other.group.name, other.limit.key)));
        Self(Arc::new(SharedBindings { limiter, tenant, all }))
    }

    pub fn limiter(&self) -> &Arc<SharedLimiter> {
        &self.0.limiter
    }

    pub fn tenant(&self) -> Option<TenantId> {
        self.0.tenant
    }

    pub fn all(&self) -> &[SharedBinding] {
        &self.0.all
    }

    /// The limits that one call counts: of one group, at most as many as one takes. With their indexes.
    pub fn parts(&self) -> Vec<(Arc<Group>, Range<usize>)> {
        let mut begins = 0;
        let of_groups = self.all().chunk_by(|one, next| Arc::ptr_eq(&one.group, &next.group));
        let range = |part: &[SharedBinding]| {
            let range = begins..begins + part.len();
            begins = range.end;
            Some((Arc::clone(&part.first()?.group), range))
        };
        of_groups.flat_map(|of_group| of_group.chunks(LIMITS_PER_CALL)).filter_map(range).collect()
    }

    /// The limit of these that refuses everything while this node counts alone.
    pub fn closed_limit(&self, of_part: Range<usize>) -> Option<LimitName> {
        let closed = self.all()[of_part].iter().find(|binding| binding.limit.when_unshared == WhenUnshared::Closed);
        closed.map(|binding| binding.limit.name)
    }

    /// The measures that a demand counts in: the index of the limit, the measure, its bound, and the amount.
    fn measures(&self, of_part: Range<usize>, demand: Demand) -> Vec<(usize, Measure, u64, u64)> {
        let of = |index: usize| {
            let ApplicableLimit { bounds, holder, .. } = &self.all()[index].limit;
            Measure::ALL.iter().filter_map(move |measure| {
                let bound = demand.bound(bounds.get(*measure)?);
                Some((index, *measure, bound, demand.in_measure(*measure, holder)?))
            })
        };
        of_part.flat_map(of).collect()
    }

    fn lock(&self, of_part: Range<usize>, now_micros: i64) -> Vec<MutexGuard<'_, SharedCounts>> {
        let mut slots: Vec<_> = self.all()[of_part].iter().map(|binding| locked(&binding.slot)).collect();
        slots.iter_mut().for_each(|slot| slot.advance(now_micros));
        slots
    }

    /// Counts on this node what Redis is then asked to count; `None` if there is nothing to count. A state that is sent with it does not
    /// have it yet, and one that is sent after it has.
    pub fn begin_asking(&self, of_part: Range<usize>, demand: Demand, connection: u64, now: i64) -> Option<Asked> {
        let measures = self.measures(of_part.clone(), demand);
        let (limiter, first) = (self.limiter(), of_part.start);
        let mut slots = self.lock(of_part, now);
        let mut asked = Asked { demand, counts: Vec::new(), calls: Vec::new(), indexes: Vec::new() };
        for (index, measure, bound, amount) in measures {
            let slot = slots.get_mut(index - first)?;
            if asked.indexes.last() != Some(&index) {
                let name = self.all()[index].limit.key.to_string();
                asked.calls.push(slot.call(name, connection, || limiter.next_number(), now));
                asked.indexes.push(index);
            }
            let bucket = slot.count(measure, amount, now);
            asked.counts.push(OneCount { index, measure, bucket, amount });
            let (kept, bucket) = (kept(measure).unwrap_or_default(), bucket.map_or(0, BucketNumber::number));
            asked.calls.last_mut()?.counts.push(Count { measure, kept, bound, amount, bucket });
        }
        (!asked.calls.is_empty()).then_some(asked)
    }

    /// Redis has not counted it, or nobody knows. A state that was sent meanwhile has it, and Redis is told.
    pub fn undo(&self, asked: &Asked) {
        for count in &asked.counts {
            let binding = &self.all()[count.index];
            let mut slot = locked(&binding.slot);
            slot.correct(count.measure, count.bucket, count.amount, 0);
            let of_call = asked.indexes.iter().position(|index| *index == count.index);
            if of_call.is_none_or(|at| asked.calls[at].number != slot.sent()) {
                self.tell(binding, &mut slot, count, 0);
            }
        }
    }

    /// Redis does not have the states that the calls went by, or nobody knows what it has.
    pub fn forget_sent(&self, asked: &Asked) {
        for (index, call) in asked.indexes.iter().zip(&asked.calls) {
            locked(&self.all()[*index].slot).forget_sent(call.number);
        }
    }

    /// Keeps what Redis said, and returns the limit that has too little left, with the longest wait.
    pub(in crate::limits) fn learn(
        &self,
        asked: &Asked,
        standings: &[Standing],
        now_micros: i64,
    ) -> Option<LimitExceeded<'_>> {
        let mut exceeded: Option<LimitExceeded<'_>> = None;
        let bounds = asked.calls.iter().flat_map(|call| &call.counts).map(|count| count.bound);
        for ((count, bound), standing) in asked.counts.iter().zip(bounds).zip(standings) {
            let (binding, measure) = (&self.all()[count.index], count.measure);
            locked(&binding.slot).learn(measure, standing, now_micros);
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

    /// Counts against this node's share of all limits of a part, or of none; the limit is divided among so many nodes.
    pub(in crate::limits) fn count_share(
        &self,
        of_part: Range<usize>,
        demand: Demand,
        nodes: u64,
        now_micros: i64,
    ) -> Result<Vec<OneCount>, LimitExceeded<'_>> {
        let measures = self.measures(of_part.clone(), demand);
        let first = of_part.start;
        let mut slots = self.lock(of_part, now_micros);
        let exceeded = measures.iter().filter_map(|(index, measure, bound, amount)| {
            let shortage = slots[index - first].shortage_of_share(*measure, *bound, *amount, nodes)?;
            let limit = &self.all()[*index].limit;
            Some(LimitExceeded { limit, measure: *measure, bound: *bound, shortage })
        });
        if let Some(exceeded) = exceeded.max_by_key(|exceeded| exceeded.shortage) {
            return Err(exceeded);
        }
        let count = |(index, measure, _, amount): (usize, Measure, u64, u64)| {
            let bucket = slots[index - first].count(measure, amount, now_micros);
            OneCount { index, measure, bucket, amount }
        };
        Ok(measures.into_iter().map(count).collect())
    }

    /// Replaces the amounts that a request has counted.
    pub fn correct(&self, counted: &Counted, is: TokenAmounts) {
        for count in &counted.counts {
            let binding = &self.all()[count.index];
            let is = binding.limit.holder.counted_of(is).unwrap_or(0);
            let mut slot = locked(&binding.slot);
            slot.correct(count.measure, count.bucket, count.amount, is);
            self.tell(binding, &mut slot, count, is);
        }
    }

    fn tell(&self, binding: &SharedBinding, slot: &mut SharedCounts, count: &OneCount, is: u64) {
        if is == count.amount {
            return;
        }
        let delta = i128::from(is) - i128::from(count.amount);
        let delta = i64::try_from(delta).unwrap_or(if delta < 0 { i64::MIN } else { i64::MAX });
        let bucket = count.bucket.map_or(0, BucketNumber::number);
        slot.tell(Correction { measure: count.measure, bucket, delta }, self.limiter().link.number());
        self.limiter().owe(binding.limit.key);
    }
}
