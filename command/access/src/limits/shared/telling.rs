//! What Redis is told and does not decide: corrections of what requests took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt};
use shared_limits::{CountReply, CounterConnection, LimitCall, NodeState};

use super::group::Group;
use super::link::LOST;
use super::mode::Mode;
use super::state::SharedLimiter;
use crate::limits::binding::locked;
use crate::limits::slots::SlotKey;

/// The partners whose limits are told to Redis at a time: answered one after the other, many calls would take longer than the places of
/// running requests are kept.
pub(super) const GROUPS_AT_A_TIME: usize = 32;
/// The limits of one call.
pub(super) const LIMITS_PER_CALL: usize = 32;

impl SharedLimiter {
    /// Tells Redis the corrections of requests until the process ends.
    pub(super) async fn tell_corrections(&self) {
        let mut known = self.modes.subscribe();
        let mut last_turn = 0;
        loop {
            tokio::select! {
                () = self.corrections.added() => {}
                known = known.wait_for(|known| known.mode.turn() != last_turn) => match known {
                    Ok(known) => last_turn = known.mode.turn(),
                    Err(_) => return,
                },
            }
            // In a local period, the states that are put contain them.
            let (Mode::Shared { turn }, Some(connection)) = (&*self.modes.mode(), self.link.connection()) else {
                continue;
            };
            let mut by_group: Vec<(Arc<Group>, Vec<SlotKey>, Vec<LimitCall>)> = Vec::new();
            for (key, pending) in self.corrections.take() {
                let slot = self.slots.get(key);
                let must_be_there = slot.is_some_and(|slot| locked(&slot).must_be_in_redis(self.now_micros()));
                let (limit, corrections) = (key.to_string(), pending.list());
                let call = LimitCall { limit, must_be_there, corrections, counts: Vec::new() };
                match by_group.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, &pending.group)) {
                    Some((_, keys, calls)) => {
                        keys.push(key);
                        calls.push(call);
                    }
                    None => by_group.push((pending.group, vec![key], vec![call])),
                }
            }
            let has_failed = &AtomicBool::new(false);
            let (connection, turn) = (&connection, *turn);
            let tell = |(group, keys, calls): (Arc<Group>, Vec<SlotKey>, Vec<LimitCall>)| async move {
                for (keys, calls) in keys.chunks(LIMITS_PER_CALL).zip(calls.chunks(LIMITS_PER_CALL)) {
                    let is_told =
                        !has_failed.load(Ordering::Relaxed) && self.tell(connection, &group, turn, calls).await;
                    if !is_told {
                        has_failed.store(true, Ordering::Relaxed);
                        self.corrections.doubt(keys.iter().map(|key| (*key, Arc::clone(&group))));
                    }
                }
            };
            stream::iter(by_group).for_each_concurrent(GROUPS_AT_A_TIME, tell).await;
        }
    }

    /// Tells Redis something that it does not have to decide. Returns false if nobody knows whether it has heard it: a failure ends
    /// the turn, and what is put then contains it.
    pub(super) async fn tell(
        &self,
        connection: &CounterConnection,
        group: &Group,
        turn: u64,
        calls: &[LimitCall],
    ) -> bool {
        let (marker, new_marker) = (group.marker(self.now_micros()), self.new_marker());
        let state = NodeState {
            group: &group.name,
            turn,
            marker: marker.as_deref(),
            new_marker: &new_marker,
            has_running: group.has_running(),
        };
        match connection.count(&state, calls).await {
            Ok(CountReply::Counted(answer) | CountReply::Refused(answer)) => {
                group.learn_marker(&answer.marker, self.now_micros());
                return true;
            }
            Ok(CountReply::Superseded) => {}
            Ok(CountReply::Lost) => self.fail(turn, LOST),
            Err(error) => self.fail(turn, &error.to_string()),
        }
        false
    }
}
