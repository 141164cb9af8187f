//! The requests that changes of prices concern, and what they cost by them, from the events of the log in order. Pure: what it
//! says does not depend on how the log is cut into pages. A request takes time by its calls, and not by the number of changes:
//! what was in force for one call is known for the next one, unless another price began between them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::event::hold::{CorrectedRequest, CorrectedValue};
use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted, InferenceEnded};
use events::event::{Actor, Context, Event, Hold, Inference, Recorded};
use events::ids::{IdMap, RequestId, target_key};
use events::ledger::Revaluation;
use events::money::NanoUsd;
use events::usage::{Usage, UsageSource};

use super::admissions::{Admission, ChangesOfBackend, OUTDATED_PLANS_MAX, OpenAdmissions};
use super::price_history::{BackendId, PastChange, PriceHistory};
use super::prices_at::{ChangeAt, PricesAt};

pub const ACTOR: Actor = Actor::System("revaluation");

/// The position of the log up to which it was read, and what follows from it for some changes of prices.
#[derive(Default)]
pub struct Scan {
    /// Sorted by version.
    changes: Vec<ScannedChange>,
    /// Indexed by backend, as admissions name it.
    backends: HashMap<String, ChangesOfBackend>,
    /// The prices in force at the last request for each backend.
    prices: HashMap<BackendId, ScannedPrices>,
    open: IdMap<RequestId, OpenRequest>,
    /// The corrections that have to be made.
    pub due: Vec<Revaluation>,
}

struct ScannedChange {
    change: PastChange,
    /// The corrections in the log that name it: their number, and their sum in nano-dollars.
    requests: u64,
    delta: i128,
}

/// A request that some of the changes may concern, and that has not ended.
struct OpenRequest {
    admission: Admission,
    context: Context,
    calls: Vec<ChargedCall>,
    failed_calls_cost: NanoUsd,
    /// Whether a failed call was charged although nobody knows what it used.
    has_unknown_call: bool,
}

struct ScannedPrices {
    /// The number of events that they were made of.
    events: usize,
    prices: PricesAt,
    /// The newest one of the scan's changes among them.
    newest: Option<u64>,
}

/// A call that is charged by its tokens.
struct ChargedCall {
    backend: Backend,
    usage: Usage,
    /// The price that it was charged by.
    price_version: u64,
}

/// A call, and the prices at its request's admission; `None` if its backend has had none.
struct PricedCall<'a> {
    call: &'a ChargedCall,
    admission: Admission,
    prices: Option<(BackendId, &'a ScannedPrices)>,
}

