//! Callers of one snapshot of the tables, by their token's SHA-256: what makes a request cheap. A new snapshot begins
//! with none, so that nothing which administration changed is ever answered from here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use projections::caller::Caller;
use projections::tables::Tables;

use super::token::Digest;

/// Above it the snapshot begins anew with none.
const CALLERS_MAX: usize = 65_536;

#[derive(Default)]
pub struct Callers {
    current: RwLock<Snapshot>,
}

#[derive(Default)]
struct Snapshot {
    /// Kept, so that no other snapshot can come to lie at the same address.
    of: Option<Arc<Tables>>,
    callers: HashMap<Digest, Arc<Caller>>,
}

impl Snapshot {
    fn is_of(&self, tables: &Arc<Tables>) -> bool {
        self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, tables))
    }
}

impl Callers {
    pub fn get(&self, tables: &Arc<Tables>, digest: &Digest, now: DateTime<Utc>) -> Option<Arc<Caller>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if !current.is_of(tables) {
            return None;
        }
        current.callers.get(digest).filter(|caller| caller.has_not_expired(now)).map(Arc::clone)
    }

    /// Keeps the caller where `tables` is not older than what is kept now.
    pub fn put(&self, tables: &Arc<Tables>, digest: Digest, caller: Arc<Caller>) -> Arc<Caller> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !current.is_of(tables) {
            if current.of.as_ref().is_some_and(|of| of.position > tables.position) {
                return caller;
            }
            *current = Snapshot { of: Some(Arc::clone(tables)), callers: HashMap::new() };
        }
        if current.callers.len() >= CALLERS_MAX {
            current.callers.clear();
        }
        current.callers.insert(digest, Arc::clone(&caller));
        caller
    }
}
