//! The refusals of one actor in one second: how many were recorded one by one, how many wait for the next second, and those
//! that are only counted, by code and model.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::{Admission, Emitted};
use crate::event::inference::{InferenceRefused, ScopedBy};
use crate::event::{Actor, Context, Event, Inference, Stream};
use crate::ids::RequestId;
use crate::refusal::{ErrorCode, Refusal};

/// The models of one actor and second that are rolled up separately; all others count under [`OTHER_MODELS`].
const ROLLED_UP_MODELS_MAX: usize = 16;
/// The name under which further models are rolled up. It is not a valid model name.
const OTHER_MODELS: &str = "*";

/// A request that is refused before anything is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedRequest {
    pub request_id: RequestId,
    pub context: Context,
    pub model: String,
    /// Present for a request that a budget refuses.
    pub scoped_by: Option<Box<ScopedBy>>,
    pub refusal: Refusal,
}

impl RefusedRequest {
    /// The request of a refused admission.
    pub fn of(admission: &Admission, refusal: Refusal) -> Self {
        Self {
            request_id: admission.request_id,
            context: admission.context.clone(),
            model: admission.admitted.model.clone(),
            scoped_by: ScopedBy::of(&admission.admitted),
            refusal,
        }
    }
}

/// The refusals of the current second, by actor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Refusals {
    pub(super) by_actor: HashMap<Actor, SecondOfRefusals>,
    /// The refusals of all actors that wait for the next second.
    pub(super) waiting: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SecondOfRefusals {
    pub(super) second: i64,
    pub(super) recorded: u32,
    pub(super) waiting: u32,
    /// How many there were of a code and model, and the last of them.
    rest: BTreeMap<(&'static str, String), (u64, RefusedRequest)>,
}

impl Refusals {
    pub(super) fn restore(&mut self, actor: Actor, second: Option<SecondOfRefusals>) {
        match second {
            Some(second) => drop(self.by_actor.insert(actor, second)),
            None => drop(self.by_actor.remove(&actor)),
        }
    }

    /// The requests on whose streams counts will be recorded: the last of each.
    pub(super) fn rolled_up(&self) -> impl Iterator<Item = RequestId> {
        self.by_actor.values().flat_map(|second| second.rest.values()).map(|(_, last)| last.request_id)
    }

    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.by_actor.values().any(|refusals| refusals.second < now.timestamp() && refusals.waiting == 0)
    }
}

impl SecondOfRefusals {
    pub(super) const fn of(second: i64, waiting: u32) -> Self {
        Self { second, recorded: 0, waiting, rest: BTreeMap::new() }
    }

    pub(super) fn roll_up(&mut self, refused: &RefusedRequest) {
        let mut slot = (refused.refusal.code.as_str(), refused.model.clone());
        if self.rest.len() >= ROLLED_UP_MODELS_MAX && !self.rest.contains_key(&slot) {
            slot.1 = OTHER_MODELS.to_owned();
        }
        let mut last = RefusedRequest { model: slot.1.clone(), ..refused.clone() };
        if last.model != refused.model && last.refusal.code == ErrorCode::BudgetExceeded {
            last.scoped_by.get_or_insert_default().model = Some(refused.model.clone());
        }
        let count = self.rest.get(&slot).map_or(1, |(count, _)| count + 1);
        self.rest.insert(slot, (count, last));
    }

    /// Forgets the counts that are in the log, by the requests on whose streams they are.
    pub(super) fn forget_recorded(&mut self, is_recorded: impl Fn(RequestId) -> bool) {
        self.rest.retain(|_, (_, last)| !is_recorded(last.request_id));
    }

    pub(super) fn into_events(self) -> impl Iterator<Item = Emitted> {
        self.rest.into_values().map(|(count, last)| refusal_event(&last, count))
    }
}

/// The event of a refusal. If it stands for several, it is on the stream of the last one.
pub(super) fn refusal_event(refused: &RefusedRequest, count: u64) -> Emitted {
    let mut details = refused.refusal.details.clone();
    // These are fields of the event itself.
    details.retain(|name, _| !["code", "model", "count", "scoped_by"].contains(&name.as_str()));
    let RefusedRequest { model, scoped_by, .. } = refused.clone();
    let event = InferenceRefused { code: refused.refusal.code, model, count, scoped_by, details };
    let request_id = Some(refused.request_id);
    Emitted {
        stream: Stream::inference(refused.request_id),
        context: Context { request_id, ..refused.context.clone() },
        event: Event::Inference(Inference::Refused(Box::new(event))),
    }
}
