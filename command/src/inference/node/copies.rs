//! Copies of requests for the shadows of models, from the moment a request is drawn: what is kept of it until it is answered, and how
//! many copies there may be.
//!
//! Everything is bounded, because nobody waits for a copy and so nobody would slow down for it: the bytes that are kept, the copies
//! that wait, and those that run, of one model, of one owner of models, and of all tenants. What finds no room is dropped, and counted.
//! A model whose shadow does not answer takes a part of each bound and leaves the rest to others; so does a tenant with many such
//! models. The platform's copies have bounds of their own, so that tenants never keep them out.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::iter;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use dialects::{RequestHeaders, Surface};
use events::ids::{ModelId, RequestId, TenantId};
use events::terms::RequiredTerms;
use provider_client::LoopEntries;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::BODY_BYTES_MAX;
use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner, BodyPermit};
use crate::figures::{CopyOutcome, RequestFigures};

/// How many copies there may be.
#[derive(Clone, Copy)]
struct Bounds {
    /// Those that run or wait: room for a burst.
    copies: usize,
    /// Those that run.
    running: usize,
}

/// Bounds for one model: about as many calls as a busy model makes.
const OF_MODEL: Bounds = Bounds { copies: 64, running: 16 };
/// Bounds for all models of a tenant, or all that the platform owns.
const OF_OWNER: Bounds = Bounds { copies: 128, running: 32 };
/// Bounds for all tenants together: few beside the thousands of calls that clients can have under way.
const OF_TENANTS: Bounds = Bounds { copies: 256, running: 64 };
/// The longest wait for a turn. What is older says little about how the shadow would have answered at that time.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The bytes of the bodies that are kept for an owner: thousands of common conversations, or one of the largest size. Twice that for
/// all tenants.
const BODIES: BodyBounds =
    BodyBounds { process: 2 * BODY_BYTES_MAX, tenant: BODY_BYTES_MAX, key: BODY_BYTES_MAX, reserve: 0 };

/// A function that is run once a request was answered and its settlement is durable.
pub type AfterServed = Box<dyn FnOnce() + Send + Sync>;

/// The parts of a request that are kept for its copy.
pub struct RequestToCopy {
    pub request: RequestId,
    /// The tenant that it belongs to.
    pub tenant: Option<TenantId>,
    /// The model that served it.
    pub model: ModelId,
    /// The tenant that owns that model, which pays for the copy; the platform if there is none.
    pub owner: Option<TenantId>,
    /// The name of the model that gets the copy, as that owner sees it.
    pub shadow: String,
    pub surface: Surface,
    pub body: Bytes,
    pub headers: RequestHeaders,
    /// The terms required of each of its targets.
    pub terms: RequiredTerms,
    /// The gateways that it has passed.
    pub passed: Option<LoopEntries>,
    /// The memory of the body.
    pub memory: Arc<BodyPermit>,
}

/// The copies of this process. Cheap to clone.
#[derive(Clone)]
pub struct Copies {
    shared: Arc<CopiesInProcess>,
}

/// The state that all clones of [`Copies`] share.
struct CopiesInProcess {
    tasks: TaskTracker,
    /// No more copies begin.
    draining: CancellationToken,
    stopping: CancellationToken,
    memory: Arc<BodyMemory>,
    tenants: Arc<Room>,
    rooms: Mutex<Rooms>,
}

/// The rooms that have copies.
#[derive(Default)]
struct Rooms {
    models: HashMap<ModelId, Weak<Room>>,
    /// `None` is the platform.
    owners: HashMap<Option<TenantId>, Weak<Room>>,
}

/// The room for copies, of a model, of an owner of models or of all tenants.
struct Room {
    /// For copies that run or wait.
    places: Arc<Semaphore>,
    /// For those that run.
    turns: Arc<Semaphore>,
    /// The room that it is a part of.
    within: Option<Arc<Self>>,
}

impl Room {
    fn new(bounds: Bounds, within: Option<Arc<Self>>) -> Self {
        let [places, turns] = [bounds.copies, bounds.running].map(|most| Arc::new(Semaphore::new(most)));
        Self { places, turns, within }
    }

