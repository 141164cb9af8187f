//! Copies of requests for the shadows of models, from the moment a request is drawn: what is kept of it until it is answered, and how
//! many copies there may be.
//!
//! Everything is bounded, because nobody waits for a copy and so nobody would slow down for it: the bytes that are kept, the copies
//! that wait, and those that run, in all and for one model. What finds no room is dropped, and counted. A model whose shadow does not
//! answer takes a part of each bound and leaves the rest to others.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use dialects::{RequestHeaders, Surface};
use events::ids::{ModelId, RequestId, TenantId};
use events::terms::RequiredTerms;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upstream::LoopEntries;

use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner, BodyPermit};
use crate::figures::{CopyOutcome, RequestFigures};

/// The copies that run at a time: about as many calls as a few busy models make, and few beside the thousands that clients can have
/// under way.
const RUNNING_MAX: usize = 64;
/// Those of one model.
const RUNNING_OF_MODEL_MAX: usize = 16;
/// The copies that run or wait: room for a burst.
const COPIES_MAX: usize = 256;
const COPIES_OF_MODEL_MAX: usize = 64;
/// The longest wait for a turn. What is older says little about how the shadow would have answered at that time.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The bytes of the bodies that are kept: thousands of common conversations, or two of the largest size.
const BODIES: BodyBounds = {
    let bytes = 64 * 1024 * 1024;
    BodyBounds { process: bytes, tenant: bytes, key: bytes, reserve: 0 }
};

/// What is done once a request was answered and its settlement is durable.
pub type AfterServed = Box<dyn FnOnce() + Send + Sync>;

/// What is kept of a request that is copied.
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
    /// What was required of each of its targets.
    pub terms: RequiredTerms,
    /// The gateways that it has passed.
    pub passed: Option<LoopEntries>,
    /// Of the body.
    pub memory: Arc<BodyPermit>,
}

/// The copies of this process. Cheap to clone.
#[derive(Clone)]
pub struct Copies {
    shared: Arc<Shared>,
}

struct Shared {
    tasks: TaskTracker,
    /// No more copies begin.
    draining: CancellationToken,
    stopping: CancellationToken,
    memory: Arc<BodyMemory>,
    room: Room,
    /// Of the models that have copies.
    models: Mutex<HashMap<ModelId, Weak<Room>>>,
}

/// The room for copies, of a model or of all.
struct Room {
    /// For copies that run or wait.
    places: Arc<Semaphore>,
    /// For those that run.
    turns: Arc<Semaphore>,
}

impl Room {
    fn new(copies_max: usize, running_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(copies_max)), turns: Arc::new(Semaphore::new(running_max)) }
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                tasks: TaskTracker::new(),
                draining: CancellationToken::new(),
                stopping: CancellationToken::new(),
                memory: BodyMemory::new(BODIES),
                room: Room::new(COPIES_MAX, RUNNING_MAX),
                models: Mutex::default(),
            }),
        }
    }
}

impl Copies {
    /// Room for a body until its copy has ended; `None` if there is none.
    pub fn keep(&self, body: &Bytes) -> Option<Arc<BodyPermit>> {
        // In the name of nobody: what is kept for a copy takes nothing from what the request's tenant may hold.
        let mut permit = self.shared.memory.permit(BodyOwner::of(None, None));
        permit.grow_to(body.len()).ok()?;
        Some(Arc::new(permit))
    }

    /// Sends a copy when its turn comes, or drops it.
    pub fn spawn(&self, model: ModelId, send: impl Future<Output = ()> + Send + 'static) {
        let shared = &self.shared;
        // No runtime: the process is ending.
        let (Ok(runtime), false) = (Handle::try_current(), shared.draining.is_cancelled()) else { return };
        let of_model = self.room_of(model);
        let Ok(own) = Arc::clone(&of_model.places).try_acquire_owned() else { return };
        let Ok(place) = Arc::clone(&shared.room.places).try_acquire_owned() else { return };
        let (draining, stopping) = (shared.draining.clone(), shared.stopping.clone());
        let turns = [Arc::clone(&of_model.turns), Arc::clone(&shared.room.turns)];
        let copy = async move {
            let _held = (own, place, of_model);
            let Some(Some(_turns)) = draining.run_until_cancelled(turn(turns)).await else { return };
            // A copy that is dropped before its end ends its request.
            let _ = stopping.run_until_cancelled_owned(send).await;
        };
        shared.tasks.spawn_on(copy, &runtime);
    }

    fn room_of(&self, model: ModelId) -> Arc<Room> {
        let mut models = self.shared.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = models.get(&model).and_then(Weak::upgrade) {
            return room;
        }
        models.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Room::new(COPIES_OF_MODEL_MAX, RUNNING_OF_MODEL_MAX));
        models.insert(model, Arc::downgrade(&room));
        room
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

/// The turn of the copy's model, then that of all, so that a model waits for the common turns with no more copies than it may run.
async fn turn([own, common]: [Arc<Semaphore>; 2]) -> Option<[tokio::sync::OwnedSemaphorePermit; 2]> {
    let both = async {
        let own = own.acquire_owned().await.ok()?;
        Some([own, common.acquire_owned().await.ok()?])
    };
    timeout(WAIT_MAX, both).await.ok()?
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

    fn model(number: u128) -> ModelId {
        Uuid::from_u128(number).into()
    }

    /// So many copies of a model that never end; returns how many run.
    async fn hang(copies: &Copies, number: u128, count: usize) -> usize {
        let running = Arc::<AtomicUsize>::default();
        for _ in 0..count {
            let running = Arc::clone(&running);
            copies.spawn(model(number), async move {
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
        assert_eq!(hang(&copies, 1, 1000).await, RUNNING_OF_MODEL_MAX);
        assert_eq!(copies.count(), COPIES_OF_MODEL_MAX);
        assert_eq!(hang(&copies, 2, 1).await, 1, "another model");
        for number in 3..20 {
            hang(&copies, number, 1000).await;
        }
        assert_eq!(copies.count(), COPIES_MAX);
        assert_eq!(copies.shared.room.turns.available_permits(), 0);
        // Those that wait give up, those that run stay.
        tokio::time::sleep(WAIT_MAX + Duration::from_secs(1)).await;
        assert_eq!(copies.count(), RUNNING_MAX);
        let stopped = timeout(Duration::from_secs(1), copies.drain()).await;
        assert!(stopped.is_err(), "they are waited for");
        assert_eq!(hang(&copies, 99, 1).await, 0, "none begins any more");
        copies.stop().await;
        assert_eq!(copies.count(), 0);
        assert_eq!(copies.shared.room.places.available_permits(), COPIES_MAX);
    }

    /// Holds: admin.shadow-bounds
    #[test]
    fn bodies_are_kept_while_there_is_room_for_them() {
        let copies = Copies::default();
        let body = Bytes::from(vec![b' '; 24 * 1024 * 1024]);
        let kept = [copies.keep(&body), copies.keep(&body)];
        assert!(kept.iter().all(Option::is_some) && copies.keep(&body).is_none());
        drop(kept);
        assert!(copies.keep(&body).is_some());
    }
}
