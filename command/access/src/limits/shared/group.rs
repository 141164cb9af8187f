//! Groups of limits: those of one partner, which one server of a cluster has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use events::ids::PartnerId;

/// The group of the operator's own limit.
const OPERATOR: &str = "operator";
/// Redis forgets a group that nobody has used for 26 hours, and all its counts have left the windows by then.
const MARKER_KEPT_MICROS: i64 = 12 * 3_600 * 1_000_000;

/// The limits of a partner.
pub struct Group {
    pub name: String,
    marker: Mutex<Option<Marker>>,
    /// The requests of this node that occupy a place of a limit of the group.
    running: AtomicU64,
}

/// What tells whether Redis still has the counts that it had.
struct Marker {
    name: String,
    used_micros: i64,
}

impl Group {
    fn new(partner: Option<PartnerId>) -> Self {
        let name = partner.map_or_else(|| OPERATOR.to_owned(), |partner| partner.to_string());
        Self { name, marker: Mutex::new(None), running: AtomicU64::new(0) }
    }

    /// The marker that Redis must have.
    pub fn marker(&self, now_micros: i64) -> Option<String> {
        let mut marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        let known = marker.as_mut().filter(|known| now_micros - known.used_micros < MARKER_KEPT_MICROS)?;
        known.used_micros = now_micros;
        Some(known.name.clone())
    }

    pub fn learn_marker(&self, name: &str, now_micros: i64) {
        let mut marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        if marker.as_ref().is_none_or(|known| known.name != name) {
            *marker = Some(Marker { name: name.to_owned(), used_micros: now_micros });
        }
    }

    pub fn request_begins(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub fn request_ends(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn has_running(&self) -> bool {
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

    /// Forgets what Redis had: it is put anew.
    pub fn forget_markers(&self) {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.values().for_each(|group| *group.marker.lock().unwrap_or_else(PoisonError::into_inner) = None);
    }

    /// Those with requests that occupy a place.
    pub fn running(&self) -> Vec<Arc<Group>> {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.values().filter(|group| group.has_running()).map(Arc::clone).collect()
    }
}
