//! The check of a part of a log: the events of one tenant, and the prices, budgets and rate limits that were in force for it.
//! Whatever does not need the other events is checked by the rules of the whole log: life cycles, costs, charges and their
//! corrections.
//!
//! What other tenants did is not there. So budgets are not summed up: an admission must only name the versions that were in force.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::open_requests::{OpenRequests, must_correct};
use super::order::must_be_on_its_stream;
use super::pages::Histories;
use super::references::References;
use super::revaluations::Revaluations;
use super::{Depth, costs};
use crate::event::inference::InferenceAdmitted;
use crate::event::{Change, Event, Hold, Inference, Recorded, Resource, Stream, StreamKind};
use crate::ids::{BudgetId, RequestId};
use crate::money::{NanoUsd, NanoUsdSum};

/// What a part that is sound has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedPart {
    pub events: u64,
    /// The requests that were admitted.
    pub requests: u64,
    pub open_holds: u64,
    /// What was charged, and corrected, from the beginning of the range on.
    pub charged_usd: NanoUsdSum,
}

/// Checks the events of a part in the order of their positions.
pub struct PartCheck {
    /// Charges count from this time on.
    from: Option<DateTime<Utc>>,
    /// Requests whose charge was corrected, so that what happened before is needed again.
    corrected: HashSet<RequestId>,
    before: HashMap<RequestId, Vec<Recorded>>,
    last: Option<(u64, DateTime<Utc>)>,
    sequences: HashMap<Stream, u64>,
    requests: OpenRequests,
    references: References,
    revaluations: Revaluations,
    /// The position of the newest event of each budget that is open.
    budgets: HashMap<BudgetId, u64>,
    found: CheckedPart,
}

impl PartCheck {
    pub fn new(from: Option<DateTime<Utc>>, corrected: HashSet<RequestId>) -> Self {
        Self {
            from,
            corrected,
            before: HashMap::new(),
            last: None,
            sequences: HashMap::new(),
            requests: OpenRequests::default(),
            references: References::default(),
            revaluations: Revaluations::default(),
            budgets: HashMap::new(),
            found: CheckedPart { events: 0, requests: 0, open_holds: 0, charged_usd: NanoUsdSum::ZERO },
        }
    }

    /// The error says what is wrong with the event.
    pub fn check(&mut self, recorded: &Recorded) -> Result<(), String> {
        self.must_follow(recorded)?;
        self.requests.must_continue(recorded)?;
        match &recorded.event {
            Event::Inference(Inference::Admitted(admitted)) => {
                self.references.key_and_prices_must_fit(recorded, admitted)?;
                self.budgets_must_be_in_force(admitted)?;
                self.requests.begin(recorded, admitted)?;
                self.found.requests += 1;
            }
            Event::Hold(Hold::Reserved(reserved)) => {
                self.requests.hold(recorded, reserved)?;
                self.found.open_holds += 1;
            }
            Event::Inference(Inference::AttemptFailed(attempt)) => {
                let open = self.requests.attempt(recorded, attempt)?;
                costs::failed_call_must_be_right(attempt, open, &self.references, Depth::Gateway)?;
            }
            Event::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
                let open = self.requests.end(recorded, ended, Depth::Gateway)?;
                costs::must_be_right(ended, open, &self.references, Depth::Gateway)?;
            }
            Event::Hold(Hold::Settled(settled)) => {
                self.requests.settle(recorded, settled)?;
                self.end(recorded, settled.charged_usd);
            }
            Event::Hold(Hold::Released(_)) => {
                self.requests.release(recorded)?;
                self.end(recorded, NanoUsd::ZERO);
            }
            Event::Hold(Hold::Expired(expired)) => {
                self.requests.expire(recorded, expired)?;
                self.end(recorded, expired.charged_usd);
            }
            Event::Hold(Hold::Adjusted(adjusted)) => {
                let history = recorded.context.request_id.and_then(|request| self.before.get(&request));
                let histories = Histories::from([(recorded.position, history.cloned().unwrap_or_default())]);
                match &adjusted.price {
                    Some(value) => {
                        let corrected = (&**adjusted, value);
                        self.revaluations.must_correct(recorded, corrected, &histories, Depth::Gateway)?;
                    }
                    None => must_correct(recorded, adjusted, &histories)?,
                }
                self.charge(recorded, adjusted.delta_usd);
            }
            Event::Inference(Inference::Refused(refused)) => self.requests.refuse(recorded, refused)?,
            Event::Resource(fact) => self.record(recorded, fact)?,
            _ => {}
        }
        if let Some(request) = recorded.context.request_id.filter(|request| self.corrected.contains(request)) {
            self.before.entry(request).or_default().push(recorded.clone());
        }
        self.found.events += 1;
        Ok(())
    }

    /// Positions and times never go back, and streams are there from their beginning.
    fn must_follow(&mut self, recorded: &Recorded) -> Result<(), String> {
        let Recorded { position, recorded_at, stream, sequence, .. } = recorded;
        match self.last.replace((*position, *recorded_at)) {
            Some((last, _)) if *position <= last => return Err(format!("it comes after position {last}")),
            Some((_, last)) if *recorded_at < last => {
                return Err("it was recorded before the event in front of it".to_owned());
            }
            _ => {}
        }
        must_be_on_its_stream(recorded)?;
        // Of these, only some events are the tenant's.
        if matches!(stream.kind, StreamKind::Access | StreamKind::Alert) {
            return Ok(());
        }
        let last = self.sequences.entry(stream.clone()).or_default();
        let wanted = *last + 1;
        *last = *sequence;
        if *sequence == wanted { Ok(()) } else { Err(format!("event {wanted} of the stream {stream} is missing")) }
    }

    fn record(&mut self, recorded: &Recorded, fact: &Resource) -> Result<(), String> {
        match fact {
            Resource::Budget(Change::Ended(budget)) => drop(self.budgets.remove(budget)),
            Resource::Budget(change) => drop(self.budgets.insert(change.id(), recorded.position)),
            _ => {}
        }
        self.references.record(recorded.position, fact);
        self.revaluations.record(recorded, fact)
    }

    fn budgets_must_be_in_force(&self, admitted: &InferenceAdmitted) -> Result<(), String> {
        let mut versions = admitted.versions.budgets.iter();
        match versions.find(|(budget, version)| self.budgets.get(budget) != Some(version)) {
            None => Ok(()),
            Some((budget, version)) => Err(format!("{budget} was not in force as of position {version}")),
        }
    }

    /// A hold ended.
    fn end(&mut self, recorded: &Recorded, charged: NanoUsd) {
        self.found.open_holds = self.found.open_holds.saturating_sub(1);
        self.charge(recorded, charged);
    }

    fn charge(&mut self, recorded: &Recorded, amount: NanoUsd) {
        if self.from.is_none_or(|from| recorded.recorded_at >= from) {
            self.found.charged_usd = self.found.charged_usd + amount.into();
        }
    }

    /// After the last event: a request may be under way, but not between two events that belong together.
    pub fn finish(self) -> Result<CheckedPart, String> {
        self.requests.finish().map(|()| self.found)
    }
}
