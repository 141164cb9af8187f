//! Measurements of providers by this node, for their operators: the calls of the last minutes, their times and errors,
//! the limits that providers name, and whether a provider fails whole. It decides nothing: that is done by the
//! breakers, which are for all nodes.
//!
//! It is on the path of every request, so a call costs two look-ups when it begins and a lock of its own target when it has ended, for as
//! long as it takes to count. It reads the clock once. Nothing is allocated but for the first call of a target, and for a kind of error
//! that it had not had.

mod latencies;
mod learned_limits;
mod outage;
mod target_record;
mod window;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::ids::{IdMap, ProviderId, TenantId};
use events::time::{Clock, rfc3339};
use http::HeaderMap;

use super::target::PlannedTarget;
use crate::provider_clock::{SKEW_MAX_S, seconds_ahead};
use outage::Outage;
use target_record::TargetRecord;

pub use latencies::Percentiles;
pub use learned_limits::{LimitOf, Quota, SeenAt};
pub use outage::{Failing, OutageChange};
pub use target_record::{CallError, ErrorCount, MeasuredTarget};
pub use window::{CallCounts, CallTimes, WINDOW};

/// So many targets of shared providers are measured, and as many of tenants' own; beyond that, those are forgotten that were not called
/// lately.
const TARGETS_MAX: usize = 5_000;
/// So many of one provider, and of all of a tenant's own: nobody takes the room of all others.
const TARGETS_OF_ONE_MAX: usize = 500;
/// How often targets are forgotten at most.
const SWEPT_EVERY: Duration = Duration::from_secs(10);

/// The measurements of all providers. One for the whole process.
pub struct ProviderHealth {
    clock: Arc<dyn Clock>,
    began: Instant,
    records: RwLock<Records>,
}

#[derive(Default)]
struct Records {
    providers: IdMap<ProviderId, ProviderRecord>,
    /// The targets of shared providers, and of all of tenants' own.
    shared: usize,
    own: usize,
    /// Those of each tenant.
    own_of: IdMap<TenantId, usize>,
    /// When targets were forgotten last.
    swept_at: Option<Duration>,
}

struct ProviderRecord {
    /// The tenant whose own provider it is.
    owner: Option<TenantId>,
    outage: Arc<Outage>,
    /// Indexed by the provider's name of the model. Whoever chooses names that collide slows down the calls of his own
    /// provider, by few of them.
    targets: IdMap<Box<str>, Arc<TargetRecord>>,
}

/// A provider's current measurements.
#[derive(Clone, Debug, Default)]
pub struct MeasuredProvider {
    pub failing: Option<Failing>,
    /// Those that were called lately.
    pub targets: Vec<MeasuredTarget>,
}

impl Records {
    fn get(&self, provider: ProviderId, model: &str) -> Option<&Arc<TargetRecord>> {
        self.providers.get(&provider)?.targets.get(model)
    }

    /// Makes room for another target of the provider. False if there is none.
    fn make_room(&mut self, provider: ProviderId, owner: Option<TenantId>, now: Duration) -> bool {
        if self.has_room(provider, owner) {
            return true;
        }
        if self.swept_at.is_some_and(|swept_at| now.saturating_sub(swept_at) < SWEPT_EVERY) {
            return false;
        }
        self.swept_at = Some(now);
        let is_in_use = |target: &Arc<TargetRecord>| Arc::strong_count(target) > 1 || target.was_called_lately(now);
        self.providers.retain(|_, record| {
            record.targets.retain(|_, target| is_in_use(target));
            !record.targets.is_empty()
        });
        self.count();
        self.has_room(provider, owner)
    }

    fn has_room(&self, provider: ProviderId, owner: Option<TenantId>) -> bool {
        let (of_all, of_one) = match owner {
            None => (self.shared, self.providers.get(&provider).map_or(0, |record| record.targets.len())),
            Some(tenant) => (self.own, self.own_of.get(&tenant).copied().unwrap_or(0)),
        };
        of_all < TARGETS_MAX && of_one < TARGETS_OF_ONE_MAX
    }

    /// Counts the targets anew.
    fn count(&mut self) {
        (self.shared, self.own) = (0, 0);
        self.own_of.clear();
        for record in self.providers.values() {
            let targets = record.targets.len();
            match record.owner {
                None => self.shared += targets,
                Some(tenant) => {
                    self.own += targets;
                    *self.own_of.entry(tenant).or_default() += targets;
                }
            }
        }
    }

    fn added(&mut self, owner: Option<TenantId>) {
        match owner {
            None => self.shared += 1,
            Some(tenant) => {
                self.own += 1;
                *self.own_of.entry(tenant).or_default() += 1;
            }
        }
    }
}

