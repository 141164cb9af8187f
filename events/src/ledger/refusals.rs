//! Refusals are decisions too, and recorded with the numbers that led to them; but a flood of them must not flood the
//! log: the first twenty of an actor and second each on its own, the rest of that second as one event with `count`.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::{Admission, Balances, Decision, Emitted};
use crate::event::inference::InferenceRefused;
use crate::event::{Actor, Context, Event, Stream};
use crate::ids::RequestId;
use crate::wire::{ErrorCode, Refusal};

/// How many refusals of one actor and second are recorded one by one.
pub const RECORDED_REFUSALS_A_SECOND: u32 = 20;
/// Different models of one actor and second that are rolled up apart; the rest stands under [`OTHER_MODELS`].
const ROLLED_UP_MODELS_MAX: usize = 16;
/// Name under which further models are rolled up. No model can be called so.
const OTHER_MODELS: &str = "*";

/// A request that is turned away before anything is sent.
#[derive(Clone, Debug)]
pub struct RefusedRequest {
    pub request_id: RequestId,
    pub context: Context,
    pub model: String,
    pub refusal: Refusal,
}

impl RefusedRequest {
    pub(super) fn of(admission: &Admission, refusal: Refusal) -> Self {
        Self {
            request_id: admission.request_id,
            context: admission.context.clone(),
            model: admission.admitted.model.clone(),
            refusal,
        }
    }
}

/// What was refused in the second that is going on, by actor.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    by_actor: HashMap<Actor, SecondOfRefusals>,
}

#[derive(Clone, Debug)]
struct SecondOfRefusals {
    second: i64,
    recorded: u32,
    rest: BTreeMap<(&'static str, String), RolledUp>,
}

#[derive(Clone, Debug)]
struct RolledUp {
    code: ErrorCode,
    count: u64,
    last: RefusedRequest,
}

impl Refusals {
    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.by_actor.values().any(|refusals| refusals.second < now.timestamp())
    }
}

impl Balances {
    pub(super) fn refuse(&mut self, refused: &RefusedRequest, now: DateTime<Utc>) -> Decision {
        let second = now.timestamp();
        let mut events = Vec::new();
        let fresh = SecondOfRefusals { second, recorded: 0, rest: BTreeMap::new() };
        let entry = self.refusals.by_actor.entry(refused.context.actor.clone()).or_insert_with(|| fresh.clone());
        if entry.second < second {
            events.extend(std::mem::replace(entry, fresh).into_events());
        }
        if entry.recorded < RECORDED_REFUSALS_A_SECOND {
            entry.recorded += 1;
            events.push(refusal_event(refused, 1, Some(refused.request_id)));
        } else {
            entry.roll_up(refused);
        }
        Decision::Refused { refusal: refused.refusal.clone(), events }
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
            refusal_event(&rolled.last, rolled.count, None)
        })
    }
}

/// One that stands for several names no request, and stands on the stream of the last.
fn refusal_event(refused: &RefusedRequest, count: u64, request_id: Option<RequestId>) -> Emitted {
    let event = InferenceRefused {
        code: refused.refusal.code,
        model: refused.model.clone(),
        count,
        details: refused.refusal.details.clone(),
    };
    Emitted {
        stream: Stream::inference(refused.request_id),
        context: Context { request_id, ..refused.context.clone() },
        event: Event::InferenceRefused(Box::new(event)),
    }
}
