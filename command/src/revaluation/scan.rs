//! The requests that changes of prices concern, and what they cost by them, from the events of the log in order. Pure: what it
//! says does not depend on how the log is cut into pages.

use chrono::{DateTime, TimeDelta, Utc};
use events::event::hold::{CorrectedRequest, CorrectedValue};
use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted, InferenceEnded};
use events::event::{Actor, Context, Event, Hold, Inference, Recorded};
use events::ids::{IdMap, RequestId};
use events::ledger::Revaluation;
use events::money::NanoUsd;
use events::usage::{Usage, UsageSource};

use super::price_history::{PastChange, PriceHistory, PriceInForce};

pub const ACTOR: Actor = Actor::System("revaluation");

/// For this long after a change of a price, a request may be admitted by the prices before it: it was planned by them, and then
/// its tokens were counted and it waited for the ledger.
pub const OUTDATED_PLANS_MAX: TimeDelta = TimeDelta::seconds(20);

/// The position of the log up to which it was read, and what follows from it for some changes of prices.
pub struct Scan {
    changes: Vec<ScannedChange>,
    open: IdMap<RequestId, OpenRequest>,
    /// The corrections that have to be made.
    pub due: Vec<Revaluation>,
}

struct ScannedChange {
    change: PastChange,
    /// The backend, as admissions name it.
    target: String,
    /// The corrections in the log that name it: their number, and their sum in nano-dollars.
    requests: u64,
    delta: i128,
}

/// A request that some of the changes may concern, and that has not ended.
struct OpenRequest {
    admission: Admission,
    context: Context,
    calls: Vec<Call>,
    failed_calls_cost: NanoUsd,
}

#[derive(Clone, Copy)]
struct Admission {
    position: u64,
    at: DateTime<Utc>,
}

/// A call that is charged by its tokens.
struct Call {
    backend: Backend,
    usage: Usage,
    /// The price that it was charged by.
    price_version: u64,
}

impl Scan {
    pub fn of<'a>(changes: impl Iterator<Item = &'a PastChange>) -> Self {
        let scanned = |change: &PastChange| ScannedChange {
            change: change.clone(),
            target: format!("{}/{}", change.provider_id, change.model),
            requests: 0,
            delta: 0,
        };
        Self { changes: changes.map(scanned).collect(), open: IdMap::default(), due: Vec::new() }
    }

    pub fn is_of(&self, version: u64) -> bool {
        self.changes.iter().any(|scanned| scanned.change.version == version)
    }

    pub fn changes(&self) -> impl Iterator<Item = &PastChange> {
        self.changes.iter().map(|scanned| &scanned.change)
    }

    /// Takes the next event of the log, up to which the history of prices must have been folded.
    pub fn take(&mut self, recorded: &Recorded, prices: &PriceHistory) {
        let Some(request) = recorded.context.request_id else { return };
        match &recorded.event {
            Event::Inference(Inference::Admitted(admitted)) => self.admit(request, recorded, admitted),
            Event::Inference(Inference::AttemptFailed(attempt)) => {
                if let Some(open) = self.open.get_mut(&request) {
                    open.fail(attempt);
                }
            }
            Event::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
                let revaluation =
                    self.open.remove(&request).and_then(|open| self.revalue(request, open, ended, prices));
                self.due.extend(revaluation);
            }
            Event::Hold(Hold::Adjusted(adjusted)) => {
                let version = adjusted.price.map(|price| price.version);
                if let Some(scanned) = self.changes.iter_mut().find(|scanned| Some(scanned.change.version) == version) {
                    scanned.requests += 1;
                    scanned.delta = scanned.delta.saturating_add(adjusted.delta_usd.nanos().into());
                }
            }
            _ => {}
        }
    }

    /// The corrections in the log that name a version: their number, and their sum, if money can count it.
    pub fn corrected(&self, version: u64) -> (u64, Option<NanoUsd>) {
        let scanned = self.changes.iter().find(|scanned| scanned.change.version == version);
        scanned.map_or((0, None), |scanned| (scanned.requests, i64::try_from(scanned.delta).ok().map(NanoUsd::new)))
    }

    /// Whether no request that the change may concern is open, and none can follow. All events up to this time were taken.
    pub fn is_over(&self, change: &PastChange, read_until: DateTime<Utc>) -> bool {
        read_until > change.recorded_at + OUTDATED_PLANS_MAX
            && !self.open.values().any(|open| change.may_concern(open.admission))
    }

    fn admit(&mut self, request: RequestId, recorded: &Recorded, admitted: &InferenceAdmitted) {
        let admission = Admission { position: recorded.position, at: recorded.recorded_at };
        let is_of = |scanned: &ScannedChange| {
            scanned.change.may_concern(admission) && admitted.versions.prices.contains_key(&scanned.target)
        };
        if self.changes.iter().any(is_of) {
            let context = recorded.context.clone();
            let open = OpenRequest { admission, context, calls: Vec::new(), failed_calls_cost: NanoUsd::ZERO };
            self.open.insert(request, open);
        }
    }

    /// `None` if nothing has to be corrected, or the request was not charged by its tokens.
    fn revalue(
        &self,
        request_id: RequestId,
        mut open: OpenRequest,
        ended: &InferenceEnded,
        prices: &PriceHistory,
    ) -> Option<Revaluation> {
        open.end(ended)?;
        let concerns =
            |change: &PastChange| open.calls.iter().any(|call| change.concerns(call, open.admission, prices));
        if !self.changes().any(concerns) {
            return None;
        }
        // The newest change that has a price for it, as if each had been taken up at once. Also one that is complete: it may
        // have found the request at its value, of which nothing is recorded.
        let mut versions = prices.past_changes().rev().filter(|change| concerns(change)).map(|change| change.version);
        let value = |version| Some(CorrectedValue { version, cost_usd: open.cost(version, prices)? });
        let Some(value) = versions.find_map(value) else {
            tracing::warn!(%request_id, "a request keeps its charge: by the corrected prices it has no cost");
            return None;
        };
        let context = Context { actor: ACTOR, ..open.context };
        let request =
            CorrectedRequest { model: ended.model.clone(), backend: ended.backend.clone(), payer: ended.payer() };
        Some(Revaluation { request_id, context, value, request })
    }
}

