//! Circuit breakers. A target that fails again and again comes after all others for a while; then one request tries it, and what
//! becomes of that decides.
//!
//! Callers can end their calls whatever the target does. So it takes more than that to open a breaker for others: an error of the
//! target's own, or calls of two tenants.
//!
//! Which breakers are open is an event, once however many requests meet the failures, and is read from the tables: so it is the same
//! for all nodes and survives a restart. What leads to it stays in this node's memory.

mod recording;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::ids::ProviderId;
use events::time::Clock;
use events_log::Log;
use projections::tables::{OpenBreaker, Tables, TablesHandle};
use provider_client::Owner;
use tokio_util::task::TaskTracker;

use super::health::CallError;
use super::target::PlannedTarget;

/// The time over which the rate of failures is measured.
const WINDOW: Duration = Duration::from_secs(60);
/// With fewer calls in a window, their rate of failures opens no breaker.
const CALLS_MIN: u32 = 20;
/// The most targets that are watched. Beyond it, those are forgotten that no request tries and whose breakers this node has not just opened.
const TARGETS_MAX: usize = 10_000;
/// The most tenants that are remembered of each target.
const OWNERS_MAX: usize = 16;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row after which a breaker opens. With 0, no breaker opens.
    pub failures: u32,
    pub open: Duration,
}

/// The breakers of all targets. One for the whole process.
pub struct Breakers {
    settings: BreakerSettings,
    log: Log,
    tables: TablesHandle,
    clock: Arc<dyn Clock>,
    watched: Mutex<WatchedTargets>,
    /// Each recording is a task of its own, so that it outlives the request that met the failure.
    recordings: TaskTracker,
}

/// Indexed by provider and its name of the model.
type WatchedTargets = BTreeMap<ProviderId, BTreeMap<Box<str>, Watched>>;

/// A node's observations of a target.
#[derive(Debug, Default)]
struct Watched {
    counts: Counts,
    /// Since when a request tries the target.
    probed_since: Option<Duration>,
    /// Until when it is open by what was seen here, while that is not in the tables yet.
    opened_here: Option<DateTime<Utc>>,
    /// Whether it answered the last call, although it was open.
    answered_while_open: bool,
}

/// The calls of a target while its breaker is closed, and those that try it again.
#[derive(Debug, Default)]
struct Counts {
    in_a_row: FailuresInARow,
    /// Since when the others are counted.
    since: Duration,
    served: u32,
    /// Errors of the target's own.
    failed: u32,
    /// Calls that their callers have ended after a long silence.
    left: u32,
    /// Whose calls these were, and whose were served in the minute before; some of them, if they are many.
    owners_served: BTreeSet<Owner>,
    owners_failed: BTreeSet<Owner>,
    owners_left: BTreeSet<Owner>,
    owners_before: BTreeSet<Owner>,
}

/// The failures since the last answer.
#[derive(Debug, Default)]
struct FailuresInARow {
    count: u32,
    /// Whose calls they were; two of them, if they are more.
    owners: BTreeSet<Owner>,
    /// The last error of the target's own among them.
    error: Option<CallError>,
}

/// A call that has failed.
#[derive(Clone, Copy, Debug)]
struct FailedCall {
    error: CallError,
    /// Whether it is an error of the target's own. If not, the caller has ended the call after a long silence.
    is_of_target: bool,
}

/// Whether a target may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    /// Nobody calls it until then.
    Open {
        until: DateTime<Utc>,
    },
    /// A request is trying it.
    Probed,
    /// The breaker was open: the next request tries the target.
    HalfOpen,
}

/// The treatment of a call to a target whose breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfOpen {
    /// Not called: another target may be.
    Skip,
    /// Called once, because nothing could be sent to a target whose breaker was closed.
    CallOnce,
    /// Called as if there were no breaker: the request has no other target.
    Ignore,
}

