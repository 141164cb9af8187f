//! Calls for whole answers whose client has left. A provider bills what it generates, read or not: the call goes on, and
//! what the provider reports is charged. How many there are is bounded, and tenants share the room fairly: where there is
//! none, the newest call of the tenant that has most ends for the first one of a tenant that has fewer. A call that ends so,
//! or finds no room, is charged as one that nobody knows anything of.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::ids::TenantId;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::figures::GaugeGuard;

const CALLS_MAX: usize = 1024;

/// Whose call it is; `None` is the operator's own.
pub type Owner = Option<TenantId>;

/// All of them, and their tasks. Cheap to clone.
#[derive(Clone, Default)]
pub struct AbandonedCalls {
    shared: Arc<CallRegistry>,
}

#[derive(Default)]
struct CallRegistry {
    tasks: TaskTracker,
    stopping: CancellationToken,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    /// By their numbers, which rise, with what ends each. Nobody has none.
    by_owner: HashMap<Owner, BTreeMap<u64, CancellationToken>>,
    count: usize,
    numbers: u64,
}

impl AbandonedCalls {
    /// Goes on with a call, or drops it where it cannot. `count` is dropped when it is over.
    pub fn go_on(&self, owner: Owner, count: GaugeGuard, call: impl Future<Output = ()> + Send + 'static) {
        let shared = &self.shared;
        // Without a runtime the process is ending.
        let (Ok(runtime), false) = (Handle::try_current(), shared.stopping.is_cancelled()) else { return };
        let end = shared.stopping.child_token();
        let Some(number) = self.calls().add(owner, &end) else { return };
        let entry = Entry { calls: self.clone(), owner, number };
        let call = async move {
            // Dropped in the middle, it ends its request.
            let _ = end.run_until_cancelled_owned(call).await;
            drop(entry);
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

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// Its number; `None` where there is no room.
    fn add(&mut self, owner: Owner, end: &CancellationToken) -> Option<u64> {
        if self.count >= CALLS_MAX {
            self.make_room_for(owner)?;
        }
        self.numbers += 1;
        self.by_owner.entry(owner).or_default().insert(self.numbers, end.clone());
        self.count += 1;
        Some(self.numbers)
    }

    /// Ends the newest call of whoever has most, where that is still no fewer than `owner` has then: two that have the same
    /// do not end each other's.
    fn make_room_for(&mut self, owner: Owner) -> Option<()> {
        let own = self.by_owner.get(&owner).map_or(0, BTreeMap::len);
        let most = self.by_owner.values_mut().max_by_key(|calls| calls.len())?;
        if most.len() <= own + 1 {
            return None;
        }
        let (_, newest) = most.pop_last()?;
        newest.cancel();
        self.count -= 1;
        Some(())
    }

    fn remove(&mut self, owner: Owner, number: u64) {
        let Some(calls) = self.by_owner.get_mut(&owner) else { return };
        // One that had to make room is not here any more.
        if calls.remove(&number).is_some() {
            self.count -= 1;
        }
        if calls.is_empty() {
            self.by_owner.remove(&owner);
        }
    }
}

/// One of them, until it is dropped.
struct Entry {
    calls: AbandonedCalls,
    owner: Owner,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.calls.calls().remove(self.owner, self.number);
    }
}

#[cfg(test)]
mod tests;
