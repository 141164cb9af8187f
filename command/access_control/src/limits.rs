//! Rate limits: sliding windows of requests and tokens, and concurrent requests. No window of time ever holds more than the limit.
//! An admitted request counts against every limit that binds it; a refused one counts against none.
//!
//! Counts are in this process's memory (`binding`), or shared by several nodes in Redis (`shared`).

mod binding;
mod rate_limited;
mod remaining;
mod shared;
mod slot;
mod slots;
mod tokens;
mod window;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::{RateLimit, Scope, WhenUnshared};
use events::event::{Chain, ScopeSubject, TeamVersions};
use events::ids::{KeyId, LimitId};
use events::limit::{Bounds, LimitName, Measure};
use events::named;
use events::time::Clock;
use projections::caller::Caller;
use projections::tables::Tables;
use projections::visible::Visible;

pub use binding::LimitHolder;
use binding::{ApplicableLimit, Binding, LimitExceeded, ProcessLimits, ProcessPermit, locked};
pub use rate_limited::{LimitRefusal, RateLimited, RetryAdvice};
pub use remaining::{RemainingLimit, TightestLimit};
pub use shared::{
    LocalSince, SharedLimiter, SharedLimiterParts, SharedLimitsError, SharedLimitsTask, SharingNode, node_that_shares,
};
use shared::{SharedLimits, SharedPermit};
pub use shared_limits::{AddressError, CounterError, RedisAddress};
pub use slot::{Shortage, Slot};
use slots::{SlotKey, Slots};
pub use tokens::TokenAmounts;
pub use window::{BucketNumber, Fits, Keeping};

/// The most limits that may bind one request: each of them is locked, and asked of Redis, for each request.
pub const BINDING_LIMITS_MAX: usize = 64;

/// The limits that the configuration gives to every key, in requests per hour; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultLimits {
    /// For inference of a key that has no limit of its own.
    pub requests_per_hour: Option<u64>,
    /// For administration by each key and by the operator.
    pub admin_requests_per_hour: Option<u64>,
}

impl DefaultLimits {
    /// The limits that apply to inference by `chain` that counts for these teams, with the default if the key has none of its own.
    fn applicable(self, tables: &Tables, chain: &Chain, teams: &TeamVersions) -> Vec<ApplicableLimit> {
        let limits = tables.rate_limits(chain, teams);
        let created = limits.iter().map(|(id, limit)| ApplicableLimit::created(*id, limit));
        let has_its_own = |key: &KeyId| limits.iter().any(|(_, limit)| limit.scope.owner == Scope::Key(*key));
        let default = self.requests_per_hour.zip(chain.key.filter(|key| !has_its_own(key)));
        let default = default.map(|(number, key)| ApplicableLimit {
            key: SlotKey::DefaultOf(key),
            name: LimitName::Default,
            holder: LimitHolder::Scope(Scope::Key(key).into()),
            bounds: Bounds::of(Measure::RequestsPerHour, number),
            when_unshared: WhenUnshared::Local,
        });
        created.chain(default).collect()
    }
}

impl ApplicableLimit {
    fn created(id: LimitId, limit: &RateLimit) -> Self {
        Self {
            key: SlotKey::Limit(id),
            name: LimitName::Configured(id),
            holder: LimitHolder::Scope(limit.scope.clone()),
            bounds: limit.bounds,
            when_unshared: limit.when_unshared,
        }
    }
}

/// Counts by limit. Each limit takes bounded memory, whatever its numbers. Windows use the monotonic clock: setting the wall
/// clock neither closes nor opens them.
pub struct RateLimiter {
    clock: Arc<dyn Clock>,
    defaults: DefaultLimits,
    counting: Counting,
    /// See [`BINDING_LIMITS_MAX`].
    binding_max: usize,
}

/// Where the counts are.
enum Counting {
    /// In this process: no Redis is configured.
    OneProcess(Box<Slots<Slot>>),
    /// In Redis, for all nodes.
    Shared(Arc<SharedLimiter>),
}

named! {
    /// Whether counts are shared.
    pub enum Sharing {
        /// No Redis is configured: this process counts by itself.
        Off = "off",
        Shared = "shared",
        /// This process cannot use Redis, and counts by its share.
        Local = "local",
    }
}

/// All limits that bind a request; often none. Cheap to clone.
#[derive(Clone, Default)]
pub struct BindingLimits {
    /// Known from the head of the request.
    whole: BindingLimitsOf,
    /// Known from its body.
    narrowed: BindingLimitsOf,
}

