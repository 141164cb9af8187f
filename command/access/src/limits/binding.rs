//! The limits that bind one request, and what the request has counted against them.

use std::sync::{Arc, MutexGuard, PoisonError};

use events::event::admin::Scope;
use events::limit::{Bounds, LimitName, Measure};
use serde::Serialize;

use super::slot::{Short, Slot};
use super::slots::{SharedSlot, SlotKey};
use super::window::Place;

/// Whom a limit binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Scope(Scope),
    /// On the administration: the operator has no key of the log's.
    Operator,
}

/// `{"tenant_id":"ten_…"}`; the operator is `{"key_id":"operator"}`.
impl Serialize for Holder {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scope(scope) => scope.serialize(serializer),
            Self::Operator => serializer.serialize_newtype_variant("Holder", 0, "key_id", "operator"),
        }
    }
}

/// A limit and its counts.
pub(super) struct Binding {
    pub(super) key: SlotKey,
    pub(super) name: LimitName,
    pub(super) holder: Holder,
    pub(super) bounds: Bounds,
    pub(super) slot: SharedSlot,
}

/// All limits that bind a request, in the order of their slots; mostly none. Cheap to clone.
#[derive(Clone, Default)]
pub struct BindingLimits(Option<Arc<[Binding]>>);

impl BindingLimits {
    pub(super) fn of(mut bindings: Vec<Binding>) -> Self {
        // In one order for everybody, so that no two requests wait for each other's slots.
        bindings.sort_unstable_by_key(|binding| binding.key);
        Self((!bindings.is_empty()).then(|| bindings.into()))
    }

    pub(super) fn all(&self) -> &[Binding] {
        self.0.as_deref().unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn lock(&self, now_micros: i64) -> Vec<MutexGuard<'_, Slot>> {
        let mut slots: Vec<_> = self.all().iter().map(|binding| locked(&binding.slot)).collect();
        slots.iter_mut().for_each(|slot| slot.advance(now_micros));
        slots
    }

    /// Counts `amount` in every measure that `counts` names, or in none: then what keeps it out longest is given, and
    /// the limit that does.
    fn count(
        &self,
        counts: impl Fn(Measure) -> bool,
        amount: u64,
        now_micros: i64,
        then: impl Fn(&mut Slot),
    ) -> Result<Vec<Counted>, (usize, Measure, u64, Short)> {
        let mut slots = self.lock(now_micros);
        let measures = || {
            let of = |(at, binding): (usize, &Binding)| {
                let bounds = binding.bounds;
                Measure::ALL.into_iter().filter_map(move |measure| Some((at, measure, bounds.get(measure)?)))
            };
            self.all().iter().enumerate().flat_map(of).filter(|(_, measure, _)| counts(*measure))
        };
        let short = measures()
            .filter_map(|(at, measure, limit)| Some((at, measure, limit, slots[at].short(measure, limit, amount)?)));
        if let Some(longest) = short.max_by_key(|(.., short)| *short) {
            return Err(longest);
        }
        let counted = measures()
            .filter_map(|(at, measure, _)| {
                let place = slots[at].count(measure, amount, now_micros)?;
                Some(Counted { at, measure, place })
            })
            .collect();
        slots.iter_mut().for_each(|slot| then(slot));
        Ok(counted)
    }
}

pub(super) fn locked(slot: &SharedSlot) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that was counted: by which of the limits, and where.
#[derive(Clone, Copy)]
struct Counted {
    at: usize,
    measure: Measure,
    place: Place,
}

/// What keeps a request out.
pub(super) struct LimitExceeded<'a> {
    pub(super) binding: &'a Binding,
    pub(super) measure: Measure,
    pub(super) limit: u64,
    pub(super) short: Short,
}

/// A request that was let in: it counts as one that is being answered until this is dropped, and its tokens as reserved
/// until they are settled. Dropped without that, it gives its tokens back.
#[derive(Default)]
pub struct RateLimitPermit {
    limits: BindingLimits,
    requests: Vec<Counted>,
    tokens: Vec<Counted>,
    reserved: u64,
}

impl RateLimitPermit {
    pub(super) fn count(limits: &BindingLimits, now_micros: i64) -> Result<Self, LimitExceeded<'_>> {
        let requests = limits
            .count(|measure| !measure.is_of_tokens(), 1, now_micros, Slot::begin)
            .map_err(|short| limit_exceeded(limits, short))?;
        Ok(Self { limits: limits.clone(), requests, tokens: Vec::new(), reserved: 0 })
    }

    /// Refused, the request has counted nowhere.
    pub(super) fn reserve(&mut self, tokens: u64, now_micros: i64) -> Result<(), LimitExceeded<'_>> {
        if self.limits.is_empty() {
            return Ok(());
        }
        match self.limits.count(Measure::is_of_tokens, tokens, now_micros, |_| {}) {
            Ok(counted) => {
                (self.tokens, self.reserved) = (counted, tokens);
                Ok(())
            }
            Err(short) => {
                let requests = std::mem::take(&mut self.requests);
                self.correct(&requests, 1, 0);
                Err(limit_exceeded(&self.limits, short))
            }
        }
    }

    /// The request took so many tokens: they count from when it was let in.
    pub fn settle(&mut self, tokens: u64) {
        let reserved = std::mem::take(&mut self.tokens);
        self.correct(&reserved, self.reserved, tokens);
    }

    /// Nobody knows what it took: what was reserved counts.
    pub fn keep_reserved(&mut self) {
        self.tokens.clear();
    }

    fn correct(&self, counted: &[Counted], was: u64, is: u64) {
        for Counted { at, measure, place } in counted {
            if let Some(binding) = self.limits.all().get(*at) {
                locked(&binding.slot).correct(*measure, *place, was, is);
            }
        }
    }
}

impl Drop for RateLimitPermit {
    fn drop(&mut self) {
        self.settle(0);
        for binding in self.limits.all() {
            locked(&binding.slot).end();
        }
    }
}

fn limit_exceeded(
    limits: &BindingLimits,
    (at, measure, limit, short): (usize, Measure, u64, Short),
) -> LimitExceeded<'_> {
    LimitExceeded { binding: &limits.all()[at], measure, limit, short }
}
