//! The end of a request: its outcome, and the settlement or release of its hold. Each hold ends exactly once.

use super::{Balances, Charge, DecidedEnd, Emitted, EndedHold, Ending, Hold, Outcome, Overflow};
use crate::event::hold::{BudgetAdjusted, BudgetReleased, BudgetSettled};
use crate::event::{self, Inference, Stream};
use crate::money::NanoUsd;

impl Charge {
    /// The amount charged to the windows.
    pub const fn amount(&self) -> NanoUsd {
        match self {
            Self::Settle(charged) => *charged,
            Self::Release { .. } => NanoUsd::ZERO,
        }
    }
}

impl Outcome {
    fn into_fact(self) -> Inference {
        match self {
            Self::Completed(ended) => Inference::Completed(ended),
            Self::Failed(ended) => Inference::Failed(ended),
            Self::Aborted(ended) => Inference::Aborted(ended),
        }
    }
}

impl Balances {
    /// Ends a request. `None` if it has no open hold.
    pub fn end(&mut self, ending: &Ending) -> Option<DecidedEnd> {
        let hold = self.take_open(ending.request_id)?;
        let (charged, brokered) = (ending.charge.amount(), ending.charge.without(ending.own));
        self.move_each(hold.ended(charged, brokered));
        let inference = Stream::inference(ending.request_id);
        let emit = |stream, event| Emitted { stream, context: ending.context.clone(), event };
        let mut events = Vec::with_capacity(ending.attempts.len() + 2);
        for attempt in &ending.attempts {
            events.push(emit(inference.clone(), Inference::AttemptFailed(Box::new(attempt.clone())).into()));
        }
        events.push(emit(inference, ending.outcome.clone().into_fact().into()));
        let alerts = self.announce_each(hold.ended(charged, brokered), &ending.context);
        events.push(emit(Stream::hold(ending.request_id), hold_end(&hold, &ending.charge, brokered).into()));
        self.note_closed(ending.request_id, hold);
        Some(DecidedEnd { events, alerts })
    }

    /// Ends a request whose hold expired and was charged by policy: a correction records the difference to the real figures,
    /// and the earlier charge stays as it is. The hold's windows must have been loaded.
    pub fn end_late(&mut self, ending: &Ending, hold: &EndedHold) -> Result<DecidedEnd, Overflow> {
        let delta = ending.charge.amount().checked_sub(hold.charged).ok_or(Overflow)?;
        let brokered = hold.brokered.as_ref().map(|part| ending.charge.without(ending.own).checked_sub(part.charged));
        let brokered = brokered.map(|delta| delta.ok_or(Overflow)).transpose()?;
        let moved = || hold.corrected(delta, brokered.unwrap_or(NanoUsd::ZERO));
        self.move_each(moved());
        let adjusted = BudgetAdjusted {
            delta_usd: delta,
            budgets: hold.windows.clone(),
            reason: "settled_after_expiry".to_owned(),
            of: ending.request_id,
            price: None,
            request: None,
            brokered: hold.recorded_correction(brokered),
        };
        let alerts = self.announce_each(moved(), &ending.context);
        let (stream, context) = (Stream::hold(ending.request_id), ending.context.clone());
        let event = event::Hold::Adjusted(Box::new(adjusted)).into();
        Ok(DecidedEnd { events: vec![Emitted { stream, context, event }], alerts })
    }
}

fn hold_end(hold: &Hold, charge: &Charge, brokered: NanoUsd) -> event::Hold {
    let charged_usd = matches!(charge, Charge::Settle(_)).then_some(brokered);
    let brokered = hold.recorded_part(charged_usd);
    let (held_usd, budgets) = (hold.held, hold.windows.clone());
    match charge {
        Charge::Settle(charged) => {
            let overrun = charged.checked_sub(held_usd).filter(|above| *above > NanoUsd::ZERO);
            let settled = BudgetSettled { held_usd, charged_usd: *charged, budgets, overrun_usd: overrun, brokered };
            event::Hold::Settled(Box::new(settled))
        }
        Charge::Release { reason } => {
            event::Hold::Released(Box::new(BudgetReleased { held_usd, budgets, reason: reason.clone(), brokered }))
        }
    }
}
