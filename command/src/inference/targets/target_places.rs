//! How many calls a target has under way from this node, and the requests that wait for one to end.
//!
//! Calls are counted by backend (a provider's model), since several models may name one; only those of targets that have a limit. What a
//! shared backend may have is the lowest limit that shared models state for it: see `projections::tables`. A request waits only if
//! no target of its order has room: for all of them together, for a bounded time, in queues of bounded length that tenants share fairly.
//!
//! Once requests of several tenants have come, none of them ever holds all places of a target that they share ([`Shares`]), so that one
//! whose clients read slowly cannot lock out the others. Before that, its only tenant has them all.

mod queue;

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use events::event::inference::Backend;
use events::ids::{IdMap, ProviderId};
use events::refusal::{ErrorCode, Refusal};
use projections::figures::{GaugeGuard, registered};
use projections::tables::{Tables, TablesHandle};
use prometheus::{Histogram, HistogramOpts, IntGauge, Registry};
use provider_client::{Owner, Shares};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use self::queue::{PlaceQueue, Ticket};

const WAIT_SECONDS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The order in which waiting requests are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    #[default]
    Interactive,
    Batch,
}

impl Priority {
    /// The longest that a request waits for a target.
    const fn wait_max(self) -> Duration {
        match self {
            Self::Interactive => Duration::from_secs(10),
            Self::Batch => Duration::from_secs(60),
        }
    }
}

/// The limited targets of all models. One for the whole process. Cheap to clone.
#[derive(Clone)]
pub struct TargetPlaces(Arc<LimitedTargets>);

struct LimitedTargets {
    targets: Mutex<Targets>,
    /// Requests that wait.
    waiting: IntGauge,
    /// How long those waited that got a place.
    waited: Histogram,
}

#[derive(Default)]
struct Targets {
    /// Indexed by provider and its name of the model. A target without calls and without waiting requests has no entry.
    by_backend: IdMap<ProviderId, HashMap<Box<str>, Target>>,
    askers: Askers,
}

#[derive(Default)]
struct Target {
    /// The calls under way.
    held: Shares,
    queue: PlaceQueue,
}

/// The owners that have asked for places since the process began.
#[derive(Clone, Copy, Default)]
enum Askers {
    #[default]
    Nobody,
    One(Owner),
    Several,
}

impl Askers {
    fn add(&mut self, owner: Owner) {
        *self = match *self {
            Self::Nobody => Self::One(owner),
            Self::One(known) if known == owner => Self::One(known),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    const fn are_several(self) -> bool {
        matches!(self, Self::Several)
    }
}

/// A target that has a limit.
#[derive(Clone, Copy)]
pub struct LimitedTarget<'a> {
    pub backend: &'a Backend,
    /// The calls that it may have under way.
    pub limit: u32,
    /// Whether several tenants may call it.
    pub is_shared: bool,
}

/// The limits in force for those that wait: they may have changed since the requests were planned.
pub struct LimitsInForce<'a> {
    pub tables: TablesHandle,
    /// The limits of the targets that are waited for, in their order.
    pub limits: &'a (dyn Fn(&Tables) -> Vec<u32> + Sync),
}

/// A request that wants to call a target.
#[derive(Clone, Copy)]
pub struct WaitingRequest {
    pub owner: Owner,
    pub priority: Priority,
    /// When the request must have ended.
    pub deadline: Instant,
}

