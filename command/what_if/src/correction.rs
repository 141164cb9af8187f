//! Corrections of what requests were charged, which may be recorded long after their end.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use events::event::hold::{BudgetAdjusted, BudgetWindow};
use events::event::inference::Backend;
use events::event::{Context, Event, Inference, Recorded};
use events::ids::{IdSet, RequestId};
use events::ledger::{Charge, EndedHold, Ending};
use events::money::NanoUsd;

use crate::ending::ending;

/// The refused requests that are remembered, so that memory does not grow with the log.
const REFUSED_MAX: usize = 1 << 20;

/// The requests that the rules refused last: what they were charged is corrected in the record alone.
#[derive(Default)]
pub(crate) struct LastRefused {
    requests: IdSet<RequestId>,
    in_order: VecDeque<RequestId>,
}

impl LastRefused {
    pub(crate) fn add(&mut self, request: RequestId) {
        if self.in_order.len() >= REFUSED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.requests.remove(&oldest);
        }
        if self.requests.insert(request) {
            self.in_order.push_back(request);
        }
    }

    pub(crate) fn contains(&self, request: RequestId) -> bool {
        self.requests.contains(&request)
    }
}

/// A request that is corrected, from its own events.
pub(crate) struct Corrected {
    pub(crate) admitted_at: DateTime<Utc>,
    pub(crate) context: Context,
    pub(crate) model: String,
    pub(crate) backend: Option<Backend>,
}

impl Corrected {
    /// `None` if these are not the events of a request that was admitted.
    pub(crate) fn of(life: Vec<Recorded>) -> Option<Self> {
        let mut corrected = None::<Self>;
        for Recorded { recorded_at, context, event, .. } in life {
            match (event, &mut corrected) {
                (Event::Inference(Inference::Admitted(admitted)), none @ None) => {
                    *none = Some(Self { admitted_at: recorded_at, context, model: admitted.model, backend: None });
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
}

/// The correction as the ledger takes it: a late end that charges `delta` more than nothing.
pub(crate) fn late_end(
    adjusted: &BudgetAdjusted,
    context: &Context,
    windows: Vec<BudgetWindow>,
    delta: NanoUsd,
) -> (Ending, EndedHold) {
    (ending(adjusted.of, context, Charge::Settle(delta)), EndedHold { windows, charged: NanoUsd::ZERO })
}
