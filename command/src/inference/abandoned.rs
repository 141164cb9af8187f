//! Calls for whole answers whose client has left. A provider bills what it generates, read or not: the call goes on, and
//! what the provider reports is charged. How many there are, and what they keep in memory, is bounded, and no tenant has
//! more than half of it; a call beyond that is cancelled, and charged as one that nobody knows anything of.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::ids::TenantId;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::figures::Counted;

const CALLS_MAX: usize = 1024;
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whose call it is; `None` is the operator's own.
pub type Owner = Option<TenantId>;

/// All of them, and their tasks. Cheap to clone.
#[derive(Clone, Default)]
pub struct AbandonedCalls {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tasks: TaskTracker,
    stopping: CancellationToken,
    load: Mutex<Load>,
}

#[derive(Default)]
struct Load {
    all: Amount,
    by_owner: HashMap<Owner, Amount>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    calls: usize,
    bytes: usize,
}

impl Amount {
    const MAX: Self = Self { calls: CALLS_MAX, bytes: BYTES_MAX };

    const fn plus(self, calls: usize, bytes: usize) -> Self {
        Self { calls: self.calls.saturating_add(calls), bytes: self.bytes.saturating_add(bytes) }
    }

    const fn minus(self, calls: usize, bytes: usize) -> Self {
        Self { calls: self.calls.saturating_sub(calls), bytes: self.bytes.saturating_sub(bytes) }
    }

    const fn is_within(self, max: Self, share: usize) -> bool {
        self.calls <= max.calls / share && self.bytes <= max.bytes / share
    }
}

impl AbandonedCalls {
    /// Goes on with a call, or drops it where it cannot. `count` is dropped when it is over.
    pub fn go_on(
        &self,
        owner: Owner,
        kept: &KeptBytes,
        count: Counted,
        call: impl Future<Output = ()> + Send + 'static,
    ) {
        let shared = &self.shared;
        // Without a runtime the process is ending.
        let (Ok(runtime), false) = (Handle::try_current(), shared.stopping.is_cancelled()) else { return };
        if !kept.count_for(self.clone(), owner) {
            return;
        }
        let stopping = shared.stopping.clone();
        let call = async move {
            // Dropped in the middle, it ends its request.
            let _ = stopping.run_until_cancelled_owned(call).await;
            drop(count);
        };
        shared.tasks.spawn_on(call, &runtime);
    }

    /// Waits until all that there are have ended.
    pub async fn drain(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Takes no more, and ends those that there are: none of them waits for anything any more.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.drain().await;
    }

    /// Whether there was room.
    fn add(&self, owner: Owner, calls: usize, bytes: usize) -> bool {
        let mut load = self.load();
        let (all, own) = (load.all.plus(calls, bytes), load.of(owner).plus(calls, bytes));
        let has_room = all.is_within(Amount::MAX, 1) && own.is_within(Amount::MAX, 2);
        if has_room {
            load.set(owner, all, own);
        }
        has_room
    }

    fn subtract(&self, owner: Owner, calls: usize, bytes: usize) {
        let mut load = self.load();
        let (all, own) = (load.all.minus(calls, bytes), load.of(owner).minus(calls, bytes));
        load.set(owner, all, own);
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.shared.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    fn of(&self, owner: Owner) -> Amount {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    fn set(&mut self, owner: Owner, all: Amount, own: Amount) {
        self.all = all;
        if own == Amount::default() {
            self.by_owner.remove(&owner);
        } else {
            self.by_owner.insert(owner, own);
        }
    }
}

/// The bytes that one call keeps: what of its request has not been taken, and what of its answer has been read. They are
/// counted against the bound from when its client has left. Cheap to clone; all clones are of the same call.
#[derive(Clone, Default)]
pub struct KeptBytes(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    bytes: usize,
    counted: Option<(AbandonedCalls, Owner)>,
}

impl KeptBytes {
    /// False where there is no room for so much more.
    pub fn add(&self, bytes: usize) -> bool {
        let mut kept = self.lock();
        let has_room = kept.counted.as_ref().is_none_or(|(calls, owner)| calls.add(*owner, 0, bytes));
        if has_room {
            kept.bytes = kept.bytes.saturating_add(bytes);
        }
        has_room
    }

    pub fn subtract(&self, bytes: usize) {
        let mut kept = self.lock();
        kept.bytes = kept.bytes.saturating_sub(bytes);
        if let Some((calls, owner)) = &kept.counted {
            calls.subtract(*owner, 0, bytes);
        }
    }

    fn count_for(&self, calls: AbandonedCalls, owner: Owner) -> bool {
        let mut kept = self.lock();
        let has_room = calls.add(owner, 1, kept.bytes);
        if has_room {
            kept.counted = Some((calls, owner));
        }
        has_room
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((calls, owner)) = &self.counted {
            calls.subtract(*owner, 1, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests;