impl ProviderHealth {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, began: Instant::now(), records: RwLock::default() })
    }

    /// A call begins. `None` if too many targets are measured already.
    pub fn begin(&self, target: &Arc<PlannedTarget>, began: Instant) -> Option<MeasuredCall> {
        let (provider, owner) = (target.backend.provider_id, target.provider.tenant_id);
        let record = self.record(provider, owner, &target.backend.model)?;
        let second = began.saturating_duration_since(self.began).as_secs();
        Some(MeasuredCall { record, target: Arc::clone(target), second, first_byte_ms: None })
    }

    /// `owner`: the tenant whose own the provider is.
    fn record(&self, provider: ProviderId, owner: Option<TenantId>, model: &str) -> Option<Arc<TargetRecord>> {
        {
            let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(record) = records.get(provider, model) {
                return Some(Arc::clone(record));
            }
        }
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = records.get(provider, model) {
            return Some(Arc::clone(record));
        }
        if !records.make_room(provider, owner, self.clock.monotonic()) {
            return None;
        }
        let new = || ProviderRecord { owner, outage: Arc::default(), targets: IdMap::default() };
        let of_provider = records.providers.entry(provider).or_insert_with(new);
        let record = Arc::new(TargetRecord::new(Arc::clone(&self.clock), Arc::clone(&of_provider.outage)));
        of_provider.targets.insert(model.into(), Arc::clone(&record));
        records.added(owner);
        Some(record)
    }

    pub fn measured(&self, provider: ProviderId) -> MeasuredProvider {
        let now = self.clock.monotonic();
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = records.providers.get(&provider) else { return MeasuredProvider::default() };
        let targets = record.targets.iter().filter_map(|(model, target)| target.measured(model, now));
        MeasuredProvider { failing: record.outage.current(), targets: targets.collect() }
    }

    /// Forgets all that was measured of a provider, and what its calls that are under way will have been.
    pub fn forget(&self, provider: ProviderId) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        if records.providers.remove(&provider).is_some() {
            records.count();
        }
    }
}

/// A call that is under way. Dropped, it has ended without saying anything about its provider.
pub struct MeasuredCall {
    record: Arc<TargetRecord>,
    target: Arc<PlannedTarget>,
    /// In which it began.
    second: u64,
    first_byte_ms: Option<u32>,
}

impl MeasuredCall {
    /// The head of the response has come. Failures are rare, and say more of limits.
    pub fn learn(&self, headers: &HeaderMap, is_success: bool) {
        if !is_success {
            return self.record.learn_now(headers);
        }
        let is_first = self.record.learn(headers, self.second);
        // A tenant's own provider may say any time.
        if is_first && self.target.provider.tenant_id.is_none() {
            compare_clocks(&self.target, headers, self.record.now());
        }
    }

    /// The head of a response that serves the request has come, so long after the call.
    pub fn head(&mut self, took: Duration) {
        self.first_byte_ms = Some(millis(took));
    }

    /// Whether all calls of its provider have failed for a while, which was said.
    pub fn is_of_failing_provider(&self) -> bool {
        self.record.outage.current().is_some()
    }

    /// The provider has answered: with what was asked for, or with what is wrong with the request.
    pub fn served(self, took: Duration) {
        let latency_ms = millis(took);
        let first_byte_ms = self.first_byte_ms.unwrap_or(latency_ms);
        self.ended(Ok(CallTimes { first_byte_ms, latency_ms }));
    }

    pub fn failed(self, error: CallError) {
        self.ended(Err(error));
    }

    fn ended(self, outcome: Result<CallTimes, CallError>) {
        if let Some(change) = self.record.record(outcome) {
            announce(&self.target, change, outcome.err());
        }
    }
}

/// Logs that a provider fails whole, or answers again.
#[cold]
fn announce(target: &PlannedTarget, change: OutageChange, error: Option<CallError>) {
    let (provider, provider_id) = (&*target.backend.provider, target.backend.provider_id);
    match change {
        OutageChange::Began(Failing { since, calls }) => {
            let (reason, status) = (error.map(|error| error.reason), error.and_then(|error| error.status));
            let since = rfc3339(since);
            tracing::warn!(provider, %provider_id, reason, status, calls, %since, "a provider fails: none of its last calls was served, and until one is, further ones are logged at debug");
        }
        OutageChange::Ended(Failing { since, calls }) => {
            let since = rfc3339(since);
            tracing::info!(provider, %provider_id, calls, %since, "a provider answers again");
        }
    }
}

/// Logs that the clock of this machine is not the provider's: the log is written by it.
#[cold]
fn compare_clocks(target: &PlannedTarget, headers: &HeaderMap, now: DateTime<Utc>) {
    if let Some(seconds_ahead) = seconds_ahead(headers, now).filter(|ahead| ahead.abs() > SKEW_MAX_S) {
        let provider = &*target.backend.provider;
        tracing::warn!(
            provider,
            seconds_ahead,
            "the clock of this machine differs from a provider's: events are recorded with its time, so set it now"
        );
    }
}

