//! Rate limits: sliding windows of requests and tokens, and concurrent requests, in this process's memory. No window of time
//! ever holds more than the limit. An admitted request counts against every limit that binds it; a refused one counts against
//! none.

mod binding;
mod rate_limited;
mod remaining;
mod slot;
mod slots;
mod window;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::Chain;
use events::event::admin::{RateLimit, Scope};
use events::ids::{KeyId, LimitId};
use events::limit::{Bounds, LimitName, Measure};
use events::time::Clock;
use projections::tables::Tables;

use binding::{ApplicableLimit, Binding, locked};
pub use binding::{BindingLimits, LimitHolder, RateLimitPermit};
pub use rate_limited::{RateLimited, RetryAdvice};
pub use remaining::{RemainingLimit, TightestLimit};
pub use slot::{Shortage, Slot};
use slots::{SlotKey, Slots};
pub use window::{BucketNumber, Fits};

/// The limits that the configuration gives to every key, in requests per hour; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultLimits {
    /// For inference of a key that has no limit of its own.
    pub requests_per_hour: Option<u64>,
    /// For administration by each key and by the operator.
    pub admin_requests_per_hour: Option<u64>,
}

/// Counts by limit. Each limit takes bounded memory, whatever its numbers. Windows use the monotonic clock: setting the wall
/// clock neither closes nor opens them.
pub struct RateLimiter {
    clock: Arc<dyn Clock>,
    defaults: DefaultLimits,
    slots: Slots,
}

impl RateLimiter {
    pub fn new(clock: Arc<dyn Clock>, defaults: DefaultLimits) -> Self {
        Self { clock, defaults, slots: Slots::default() }
    }

    /// The limits that bind inference by `chain`: those of its key, user, tenant and partner, and the default if the key has
    /// none of its own.
    pub fn binding(&self, tables: &Tables, chain: &Chain) -> BindingLimits {
        let limits = tables.rate_limits(chain);
        if limits.is_empty() && self.defaults.requests_per_hour.is_none() {
            return BindingLimits::default();
        }
        self.bind(self.applicable(&limits, chain), tables)
    }

    /// The limits that bind administration by `chain`: only the default.
    pub fn binding_administration(&self, tables: &Tables, chain: &Chain) -> BindingLimits {
        let Some(number) = self.defaults.admin_requests_per_hour else { return BindingLimits::default() };
        let default = ApplicableLimit {
            key: SlotKey::AdminDefaultOf(chain.key),
            name: LimitName::AdminDefault,
            holder: chain.key.map_or(LimitHolder::Operator, |key| LimitHolder::Scope(Scope::Key(key))),
            bounds: Bounds::of(Measure::RequestsPerHour, number),
        };
        self.bind(vec![default], tables)
    }

    /// Counts one request against all of `limits` or, if one of them has nothing left, against none.
    ///
    /// Errors: the limit that has nothing left; of several, the one with the longest wait.
    pub fn acquire(&self, limits: &BindingLimits) -> Result<RateLimitPermit, RateLimited> {
        if limits.is_empty() {
            return Ok(RateLimitPermit::default());
        }
        RateLimitPermit::count(limits, self.now_micros())
            .map_err(|exceeded| RateLimited::of(&exceeded, 1, self.clock.now()))
    }

    /// Reserves the most tokens that a request can take. If they are refused, the request no longer counts either.
    pub fn reserve_tokens(&self, permit: &mut RateLimitPermit, bound: u64) -> Result<(), RateLimited> {
        let reserved = permit.reserve(bound, self.now_micros());
        reserved.map_err(|exceeded| RateLimited::of(&exceeded, bound, self.clock.now()))
    }

    /// The tightest of `limits`: the one with the smallest share left. `None` if there are none.
    pub fn tightest(&self, limits: &BindingLimits) -> Option<TightestLimit> {
        if limits.is_empty() {
            return None;
        }
        let (now, now_micros) = (self.clock.now(), self.now_micros());
        let mut tightest: Option<TightestLimit> = None;
        for binding in limits.all() {
            let mut slot = locked(&binding.slot);
            slot.advance(now_micros);
            for (measure, limit) in binding.limit.bounds.iter() {
                let next = TightestLimit::new(measure, limit, slot.remaining(measure, limit), now);
                tightest = Some(tightest.map_or(next, |tightest| tightest.tighter(next)));
            }
        }
        tightest
    }

    /// The rest of every limit that binds inference by `chain`, measure by measure. Counts nothing and creates no slots.
    pub fn remaining(&self, tables: &Tables, chain: &Chain) -> Vec<RemainingLimit> {
        let (now, now_micros) = (self.clock.now(), self.now_micros());
        let mut all = Vec::new();
        for ApplicableLimit { key, name, holder, bounds } in self.applicable(&tables.rate_limits(chain), chain) {
            let slot = self.slots.get(key);
            let mut slot = slot.as_ref().map(locked);
            if let Some(slot) = &mut slot {
                slot.advance(now_micros);
            }
            for (measure, limit) in bounds.iter() {
                let (remaining, more_in) = slot.as_ref().map_or((limit, None), |slot| slot.remaining(measure, limit));
                let resets_at = more_in.filter(|wait| !wait.is_zero()).and_then(|wait| later(now, wait));
                all.push(RemainingLimit { name, holder, measure, limit, remaining, resets_at });
            }
        }
        all
    }

    fn applicable(&self, limits: &[(LimitId, &RateLimit)], chain: &Chain) -> Vec<ApplicableLimit> {
        let created = limits.iter().map(|(id, limit)| ApplicableLimit {
            key: SlotKey::Limit(*id),
            name: LimitName::Configured(*id),
            holder: LimitHolder::Scope(limit.scope),
            bounds: limit.bounds,
        });
        let has_its_own = |key: &KeyId| limits.iter().any(|(_, limit)| limit.scope == Scope::Key(*key));
        let default = self.defaults.requests_per_hour.zip(chain.key.filter(|key| !has_its_own(key)));
        let default = default.map(|(number, key)| ApplicableLimit {
            key: SlotKey::DefaultOf(key),
            name: LimitName::Default,
            holder: LimitHolder::Scope(Scope::Key(key)),
            bounds: Bounds::of(Measure::RequestsPerHour, number),
        });
        created.chain(default).collect()
    }

    fn bind(&self, limits: Vec<ApplicableLimit>, tables: &Tables) -> BindingLimits {
        let now_micros = self.now_micros();
        let bind =
            |limit: ApplicableLimit| Binding { slot: self.slots.get_or_make(limit.key, tables, now_micros), limit };
        BindingLimits::of(limits.into_iter().map(bind).collect())
    }

    fn now_micros(&self) -> i64 {
        i64::try_from(self.clock.monotonic().as_micros()).unwrap_or(i64::MAX)
    }
}

fn later(now: DateTime<Utc>, wait: Duration) -> Option<DateTime<Utc>> {
    now.checked_add_signed(TimeDelta::from_std(wait).ok()?)
}

#[cfg(test)]
mod tests;
