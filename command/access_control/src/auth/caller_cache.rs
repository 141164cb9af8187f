//! A cache of callers by the SHA-256 of their token, for one snapshot of the tables. A new snapshot starts with an empty
//! cache, so that a caller from before an administrative change is never returned.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use projections::caller::Caller;
use projections::tables::Tables;

use super::token::Digest;

/// A full cache is cleared.
const CALLERS_MAX: usize = 65_536;

#[derive(Default)]
pub struct CallerCache {
    current: RwLock<Snapshot>,
}

#[derive(Default)]
struct Snapshot {
    /// Held so that no other snapshot can be allocated at the same address.
    tables: Option<Arc<Tables>>,
    callers: HashMap<Digest, Arc<Caller>>,
}

impl Snapshot {
    fn is_of(&self, tables: &Arc<Tables>) -> bool {
        self.tables.as_ref().is_some_and(|own| Arc::ptr_eq(own, tables))
    }
}

impl CallerCache {
    pub fn get(&self, tables: &Arc<Tables>, digest: &Digest, now: DateTime<Utc>) -> Option<Arc<Caller>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if !current.is_of(tables) {
            return None;
        }
        current.callers.get(digest).filter(|caller| caller.has_not_expired(now)).map(Arc::clone)
    }

    /// Caches the caller, unless `tables` is older than the cached snapshot.
    pub fn put(&self, tables: &Arc<Tables>, digest: Digest, caller: Arc<Caller>) -> Arc<Caller> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !current.is_of(tables) {
            if current.tables.as_ref().is_some_and(|cached| cached.position > tables.position) {
                return caller;
            }
            *current = Snapshot { tables: Some(Arc::clone(tables)), callers: HashMap::new() };
        }
        if current.callers.len() >= CALLERS_MAX {
            current.callers.clear();
        }
        current.callers.insert(digest, Arc::clone(&caller));
        caller
    }
}