impl OpenRequest {
    fn fail(&mut self, attempt: &AttemptFailed) {
        let reported = &attempt.reported;
        let cost = reported.cost_usd.unwrap_or(NanoUsd::ZERO);
        self.failed_calls_cost = self.failed_calls_cost.checked_add(cost).unwrap_or(NanoUsd::MAX);
        self.charge(Some(&attempt.backend), reported.usage.as_ref(), reported.price_version);
    }

    /// `None` if the request was charged by its hold, because nobody knows what it used.
    fn end(&mut self, ended: &InferenceEnded) -> Option<()> {
        let is_unknown = ended.usage.as_ref().is_some_and(|usage| usage.source == UsageSource::Unknown);
        if is_unknown && ended.cost_usd != self.failed_calls_cost {
            return None;
        }
        self.charge(ended.backend.as_ref(), ended.usage.as_ref(), ended.price_version);
        Some(())
    }

    fn charge(&mut self, backend: Option<&Backend>, usage: Option<&Usage>, price_version: Option<u64>) {
        let usage = usage.filter(|usage| usage.source != UsageSource::Unknown);
        if let (Some(backend), Some(usage), Some(price_version)) = (backend, usage, price_version) {
            self.calls.push(Call { backend: backend.clone(), usage: usage.clone(), price_version });
        }
    }

    /// The cost of all calls by the prices as of a version; `None` if one of them had no price then, or money cannot count it.
    fn cost(&self, version: u64, prices: &PriceHistory) -> Option<NanoUsd> {
        self.calls.iter().try_fold(NanoUsd::ZERO, |sum, call| {
            let price = call.price(self.admission.at, version, prices)?;
            sum.checked_add(price.tariff.cost(&call.usage.tokens, call.usage.service_tier)?)
        })
    }
}

impl Call {
    fn price<'a>(&self, at: DateTime<Utc>, as_of: u64, prices: &'a PriceHistory) -> Option<PriceInForce<'a>> {
        prices.in_force(self.backend.provider_id, &self.backend.model, at, as_of)
    }
}

impl PastChange {
    /// Whether the change can concern a request for its backend.
    fn may_concern(&self, admission: Admission) -> bool {
        let is_before = admission.position < self.version;
        admission.at >= self.from && (is_before || admission.at <= self.recorded_at + OUTDATED_PLANS_MAX)
    }

    /// Whether the change replaced the price of this call.
    fn concerns(&self, call: &Call, admission: Admission, prices: &PriceHistory) -> bool {
        let is_backend = call.backend.provider_id == self.provider_id && call.backend.model == self.model;
        if !is_backend || !self.may_concern(admission) {
            return false;
        }
        let version_as_of = |position| call.price(admission.at, position, prices).map(|price| price.version);
        let (before, after) = (version_as_of(self.version - 1), version_as_of(self.version));
        let is_outdated = || {
            // Later changes have a price of their own for it.
            before == Some(call.price_version) && version_as_of(admission.position) == after
        };
        before != after && (admission.position < self.version || is_outdated())
    }
}
