//! The limits that bind one request, and what the request counts against them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::event::admin::{NarrowedScope, WhenUnshared};
use events::limit::{Bounds, LimitName, Measure};
use serde::Serialize;

use super::slot::{Shortage, Slot};
use super::slots::SlotKey;
use super::tokens::TokenAmounts;
use super::window::BucketNumber;

/// The owner that a limit binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitHolder {
    Scope(NarrowedScope),
    /// The operator, whose key is not in the log. Only the default of administration binds it.
    Operator,
}

impl LimitHolder {
    /// The tokens of a request that count against a limit of this holder; `None` if none of them do.
    pub(super) fn counted_of(&self, tokens: TokenAmounts) -> Option<u64> {
        match self {
            Self::Scope(scope) if scope.owner.is_above_tenant(tokens.is_guest) => {
                Some(tokens.brokered).filter(|brokered| *brokered > 0 || tokens.all == 0)
            }
            Self::Scope(_) | Self::Operator => Some(tokens.all),
        }
    }
}

/// Writes `{"tenant_id":"ten_…"}`; for the operator, `{"key_id":"operator"}`.
impl Serialize for LimitHolder {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scope(scope) => scope.serialize(serializer),
            Self::Operator => serializer.serialize_newtype_variant("Holder", 0, "key_id", "operator"),
        }
    }
}

/// A limit that applies to a caller.
pub(super) struct ApplicableLimit {
    pub(super) key: SlotKey,
    pub(super) name: LimitName,
    pub(super) holder: LimitHolder,
    pub(super) bounds: Bounds,
    pub(super) when_unshared: WhenUnshared,
}

/// A limit and its counts.
pub(super) struct Binding {
    pub(super) limit: ApplicableLimit,
    pub(super) slot: Arc<Mutex<Slot>>,
}

/// All limits that bind a request and that this process counts by itself, in the order of their slots. Cheap to clone.
#[derive(Clone)]
pub(super) struct ProcessLimits(Arc<[Binding]>);

impl ProcessLimits {
    pub(super) fn of(mut bindings: Vec<Binding>) -> Self {
        // One order for all requests, so that no two of them deadlock on their slots.
        bindings.sort_unstable_by_key(|binding| binding.limit.key);
        Self(bindings.into())
    }

    pub(super) fn all(&self) -> &[Binding] {
        &self.0
    }

    fn lock(&self, now_micros: i64) -> Vec<MutexGuard<'_, Slot>> {
        let mut slots: Vec<_> = self.all().iter().map(|binding| locked(&binding.slot)).collect();
        slots.iter_mut().for_each(|slot| slot.advance(now_micros));
        slots
    }

    /// Counts the amount of each limit in every measure that `is_counted` selects, then calls `then` on each slot.
    ///
    /// Errors: the limit with the longest wait; then nothing is counted.
    fn count(
        &self,
        is_counted: impl Fn(Measure) -> bool,
        amount: impl Fn(&ApplicableLimit) -> Option<u64>,
        now_micros: i64,
        then: impl Fn(&mut Slot),
    ) -> Result<Vec<CountedRequest>, LimitExceeded<'_>> {
        let mut slots = self.lock(now_micros);
        let measures = || {
            let of = |(index, binding): (usize, &Binding)| {
                let (bounds, amount) = (binding.limit.bounds, amount(&binding.limit));
                Measure::ALL.iter().filter_map(move |measure| Some((index, *measure, bounds.get(*measure)?, amount?)))
            };
            self.all().iter().enumerate().flat_map(of).filter(|(_, measure, ..)| is_counted(*measure))
        };
        let shortages = measures().filter_map(|(index, measure, bound, amount)| {
            let shortage = slots[index].shortage(measure, bound, amount)?;
            // Of limits that it never fits into, the one that needs the lowest output cap.
            Some(((shortage, amount.saturating_sub(bound)), (index, measure, bound)))
        });
        if let Some(((shortage, _), (index, measure, bound))) = shortages.max_by_key(|(most, _)| *most) {
            return Err(LimitExceeded { limit: &self.all()[index].limit, measure, bound, shortage });
        }
        let counted = measures()
            .filter_map(|(index, measure, _, amount)| {
                let bucket = slots[index].count(measure, amount, now_micros)?;
                Some(CountedRequest { index, measure, bucket })
            })
            .collect();
        slots.iter_mut().for_each(|slot| then(slot));
        Ok(counted)
    }
}

pub(super) fn locked<C>(slot: &Mutex<C>) -> MutexGuard<'_, C> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One count of a request: the index of the limit, and the bucket.
#[derive(Clone, Copy)]
struct CountedRequest {
    index: usize,
    measure: Measure,
    bucket: BucketNumber,
}

/// A limit that has too little left for a request.
pub(super) struct LimitExceeded<'a> {
    pub(super) limit: &'a ApplicableLimit,
    pub(super) measure: Measure,
    pub(super) bound: u64,
    pub(super) shortage: Shortage,
}

/// An admitted request under limits that this process counts by itself.
pub(super) struct ProcessPermit {
    limits: ProcessLimits,
    requests: Vec<CountedRequest>,
    tokens: Vec<CountedRequest>,
    pub(super) reserved: TokenAmounts,
}

impl ProcessPermit {
    pub(super) fn count(limits: &ProcessLimits, now_micros: i64) -> Result<Self, LimitExceeded<'_>> {
        let requests = limits.count(|measure| !measure.is_of_tokens(), |_| Some(1), now_micros, Slot::begin_request)?;
        Ok(Self { limits: limits.clone(), requests, tokens: Vec::new(), reserved: TokenAmounts::NONE })
    }

    /// Reserves tokens. If they are refused, the request no longer counts at all.
    pub(super) fn reserve(&mut self, tokens: TokenAmounts, now_micros: i64) -> Result<(), LimitExceeded<'_>> {
        let amount = |limit: &ApplicableLimit| limit.holder.counted_of(tokens);
        match self.limits.count(Measure::is_of_tokens, amount, now_micros, |_| {}) {
            Ok(counted) => {
                (self.tokens, self.reserved) = (counted, tokens);
                Ok(())
            }
            Err(exceeded) => {
                let requests = std::mem::take(&mut self.requests);
                self.correct(&requests, TokenAmounts::of(1), TokenAmounts::NONE);
                Err(exceeded)
            }
        }
    }

    /// The request counts no longer, as if it had never been counted.
    pub(super) fn take_back(&mut self) {
        self.settle(TokenAmounts::NONE);
        let requests = std::mem::take(&mut self.requests);
        self.correct(&requests, TokenAmounts::of(1), TokenAmounts::NONE);
    }

    pub(super) fn settle(&mut self, tokens: TokenAmounts) {
        let reserved = std::mem::take(&mut self.tokens);
        self.correct(&reserved, self.reserved, self.reserved.used(tokens));
    }

    pub(super) fn keep_reserved(&mut self) {
        self.tokens.clear();
    }

    fn correct(&self, counted: &[CountedRequest], was: TokenAmounts, is: TokenAmounts) {
        for CountedRequest { index, measure, bucket } in counted {
            if let Some(binding) = self.limits.all().get(*index) {
                let [was, is] = [was, is].map(|amounts| binding.limit.holder.counted_of(amounts).unwrap_or(0));
                locked(&binding.slot).correct(*measure, *bucket, was, is);
            }
        }
    }
}

impl Drop for ProcessPermit {
    fn drop(&mut self) {
        self.settle(TokenAmounts::NONE);
        for binding in self.limits.all() {
            locked(&binding.slot).end_request();
        }
    }
}
