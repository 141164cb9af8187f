//! How many calls a target has under way from this node, and the requests that wait for one to end.
//!
//! Calls are counted by backend (a provider's model), since several models may name one; only those of targets that have a limit. What a
//! shared backend may have is the lowest limit that shared models state for it: see `projections::tables`. A request waits only if
//! no other target of its order has room, for a bounded time, in a queue of bounded length that tenants share fairly.

mod queue;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::event::inference::Backend;
use events::ids::{IdMap, ProviderId};
use events::refusal::{ErrorCode, Refusal};
use http::{HeaderMap, HeaderValue};
use projections::figures::{GaugeGuard, registered};
use prometheus::{Histogram, HistogramOpts, IntGauge, Registry};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use upstream::Owner;

use self::queue::{Queue, Ticket};
use super::headers::PRIORITY_HEADER;

const WAIT_SECONDS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Who is served first where requests wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    #[default]
    Interactive,
    Batch,
}

impl Priority {
    /// The one that a request names.
    ///
    /// Errors: it names another one, or several.
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut given = headers.get_all(PRIORITY_HEADER).iter().map(HeaderValue::as_bytes);
        match (given.next(), given.next()) {
            (None | Some(b"interactive"), None) => Ok(Self::Interactive),
            (Some(b"batch"), None) => Ok(Self::Batch),
            _ => Err(Refusal::invalid(PRIORITY_HEADER.as_str(), "must occur once, as interactive or batch")),
        }
    }

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
pub struct TargetPlaces(Arc<Shared>);

struct Shared {
    targets: Mutex<Targets>,
    /// Requests that wait.
    waiting: IntGauge,
    /// How long those waited that got a place.
    waited: Histogram,
}

/// By provider and its name of the model. A target without calls and without waiting requests has no entry.
type Targets = IdMap<ProviderId, HashMap<Box<str>, Target>>;

#[derive(Default)]
struct Target {
    calls: u32,
    queue: Queue,
}

/// A request that wants to call a target.
#[derive(Clone, Copy)]
pub struct Waiting {
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
        Ok(Self(Arc::new(Shared {
            targets: Mutex::default(),
            waiting: registered(registry, IntGauge::new("ledgerway_requests_waiting_for_target", waiting)?)?,
            waited: registered(registry, Histogram::with_opts(waited)?)?,
        })))
    }

    /// Takes a place at the target if there is one, and nobody waits for it.
    fn take(&self, backend: &Backend, limit: u32) -> Option<Place> {
        let key = Key::of(self, backend);
        let mut targets = self.lock();
        let known = key.entry(&mut targets);
        // A target that has no room has an entry in any case.
        if known.calls >= limit || !known.queue.is_empty() {
            return None;
        }
        known.calls += 1;
        drop(targets);
        Some(Place(key))
    }

    /// Waits in the queue until there is a place; `None` if there is none in time.
    async fn wait(&self, (in_queue, served): (InQueue, oneshot::Receiver<()>), until: Instant) -> Option<Place> {
        let _count = GaugeGuard::of(&self.0.waiting);
        timeout_at(until, served).await.ok()?.ok()?;
        in_queue.served()
    }

    /// Joins the queue; `None` if it is full.
    fn join(&self, backend: &Backend, limit: u32, who: Waiting) -> Option<(InQueue, oneshot::Receiver<()>)> {
        let key = Key::of(self, backend);
        let mut targets = self.lock();
        let known = key.entry(&mut targets);
        let (ticket, served) = known.queue.join(who.priority, who.owner, limit)?;
        // It may have room since it was asked for one.
        known.serve();
        drop(targets);
        Some((InQueue { key: Some(key), ticket }, served))
    }

    fn change(&self, provider: ProviderId, model: &str, change: impl FnOnce(&mut Target)) {
        let mut targets = self.lock();
        let Some(models) = targets.get_mut(&provider) else { return };
        let Some(target) = models.get_mut(model) else { return };
        change(target);
        target.serve();
        if target.calls == 0 && target.queue.is_empty() {
            models.remove(model);
            if models.is_empty() {
                targets.remove(&provider);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Targets> {
        self.0.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// Gives free places to those who wait.
    fn serve(&mut self) {
        while let Some(served) = self.queue.next(self.calls) {
            self.calls += 1;
            // One that is leaving gives its place back.
            let _ = served.send(());
        }
    }
}

/// The refusal for a request for which no target had room in time.
pub fn no_room() -> Refusal {
    let message = "every target of this model that can serve the request has as many calls under way as it may (max_concurrent), and \
                   none had room in time; nothing was sent to a provider: try again";
    Refusal::new(ErrorCode::Overloaded, message).with("scope", "target").try_again()
}

/// What a place is of.
struct Key {
    places: TargetPlaces,
    provider: ProviderId,
    model: Box<str>,
}

impl Key {
    fn of(places: &TargetPlaces, backend: &Backend) -> Self {
        Self { places: places.clone(), provider: backend.provider_id, model: backend.model.as_str().into() }
    }

    fn entry<'t>(&self, targets: &'t mut Targets) -> &'t mut Target {
        targets.entry(self.provider).or_default().entry(self.model.clone()).or_default()
    }

    fn change(&self, change: impl FnOnce(&mut Target)) {
        self.places.change(self.provider, &self.model, change);
    }
}

/// A place of a call at its target, until it is dropped.
struct Place(Key);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.change(|target| target.calls = target.calls.saturating_sub(1));
    }
}

/// A request in the queue. Dropped, it leaves the queue, or gives back the place that it has just got.
struct InQueue {
    /// `None` once its place was taken over.
    key: Option<Key>,
    ticket: Ticket,
}

impl InQueue {
    /// The place that it has got.
    fn served(mut self) -> Option<Place> {
        self.key.take().map(Place)
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        let (Some(key), ticket) = (&self.key, self.ticket) else { return };
        key.change(|target| {
            if !target.queue.leave(ticket) {
                target.calls = target.calls.saturating_sub(1);
            }
        });
    }
}

/// The place of a request's call at its target, and how long the request has waited for places. Unlimited targets have none.
#[derive(Default)]
pub struct HeldPlace {
    place: Option<Place>,
    /// `None` if it did not wait.
    waited: Option<Duration>,
}

impl HeldPlace {
    /// Takes a place if the target has one. Returns false if not.
    pub fn take(&mut self, places: &TargetPlaces, backend: &Backend, limit: u32) -> bool {
        self.give_back();
        self.place = places.take(backend, limit);
        self.place.is_some()
    }

    /// The same, and waits for one. Returns false if the queue is full, or there is none in time.
    pub async fn wait(&mut self, places: &TargetPlaces, backend: &Backend, limit: u32, who: Waiting) -> bool {
        self.give_back();
        let Some(joined) = places.join(backend, limit, who) else { return false };
        let began = Instant::now();
        self.place = places.wait(joined, who.deadline.min(began + who.priority.wait_max())).await;
        let waited = began.elapsed();
        self.waited = Some(self.waited.unwrap_or_default().saturating_add(waited));
        if self.place.is_some() {
            places.0.waited.observe(waited.as_secs_f64());
        }
        self.place.is_some()
    }

    /// The call is over.
    pub fn give_back(&mut self) {
        self.place = None;
    }

    pub const fn waited(&self) -> Option<Duration> {
        self.waited
    }
}

#[cfg(test)]
mod tests;
