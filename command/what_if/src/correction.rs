//! Corrections of what requests were charged, which may be recorded long after their end.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use events::event::hold::{BudgetAdjusted, BudgetWindow};
use events::event::inference::Backend;
use events::event::{Context, Event, Inference, Recorded};
use events::ids::RequestId;
use events::ledger::{Charge, EndedHold, Ending};
use events::money::NanoUsd;

use crate::ending::ending;

/// The requests that are remembered, so that memory does not grow with the log.
const REMEMBERED_MAX: usize = 1 << 20;

/// What a later correction has to know of the last requests of one kind.
pub(crate) struct LastRequests<T> {
    values: HashMap<RequestId, T>,
    in_order: VecDeque<RequestId>,
}

impl<T> Default for LastRequests<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), in_order: VecDeque::new() }
    }
}

impl<T> LastRequests<T> {
    pub(crate) fn add(&mut self, request: RequestId, value: T) {
        if self.in_order.len() >= REMEMBERED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.values.remove(&oldest);
        }
        if self.values.insert(request, value).is_none() {
            self.in_order.push_back(request);
        }
    }

    pub(crate) fn get(&self, request: RequestId) -> Option<&T> {
        self.values.get(&request)
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
