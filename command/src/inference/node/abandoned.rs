//! Calls for whole answers whose client has left. A provider bills what it generates, read or not: so the call goes on, and
//! what the provider reports is charged. The call keeps its [place](crate::inference::targets::upstream_calls) among all calls of this node. The
//! number of these calls is bounded as well, and tenants share it fairly: at the bound, the newest call of the tenant with most
//! calls is ended to make room for a tenant with fewer. The usage of a call that is ended this way, or finds no room, is
//! unknown, and charged by that policy.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use projections::figures::GaugeGuard;
use provider_client::Owner;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CALLS_MAX: usize = 1024;

/// The abandoned calls that are still running, and their tasks. Cheap to clone.
#[derive(Clone, Default)]
pub struct AbandonedCalls {
    shared: Arc<CallRegistry>,
}

#[derive(Default)]
struct CallRegistry {
    tasks: TaskTracker,
    stopping: CancellationToken,
    calls: Mutex<RegisteredCalls>,
}

#[derive(Default)]
struct RegisteredCalls {
    /// The token that ends each call, by the call's number, which rises. An owner without calls has no entry.
    by_owner: HashMap<Owner, BTreeMap<u64, CancellationToken>>,
    count: usize,
    last_number: u64,
}

impl AbandonedCalls {
    /// Runs the call to its end, or drops it if there is no room. `count` is dropped with the call.
    pub fn spawn(&self, owner: Owner, count: GaugeGuard, call: impl Future<Output = ()> + Send + 'static) {
        let shared = &self.shared;
        // No runtime: the process is ending.
        let (Ok(runtime), false) = (Handle::try_current(), shared.stopping.is_cancelled()) else { return };
        let end = shared.stopping.child_token();
        let Some(number) = self.calls().add(owner, &end) else { return };
        let entry = Entry { calls: self.clone(), owner, number };
        let call = async move {
            // A call dropped before its end ends its request.
            let _ = end.run_until_cancelled_owned(call).await;
            drop(entry);
            drop(count);
        };
        shared.tasks.spawn_on(call, &runtime);
    }

    /// Number of calls that are running.
    pub fn count(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Waits until all calls have ended.
    pub async fn drain(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Accepts no more calls, and cancels those that are running.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.drain().await;
    }

    fn calls(&self) -> MutexGuard<'_, RegisteredCalls> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegisteredCalls {
    /// Adds a call and returns its number; `None` if there is no room.
    fn add(&mut self, owner: Owner, end: &CancellationToken) -> Option<u64> {
        if self.count >= CALLS_MAX {
            self.make_room_for(owner)?;
        }
        self.last_number += 1;
        self.by_owner.entry(owner).or_default().insert(self.last_number, end.clone());
        self.count += 1;
        Some(self.last_number)
    }

    /// Ends the newest call of the owner with most calls, unless that owner would then have fewer than `owner`: two owners
    /// with equally many do not end each other's calls.
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
        // A call that had to make room is no longer listed.
        if calls.remove(&number).is_some() {
            self.count -= 1;
        }
        if calls.is_empty() {
            self.by_owner.remove(&owner);
        }
    }
}

/// One running call in the registry, until it is dropped.
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