impl TargetPlaces {
    /// Errors: the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let waiting = "Requests that wait because all targets of their models have as many calls under way as they may";
        let waited = "How long requests waited for a target that had as many calls under way as it may";
        let waited = HistogramOpts::new("ledgerway_target_wait_seconds", waited).buckets(WAIT_SECONDS.to_vec());
        Ok(Self(Arc::new(LimitedTargets {
            targets: Mutex::default(),
            waiting: registered(registry, IntGauge::new("ledgerway_requests_waiting_for_target", waiting)?)?,
            waited: registered(registry, Histogram::with_opts(waited)?)?,
        })))
    }

    /// Takes a place at the target if there is one for the owner, and none of its requests wait for it. Those of others that wait may not
    /// have it: they were served when it got free.
    fn take(&self, target: LimitedTarget<'_>, owner: Owner) -> Option<Place> {
        let key = PlaceKey::of(self, target, owner);
        let mut targets = self.lock();
        targets.askers.add(owner);
        let is_shared = key.is_shared_by(targets.askers);
        let known = key.entry(&mut targets);
        // A target that has no room has an entry in any case.
        if known.queue.has_any_of(owner) || !has_room(&known.held, owner, target.limit, is_shared) {
            return None;
        }
        known.held.add(owner);
        drop(targets);
        Some(Place(key))
    }

    /// Joins the queue; `None` if it is full.
    fn join(&self, target: LimitedTarget<'_>, who: WaitingRequest) -> Option<InQueue> {
        let key = PlaceKey::of(self, target, who.owner);
        let mut targets = self.lock();
        let is_shared = key.is_shared_by(targets.askers);
        let known = key.entry(&mut targets);
        let (ticket, served) = known.queue.join(who.priority, who.owner, target.limit)?;
        // It may have room since it was asked for one.
        known.serve(is_shared);
        drop(targets);
        Some(InQueue { key: Some(key), ticket, served })
    }

    fn change(&self, key: &PlaceKey, change: impl FnOnce(&mut Target)) {
        let mut targets = self.lock();
        let is_shared = key.is_shared_by(targets.askers);
        let Some(models) = targets.by_backend.get_mut(&key.provider) else { return };
        let Some(target) = models.get_mut(&key.model) else { return };
        change(target);
        target.serve(is_shared);
        if target.held.total() == 0 && target.queue.is_empty() {
            models.remove(&key.model);
            if models.is_empty() {
                targets.by_backend.remove(&key.provider);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Targets> {
        self.0.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// Gives free places to those who wait.
    fn serve(&mut self, is_shared: bool) {
        let Self { held, queue } = self;
        while let Some((owner, served)) = queue.next(|owner, limit| has_room(held, owner, limit, is_shared)) {
            held.add(owner);
            // One that is leaving gives its place back.
            let _ = served.send(());
        }
    }
}

/// Whether an owner may have one more call. Of a shared target, nobody holds more than twice what is free, nor all of two places.
fn has_room(held: &Shares, owner: Owner, limit: u32, is_shared: bool) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX / 4);
    if held.total() >= limit {
        return false;
    }
    !is_shared || limit == 1 || held.held(owner) + 1 < limit && held.remaining(owner, limit) > 0
}

/// The refusal for a request for which no target had room in time.
pub fn no_room() -> Refusal {
    let message = "every target of this model that can serve the request has as many calls under way as it may (max_concurrent), and \
                   none had room in time; nothing was sent to a provider: try again";
    Refusal::new(ErrorCode::Overloaded, message).with("scope", "target").try_again()
}

/// The target and the owner of a place.
struct PlaceKey {
    places: TargetPlaces,
    provider: ProviderId,
    model: Box<str>,
    is_shared: bool,
    owner: Owner,
}

impl PlaceKey {
    fn of(places: &TargetPlaces, LimitedTarget { backend, is_shared, .. }: LimitedTarget<'_>, owner: Owner) -> Self {
        let model = backend.model.as_str().into();
        Self { places: places.clone(), provider: backend.provider_id, model, is_shared, owner }
    }

    const fn is_shared_by(&self, askers: Askers) -> bool {
        self.is_shared && askers.are_several()
    }

    fn entry<'t>(&self, targets: &'t mut Targets) -> &'t mut Target {
        targets.by_backend.entry(self.provider).or_default().entry(self.model.clone()).or_default()
    }

    fn change(&self, change: impl FnOnce(&mut Target)) {
        self.places.change(self, change);
    }
}

/// A place of a call at its target, until it is dropped.
struct Place(PlaceKey);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.change(|target| target.held.subtract(self.0.owner));
    }
}

/// A request in the queue. Dropped, it leaves the queue, or gives back the place that it has just got.
struct InQueue {
    /// `None` once its place was taken over.
    key: Option<PlaceKey>,
    ticket: Ticket,
    /// Closed if it had to make room for another owner's request.
    served: oneshot::Receiver<()>,
}

