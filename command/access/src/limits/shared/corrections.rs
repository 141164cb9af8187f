//! Corrections of what Redis has counted, until it is told: what requests used, and which have ended. Nobody waits for them.
//!
//! They are merged by bucket, so that they take no more memory than the windows themselves, however long Redis is away.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::limit::Measure;
use shared_limits::Correction;
use tokio::sync::Notify;

use super::group::Group;
use crate::limits::slots::SlotKey;

/// Corrections by limit.
#[derive(Default)]
pub struct Corrections {
    pending: Mutex<HashMap<SlotKey, PendingCorrections>>,
    /// The limits of which Redis may have more or less than this node: nobody has heard what became of a call. What they count
    /// has to be put, also if their slots are dropped before.
    in_doubt: Mutex<HashMap<SlotKey, Arc<Group>>>,
    added: Notify,
}

/// The corrections of one limit.
pub struct PendingCorrections {
    pub group: Arc<Group>,
    deltas: HashMap<(Measure, i64), i64>,
}

impl PendingCorrections {
    pub fn list(&self) -> Vec<Correction> {
        let correction = |(&(measure, bucket), &delta): (&(Measure, i64), &i64)| Correction { measure, bucket, delta };
        self.deltas.iter().filter(|(_, delta)| **delta != 0).map(correction).collect()
    }
}

impl Corrections {
    /// Must be called while the slot is locked, so that a state of the slot has either both or none of a correction and its
    /// effect.
    pub fn add(&self, key: SlotKey, group: &Arc<Group>, correction: Correction) {
        let Correction { measure, bucket, delta } = correction;
        let mut pending = self.locked();
        let of_limit = pending
            .entry(key)
            .or_insert_with(|| PendingCorrections { group: Arc::clone(group), deltas: HashMap::new() });
        let sum = of_limit.deltas.entry((measure, bucket)).or_default();
        *sum = sum.saturating_add(delta);
        drop(pending);
        self.added.notify_one();
    }

    /// Takes those of one limit.
    pub fn take_of(&self, key: SlotKey) -> Vec<Correction> {
        self.locked().remove(&key).map(|of_limit| of_limit.list()).unwrap_or_default()
    }

    /// Drops those of one limit, and its doubts: a state that is about to be put contains them. Must be called while the slot is
    /// locked, if there is one.
    pub fn drop_for_state(&self, key: SlotKey) {
        self.locked().remove(&key);
        self.doubts().remove(&key);
    }

    /// Nobody has heard what became of a call about these limits.
    pub fn doubt(&self, limits: impl IntoIterator<Item = (SlotKey, Arc<Group>)>) {
        self.doubts().extend(limits);
    }

    pub fn are_any_in_doubt(&self) -> bool {
        !self.doubts().is_empty()
    }

    /// The group of a limit that has to be put.
    pub fn group_of(&self, key: SlotKey) -> Option<Arc<Group>> {
        let of_pending = self.locked().get(&key).map(|of_limit| Arc::clone(&of_limit.group));
        of_pending.or_else(|| self.doubts().get(&key).map(Arc::clone))
    }

    /// Takes all.
    pub fn take(&self) -> HashMap<SlotKey, PendingCorrections> {
        std::mem::take(&mut *self.locked())
    }

    /// The limits that have to be put: those that have some, and those in doubt.
    pub fn limits(&self) -> HashSet<SlotKey> {
        let mut limits: HashSet<SlotKey> = self.locked().keys().copied().collect();
        limits.extend(self.doubts().keys());
        limits
    }

    /// Waits until one is added.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<SlotKey, PendingCorrections>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubts(&self) -> MutexGuard<'_, HashMap<SlotKey, Arc<Group>>> {
        self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
