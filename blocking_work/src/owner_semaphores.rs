//! A semaphore for each owner: one has a bounded part of what all share, however much it asks for.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use events::ids::IdMap;
use tokio::sync::Semaphore;

use crate::Owner;

/// The semaphores of all owners, with the same bound each.
pub struct OwnerSemaphores {
    pub(super) of_each: usize,
    /// Those of owners that have or await something, and dead ones until the map would grow.
    pub(super) semaphores: Mutex<IdMap<Owner, Weak<Semaphore>>>,
}

impl OwnerSemaphores {
    pub fn new(of_each: usize) -> Self {
        Self { of_each, semaphores: Mutex::default() }
    }

    /// The semaphore of this owner, which is the same one while anybody has or awaits a permit of it.
    pub fn of(&self, owner: Owner) -> Arc<Semaphore> {
        let mut semaphores = self.semaphores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = semaphores.get(&owner).and_then(Weak::upgrade) {
            return semaphore;
        }
        if semaphores.len() == semaphores.capacity() {
            semaphores.retain(|_, semaphore| semaphore.strong_count() > 0);
            // As many may come before all of them are looked at again.
            let living = semaphores.len();
            semaphores.reserve(living);
        }
        let semaphore = Arc::new(Semaphore::new(self.of_each));
        semaphores.insert(owner, Arc::downgrade(&semaphore));
        semaphore
    }
}
