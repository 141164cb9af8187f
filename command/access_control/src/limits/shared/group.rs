//! Groups of limits: those of one partner, which one server of a cluster has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use events::ids::PartnerId;

/// The group of the operator's own limit.
const OPERATOR: &str = "operator";

/// The limits of a partner.
pub struct Group {
    pub name: String,
    /// The places of its limits that requests of this node occupy.
    running: AtomicU64,
}

impl Group {
    fn new(partner: Option<PartnerId>) -> Self {
        let name = partner.map_or_else(|| OPERATOR.to_owned(), |partner| partner.to_string());
        Self { name, running: AtomicU64::new(0) }
    }

    pub fn request_begins(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub fn request_ends(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    fn has_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }
}

/// All groups that this node has used: one for each partner.
#[derive(Default)]
pub struct Groups(Mutex<HashMap<Option<PartnerId>, Arc<Group>>>);

impl Groups {
    pub fn of(&self, partner: Option<PartnerId>) -> Arc<Group> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(groups.entry(partner).or_insert_with(|| Arc::new(Group::new(partner))))
    }

    /// Those with requests that occupy a place.
    pub fn running(&self) -> Vec<Arc<Group>> {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.values().filter(|group| group.has_running()).map(Arc::clone).collect()
    }
}