fn millis(took: Duration) -> u32 {
    u32::try_from(took.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use events::time::{ManualClock, SystemClock};
    use uuid::Uuid;

    use super::*;

    const SERVED: Result<CallTimes, CallError> = Ok(CallTimes { first_byte_ms: 20, latency_ms: 300 });
    const FAILED: Result<CallTimes, CallError> = Err(CallError { reason: "connect", status: None });

    fn provider(number: usize) -> ProviderId {
        Uuid::from_u128(number as u128).into()
    }

    fn health() -> (Arc<ManualClock>, Arc<ProviderHealth>) {
        let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
        (Arc::clone(&clock), ProviderHealth::new(clock))
    }

    fn call(
        health: &ProviderHealth,
        of: usize,
        model: &str,
        outcome: Result<CallTimes, CallError>,
    ) -> Option<OutageChange> {
        health.record(provider(of), None, model)?.record(outcome)
    }

    /// How many targets of shared providers are measured, and of tenants' own.
    fn targets(health: &ProviderHealth) -> (usize, usize) {
        let records = health.records.read().unwrap();
        (records.shared, records.own)
    }

    fn counted(health: &ProviderHealth, of: usize) -> Vec<(String, u64, u64)> {
        let targets = health.measured(provider(of)).targets.into_iter();
        let mut counted: Vec<_> =
            targets.map(|target| (target.model, target.calls.calls, target.calls.failed)).collect();
        counted.sort();
        counted
    }

    #[test]
    fn calls_count_for_their_target_and_a_provider_fails_if_all_of_its_targets_do() {
        let (clock, health) = health();
        for _ in 0..3 {
            call(&health, 1, "a", FAILED);
        }
        call(&health, 1, "b", FAILED);
        let failing = || health.measured(provider(1)).failing.map(|failing| failing.calls);
        assert_eq!(failing(), None);
        let change = call(&health, 1, "b", FAILED);
        assert!(matches!(change, Some(OutageChange::Began(Failing { calls: 5, .. }))), "{change:?}");
        assert_eq!(call(&health, 2, "a", SERVED), None, "that is another one");
        assert_eq!(failing(), Some(5));
        assert!(matches!(call(&health, 1, "c", SERVED), Some(OutageChange::Ended(_))));
        assert_eq!(counted(&health, 1), [("a".into(), 3, 3), ("b".into(), 2, 2), ("c".into(), 1, 0)]);
        clock.advance(WINDOW);
        assert_eq!(counted(&health, 1), []);
        call(&health, 1, "a", FAILED);
        health.forget(provider(1));
        health.forget(provider(3));
        assert_eq!(counted(&health, 1), []);
        assert_eq!(targets(&health), (1, 0));
    }

    #[test]
    fn what_is_measured_is_bounded_and_what_was_called_lately_stays() {
        let (clock, health) = health();
        for number in 0..TARGETS_OF_ONE_MAX + 100 {
            call(&health, 0, &number.to_string(), SERVED);
        }
        assert_eq!(counted(&health, 0).len(), TARGETS_OF_ONE_MAX);
        for number in 0..TARGETS_MAX {
            call(&health, 1 + number / 100, &number.to_string(), SERVED);
        }
        assert_eq!(targets(&health), (TARGETS_MAX, 0));
        assert_eq!(counted(&health, 0).len(), TARGETS_OF_ONE_MAX);
        let under_way = health.record(provider(0), None, "0");
        clock.advance(WINDOW);
        call(&health, 500, "new", SERVED);
        assert_eq!((counted(&health, 500).len(), targets(&health)), (1, (2, 0)));
        assert_eq!(health.records.read().unwrap().providers.len(), 2);
        drop(under_way);
    }

    /// However many providers of its own it has, and the shared ones have room of their own.
    #[test]
    fn a_tenant_takes_no_room_of_others() {
        let (_, health) = health();
        let of = |tenant: usize, number: usize| {
            let owner = Some(TenantId::from(Uuid::from_u128(tenant as u128)));
            let record = health.record(provider(1_000 * tenant + number / 10), owner, &number.to_string());
            record.map(|record| record.record(SERVED))
        };
        for number in 0..TARGETS_OF_ONE_MAX {
            assert!(of(1, number).is_some());
        }
        assert!(of(1, TARGETS_OF_ONE_MAX).is_none() && of(2, 0).is_some());
        for tenant in 3..=TARGETS_MAX / TARGETS_OF_ONE_MAX + 3 {
            for number in 0..TARGETS_OF_ONE_MAX {
                of(tenant, number);
            }
        }
        assert_eq!(targets(&health), (0, TARGETS_MAX));
        call(&health, 0, "shared", SERVED);
        assert_eq!(counted(&health, 0).len(), 1);
        health.forget(provider(1_000));
        assert_eq!(targets(&health), (1, TARGETS_MAX - 10));
        assert!(of(1, 0).is_some());
    }
}