    /// This room and those that it is a part of, the smallest first.
    fn outwards(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |room| room.within.as_deref())
    }

    /// A place in each of the rooms; `None` if one is full.
    fn places(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        self.outwards().map(|room| Arc::clone(&room.places).try_acquire_owned().ok()).collect()
    }

    /// The turn in each of the rooms, the smallest first: so a model waits for its owner's turns, and an owner for those of all
    /// tenants, with no more copies than it may run.
    async fn turn(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let all = async {
            let mut turns = Vec::new();
            for room in self.outwards() {
                turns.push(Arc::clone(&room.turns).acquire_owned().await.ok()?);
            }
            Some(turns)
        };
        timeout(WAIT_MAX, all).await.ok()?
    }
}

/// The room of one of those that have copies, or a new one.
fn room_of<K: Eq + Hash>(rooms: &mut HashMap<K, Weak<Room>>, of: K, new: impl FnOnce() -> Room) -> Arc<Room> {
    if let Some(room) = rooms.get(&of).and_then(Weak::upgrade) {
        return room;
    }
    rooms.retain(|_, room| room.strong_count() > 0);
    let room = Arc::new(new());
    rooms.insert(of, Arc::downgrade(&room));
    room
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            shared: Arc::new(CopiesInProcess {
                tasks: TaskTracker::new(),
                draining: CancellationToken::new(),
                stopping: CancellationToken::new(),
                memory: BodyMemory::new(BODIES),
                tenants: Arc::new(Room::new(OF_TENANTS, None)),
                rooms: Mutex::default(),
            }),
        }
    }
}

impl Copies {
    /// Room for a body until its copy has ended; `None` if the owner of the model has none left.
    pub fn keep(&self, owner: Option<TenantId>, body: &Bytes) -> Option<Arc<BodyPermit>> {
        let mut permit = self.shared.memory.permit(BodyOwner::of_copies(owner));
        permit.grow_to(body.len()).ok()?;
        Some(Arc::new(permit))
    }

    /// Sends a copy for a model of this owner when its turn comes, or drops it.
    pub fn spawn(&self, model: ModelId, owner: Option<TenantId>, send: impl Future<Output = ()> + Send + 'static) {
        let shared = &self.shared;
        // No runtime: the process is ending.
        let (Ok(runtime), false) = (Handle::try_current(), shared.draining.is_cancelled()) else { return };
        let room = self.room(model, owner);
        let Some(places) = room.places() else { return };
        let (draining, stopping) = (shared.draining.clone(), shared.stopping.clone());
        let copy = async move {
            let _places = places;
            let Some(Some(_turns)) = draining.run_until_cancelled(room.turn()).await else { return };
            // A copy that is dropped before its end ends its request.
            let _ = stopping.run_until_cancelled_owned(send).await;
        };
        shared.tasks.spawn_on(copy, &runtime);
    }

    fn room(&self, model: ModelId, owner: Option<TenantId>) -> Arc<Room> {
        let mut rooms = self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let Rooms { models, owners } = &mut *rooms;
        room_of(models, model, || {
            let of_owner = || Room::new(OF_OWNER, owner.map(|_| Arc::clone(&self.shared.tenants)));
            Room::new(OF_MODEL, Some(room_of(owners, owner, of_owner)))
        })
    }