impl Scan {
    /// Expects changes in order.
    pub fn of<'a>(changes: impl Iterator<Item = &'a PastChange>) -> Self {
        let (mut scanned, mut of_backends) = (Vec::new(), HashMap::<String, Vec<PastChange>>::new());
        for change in changes {
            scanned.push(ScannedChange { change: change.clone(), requests: 0, delta: 0 });
            let target = target_key(change.provider_id, &change.model);
            of_backends.entry(target).or_default().push(change.clone());
        }
        let of_backend = |(target, changes)| (target, ChangesOfBackend::new(changes));
        let backends = of_backends.into_iter().map(of_backend).collect();
        Self { changes: scanned, backends, ..Self::default() }
    }

    pub fn is_of(&self, version: u64) -> bool {
        self.index_of(version).is_some()
    }

    pub fn changes(&self) -> impl Iterator<Item = &PastChange> {
        self.changes.iter().map(|scanned| &scanned.change)
    }

    fn index_of(&self, version: u64) -> Option<usize> {
        self.changes.binary_search_by_key(&version, |scanned| scanned.change.version).ok()
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
                let index = adjusted.price.and_then(|price| self.index_of(price.version));
                if let Some(scanned) = index.and_then(|index| self.changes.get_mut(index)) {
                    scanned.requests += 1;
                    scanned.delta = scanned.delta.saturating_add(adjusted.delta_usd.nanos().into());
                }
            }
            _ => {}
        }
    }

    /// The corrections in the log that name a version: their number, and their sum, if money can count it.
    pub fn corrected(&self, version: u64) -> (u64, Option<NanoUsd>) {
        let scanned = self.index_of(version).and_then(|index| self.changes.get(index));
        scanned.map_or((0, None), |scanned| (scanned.requests, i64::try_from(scanned.delta).ok().map(NanoUsd::new)))
    }

    /// The changes for which no request that they may concern is open, and none can follow. All events up to this time were
    /// taken.
    pub fn over(&self, read_until: DateTime<Utc>) -> impl Iterator<Item = &PastChange> {
        let open = OpenAdmissions::new(self.open.values().map(|open| open.admission));
        self.changes().filter(move |change| {
            read_until > change.recorded_at + OUTDATED_PLANS_MAX && !open.may_be_concerned_by(change)
        })
    }

    fn admit(&mut self, request: RequestId, recorded: &Recorded, admitted: &InferenceAdmitted) {
        let admission = Admission { position: recorded.position, at: recorded.recorded_at };
        let may_concern = |target| self.backends.get(target).is_some_and(|changes| changes.may_concern(admission));
        if admitted.versions.prices.keys().any(may_concern) {
            let context = recorded.context.clone();
            let open = OpenRequest {
                admission,
                context,
                calls: Vec::new(),
                failed_calls_cost: NanoUsd::ZERO,
                has_unknown_call: false,
            };
            self.open.insert(request, open);
        }
    }

    /// `None` if nothing has to be corrected, or the request was not charged by its tokens.
    fn revalue(
        &mut self,
        request_id: RequestId,
        mut open: OpenRequest,
        ended: &InferenceEnded,
        history: &PriceHistory,
    ) -> Option<Revaluation> {
        open.end(ended)?;
        let backends: Vec<Option<BackendId>> =
            open.calls.iter().map(|call| self.read_prices(call, open.admission, history)).collect();
        let priced = |(call, backend): (_, &Option<BackendId>)| PricedCall {
            call,
            admission: open.admission,
            prices: backend.and_then(|backend| Some((backend, self.prices.get(&backend)?))),
        };
        let calls: Vec<PricedCall<'_>> = open.calls.iter().zip(&backends).map(priced).collect();
        if !calls.iter().any(|call| call.is_concerned_by(self)) {
            return None;
        }
        let Some(value) = newest_value(&calls, history) else {
            tracing::warn!(%request_id, "a request keeps its charge: by the corrected prices it has no cost");
            return None;
        };
        let context = Context { actor: ACTOR, ..open.context };
        let request =
            CorrectedRequest { model: ended.model.clone(), backend: ended.backend.clone(), payer: ended.payer() };
        Some(Revaluation { request_id, context, value, request })
    }

    /// Reads the prices of a call's backend, unless those of the last call are the same.
    fn read_prices(&mut self, call: &ChargedCall, admission: Admission, history: &PriceHistory) -> Option<BackendId> {
        let backend = history.backend(call.backend.provider_id, &call.backend.model)?;
        let events = history.events(backend).len();
        let is_known = |known: &ScannedPrices| known.events == events && known.prices.includes(admission.at);
        if !self.prices.get(&backend).is_some_and(is_known) {
            let prices = history.prices_at(backend, admission.at);
            let newest =
                prices.changes().iter().rev().map(|change| change.version).find(|version| self.is_of(*version));
            self.prices.insert(backend, ScannedPrices { events, prices, newest });
        }
        Some(backend)
    }
}

