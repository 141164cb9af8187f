//! The memory that bodies may take, of requests and of answers. It is counted as they arrive and for as long as anybody holds
//! their bytes or what was made of them, the connection to the upstream included: a key, a tenant and the process have a bound
//! each, so that no tenant can take more than its share. A body whose next bytes do not fit is refused and gives its own back, so
//! that of several that do not fit together one gets through; an answer, which was paid for, waits instead.

mod bounds;
mod held;
mod owner;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use held::{Held, Share};

pub use bounds::{BodyBounds, BoundOf};
pub use owner::BodyOwner;

/// To read what is thrown away takes time from everybody: so many bodies at once are worth it.
const LINGERING_MAX: usize = 32;

/// Shared by all requests of a kind.
#[derive(Debug)]
pub struct BodyMemory {
    bounds: BodyBounds,
    held: Mutex<Held>,
    /// How many wait for room, and what they wait for.
    waiting: AtomicUsize,
    given_back: Notify,
    /// Bodies that are refused and read all the same.
    pub lingering: Semaphore,
}

impl BodyMemory {
    pub fn new(bounds: BodyBounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            held: Mutex::default(),
            waiting: AtomicUsize::new(0),
            given_back: Notify::new(),
            lingering: Semaphore::new(LINGERING_MAX),
        })
    }

    /// For a body that takes nothing yet, nor is on its way from a client.
    pub fn permit(self: &Arc<Self>, owner: BodyOwner) -> BodyPermit {
        BodyPermit { memory: Arc::clone(self), owner, share: Share::default() }
    }

    /// Whether key and tenant have not used up what they may hold, whatever others do.
    ///
    /// Errors: whose bound has been reached.
    pub fn must_have_room(&self, owner: BodyOwner, bytes: usize) -> Result<(), BoundOf> {
        self.held().must_have_room(self.bounds, owner, Share { bytes, arriving: 0 })
    }

    /// A body is on its way.
    ///
    /// Errors: whose bound has been reached.
    pub fn begin(self: &Arc<Self>, owner: BodyOwner) -> Result<BodyPermit, BoundOf> {
        let begun = Share { bytes: 0, arriving: 1 };
        self.held().take(self.bounds, owner, begun)?;
        Ok(BodyPermit { memory: Arc::clone(self), owner, share: begun })
    }

    /// Bytes that are held now.
    pub fn bytes_held(&self) -> usize {
        let held = self.held();
        held.all_tenants.bytes + held.platform.bytes + held.operator.bytes
    }

    pub const fn bounds(&self) -> BodyBounds {
        self.bounds
    }

    fn give_back(&self, owner: BodyOwner, less: Share) {
        self.held().give_back(owner, less);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.given_back.notify_waiters();
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one body takes. Dropped, it gives that back.
#[derive(Debug)]
pub struct BodyPermit {
    memory: Arc<BodyMemory>,
    owner: BodyOwner,
    share: Share,
}

impl BodyPermit {
    /// Counts so many bytes in all.
    ///
    /// Errors: whose bound does not allow it. Then it counts nothing any more: were its bytes given back only later, the
    /// last two bodies that do not fit together could both be refused.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BoundOf> {
        let grown = self.try_grow_to(bytes);
        if grown.is_err() {
            self.memory.give_back(self.owner, std::mem::take(&mut self.share));
        }
        grown
    }

    /// The same, and waits until `until` for what others give back. Meanwhile it counts what it did.
    ///
    /// Errors: whose bound does not allow it.
    pub async fn grow_when_there_is_room(&mut self, bytes: usize, until: Instant) -> Result<(), BoundOf> {
        if self.try_grow_to(bytes).is_ok() {
            return Ok(());
        }
        let memory = Arc::clone(&self.memory);
        let _waiting = Waiting::new(&memory.waiting);
        loop {
            // Before it is tried: what is given back from here on is not missed.
            let mut given_back = pin!(memory.given_back.notified());
            given_back.as_mut().enable();
            let Err(bound) = self.try_grow_to(bytes) else { return Ok(()) };
            if Instant::now() >= until || timeout_at(until, given_back).await.is_err() {
                return Err(bound);
            }
        }
    }

    fn try_grow_to(&mut self, bytes: usize) -> Result<(), BoundOf> {
        let more = Share { bytes: bytes.saturating_sub(self.share.bytes), arriving: 0 };
        self.memory.held().take(self.memory.bounds, self.owner, more)?;
        self.share.add(more);
        Ok(())
    }

    /// Counts so many bytes in all, whether there is room or not: for what is there already.
    pub fn count(&mut self, bytes: usize) {
        let more = Share { bytes: bytes.saturating_sub(self.share.bytes), arriving: 0 };
        let less = Share { bytes: self.share.bytes.saturating_sub(bytes), arriving: 0 };
        self.share.bytes = bytes;
        if more != Share::default() {
            self.memory.held().add(self.owner, more);
        } else if less != Share::default() {
            self.memory.give_back(self.owner, less);
        }
    }

    /// For another body of the same owner's, which takes nothing yet.
    pub fn another(&self) -> Self {
        self.memory.permit(self.owner)
    }

    /// That are counted.
    pub const fn bytes(&self) -> usize {
        self.share.bytes
    }

    /// All of it is there.
    pub fn has_arrived(&mut self) {
        let arriving = Share { bytes: 0, arriving: std::mem::take(&mut self.share.arriving) };
        self.memory.give_back(self.owner, arriving);
    }

    /// The same bytes, which hold this permit: what they take is given back once the last of them is dropped, wherever
    /// they have got to.
    pub fn attach_to(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(CountedBytes { bytes, _permit: Arc::clone(self) })
    }
}

struct CountedBytes {
    bytes: Bytes,
    _permit: Arc<BodyPermit>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        if self.share != Share::default() {
            self.memory.give_back(self.owner, self.share);
        }
    }
}

/// One that waits for room, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
