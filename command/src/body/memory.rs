//! The memory that bodies of requests and of responses may take, with bounds for each key, each tenant and the process.
//!
//! Bytes count from their arrival until the last holder of them, or of a value made from them, drops its [`BodyPermit`];
//! connections to upstreams are holders too. A body grows only while its key, its tenant and the process are below their
//! bounds, so no tenant can take more than its share. A request body whose next bytes do not fit is refused and gives back at
//! once what it had: of several bodies that do not fit together, one gets through. A response was paid for, so it waits for
//! room instead, until a deadline.
//!
//! Commands of the platform have memory of their own, of which tenants cannot take any.
//!
//! Only bytes that have arrived count, not the announced length: a client that announces much and sends little must not take
//! memory from others. Structures parsed from a body are not measured; bounds on their number limit them. Waiting responses
//! have no order: each takes the room that it finds.
//!
//! A bound for each request alone does not suffice: twelve unfinished bodies of one key took 400 MB. One mutex guards the
//! counts, because those of key, tenant and process must change together and a body takes it only when it grows.

mod bounds;
mod held;
mod owner;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use events::ids::TenantId;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use held::{Amount, HeldMemory};

pub use bounds::{BodyBounds, BoundOf};
pub use owner::BodyOwner;

/// The most refused bodies that are read at a time. Reading them takes time from other requests.
const LINGERING_MAX: usize = 32;

/// The memory of one kind of bodies. Shared by all requests.
#[derive(Debug)]
pub struct BodyMemory {
    bounds: BodyBounds,
    held: Mutex<HeldMemory>,
    /// How many permits wait for room.
    waiting: AtomicUsize,
    /// Notified when memory is given back while permits wait.
    given_back: Notify,
    /// Permits to read refused bodies.
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

    /// A permit that counts nothing yet, for a body that does not come from a client.
    pub fn permit(self: &Arc<Self>, owner: BodyOwner) -> BodyPermit {
        BodyPermit { memory: Arc::clone(self), owner, amount: Amount::default() }
    }

    /// Checks that the key and the tenant may hold this many more bytes, whatever others hold.
    ///
    /// Errors: the owner of the bound that was reached.
    pub fn check_room(&self, owner: BodyOwner, bytes: usize) -> Result<(), BoundOf> {
        self.held().check_room(self.bounds, owner, Amount { bytes, arriving: 0 })
    }

    /// Counts a body that starts to arrive.
    ///
    /// Errors: the owner of the bound that was reached.
    pub fn begin(self: &Arc<Self>, owner: BodyOwner) -> Result<BodyPermit, BoundOf> {
        let begun = Amount { bytes: 0, arriving: 1 };
        self.held().take(self.bounds, owner, begun)?;
        Ok(BodyPermit { memory: Arc::clone(self), owner, amount: begun })
    }

    /// The bytes that are held now.
    pub fn bytes_held(&self) -> usize {
        let held = self.held();
        held.all_tenants.bytes + held.platform.bytes + held.operator.bytes
    }

    pub const fn bounds(&self) -> BodyBounds {
        self.bounds
    }

    fn give_back(&self, owner: BodyOwner, less: Amount) {
        self.held().give_back(owner, less);
        self.notify_waiting();
    }

    fn notify_waiting(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.given_back.notify_waiters();
        }
    }

    fn held(&self) -> MutexGuard<'_, HeldMemory> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that one body takes. Dropping the permit gives it back.
#[derive(Debug)]
pub struct BodyPermit {
    memory: Arc<BodyMemory>,
    owner: BodyOwner,
    amount: Amount,
}

impl BodyPermit {
    /// The tenant whose body it is; `None` for the operator, and for keys that belong to no tenant.
    pub const fn tenant(&self) -> Option<TenantId> {
        self.owner.tenant
    }

    /// Counts this many bytes in total.
    ///
    /// Errors: the owner of the bound that was reached; then the permit counts nothing. The lock is held until the bytes are
    /// given back: otherwise the last two bodies that do not fit together could both be refused.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BoundOf> {
        let more = self.amount.more_until(bytes);
        let mut held = self.memory.held();
        let taken = held.take(self.memory.bounds, self.owner, more);
        if taken.is_ok() {
            self.amount.add(more);
            return Ok(());
        }
        held.give_back(self.owner, std::mem::take(&mut self.amount));
        drop(held);
        self.memory.notify_waiting();
        taken
    }

    /// Counts this many bytes in total; waits until `until` for memory that others give back, and keeps what it has.
    ///
    /// Errors: the owner of the bound that was reached.
    pub async fn grow_when_there_is_room(&mut self, bytes: usize, until: Instant) -> Result<(), BoundOf> {
        if self.try_grow_to(bytes).is_ok() {
            return Ok(());
        }
        let memory = Arc::clone(&self.memory);
        let _waiting = WaitingGuard::new(&memory.waiting);
        loop {
            // Before the attempt, so that memory given back from here on is noticed.
            let mut given_back = pin!(memory.given_back.notified());
            given_back.as_mut().enable();
            let Err(bound) = self.try_grow_to(bytes) else { return Ok(()) };
            if Instant::now() >= until || timeout_at(until, given_back).await.is_err() {
                return Err(bound);
            }
        }
    }

    fn try_grow_to(&mut self, bytes: usize) -> Result<(), BoundOf> {
        let more = self.amount.more_until(bytes);
        self.memory.held().take(self.memory.bounds, self.owner, more)?;
        self.amount.add(more);
        Ok(())
    }

    /// Counts this many bytes in total even if there is no room, for bytes that are already in memory.
    pub fn count(&mut self, bytes: usize) {
        let more = self.amount.more_until(bytes);
        let less = Amount { bytes: self.amount.bytes.saturating_sub(bytes), arriving: 0 };
        self.amount.bytes = bytes;
        if more != Amount::default() {
            self.memory.held().add(self.owner, more);
        } else if less != Amount::default() {
            self.memory.give_back(self.owner, less);
        }
    }

    /// Counts no more than this many bytes in total.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.amount.bytes {
            self.count(bytes);
        }
    }

    /// A permit that counts nothing yet, for another body of the same owner.
    pub fn another(&self) -> Self {
        self.memory.permit(self.owner)
    }

    /// The bytes that are counted.
    pub const fn bytes(&self) -> usize {
        self.amount.bytes
    }

    /// Stops counting the body as arriving.
    pub fn mark_arrived(&mut self) {
        let arriving = Amount { bytes: 0, arriving: std::mem::take(&mut self.amount.arriving) };
        self.memory.give_back(self.owner, arriving);
    }

    /// Attaches this permit to the bytes, so that it is dropped with the last of them, wherever they are by then.
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
        if self.amount != Amount::default() {
            self.memory.give_back(self.owner, self.amount);
        }
    }
}

/// Counts a waiting permit until it is dropped.
struct WaitingGuard<'a>(&'a AtomicUsize);

impl<'a> WaitingGuard<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
