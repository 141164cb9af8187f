//! What a node puts into Redis in a local period: all that it counts, in place of what Redis has of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt};
use shared_limits::{CounterConnection, CounterError, LimitState, PutReply};

use super::group::Group;
use super::state::SharedLimiter;
use super::telling::{GROUPS_AT_A_TIME, LIMITS_PER_CALL};
use crate::limits::binding::locked;
use crate::limits::slots::SlotKey;

/// Redis does not have what a node counts.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error(transparent)]
    Redis(#[from] CounterError),
    #[error("another turn has begun")]
    Superseded,
}

impl SharedLimiter {
    /// Puts all that this node counts of these limits. Returns their number.
    pub(super) async fn put(
        &self,
        connection: &CounterConnection,
        turn: u64,
        keys: impl Iterator<Item = SlotKey>,
    ) -> Result<u64, PutError> {
        let mut by_group: Vec<(Arc<Group>, Vec<SlotKey>)> = Vec::new();
        let mut count = 0;
        for key in keys {
            let slot = self.slots.get(key);
            let group = slot.map(|slot| Arc::clone(&locked(&slot).group));
            let Some(group) = group.or_else(|| self.corrections.group_of(key)) else { continue };
            count += 1;
            match by_group.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &group)) {
                Some((_, keys)) => keys.push(key),
                None => by_group.push((group, vec![key])),
            }
        }
        let has_failed = &AtomicBool::new(false);
        let put = |(group, keys): (Arc<Group>, Vec<SlotKey>)| async move {
            let put = self.put_group(connection, turn, (&group, &keys), has_failed).await;
            has_failed.fetch_or(put.is_err(), Ordering::Relaxed);
            put
        };
        // Each is awaited, so that what one of them leaves in doubt is known.
        let all: Vec<Result<(), PutError>> =
            stream::iter(by_group).map(put).buffer_unordered(GROUPS_AT_A_TIME).collect().await;
        all.into_iter().collect::<Result<(), PutError>>()?;
        Ok(count)
    }

    /// Puts all that this node counts of these limits of a group, until something fails.
    async fn put_group(
        &self,
        connection: &CounterConnection,
        turn: u64,
        (group, keys): (&Arc<Group>, &[SlotKey]),
        has_failed: &AtomicBool,
    ) -> Result<(), PutError> {
        for keys in keys.chunks(LIMITS_PER_CALL) {
            if has_failed.load(Ordering::Relaxed) {
                break;
            }
            let states: Vec<LimitState> = keys.iter().map(|key| self.state_of(*key)).collect();
            let put = self.put_states(connection, turn, group, &states).await;
            if put.is_err() {
                self.corrections.doubt(keys.iter().map(|key| (*key, Arc::clone(group))));
            }
            put?;
        }
        Ok(())
    }

    /// What this node counts of a limit. Corrections that were not told yet are part of it.
    fn state_of(&self, key: SlotKey) -> LimitState {
        // If it has no slot yet, the states of one that is made now have higher numbers.
        let number = self.next_state();
        let Some(slot) = self.slots.get(key) else {
            // Nothing of it counts any more, but Redis may have a request that still ran when it was told last.
            self.corrections.drop_for_state(key);
            return LimitState { limit: key.to_string(), number, ..LimitState::default() };
        };
        let mut slot = locked(&slot);
        self.corrections.drop_for_state(key);
        slot.state(key.to_string(), self.next_state(), self.now_micros())
    }

    pub(super) async fn put_states(
        &self,
        connection: &CounterConnection,
        turn: u64,
        group: &Group,
        states: &[LimitState],
    ) -> Result<(), PutError> {
        let new_marker = self.new_marker();
        let put = connection.put(&self.putting(group, turn, &new_marker), states).await;
        match put? {
            PutReply::Put(answer) => {
                group.learn_marker(&answer.marker, self.now_micros());
                Ok(())
            }
            PutReply::Superseded => Err(PutError::Superseded),
        }
    }
}