impl InQueue {
    /// The place that it has got.
    fn served(mut self) -> Option<Place> {
        self.key.take().map(Place)
    }

    fn set_limit(&self, limit: u32) {
        if let Some(key) = &self.key {
            key.change(|target| target.queue.set_limit(self.ticket, limit));
        }
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        let Self { key: Some(key), ticket, served } = self else { return };
        key.change(|target| {
            if !target.queue.leave(*ticket) && served.try_recv().is_ok() {
                target.held.subtract(key.owner);
            }
        });
    }
}

/// A request's place in the queue of one of the targets that it waits for.
struct WaitingAt {
    /// The target's position among them.
    at: usize,
    in_queue: InQueue,
}

/// The first of these that has got its place, by its place among them. Those that had to leave their queues are taken out; `None` once
/// none is left.
fn first_served(waiting: &mut Vec<WaitingAt>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    let mut at = 0;
    while let Some(next) = waiting.get_mut(at) {
        match Pin::new(&mut next.in_queue.served).poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Some(at)),
            Poll::Ready(Err(_)) => drop(waiting.remove(at)),
            Poll::Pending => at += 1,
        }
    }
    if waiting.is_empty() { Poll::Ready(None) } else { Poll::Pending }
}

/// The place of calls at a target, and how long was waited for it. Unlimited targets have none.
#[derive(Default)]
pub struct HeldPlace {
    place: Option<Place>,
    /// `None` if it did not wait.
    waited: Option<Duration>,
}

impl HeldPlace {
    /// Takes a place if the target has one. Returns false if not.
    pub fn take(&mut self, places: &TargetPlaces, target: LimitedTarget<'_>, owner: Owner) -> bool {
        self.give_back();
        self.place = places.take(target, owner);
        self.place.is_some()
    }

    /// Waits in the queues of all these targets until one of them has a place, and says which. `None` if the queues are full, or there is
    /// none in time.
    pub async fn wait(
        &mut self,
        places: &TargetPlaces,
        targets: &[LimitedTarget<'_>],
        who: WaitingRequest,
        mut in_force: Option<LimitsInForce<'_>>,
    ) -> Option<usize> {
        self.give_back();
        let joined = targets
            .iter()
            .enumerate()
            .filter_map(|(at, target)| Some(WaitingAt { at, in_queue: places.join(*target, who)? }));
        let mut waiting: Vec<_> = joined.collect();
        if waiting.is_empty() {
            return None;
        }
        let _count = GaugeGuard::of(&places.0.waiting);
        let began = Instant::now();
        let until = who.deadline.min(began + who.priority.wait_max());
        let served = loop {
            let limits_change = async {
                match &mut in_force {
                    Some(in_force) => in_force.tables.changed().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                served = poll_fn(|cx| first_served(&mut waiting, cx)) => break served,
                () = sleep_until(until) => break None,
                still_follow = limits_change => match in_force.take_if(|_| !still_follow) {
                    Some(_) => {}
                    None => adopt(&waiting, in_force.as_ref()),
                },
            }
        };
        let waited = began.elapsed();
        self.waited = Some(self.waited.unwrap_or_default().saturating_add(waited));
        let WaitingAt { at, in_queue } = waiting.swap_remove(served?);
        self.place = in_queue.served();
        places.0.waited.observe(waited.as_secs_f64());
        Some(at)
    }

    /// The call is over.
    pub fn give_back(&mut self) {
        self.place = None;
    }

    pub const fn waited(&self) -> Option<Duration> {
        self.waited
    }
}

/// Has those that wait go by the limits in force.
fn adopt(waiting: &[WaitingAt], in_force: Option<&LimitsInForce<'_>>) {
    let Some(in_force) = in_force else { return };
    let limits = (in_force.limits)(&in_force.tables.load());
    for WaitingAt { at, in_queue } in waiting {
        if let Some(limit) = limits.get(*at) {
            in_queue.set_limit(*limit);
        }
    }
}

#[cfg(test)]
mod tests;