impl BreakerState {
    pub const fn may_call(self) -> bool {
        matches!(self, Self::Closed | Self::HalfOpen)
    }

    /// Until when nobody is to call it.
    pub const fn until(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Open { until } => Some(until),
            Self::Closed | Self::Probed | Self::HalfOpen => None,
        }
    }
}

impl Counts {
    /// Counts a call: how it has failed; `None` if it has succeeded.
    fn count(&mut self, owner: Owner, failed: Option<FailedCall>, now: Duration) {
        if now.saturating_sub(self.since) >= WINDOW {
            let in_a_row = std::mem::take(&mut self.in_a_row);
            let owners_before = std::mem::take(&mut self.owners_served);
            *self = Self { in_a_row, since: now, owners_before, ..Self::default() };
        }
        match failed {
            Some(failed) => self.in_a_row.count(owner, failed),
            None => self.in_a_row = FailuresInARow::default(),
        }
        let (calls, owners) = match failed {
            None => (&mut self.served, &mut self.owners_served),
            Some(FailedCall { is_of_target: true, .. }) => (&mut self.failed, &mut self.owners_failed),
            Some(FailedCall { is_of_target: false, .. }) => (&mut self.left, &mut self.owners_left),
        };
        *calls = calls.saturating_add(1);
        if owners.len() < OWNERS_MAX {
            owners.insert(owner);
        }
    }

    /// The breaker opens: what led to that is over.
    fn begin_anew(&mut self, now: Duration) {
        *self = Self { since: now, owners_before: std::mem::take(&mut self.owners_served), ..Self::default() };
    }

    /// The failures for which the breaker opens now that a call has failed; `None` if it stays closed, as it always does with 0.
    fn opens_for(&self, failures: u32) -> Option<u32> {
        let in_a_row = self.in_a_row.count;
        // One tenant's clients can leave whenever they like: that says nothing about the rate.
        let counts_left = self.owners_left.len() > 1;
        let failed = if counts_left { self.failed.saturating_add(self.left) } else { self.failed };
        let calls = self.served.saturating_add(failed);
        let is_due_by_rate = calls >= CALLS_MIN && failed >= calls.div_ceil(2);
        let by_rate = is_due_by_rate && !self.are_of_one_among_others(counts_left);
        let by_row = in_a_row >= failures && !self.are_of_one_among_others(true);
        let opens = failures > 0 && (by_row || by_rate) && self.in_a_row.are_of_target();
        opens.then_some(in_a_row.max(failed))
    }

    /// Whether only one tenant's requests fail while others are served: they may be the cause.
    fn are_of_one_among_others(&self, with_left: bool) -> bool {
        let left = self.owners_left.iter().filter(|_| with_left);
        let owners: BTreeSet<&Owner> = self.owners_failed.iter().chain(left).collect();
        let mut served = self.owners_served.union(&self.owners_before);
        owners.len() == 1 && served.any(|owner| !owners.contains(owner))
    }
}

impl FailuresInARow {
    fn count(&mut self, owner: Owner, failed: FailedCall) {
        self.count = self.count.saturating_add(1);
        if self.owners.len() < 2 {
            self.owners.insert(owner);
        }
        if failed.is_of_target {
            self.error = Some(failed.error);
        }
    }

    /// Whether they are more than calls that one tenant has ended itself, which it can whatever the target does.
    fn are_of_target(&self) -> bool {
        self.error.is_some() || self.owners.len() > 1
    }
}

