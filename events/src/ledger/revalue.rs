//! The correction of a charge by a price that was corrected later. The charge itself and earlier corrections stay as they are.

use super::{Balances, DecidedEnd, Emitted, EndedHold, Overflow};
use crate::event::hold::{BudgetAdjusted, CorrectedRequest, CorrectedValue};
use crate::event::{self, Context, Stream};
use crate::ids::RequestId;
use crate::money::NanoUsd;

/// The value of a request by a corrected price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revaluation {
    pub request_id: RequestId,
    /// The request's parties, and the actor that corrects it.
    pub context: Context,
    pub value: CorrectedValue,
    pub request: CorrectedRequest,
}

impl Balances {
    /// Corrects what a request was charged so far, in the windows of its hold, which must have been loaded. `None` if it was
    /// charged this much.
    pub fn revalue(&mut self, revaluation: &Revaluation, charged: &EndedHold) -> Result<Option<DecidedEnd>, Overflow> {
        let Revaluation { request_id, context, value, request } = revaluation;
        let delta = value.cost_usd.checked_sub(charged.charged).ok_or(Overflow)?;
        if delta == NanoUsd::ZERO {
            return Ok(None);
        }
        // Prices of the tenant's own providers are never corrected, and the value has the calls to them as they were charged: all of the
        // difference counts above the tenant too.
        self.move_each(charged.corrected(delta, delta));
        let adjusted = BudgetAdjusted {
            delta_usd: delta,
            budgets: charged.windows.clone(),
            reason: BudgetAdjusted::PRICE_CORRECTED.to_owned(),
            of: *request_id,
            price: Some(*value),
            request: Some(Box::new(request.clone())),
            brokered: charged.recorded_correction(Some(delta)),
        };
        let alerts = self.announce_each(charged.corrected(delta, delta), context);
        let event = event::Hold::Adjusted(Box::new(adjusted)).into();
        let emitted = Emitted { stream: Stream::hold(*request_id), context: context.clone(), event };
        Ok(Some(DecidedEnd { events: vec![emitted], alerts }))
    }
}