#[derive(Clone, Default)]
enum BindingLimitsOf {
    #[default]
    Nothing,
    OneProcess(ProcessLimits),
    Shared(SharedLimits),
    /// More bind the request than may, or too many would have to be looked at: it is refused.
    TooMany,
}

/// An admitted request. It counts as running until this is dropped, and its tokens count as reserved until they are settled.
/// If it is dropped before that, its tokens are given back.
#[derive(Default)]
pub struct RateLimitPermit {
    whole: Permit,
    narrowed: Permit,
}

#[derive(Default)]
enum Permit {
    #[default]
    Free,
    OneProcess(ProcessPermit),
    /// Boxed: it is the larger one, and requests without shared limits carry it as well.
    Shared(Box<SharedPermit>),
}

impl BindingLimits {
    pub fn is_empty(&self) -> bool {
        self.all().all(|bound| matches!(bound, BindingLimitsOf::Nothing))
    }

    fn all(&self) -> impl Iterator<Item = &BindingLimitsOf> {
        [&self.whole, &self.narrowed].into_iter()
    }
}

impl BindingLimitsOf {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::OneProcess(limits) => limits.all().len(),
            Self::Shared(limits) => limits.all().len(),
            Self::TooMany => usize::MAX,
        }
    }
}

impl RateLimitPermit {
    /// Replaces the reservation by the tokens used, which count from when the request was admitted.
    pub fn settle(&mut self, tokens: TokenAmounts) {
        self.all().for_each(|permit| permit.settle(tokens));
    }

    /// Counts the reservation as used, because the usage is unknown.
    pub fn keep_reserved(&mut self) {
        self.all().for_each(Permit::keep_reserved);
    }

    /// The same, if a provider of the tenant's own was called last: it is known how many tokens the others used.
    pub fn keep_own_reserved(&mut self, brokered: u64) {
        self.all().for_each(|permit| permit.keep_own_reserved(brokered));
    }

    /// The tokens that are reserved under limits that nodes share, to be recorded with the admission; `None` if there are none.
    pub fn shared_tokens(&self) -> Option<u64> {
        self.whole.shared_tokens().or_else(|| self.narrowed.shared_tokens())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Permit> {
        [&mut self.whole, &mut self.narrowed].into_iter()
    }

    fn take_back(&mut self) {
        self.all().for_each(Permit::take_back);
    }
}

impl Permit {
    fn settle(&mut self, tokens: TokenAmounts) {
        match self {
            Self::Free => {}
            Self::OneProcess(permit) => permit.settle(tokens),
            Self::Shared(permit) => permit.settle(tokens),
        }
    }

    fn keep_reserved(&mut self) {
        match self {
            Self::Free => {}
            Self::OneProcess(permit) => permit.keep_reserved(),
            Self::Shared(permit) => permit.keep_reserved(),
        }
    }

    fn keep_own_reserved(&mut self, brokered: u64) {
        match self {
            Self::Free => {}
            Self::OneProcess(permit) => permit.settle(TokenAmounts { brokered, ..permit.reserved }),
            Self::Shared(permit) => {
                if let Some(all) = permit.reserved() {
                    permit.settle(TokenAmounts { all, brokered, is_guest: false });
                }
            }
        }
    }

    fn shared_tokens(&self) -> Option<u64> {
        match self {
            Self::Free | Self::OneProcess(_) => None,
            Self::Shared(permit) => permit.reserved(),
        }
    }

    /// The request counts no longer, as if it had never been counted.
    fn take_back(&mut self) {
        match self {
            Self::Free => {}
            Self::OneProcess(permit) => permit.take_back(),
            Self::Shared(permit) => permit.take_back(),
        }
    }
}

impl RateLimiter {
    /// A limiter that counts in this process alone.
    pub fn new(clock: Arc<dyn Clock>, defaults: DefaultLimits) -> Self {
        Self { clock, defaults, counting: Counting::OneProcess(Box::default()), binding_max: BINDING_LIMITS_MAX }
    }

    /// The same limiter, for which any number of limits may bind a request.
    #[must_use]
    pub fn with_any_number(self) -> Self {
        Self { binding_max: usize::MAX, ..self }
    }

    /// A limiter that counts together with other nodes.
    pub fn shared(clock: Arc<dyn Clock>, defaults: DefaultLimits, limiter: Arc<SharedLimiter>) -> Self {
        Self { clock, defaults, counting: Counting::Shared(limiter), binding_max: BINDING_LIMITS_MAX }
    }

