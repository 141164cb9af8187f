//! Refusals are decisions too, and recorded with the numbers that led to them; but a flood of them must not flood the
//! log. Of an actor and second twenty are recorded each on its own; twenty more wait for the next second, so that a
//! client which asks again and again is slowed down instead of vanishing in a count; the rest of the second becomes one
//! event with `count` (ADR-0002).

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::journal::Before;
use super::{Admission, Balances, DecidedRefusal, Emitted, RefuseDecision};
use crate::event::inference::InferenceRefused;
use crate::event::{Actor, Context, Event, Inference, Stream};
use crate::ids::RequestId;
use crate::refusal::{ErrorCode, Refusal};

/// How many refusals of one actor and second are recorded one by one.
pub const RECORDED_REFUSALS_A_SECOND: u32 = 20;
/// How many refusals of one actor may wait for the next second.
const WAITING_REFUSALS_MAX: u32 = 20;
/// How many may wait of all actors together.
const WAITING_MAX: u32 = 2_000;
/// Different models of one actor and second that are rolled up apart; the rest stands under [`OTHER_MODELS`].
const ROLLED_UP_MODELS_MAX: usize = 16;
/// Name under which further models are rolled up. No model can be called so.
const OTHER_MODELS: &str = "*";

/// A request that is turned away before anything is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedRequest {
    pub request_id: RequestId,
    pub context: Context,
    pub model: String,
    pub refusal: Refusal,
}

impl RefusedRequest {
    /// An admission that was refused.
    pub fn of(admission: &Admission, refusal: Refusal) -> Self {
        Self {
            request_id: admission.request_id,
            context: admission.context.clone(),
            model: admission.admitted.model.clone(),
            refusal,
        }
    }
}

/// What was refused in the second that is going on, by actor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Refusals {
    by_actor: HashMap<Actor, SecondOfRefusals>,
    /// Of all actors.
    pub(super) waiting: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SecondOfRefusals {
    second: i64,
    recorded: u32,
    waiting: u32,
    rest: BTreeMap<(&'static str, String), RolledUp>,
}

#[derive(Clone, Debug, PartialEq)]
struct RolledUp {
    code: ErrorCode,
    count: u64,
    last: RefusedRequest,
}

impl Refusals {
    pub(super) fn restore(&mut self, actor: Actor, second: Option<SecondOfRefusals>) {
        match second {
            Some(second) => drop(self.by_actor.insert(actor, second)),
            None => drop(self.by_actor.remove(&actor)),
        }
    }

    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.by_actor.values().any(|refusals| refusals.second < now.timestamp() && refusals.waiting == 0)
    }
}

impl Balances {
    /// A refusal that was just decided: recorded, put off to the next second, or counted.
    pub(super) fn refuse(&mut self, refused: &RefusedRequest, now: DateTime<Utc>) -> RefuseDecision {
        self.note_refusals(&refused.context.actor);
        let mut events = self.begin_second(&refused.context.actor, now);
        let all_waiting = self.refusals.waiting;
        let refusal = refused.refusal.clone();
        let Some(entry) = self.refusals.by_actor.get_mut(&refused.context.actor) else {
            return RefuseDecision::Now(DecidedRefusal { refusal, events });
        };
        if entry.recorded < RECORDED_REFUSALS_A_SECOND {
            entry.recorded += 1;
            events.push(refusal_event(refused, 1));
        } else if entry.waiting < WAITING_REFUSALS_MAX && all_waiting < WAITING_MAX {
            entry.waiting += 1;
            self.refusals.waiting += 1;
            return RefuseDecision::NextSecond(DecidedRefusal { refusal, events });
        } else {
            entry.roll_up(refused);
        }
        RefuseDecision::Now(DecidedRefusal { refusal, events })
    }