impl Breakers {
    pub fn new(settings: BreakerSettings, log: Log, tables: TablesHandle, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { settings, log, tables, clock, watched: Mutex::default(), recordings: TaskTracker::new() })
    }

    /// Whether a target may be called, by these tables and by what this node has seen since.
    pub fn state(&self, tables: &Tables, provider: ProviderId, model: &str) -> BreakerState {
        let in_tables = tables.open_breaker(provider, model);
        let watched = self.watched();
        self.state_of(in_tables, watched.get(&provider).and_then(|models| models.get(model)))
    }

    /// Whether this node's last call to the target was made while its breaker was open, and was answered.
    pub fn answered_while_open(&self, provider: ProviderId, model: &str) -> bool {
        let watched = self.watched();
        watched.get(&provider).and_then(|models| models.get(model)).is_some_and(|known| known.answered_while_open)
    }

    fn state_of(&self, in_tables: Option<OpenBreaker>, known: Option<&Watched>) -> BreakerState {
        let opened_here = known.and_then(|known| known.opened_here);
        let until = in_tables.map(|open| open.until).max(opened_here).filter(|_| self.settings.failures > 0);
        // A probe that takes longer than the breaker was open does not keep others waiting.
        let is_current = |since: Duration| self.clock.monotonic().saturating_sub(since) < self.settings.open;
        match until {
            None => BreakerState::Closed,
            Some(until) if self.clock.now() < until => BreakerState::Open { until },
            Some(_) if known.and_then(|known| known.probed_since).is_some_and(is_current) => BreakerState::Probed,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// A call begins. `None` if its breaker is open and the target is to be skipped then.
    pub fn begin(self: &Arc<Self>, target: &Arc<PlannedTarget>, owner: Owner, if_open: IfOpen) -> Option<BreakerCall> {
        let (provider, model) = (target.backend.provider_id, &*target.backend.model);
        let in_tables = self.tables.load().open_breaker(provider, model);
        let mut watched = self.watched();
        let known = watched.get(&provider).and_then(|models| models.get(model));
        let state = self.state_of(in_tables, known);
        if if_open == IfOpen::Skip && !state.may_call() {
            return None;
        }
        let is_probe = state == BreakerState::HalfOpen;
        if is_probe {
            let known = watched.entry(provider).or_default().entry(model.into()).or_default();
            known.probed_since = Some(self.clock.monotonic());
        }
        drop(watched);
        let (breakers, target, began) = (Arc::clone(self), Arc::clone(target), self.clock.now());
        Some(BreakerCall { breakers, target, owner, began, is_probe, is_decided: false })
    }

    fn call_succeeded(self: &Arc<Self>, call: &BreakerCall) {
        let BreakerCall { target, owner, began, is_probe, .. } = call;
        let (provider, model) = (target.backend.provider_id, &*target.backend.model);
        let now = self.clock.monotonic();
        let in_tables = self.tables.load().open_breaker(provider, model);
        self.with(provider, model, |known| {
            known.answered_while_open = self.state_of(in_tables, Some(known)) != BreakerState::Closed;
            if *is_probe {
                known.probed_since = None;
            }
            known.counts.count(*owner, None, now);
        });
        // An answer to a call of before its time was over says nothing about what comes after it.
        if in_tables.is_some_and(|open| *began >= open.until) {
            self.record_closed(target);
        }
    }

    /// Returns whether the target is to blame, as far as the failures since its last answer say.
    fn call_failed(self: &Arc<Self>, call: &BreakerCall, failed: FailedCall) -> bool {
        // The node is stopping, and ends calls itself.
        if self.recordings.is_closed() {
            return false;
        }
        let BreakerCall { target, owner, is_probe, .. } = call;
        let (provider, model) = (target.backend.provider_id, &*target.backend.model);
        let (now, until) = (self.clock.monotonic(), self.clock.now() + self.settings.open);
        let is_closed = self.state(&self.tables.load(), provider, model) == BreakerState::Closed;
        let (is_of_target, opened) = self.with(provider, model, |known| {
            if failed.is_of_target {
                known.answered_while_open = false;
            }
            if *is_probe {
                known.probed_since = None;
            }
            if !is_closed && !is_probe {
                // A call from before it opened, or one that was made although it was open.
                return (failed.is_of_target, None);
            }
            known.counts.count(*owner, Some(failed), now);
            let in_a_row = &known.counts.in_a_row;
            let (is_of_target, error) = (in_a_row.are_of_target(), in_a_row.error.unwrap_or(failed.error));
            let failures = match is_closed {
                true => known.counts.opens_for(self.settings.failures),
                false => is_of_target.then_some(in_a_row.count),
            };
            if failures.is_some() {
                known.counts.begin_anew(now);
                known.opened_here = Some(until);
            }
            (is_of_target, failures.map(|failures| (failures, error)))
        });
        if let Some((failures, error)) = opened {
            self.record_opened(target, error, failures, until);
        }
        is_of_target
    }

    /// Counts no more failures: the node stops, and ends the calls that are under way.
    pub fn stop(&self) {
        self.recordings.close();
    }

    /// Forgets what this node has seen of a provider's targets.
    pub fn forget(&self, provider: ProviderId) {
        self.watched().remove(&provider);
    }

    fn with<T>(&self, provider: ProviderId, model: &str, change: impl FnOnce(&mut Watched) -> T) -> T {
        let mut watched = self.watched();
        if let Some(known) = watched.get_mut(&provider).and_then(|models| models.get_mut(model)) {
            return change(known);
        }
        if watched.values().map(BTreeMap::len).sum::<usize>() >= TARGETS_MAX {
            watched.retain(|_, models| {
                models.retain(|_, known| known.probed_since.is_some() || known.opened_here.is_some());
                !models.is_empty()
            });
        }
        change(watched.entry(provider).or_default().entry(model.into()).or_default())
    }

    fn watched(&self) -> MutexGuard<'_, WatchedTargets> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way. Dropped, it has ended without saying anything about its target: the client was wrong, or has left early.
pub struct BreakerCall {
    breakers: Arc<Breakers>,
    target: Arc<PlannedTarget>,
    owner: Owner,
    began: DateTime<Utc>,
    is_probe: bool,
    is_decided: bool,
}

impl BreakerCall {
    pub fn succeeded(mut self) {
        self.is_decided = true;
        Arc::clone(&self.breakers).call_succeeded(&self);
    }

    pub fn failed(self, error: CallError) {
        self.end(FailedCall { error, is_of_target: true });
    }

    /// The caller has ended it after a long silence. Returns whether that counts as a failure of the target: if others' calls or an error
    /// of its own say so too, or if the target is at the tenant's own provider, which nobody else calls.
    pub fn unanswered(self, reason: &'static str) -> bool {
        let is_own = self.target.provider.tenant_id.is_some();
        self.end(FailedCall { error: CallError { reason, status: None }, is_of_target: is_own })
    }

    fn end(mut self, failed: FailedCall) -> bool {
        self.is_decided = true;
        Arc::clone(&self.breakers).call_failed(&self, failed)
    }
}

impl Drop for BreakerCall {
    fn drop(&mut self) {
        if self.is_probe && !self.is_decided {
            let backend = &self.target.backend;
            self.breakers.with(backend.provider_id, &backend.model, |known| known.probed_since = None);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn owner(number: u128) -> Owner {
        Some(Uuid::from_u128(number).into())
    }

    const SERVED: Option<FailedCall> = None;
    const ERROR: Option<FailedCall> =
        Some(FailedCall { error: CallError { reason: "status", status: Some(503) }, is_of_target: true });
    const LEFT: Option<FailedCall> =
        Some(FailedCall { error: CallError { reason: "client_closed", status: None }, is_of_target: false });

    /// After these calls, each in its second: whose it is, and how it fails.
    fn after(calls: impl IntoIterator<Item = (u64, u128, Option<FailedCall>)>) -> Counts {
        let mut counts = Counts::default();
        for (at, of, failed) in calls {
            counts.count(owner(of), failed, second(at));
        }
        counts
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_in_between_begins_anew() {
        let failures = |count: usize| std::iter::repeat_n((1, 1, ERROR), count);
        assert_eq!(after(failures(4)).opens_for(5), None);
        assert_eq!(after(failures(5)).opens_for(5), Some(5));
        assert_eq!(after(failures(30)).opens_for(0), None, "there are no breakers");
        let interrupted = failures(4).chain([(1, 1, SERVED)]).chain(failures(4));
        assert_eq!(after(interrupted.clone()).opens_for(5), None);
        assert_eq!(after(interrupted.chain(failures(1))).opens_for(5), Some(9), "all of the minute are said");
    }

    #[test]
    fn half_of_twenty_calls_of_a_minute_open_it() {
        let half = |calls: u64, every: u64| {
            (0..calls).map(move |number| (number * every, 1, if number % 2 == 1 { ERROR } else { SERVED }))
        };
        assert_eq!(after(half(19, 1)).opens_for(5), None);
        assert_eq!(after(half(20, 1)).opens_for(5), Some(10));
        assert_eq!(after(half(40, 10)).opens_for(5), None, "six calls a minute");
    }

    #[test]
    fn a_tenant_whose_requests_alone_fail_opens_no_breaker_for_the_others() {
        let mine = |count: usize| std::iter::repeat_n((1, 1, ERROR), count);
        assert_eq!(after([(1, 2, SERVED)].into_iter().chain(mine(30))).opens_for(5), None);
        let next_minute = (0..5).map(|second| (62 + second, 1, ERROR));
        assert_eq!(after([(1, 2, SERVED)].into_iter().chain(next_minute)).opens_for(5), None);
        assert_eq!(after(mine(5)).opens_for(5), Some(5), "nobody else has asked");
        let of_two = [(1, 2, SERVED)].into_iter().chain(mine(4)).chain([(1, 3, ERROR)]);
        assert_eq!(after(of_two).opens_for(5), Some(5));
    }

    #[test]
    fn calls_that_one_tenant_has_ended_itself_open_it_only_with_those_of_another_or_an_error_of_the_targets_own() {
        let left = |count: usize| std::iter::repeat_n((1, 1, LEFT), count);
        assert_eq!(after(left(30)).opens_for(5), None);
        for other in [(1, 1, ERROR), (1, 2, ERROR), (1, 2, LEFT)] {
            assert_eq!(after(left(4).chain([other])).opens_for(5), Some(5), "{other:?}");
            assert_eq!(after([other].into_iter().chain(left(4))).opens_for(5), Some(5), "{other:?}");
            let answered_since = [other, (1, 3, SERVED)].into_iter().chain(left(30));
            assert_eq!(after(answered_since).opens_for(5), None, "{other:?}");
        }
        let next_minute = (0..4).map(|second| (62 + second, 1, LEFT));
        assert_eq!(after([(1, 1, ERROR)].into_iter().chain(next_minute)).opens_for(5), Some(5));
    }

    #[test]
    fn calls_that_one_tenant_has_ended_itself_count_in_no_rate_and_make_no_second_tenant_of_one() {
        let times = |count: usize, of: u128, failed: Option<FailedCall>| std::iter::repeat_n((1, of, failed), count);
        let left_and_served = times(30, 1, LEFT).chain(times(20, 2, SERVED));
        assert_eq!(after(left_and_served.clone().chain(times(1, 2, ERROR))).opens_for(5), None);
        // The second tenant that leaves makes them count.
        let of_two = left_and_served.chain(times(1, 3, LEFT)).chain(times(1, 2, ERROR));
        assert_eq!(after(of_two).opens_for(5), Some(32));
        // Half of the calls fail, but of one tenant alone.
        let alternating = (0..12).flat_map(|_| [(1, 3, SERVED), (1, 2, ERROR)]);
        assert_eq!(after(times(30, 1, LEFT).chain(alternating.clone())).opens_for(5), None);
        let of_others = alternating.chain([(1, 3, SERVED), (1, 3, ERROR)]);
        assert_eq!(after(times(30, 1, LEFT).chain(of_others)).opens_for(5), Some(13));
    }
}
