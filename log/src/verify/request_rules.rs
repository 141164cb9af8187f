//! The rules of requests that need no event of others but prices: life cycles, costs, charges and their corrections.

use events::event::hold::BudgetReserved;
use events::event::{Event, Hold, Inference, Recorded, Resource};

use super::Depth;
use super::costs;
use super::open_requests::{OpenRequest, OpenRequests, must_correct};
use super::references::References;
use super::revaluations::Revaluations;

#[derive(Default)]
pub(super) struct RequestRules {
    requests: OpenRequests,
    pub(super) references: References,
    revaluations: Revaluations,
}

impl RequestRules {
    /// No event comes between two that belong together.
    pub(super) fn must_continue(&mut self, recorded: &Recorded) -> Result<(), String> {
        self.requests.must_continue(recorded)
    }

    /// Checks any event but a hold. `before` is what was recorded of its request, if it corrects a charge.
    pub(super) fn check(&mut self, recorded: &Recorded, before: &[Recorded], depth: Depth) -> Result<(), String> {
        match &recorded.event {
            Event::Inference(Inference::Admitted(admitted)) => self.requests.begin(recorded, admitted),
            Event::Inference(Inference::AttemptFailed(attempt)) => {
                let open = self.requests.attempt(recorded, attempt, &self.references)?;
                costs::failed_call_must_be_right(attempt, open, &self.references, depth)
            }
            Event::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
                let open = self.requests.end(recorded, ended, &self.references, depth)?;
                costs::must_be_right(ended, open, &self.references, depth)
            }
            Event::Hold(Hold::Settled(settled)) => self.requests.settle(recorded, settled),
            Event::Hold(Hold::Released(released)) => self.requests.release(recorded, released),
            Event::Hold(Hold::Expired(expired)) => self.requests.expire(recorded, expired),
            Event::Hold(Hold::Adjusted(adjusted)) => match &adjusted.price {
                Some(value) => self.revaluations.must_correct(recorded, adjusted, value, before, depth),
                None => must_correct(recorded, adjusted, before),
            },
            Event::Inference(Inference::Refused(refused)) => self.requests.refuse(recorded, refused),
            Event::Resource(fact) => self.record(recorded, fact),
            // Of the others, only order and balances are checked.
            _ => Ok(()),
        }
    }

    /// Checks a hold, and returns its request.
    pub(super) fn hold(&mut self, recorded: &Recorded, reserved: &BudgetReserved) -> Result<&OpenRequest, String> {
        let open = self.requests.hold(recorded, reserved)?;
        let is_own = |backend: &String| self.references.is_own(&open.admitted, backend);
        if reserved.brokered.is_some() && !open.admitted.versions.prices.keys().any(is_own) {
            return Err(
                "no provider that may serve it is its tenant's own, and another amount is held above it".to_owned()
            );
        }
        Ok(open)
    }

    fn record(&mut self, recorded: &Recorded, fact: &Resource) -> Result<(), String> {
        self.references.record(recorded, fact);
        self.revaluations.record(recorded, fact)
    }

    /// At the end, requests may be under way, but not between two events that belong together.
    pub(super) fn finish(&self) -> Result<(), String> {
        self.requests.finish()
    }
}
