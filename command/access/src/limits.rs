//! Rate limits: sliding windows of requests and tokens, and requests at once, in this process's memory. A limit never
//! lets in more than its number in any true window. What is refused is counted nowhere; what is let in counts against
//! every limit that binds it.

mod binding;
mod refused;
mod slot;
mod slots;
mod standing;
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

use binding::{Binding, locked};
pub use binding::{BindingLimits, Holder, RateLimitPermit};
pub use refused::{Again, LimitRefused};
use slots::{SlotKey, Slots};
pub use standing::{LimitLeft, Standing};

/// Limits that the configuration gives to every key, in requests an hour; `None` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultLimits {
    /// Of a key that has no limit of its own.
    pub requests_per_hour: Option<u64>,
    /// On the administration, the operator included.
    pub admin_requests_per_hour: Option<u64>,
}

/// Counts by limit. Memory is bounded a limit, whatever its numbers. Windows go by the monotonic clock: a wall clock
/// that is put back or on neither closes nor opens them.
pub struct RateLimiter {
    clock: Arc<dyn Clock>,
    defaults: DefaultLimits,
    slots: Slots,
}

/// A limit that binds somebody, without its counts.
struct Named {
    key: SlotKey,
    name: LimitName,
    holder: Holder,
    bounds: Bounds,
}

impl RateLimiter {
    pub fn new(clock: Arc<dyn Clock>, defaults: DefaultLimits) -> Self {
        Self { clock, defaults, slots: Slots::new() }
    }

    /// What binds the inference of `chain`: the limits of its key, user, tenant and partner, and the default of a key
    /// that has none of its own.
    pub fn binding(&self, tables: &Tables, chain: &Chain) -> BindingLimits {
        let limits = tables.rate_limits(chain);
        if limits.is_empty() && self.defaults.requests_per_hour.is_none() {
            return BindingLimits::default();
        }
        self.bind(self.named(&limits, chain), tables)
    }

    /// What binds the administration by `chain`: the default alone.
    pub fn binding_administration(&self, tables: &Tables, chain: &Chain) -> BindingLimits {
        let Some(number) = self.defaults.admin_requests_per_hour else { return BindingLimits::default() };
        let named = Named {
            key: SlotKey::AdminDefaultOf(chain.key),
            name: LimitName::AdminDefault,
            holder: chain.key.map_or(Holder::Operator, |key| Holder::Scope(Scope::Key(key))),
            bounds: Bounds::of(Measure::RequestsPerHour, number),
        };
        self.bind(vec![named], tables)
    }

    /// Counts one request against all of `limits`, or, where one of them has nothing left, against none. Of several
    /// that have not, the one that takes longest to have is given.
    pub fn let_in(&self, limits: &BindingLimits) -> Result<RateLimitPermit, LimitRefused> {
        if limits.is_empty() {
            return Ok(RateLimitPermit::default());
        }
        RateLimitPermit::count(limits, self.now_micros())
            .map_err(|kept_out| LimitRefused::of(&kept_out, 1, self.clock.now()))
    }

    /// Sets aside the most tokens that a request can take. Refused, it has not been counted as a request either.
    pub fn reserve_tokens(&self, let_in: &mut RateLimitPermit, bound: u64) -> Result<(), LimitRefused> {
        let reserved = let_in.reserve(bound, self.now_micros());
        reserved.map_err(|kept_out| LimitRefused::of(&kept_out, bound, self.clock.now()))
    }

    /// The tightest of `limits`: the one of which the smallest share is left. `None` where there is none.
    pub fn standing(&self, limits: &BindingLimits) -> Option<Standing> {
        if limits.is_empty() {
            return None;
        }
        let (now, now_micros) = (self.clock.now(), self.now_micros());
        let mut tightest: Option<Standing> = None;
        for binding in limits.all() {
            let mut slot = locked(&binding.slot);
            slot.advance(now_micros);
            for (measure, limit) in binding.bounds.iter() {
                let standing = Standing::new(measure, limit, slot.left(measure, limit), now);
                tightest = Some(tightest.map_or(standing, |tightest| tightest.tighter(standing)));
            }
        }
        tightest
    }

    /// What is left of every limit that binds the inference of `chain`, measure by measure. Counts nothing, and leaves
    /// nothing behind.
    pub fn left(&self, tables: &Tables, chain: &Chain) -> Vec<LimitLeft> {
        let (now, now_micros) = (self.clock.now(), self.now_micros());
        let mut all = Vec::new();
        for Named { key, name, holder, bounds } in self.named(&tables.rate_limits(chain), chain) {
            let slot = self.slots.get(key);
            let mut slot = slot.as_ref().map(locked);
            if let Some(slot) = &mut slot {
                slot.advance(now_micros);
            }
            for (measure, limit) in bounds.iter() {
                let (remaining, more_in) = slot.as_ref().map_or((limit, None), |slot| slot.left(measure, limit));
                let resets_at = more_in.filter(|wait| !wait.is_zero()).and_then(|wait| later(now, wait));
                all.push(LimitLeft { name, holder, measure, limit, remaining, resets_at });
            }
        }
        all
    }

    fn named(&self, limits: &[(LimitId, &RateLimit)], chain: &Chain) -> Vec<Named> {
        let made = limits.iter().map(|(id, limit)| Named {
            key: SlotKey::Limit(*id),
            name: LimitName::Made(*id),
            holder: Holder::Scope(limit.scope),
            bounds: limit.bounds,
        });
        let has_its_own = |key: &KeyId| limits.iter().any(|(_, limit)| limit.scope == Scope::Key(*key));
        let default = self.defaults.requests_per_hour.zip(chain.key.filter(|key| !has_its_own(key)));
        let default = default.map(|(number, key)| Named {
            key: SlotKey::DefaultOf(key),
            name: LimitName::Default,
            holder: Holder::Scope(Scope::Key(key)),
            bounds: Bounds::of(Measure::RequestsPerHour, number),
        });
        made.chain(default).collect()
    }

    fn bind(&self, named: Vec<Named>, tables: &Tables) -> BindingLimits {
        let now_micros = self.now_micros();
        let bind = |Named { key, name, holder, bounds }| {
            let slot = self.slots.get_or_make(key, tables, now_micros);
            Binding { key, name, holder, bounds, slot }
        };
        BindingLimits::of(named.into_iter().map(bind).collect())
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
