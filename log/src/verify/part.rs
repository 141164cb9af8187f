//! The check of a part of a log: the events of one tenant, and the prices, budgets and rate limits that were in force for it.
//! Whatever does not need the other events is checked by the rules of the whole log: life cycles, costs, charges and their
//! corrections.
//!
//! What other tenants did is not there. So budgets are not summed up: an admission must only name the versions that were in force.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use events::event::inference::InferenceAdmitted;
use events::event::{Change, Event, Hold, Inference, Recorded, Resource, Stream, StreamKind};
use events::ids::{BudgetId, RequestId};
use events::money::{NanoUsd, NanoUsdSum};

use super::Depth;
use super::order::must_be_on_its_stream;
use super::request_rules::RequestRules;

/// How many events a request whose charge was corrected may have: each correction is checked against all before it.
const HISTORY_MAX: usize = 10_000;

/// The findings in a sound part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedPart {
    pub events: u64,
    /// The requests that were admitted from the beginning of the range on.
    pub requests: u64,
    pub open_holds: u64,
    /// Charges and corrections, from the beginning of the range on.
    pub charged_usd: NanoUsdSum,
}

/// Checks the events of a part in the order of their positions.
pub struct PartCheck {
    /// Requests and charges count from this time on.
    from: Option<DateTime<Utc>>,
    /// Requests whose charge was corrected, so that what happened before is needed again.
    corrected: BTreeSet<RequestId>,
    before: BTreeMap<RequestId, Vec<Recorded>>,
    last: Option<(u64, DateTime<Utc>)>,
    sequences: HashMap<Stream, u64>,
    rules: RequestRules,
    /// The position of the newest event of each budget that is open.
    budgets: BTreeMap<BudgetId, u64>,
    found: CheckedPart,
}

impl PartCheck {
    pub fn new(from: Option<DateTime<Utc>>, corrected: BTreeSet<RequestId>) -> Self {
        Self {
            from,
            corrected,
            before: BTreeMap::new(),
            last: None,
            sequences: HashMap::new(),
            rules: RequestRules::default(),
            budgets: BTreeMap::new(),
            found: CheckedPart { events: 0, requests: 0, open_holds: 0, charged_usd: NanoUsdSum::ZERO },
        }
    }

    /// The error says what is wrong with the event.
    pub fn check(&mut self, recorded: &Recorded) -> Result<(), String> {
        self.must_follow(recorded)?;
        self.rules.must_continue(recorded)?;
        match &recorded.event {
            Event::Inference(Inference::Admitted(admitted)) => {
                self.rules.references.parties_and_prices_must_fit(recorded, admitted)?;
                self.budgets_must_be_in_force(admitted)?;
            }
            Event::Hold(Hold::Reserved(reserved)) => drop(self.rules.hold(recorded, reserved)?),
            Event::Resource(Resource::Budget(Change::Ended(budget))) => drop(self.budgets.remove(budget)),
            Event::Resource(Resource::Budget(change)) => drop(self.budgets.insert(change.id(), recorded.position)),
            _ => {}
        }
        let request = recorded.context.request_id.filter(|request| self.corrected.contains(request));
        let before = request.and_then(|request| self.before.get(&request)).map(Vec::as_slice).unwrap_or_default();
        self.rules.check(recorded, before, Depth::Gateway)?;
        if let Some(request) = request {
            let history = self.before.entry(request).or_default();
            if history.len() == HISTORY_MAX {
                return Err(format!("{request} has more than {HISTORY_MAX} events"));
            }
            history.push(recorded.clone());
        }
        self.count(recorded);
        Ok(())
    }

    fn count(&mut self, recorded: &Recorded) {
        self.found.events += 1;
        let is_in_range = self.from.is_none_or(|from| recorded.recorded_at >= from);
        let (ended, charged) = match &recorded.event {
            Event::Inference(Inference::Admitted(_)) => {
                self.found.requests += u64::from(is_in_range);
                return;
            }
            Event::Hold(Hold::Reserved(_)) => {
                self.found.open_holds += 1;
                return;
            }
            Event::Hold(Hold::Settled(settled)) => (true, settled.charged_usd),
            Event::Hold(Hold::Released(_)) => (true, NanoUsd::ZERO),
            Event::Hold(Hold::Expired(expired)) => (true, expired.charged_usd),
            Event::Hold(Hold::Adjusted(adjusted)) => (false, adjusted.delta_usd),
            _ => return,
        };
        self.found.open_holds = self.found.open_holds.saturating_sub(u64::from(ended));
        if is_in_range {
            self.found.charged_usd = self.found.charged_usd + charged.into();
        }
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

    fn budgets_must_be_in_force(&self, admitted: &InferenceAdmitted) -> Result<(), String> {
        let mut versions = admitted.versions.budgets.iter();
        match versions.find(|(budget, version)| self.budgets.get(budget) != Some(version)) {
            None => Ok(()),
            Some((budget, version)) => Err(format!("{budget} was not in force as of position {version}")),
        }
    }

    /// After the last event: a request may be under way, but not between two events that belong together.
    pub fn finish(self) -> Result<CheckedPart, String> {
        self.rules.finish().map(|()| self.found)
    }
}
