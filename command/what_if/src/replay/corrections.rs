//! Corrections of what requests were charged, which may be recorded long after their end.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use events::event::hold::{BudgetAdjusted, BudgetWindow};
use events::event::inference::{Backend, InferenceAdmitted};
use events::event::{Context, Event, Inference, Recorded};
use events::ids::RequestId;
use events::ledger::{BrokeredCharge, Charge, EndedHold, Ending};
use events::money::NanoUsd;

use super::{Replay, unsound};
use crate::ending::ending;
use crate::pricing::{Pricing, scaled};
use crate::report::Party;
use crate::{LifeOf, WhatIfError};

/// The requests that are remembered, so that memory does not grow with the log.
const REMEMBERED_MAX: usize = 1 << 20;

/// The data that a later correction needs about the last requests of one kind.
pub(super) struct LastRequests<T> {
    values: HashMap<RequestId, T>,
    in_order: VecDeque<RequestId>,
}

impl<T> Default for LastRequests<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), in_order: VecDeque::new() }
    }
}

impl<T> LastRequests<T> {
    pub(super) fn add(&mut self, request: RequestId, value: T) {
        if self.in_order.len() >= REMEMBERED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.values.remove(&oldest);
        }
        if self.values.insert(request, value).is_none() {
            self.in_order.push_back(request);
        }
    }

    pub(super) fn get(&self, request: RequestId) -> Option<&T> {
        self.values.get(&request)
    }
}

/// A hold that expired and was charged, as recorded and under the rules. What its request used is not recorded: a cost that becomes known
/// later is priced in the proportion of the bounds.
#[derive(Clone, Copy)]
pub(super) struct ChargedHold {
    pub recorded: NanoUsd,
    /// The bound that the request asks for under the rules: more than `ruled` if it was shortened.
    pub bound: NanoUsd,
    pub ruled: NanoUsd,
}

/// A request that is corrected, from its own events.
pub(super) struct Corrected {
    pub(super) admitted_at: DateTime<Utc>,
    pub(super) context: Context,
    pub(super) admitted: Box<InferenceAdmitted>,
    pub(super) backend: Option<Backend>,
}

impl Corrected {
    /// `None` if these are not the events of a request that was admitted.
    pub(super) fn of(life: Vec<Recorded>) -> Option<Self> {
        let mut corrected = None::<Self>;
        for Recorded { recorded_at, context, event, .. } in life {
            match (event, &mut corrected) {
                (Event::Inference(Inference::Admitted(admitted)), none @ None) => {
                    *none = Some(Self { admitted_at: recorded_at, context, admitted, backend: None });
                }
                (
                    Event::Inference(Inference::Completed(end) | Inference::Failed(end) | Inference::Aborted(end)),
                    Some(corrected),
                ) => corrected.backend = end.backend,
                _ => {}
            }
        }
        corrected
    }

    /// Whether it cost what its tenant's own providers say: the one that served it or, if that is not known, each that it could call.
    fn is_own(&self, pricing: &Pricing) -> bool {
        let own = pricing.own_backends(&self.admitted);
        match &self.backend {
            Some(backend) => own.contains(&backend.key()),
            None => !own.is_empty() && own.len() == self.admitted.versions.prices.len(),
        }
    }
}

/// The correction as the ledger takes it: a late end that charges `delta` more than nothing in these windows, and its part of it in those
/// above the tenant, if it has one: nothing, if none is recorded.
pub(super) fn late_end(
    adjusted: &BudgetAdjusted,
    context: &Context,
    windows: Vec<BudgetWindow>,
    above: Option<Vec<BudgetWindow>>,
    delta: NanoUsd,
) -> (Ending, EndedHold) {
    let brokered = above.map(|windows| BrokeredCharge { windows, charged: NanoUsd::ZERO });
    let own = match &adjusted.brokered {
        Some(part) if delta == adjusted.delta_usd => delta.checked_sub(part.delta_usd).unwrap_or(NanoUsd::ZERO),
        // Under the rules it is another amount: then all of it is of the one kind or of the other.
        Some(part) if part.delta_usd != NanoUsd::ZERO => NanoUsd::ZERO,
        None if brokered.is_none() => NanoUsd::ZERO,
        Some(_) | None => delta,
    };
    let hold = EndedHold { windows, charged: NanoUsd::ZERO, brokered };
    (ending(adjusted.of, context, Charge::Settle(delta), own), hold)
}

impl Replay<'_> {
    /// A correction. Both sides get it, unless the rules have made it void.
    pub(super) fn adjusted(
        &mut self,
        recorded: &Recorded,
        adjusted: &BudgetAdjusted,
        life: LifeOf<'_>,
    ) -> Result<(), WhatIfError> {
        if self.ruled.is_none() {
            return Ok(());
        }
        let corrected = Corrected::of(life(adjusted.of)?);
        let corrected = corrected.ok_or_else(|| unsound(recorded, format!("{} was not admitted", adjusted.of)))?;
        let is_counted = self.period.includes(corrected.admitted_at);
        let is_void = is_counted
            && (self.refused.get(adjusted.of).is_some()
                || (adjusted.price.is_some()
                    && self.pricing.changes(&corrected.admitted.model, corrected.backend.as_ref())));
        let ruled = match self.charged_holds.get(adjusted.of) {
            _ if is_void => NanoUsd::ZERO,
            // The request ended after its hold had expired: only what it cost in all is known, not its tokens.
            Some(hold) if adjusted.price.is_none() => {
                late_delta(adjusted.delta_usd, *hold).ok_or(WhatIfError::Overflow { position: recorded.position })?
            }
            _ => adjusted.delta_usd,
        };
        if is_counted {
            let party = Party::new(&corrected.context, Some(&corrected.admitted.model));
            self.report.count(&party, |figures| figures.charge(adjusted.delta_usd, ruled));
        }
        if is_void || self.period.has_ended(recorded.recorded_at) {
            return Ok(());
        }
        let mut windows = adjusted.budgets.clone();
        let mut above = match &adjusted.brokered {
            Some(part) => Some(part.budgets.clone()),
            // No budget above the tenant bound it, but added ones may.
            None => corrected.is_own(&self.pricing).then(Vec::new),
        };
        if is_counted {
            let request = corrected.admitted.scope_subject(&recorded.context);
            let is_guest = self.tables.is_guest(&request.chain);
            for (owner, window) in self.rules.budgets.added_windows(&request, corrected.admitted_at) {
                let is_above = owner.is_above_tenant(is_guest);
                above.as_mut().filter(|_| is_above).unwrap_or(&mut windows).push(window);
            }
        }
        let (late, hold) = late_end(adjusted, &recorded.context, windows, above, ruled);
        if let Some(balances) = &mut self.ruled {
            let _ =
                balances.end_late(&late, &hold).map_err(|_| WhatIfError::Overflow { position: recorded.position })?;
        }
        Ok(())
    }
}

/// The correction of a charged hold under the rules. `None` if money cannot count it.
fn late_delta(delta: NanoUsd, hold: ChargedHold) -> Option<NanoUsd> {
    let cost = scaled(hold.recorded.checked_add(delta)?, hold.recorded, hold.bound)?;
    // A request that was shortened costs at most what it then held.
    let cost = if hold.ruled < hold.bound { cost.min(hold.ruled) } else { cost };
    cost.checked_sub(hold.ruled)
}
