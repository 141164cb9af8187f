//! Refusals. They are decisions too, and recorded with the figures that led to them; but a flood of refusals must not flood
//! the log. Per actor and second, twenty are recorded one by one. Twenty more wait for the next second, so that a client
//! that retries again and again is slowed down and still recorded. The rest of the second becomes one event with `count`
//! (ADR-0002).

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::journal::Undo;
use super::refusals::{Refusals, RefusedRequest, SecondOfRefusals, refusal_event};
use super::{Balances, DecidedRefusal, Emitted, RefuseDecision};
use crate::event::{Actor, Recorded, Stream};

/// The refusals per actor and second that are recorded one by one.
pub const RECORDED_REFUSALS_A_SECOND: u32 = 20;
/// The refusals per actor that may wait for the next second.
const WAITING_REFUSALS_MAX: u32 = 20;
/// The refusals of all actors together that may wait.
const WAITING_MAX: u32 = 2_000;
/// Events after which a sweep writes out the refusals of no further actor. The next sweep continues.
const ROLLED_UP_EVENTS_MAX: usize = 1_024;

impl Balances {
    /// Handles a new refusal: it is recorded, postponed to the next second, or counted.
    pub fn refuse(&mut self, refused: &RefusedRequest, now: DateTime<Utc>) -> RefuseDecision {
        self.note_refusals(&refused.context.actor);
        let Refusals { by_actor, waiting: all_waiting } = &mut self.refusals;
        let (entry, mut events) = begin_second(by_actor, &refused.context.actor, now);
        let refusal = refused.refusal.clone();
        if entry.recorded < RECORDED_REFUSALS_A_SECOND {
            entry.recorded += 1;
            events.push(refusal_event(refused, 1));
        } else if entry.waiting < WAITING_REFUSALS_MAX && *all_waiting < WAITING_MAX {
            entry.waiting += 1;
            *all_waiting += 1;
            return RefuseDecision::NextSecond(DecidedRefusal { refusal, events });
        } else {
            entry.roll_up(refused);
        }
        RefuseDecision::Now(DecidedRefusal { refusal, events })
    }

    /// Records, in a later second, a refusal that got [`RefuseDecision::NextSecond`].
    pub fn refuse_waiting(&mut self, refused: &RefusedRequest, now: DateTime<Utc>) -> DecidedRefusal {
        self.note_refusals(&refused.context.actor);
        let Refusals { by_actor, waiting: all_waiting } = &mut self.refusals;
        let (entry, mut events) = begin_second(by_actor, &refused.context.actor, now);
        *all_waiting = all_waiting.saturating_sub(1);
        entry.waiting = entry.waiting.saturating_sub(1);
        entry.recorded += 1;
        events.push(refusal_event(refused, 1));
        DecidedRefusal { refusal: refused.refusal.clone(), events }
    }

    /// Forgets a waiting refusal that will not be recorded, since the log could not be written.
    pub fn forget_waiting_refusal(&mut self, actor: &Actor) {
        self.refusals.waiting = self.refusals.waiting.saturating_sub(1);
        if let Some(entry) = self.refusals.by_actor.get_mut(actor) {
            entry.waiting = entry.waiting.saturating_sub(1);
        }
    }

    /// The streams on which rolled-up refusals will be recorded.
    pub fn rolled_up_refusals(&self) -> impl Iterator<Item = Stream> {
        self.refusals.rolled_up().map(Stream::inference)
    }

    /// Takes over the refusals that other balances have counted but not recorded: they are in no event and no row.
    pub fn take_refusals_of(&mut self, other: &mut Self, is_recorded: impl Fn(&Stream) -> bool) {
        self.refusals = std::mem::take(&mut other.refusals);
        for second in self.refusals.by_actor.values_mut() {
            second.forget_recorded(|request| is_recorded(&Stream::inference(request)));
        }
    }

    /// Folds the event of a refusal. What it counts may still wait to be recorded here, if a batch was undone because nobody
    /// knew what had become of it, and is in the log after all.
    pub(super) fn fold_refusal(&mut self, recorded: &Recorded) {
        if let Some(second) = self.refusals.by_actor.get_mut(&recorded.context.actor) {
            second.forget_recorded(|request| recorded.context.request_id == Some(request));
        }
    }

    /// Notes an actor's refusals, and the number waiting, in the journal before they change.
    fn note_refusals(&mut self, actor: &Actor) {
        let Refusals { by_actor, waiting } = &self.refusals;
        if self.journal.wants_refusals_of(actor) {
            self.journal.note(|| Undo::Refusals { actor: actor.clone(), second: by_actor.get(actor).cloned() });
        }
        self.journal.note(|| Undo::WaitingRefusals(*waiting));
    }

    /// The rolled-up refusals of seconds that are over, or the part of them that one sweep writes: those of the oldest seconds.
    pub(super) fn flush_refusals(&mut self, now: DateTime<Utc>) -> Vec<Emitted> {
        let second = now.timestamp();
        let over = self.refusals.by_actor.iter().filter(|(_, entry)| entry.second < second);
        let mut over: Vec<(i64, Actor)> = over.map(|(actor, entry)| (entry.second, actor.clone())).collect();
        // Sorted, since a hash map has no order and one simulation seed must give one log.
        over.sort_unstable();
        let mut events: Vec<Emitted> = Vec::new();
        for (_, actor) in over {
            if events.len() >= ROLLED_UP_EVENTS_MAX {
                break;
            }
            self.note_refusals(&actor);
            let ended = self.refusals.by_actor.remove(&actor);
            events.extend(ended.into_iter().flat_map(SecondOfRefusals::into_events));
        }
        events.sort_by_cached_key(|emitted| emitted.stream.id.clone());
        events
    }
}

/// The actor's second at `now`, and the rolled-up refusals of the one before if it has just begun.
fn begin_second<'a>(
    by_actor: &'a mut HashMap<Actor, SecondOfRefusals>,
    actor: &Actor,
    now: DateTime<Utc>,
) -> (&'a mut SecondOfRefusals, Vec<Emitted>) {
    let second = now.timestamp();
    let entry = by_actor.entry(actor.clone()).or_insert_with(|| SecondOfRefusals::of(second, 0));
    if entry.second >= second {
        return (entry, Vec::new());
    }
    let fresh = SecondOfRefusals::of(second, entry.waiting);
    let events = std::mem::replace(entry, fresh).into_events().collect();
    (entry, events)
}