    /// A refusal that waited for its second.
    pub(super) fn refuse_waiting(&mut self, refused: &RefusedRequest, now: DateTime<Utc>) -> DecidedRefusal {
        self.note_refusals(&refused.context.actor);
        let mut events = self.begin_second(&refused.context.actor, now);
        self.refusals.waiting = self.refusals.waiting.saturating_sub(1);
        if let Some(entry) = self.refusals.by_actor.get_mut(&refused.context.actor) {
            entry.waiting = entry.waiting.saturating_sub(1);
            entry.recorded += 1;
            events.push(refusal_event(refused, 1));
        }
        DecidedRefusal { refusal: refused.refusal.clone(), events }
    }

    /// Before an actor's refusals change, and what waits of all.
    fn note_refusals(&mut self, actor: &Actor) {
        let Refusals { by_actor, waiting } = &self.refusals;
        if self.journal.wants_refusals_of(actor) {
            self.journal.note(|| Before::Refusals { actor: actor.clone(), second: by_actor.get(actor).cloned() });
        }
        self.journal.note(|| Before::WaitingRefusals(*waiting));
    }

    /// Makes the actor's second the one of `now`; what was counted in the one before is written out.
    fn begin_second(&mut self, actor: &Actor, now: DateTime<Utc>) -> Vec<Emitted> {
        let second = now.timestamp();
        let fresh = SecondOfRefusals { second, recorded: 0, waiting: 0, rest: BTreeMap::new() };
        let entry = self.refusals.by_actor.entry(actor.clone()).or_insert_with(|| fresh.clone());
        if entry.second >= second {
            return Vec::new();
        }
        let waiting = entry.waiting;
        std::mem::replace(entry, SecondOfRefusals { waiting, ..fresh }).into_events().collect()
    }

    /// The rolled-up refusals of seconds that are over.
    pub(super) fn flush_refusals(&mut self, now: DateTime<Utc>) -> Vec<Emitted> {
        let second = now.timestamp();
        let over: Vec<Actor> = self
            .refusals
            .by_actor
            .iter()
            .filter(|(_, entry)| entry.second < second)
            .map(|(actor, _)| actor.clone())
            .collect();
        over.iter().for_each(|actor| self.note_refusals(actor));
        let ended = over.iter().filter_map(|actor| self.refusals.by_actor.remove(actor));
        let mut events: Vec<Emitted> = ended.flat_map(SecondOfRefusals::into_events).collect();
        // A hash map has no order; the log does, and one seed must give one log.
        events.sort_by_cached_key(|emitted| emitted.stream.id.clone());
        events
    }
}

impl SecondOfRefusals {
    fn roll_up(&mut self, refused: &RefusedRequest) {
        let code = refused.refusal.code;
        let mut slot = (code.as_str(), refused.model.clone());
        if self.rest.len() >= ROLLED_UP_MODELS_MAX && !self.rest.contains_key(&slot) {
            slot.1 = OTHER_MODELS.to_owned();
        }
        let model = slot.1.clone();
        let entry = self.rest.entry(slot).or_insert_with(|| RolledUp { code, count: 0, last: refused.clone() });
        entry.count += 1;
        entry.last = RefusedRequest { model, ..refused.clone() };
    }

    fn into_events(self) -> impl Iterator<Item = Emitted> {
        self.rest.into_values().map(|rolled| {
            debug_assert_eq!(rolled.code, rolled.last.refusal.code);
            refusal_event(&rolled.last, rolled.count)
        })
    }
}

/// One that stands for several stands on the stream of the last of them.
fn refusal_event(refused: &RefusedRequest, count: u64) -> Emitted {
    let mut details = refused.refusal.details.clone();
    // These have fields of their own.
    details.retain(|name, _| !["code", "model", "count"].contains(&name.as_str()));
    let event = InferenceRefused { code: refused.refusal.code, model: refused.model.clone(), count, details };
    let request_id = Some(refused.request_id);
    Emitted {
        stream: Stream::inference(refused.request_id),
        context: Context { request_id, ..refused.context.clone() },
        event: Event::Inference(Inference::Refused(Box::new(event))),
    }
}