    pub fn sharing(&self) -> Sharing {
        match &self.counting {
            Counting::OneProcess(_) => Sharing::Off,
            Counting::Shared(limiter) if limiter.is_shared() => Sharing::Shared,
            Counting::Shared(_) => Sharing::Local,
        }
    }

    /// The limits that bind all inference by `chain`: those of its key, user, teams, tenant and partner, and the default if the key
    /// has none of its own.
    pub fn binding(&self, tables: &Tables, chain: &Chain, teams: &TeamVersions) -> BindingLimits {
        let whole = self.bind(self.defaults.applicable(tables, chain, teams), chain, tables);
        BindingLimits { whole, narrowed: BindingLimitsOf::Nothing }
    }

    /// The limits that bind administration by `chain`: only the default.
    pub fn binding_administration(&self, tables: &Tables, chain: &Chain) -> BindingLimits {
        let Some(number) = self.defaults.admin_requests_per_hour else { return BindingLimits::default() };
        let default = ApplicableLimit {
            key: SlotKey::AdminDefaultOf(chain.key),
            name: LimitName::AdminDefault,
            holder: chain.key.map_or(LimitHolder::Operator, |key| LimitHolder::Scope(Scope::Key(key).into())),
            bounds: Bounds::of(Measure::RequestsPerHour, number),
            when_unshared: WhenUnshared::Local,
        };
        BindingLimits { whole: self.bind(vec![default], chain, tables), narrowed: BindingLimitsOf::Nothing }
    }

    /// Counts one request against all of `limits` or, if one of them has nothing left, against none.
    ///
    /// Errors: the limit that has nothing left; of several, the one with the longest wait.
    pub async fn acquire(&self, limits: &BindingLimits) -> Result<RateLimitPermit, LimitRefusal> {
        let whole = self.count(&limits.whole).await?;
        Ok(RateLimitPermit { whole, narrowed: Permit::Free })
    }

    /// Adds the narrowed limits that bind a request, once its body is known. Returns whether there are any.
    pub fn add_narrowed(&self, limits: &mut BindingLimits, tables: &Tables, request: &ScopeSubject<'_>) -> bool {
        // The usual case.
        if !tables.has_narrowed_rate_limits() {
            return false;
        }
        let most = self.binding_max.saturating_sub(limits.whole.len());
        limits.narrowed = match tables.narrowed_rate_limits(request, most, self.binding_max) {
            Some(narrowed) => {
                let created = narrowed.into_iter().map(|limit| ApplicableLimit::created(limit.limit_id, limit));
                self.bind(created.collect(), &request.chain, tables)
            }
            None => BindingLimitsOf::TooMany,
        };
        !matches!(limits.narrowed, BindingLimitsOf::Nothing)
    }

    /// Counts a request against its narrowed limits too. If one has nothing left, the request no longer counts against any limit.
    pub async fn acquire_narrowed(
        &self,
        limits: &BindingLimits,
        permit: &mut RateLimitPermit,
    ) -> Result<(), LimitRefusal> {
        match self.count(&limits.narrowed).await {
            Ok(counted) => {
                permit.narrowed = counted;
                Ok(())
            }
            Err(refused) => {
                permit.take_back();
                Err(refused)
            }
        }
    }

    async fn count(&self, limits: &BindingLimitsOf) -> Result<Permit, LimitRefusal> {
        match limits {
            BindingLimitsOf::Nothing => Ok(Permit::Free),
            BindingLimitsOf::TooMany => Err(LimitRefusal::TooMany),
            BindingLimitsOf::OneProcess(limits) => self.count_in_process(limits).map_err(LimitRefusal::RateLimited),
            // Boxed, so that requests without shared limits need no room for it.
            BindingLimitsOf::Shared(limits) => {
                let permit = Box::pin(limits.limiter().acquire(limits)).await?;
                Ok(Permit::Shared(Box::new(permit)))
            }
        }
    }

    fn count_in_process(&self, limits: &ProcessLimits) -> Result<Permit, RateLimited> {
        let permit = ProcessPermit::count(limits, self.now_micros());
        let permit = permit.map_err(|exceeded| RateLimited::of(&exceeded, 1, self.clock.now()))?;
        Ok(Permit::OneProcess(permit))
    }

    /// Reserves the most tokens that a request can take. If they are refused, the request no longer counts either.
    pub async fn reserve_tokens(&self, permit: &mut RateLimitPermit, bound: TokenAmounts) -> Result<(), LimitRefusal> {
        let mut reserved = self.reserve(&mut permit.whole, bound).await;
        if reserved.is_ok() {
            reserved = self.reserve(&mut permit.narrowed, bound).await;
        }
        if reserved.is_err() {
            permit.take_back();
        }
        reserved
    }