    /// Number of copies that run or wait.
    pub fn count(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Drops those that wait, begins no more, and waits until those that run have ended.
    pub async fn drain(&self) {
        self.shared.draining.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Ends those that run.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.drain().await;
    }
}

/// Counts what becomes of a copy, when it is dropped.
pub struct CountedCopy {
    figures: Arc<RequestFigures>,
    pub outcome: CopyOutcome,
}

impl CountedCopy {
    /// A copy that is dropped unless more becomes of it.
    pub const fn new(figures: Arc<RequestFigures>) -> Self {
        Self { figures, outcome: CopyOutcome::Dropped }
    }
}

impl Drop for CountedCopy {
    fn drop(&mut self) {
        self.figures.count_copy(self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use uuid::Uuid;

    use super::*;

    const PLATFORM: Option<TenantId> = None;

    fn tenant(number: u128) -> Option<TenantId> {
        Some(Uuid::from_u128(number).into())
    }

    /// So many copies of a model that never end; returns how many run.
    async fn hang(copies: &Copies, (owner, model): (Option<TenantId>, u128), count: usize) -> usize {
        let running = Arc::<AtomicUsize>::default();
        for _ in 0..count {
            let running = Arc::clone(&running);
            copies.spawn(Uuid::from_u128(model).into(), owner, async move {
                running.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            });
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        running.load(Ordering::SeqCst)
    }

    /// Holds: admin.shadow-bounds
    #[tokio::test(start_paused = true)]
    async fn copies_are_bounded_and_a_model_leaves_room_to_others() {
        let copies = Copies::default();
        assert_eq!(hang(&copies, (tenant(1), 1), 1000).await, OF_MODEL.running);
        assert_eq!(copies.count(), OF_MODEL.copies);
        assert_eq!(hang(&copies, (tenant(1), 2), 1).await, 1, "another model");
        for number in 3..20 {
            hang(&copies, (tenant(number), number), 1000).await;
        }
        assert_eq!(copies.count(), OF_TENANTS.copies);
        assert_eq!(copies.shared.tenants.turns.available_permits(), 0);
        // Those that wait give up, those that run stay.
        tokio::time::sleep(WAIT_MAX + Duration::from_secs(1)).await;
        assert_eq!(copies.count(), OF_TENANTS.running);
        let stopped = timeout(Duration::from_secs(1), copies.drain()).await;
        assert!(stopped.is_err(), "they are waited for");
        assert_eq!(hang(&copies, (PLATFORM, 99), 1).await, 0, "none begins any more");
        copies.stop().await;
        assert_eq!(copies.count(), 0);
        assert_eq!(copies.shared.tenants.places.available_permits(), OF_TENANTS.copies);
    }

    /// Holds: admin.shadow-bounds
    #[tokio::test(start_paused = true)]
    async fn an_owner_with_many_models_leaves_room_to_other_owners() {
        let copies = Copies::default();
        for model in 0..8 {
            hang(&copies, (tenant(1), model), 1000).await;
        }
        assert_eq!(copies.count(), OF_OWNER.copies);
        assert_eq!(copies.shared.tenants.turns.available_permits(), OF_TENANTS.running - OF_OWNER.running);
        assert_eq!(hang(&copies, (tenant(2), 10), 1).await, 1, "another tenant");
        for model in 20..28 {
            hang(&copies, (tenant(3), model), 1000).await;
        }
        assert_eq!(copies.count(), OF_TENANTS.copies);
        // Whatever all tenants have.
        assert_eq!(hang(&copies, (PLATFORM, 30), 1).await, 1, "the platform");
        for model in 31..39 {
            hang(&copies, (PLATFORM, model), 1000).await;
        }
        assert_eq!(copies.count(), OF_TENANTS.copies + OF_OWNER.copies);
        copies.stop().await;
        assert_eq!(rooms_left(&copies), 0, "rooms without copies are forgotten");
    }

    /// The rooms that are left once all copies have ended.
    fn rooms_left(copies: &Copies) -> usize {
        let rooms = copies.shared.rooms.lock().unwrap();
        let (models, owners) = (rooms.models.values(), rooms.owners.values());
        models.chain(owners).filter(|room| room.strong_count() > 0).count()
    }

    /// Holds: admin.shadow-bounds
    #[test]
    fn bodies_are_kept_while_there_is_room_for_them() {
        let copies = Copies::default();
        let body = Bytes::from(vec![b' '; BODY_BYTES_MAX]);
        let small = Bytes::from_static(b"{}");
        for owner in [tenant(1), PLATFORM] {
            let kept = copies.keep(owner, &body);
            assert!(kept.is_some() && copies.keep(owner, &small).is_none(), "{owner:?}");
            drop(kept);
            assert!(copies.keep(owner, &body).is_some(), "{owner:?}");
        }
        let kept = [tenant(1), tenant(2)].map(|owner| copies.keep(owner, &body));
        assert!(kept.iter().all(Option::is_some), "each has its share");
        assert!(copies.keep(tenant(3), &small).is_none(), "all tenants together");
        assert!(copies.keep(PLATFORM, &body).is_some(), "whatever tenants have");
    }
}