/// The value by the newest change that has a price for every call, as if each had been taken up at once. Also by one that is
/// complete: it may have found the request at its value, of which nothing is recorded.
fn newest_value(calls: &[PricedCall<'_>], history: &PriceHistory) -> Option<CorrectedValue> {
    let mut before = u64::MAX;
    loop {
        let version = calls.iter().filter_map(|call| call.newest_change(before)).max()?;
        if let Some(cost_usd) = cost(calls, version, history) {
            return Some(CorrectedValue { version, cost_usd });
        }
        before = version;
    }
}

/// The cost of all calls by the prices as of a version; `None` if one of them had no price then, or money cannot count it.
fn cost(calls: &[PricedCall<'_>], version: u64, history: &PriceHistory) -> Option<NanoUsd> {
    calls.iter().try_fold(NanoUsd::ZERO, |sum, call| sum.checked_add(call.cost(version, history)?))
}

impl OpenRequest {
    fn fail(&mut self, attempt: &AttemptFailed) {
        let reported = &attempt.reported;
        let cost = reported.cost_usd.unwrap_or(NanoUsd::ZERO);
        self.has_unknown_call |= reported.is_charged_unknown();
        self.failed_calls_cost = self.failed_calls_cost.checked_add(cost).unwrap_or(NanoUsd::MAX);
        self.charge(Some(&attempt.backend), reported.usage.as_ref(), reported.price_version);
    }

    /// `None` if it was charged for what nobody knows the usage of: by its hold, or by the bound of a call.
    fn end(&mut self, ended: &InferenceEnded) -> Option<()> {
        let is_unknown = ended.usage.as_ref().is_some_and(|usage| usage.source == UsageSource::Unknown);
        if self.has_unknown_call || is_unknown && ended.cost_usd != self.failed_calls_cost {
            return None;
        }
        self.charge(ended.backend.as_ref(), ended.usage.as_ref(), ended.price_version);
        Some(())
    }

    fn charge(&mut self, backend: Option<&Backend>, usage: Option<&Usage>, price_version: Option<u64>) {
        let usage = usage.filter(|usage| usage.source != UsageSource::Unknown);
        if let (Some(backend), Some(usage), Some(price_version)) = (backend, usage, price_version) {
            self.calls.push(ChargedCall { backend: backend.clone(), usage: usage.clone(), price_version });
        }
    }
}

impl PricedCall<'_> {
    /// Whether one of the scan's changes replaced the price of this call.
    fn is_concerned_by(&self, scan: &Scan) -> bool {
        let newest = self.prices.and_then(|(_, prices)| prices.newest);
        newest.is_some_and(|newest| newest > self.admission.position)
            || self.outdating().any(|change| scan.is_of(change.version))
    }

    /// The newest change before a version that replaced the price of this call.
    fn newest_change(&self, before: u64) -> Option<u64> {
        let (_, prices) = self.prices?;
        let (_, after_admission) = prices.prices.changes_around(self.admission.position);
        let known = after_admission.partition_point(|change| change.version < before);
        let outdating = || self.outdating().map(|change| change.version).find(|version| *version < before);
        after_admission[..known].last().map(|change| change.version).or_else(outdating)
    }

    /// The changes before the admission that it was planned without, the newest one first: the call was charged by the price
    /// before them. Later changes have a price of their own for it.
    fn outdating(&self) -> impl Iterator<Item = &ChangeAt> {
        let prices = self.prices.map(|(_, prices)| &prices.prices);
        let position = self.admission.position;
        let at_admission = prices.and_then(|prices| prices.as_of(position));
        let before_admission = prices.map_or(&[][..], |prices| prices.changes_around(position).0);
        let recent =
            before_admission.iter().rev().take_while(|change| self.admission.may_be_outdated(change.recorded_at));
        recent.filter(move |change| change.before == Some(self.call.price_version) && change.after == at_admission)
    }

    /// The cost by the prices as of a version. A call of a tenant's own provider keeps the price that it was charged by: the tenant could
    /// otherwise change what the correction of another price counts above it.
    fn cost(&self, version: u64, history: &PriceHistory) -> Option<NanoUsd> {
        let ChargedCall { usage, price_version, .. } = self.call;
        let (backend, prices) = self.prices?;
        let in_force = if history.is_own(backend) { Some(*price_version) } else { prices.prices.as_of(version) };
        let tariff = history.tariff(backend, in_force?)?;
        tariff.cost(&usage.tokens, usage.service_tier)
    }
}