    async fn reserve(&self, permit: &mut Permit, bound: TokenAmounts) -> Result<(), LimitRefusal> {
        match permit {
            Permit::Free => Ok(()),
            Permit::OneProcess(permit) => {
                let reserved = permit.reserve(bound, self.now_micros());
                let limited = |exceeded: LimitExceeded<'_>| {
                    let tokens = exceeded.limit.holder.counted_of(bound).unwrap_or(0);
                    RateLimited::of(&exceeded, tokens, self.clock.now())
                };
                reserved.map_err(limited).map_err(LimitRefusal::RateLimited)
            }
            Permit::Shared(permit) => {
                let limiter = Arc::clone(permit.limiter());
                Box::pin(limiter.reserve_tokens(permit, bound)).await
            }
        }
    }

    /// Counts a request from when it was admitted, if that was much later than it was counted.
    pub async fn admitted(&self, permit: &mut RateLimitPermit) {
        for permit in permit.all() {
            if matches!(permit, Permit::Shared(shared) if shared.was_counted_long_ago())
                && let Permit::Shared(shared) = std::mem::take(permit)
                && let Some(shared) = shared.into_admitted().await
            {
                *permit = Permit::Shared(shared);
            }
        }
    }

    /// The tightest of `limits`: the one with the smallest share left. `None` if there are none.
    pub fn tightest(&self, limits: &BindingLimits) -> Option<TightestLimit> {
        let tightest = limits.all().filter_map(|bound| self.tightest_of(bound));
        tightest.reduce(TightestLimit::tighter)
    }

    fn tightest_of(&self, limits: &BindingLimitsOf) -> Option<TightestLimit> {
        let limits = match limits {
            BindingLimitsOf::Nothing | BindingLimitsOf::TooMany => return None,
            BindingLimitsOf::OneProcess(limits) => limits,
            BindingLimitsOf::Shared(limits) => return limits.limiter().tightest(limits),
        };
        let (now, now_micros) = (self.clock.now(), self.now_micros());
        let mut tightest: Option<TightestLimit> = None;
        for binding in limits.all() {
            let mut slot = locked(&binding.slot);
            slot.advance(now_micros);
            for (measure, limit) in binding.limit.bounds.iter() {
                let (remaining, more_in) = slot.remaining(measure, limit);
                let next = TightestLimit::new(measure, limit, remaining, more_in, now);
                tightest = Some(tightest.map_or(next, |tightest| tightest.tighter(next)));
            }
        }
        tightest
    }

    /// The rest of every limit that binds inference by the caller, or some of it as far as the caller may see that, measure by measure.
    /// Counts nothing and creates no slots.
    pub fn remaining(&self, tables: &Tables, caller: &Caller) -> Vec<RemainingLimit> {
        let mut applicable = self.defaults.applicable(tables, &caller.chain, tables.teams_of(&caller.chain));
        let of_some =
            tables.narrowed_rate_limits_of(Visible::owners_of_narrowed(caller, tables.teams_of(&caller.chain)));
        applicable.extend(of_some.map(|limit| ApplicableLimit::created(limit.limit_id, limit)));
        let slots = match &self.counting {
            Counting::OneProcess(slots) => slots,
            Counting::Shared(limiter) => return limiter.remaining(applicable),
        };
        let (now, now_micros) = (self.clock.now(), self.now_micros());
        RemainingLimit::all_of(applicable, slots, now, |slot: &mut Slot, measure, limit| {
            slot.advance(now_micros);
            slot.remaining(measure, limit)
        })
    }

    fn bind(&self, limits: Vec<ApplicableLimit>, chain: &Chain, tables: &Tables) -> BindingLimitsOf {
        if limits.is_empty() {
            return BindingLimitsOf::Nothing;
        }
        if limits.len() > self.binding_max {
            return BindingLimitsOf::TooMany;
        }
        let slots = match &self.counting {
            Counting::OneProcess(slots) => slots,
            Counting::Shared(limiter) => return BindingLimitsOf::Shared(limiter.bind(chain, limits, tables)),
        };
        let now_micros = self.now_micros();
        let bind = |limit: ApplicableLimit| Binding {
            slot: slots.get_or_make(limit.key, tables, now_micros, Slot::default),
            limit,
        };
        BindingLimitsOf::OneProcess(ProcessLimits::of(limits.into_iter().map(bind).collect()))
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
