//! The history of a hold that has ended, folded from the events on its stream.

use crate::event::{Event, Hold, Recorded};
use crate::ledger::{EndedHold, Overflow};
use crate::money::NanoUsd;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HoldHistory {
    /// The position of the last event.
    pub(super) position: u64,
    /// The total charge; `None` if the hold was released, or expired without a charge. An error if the
    /// total cannot be counted.
    pub(super) charged: Result<Option<NanoUsd>, Overflow>,
    /// The charge of its expiry, until an adjustment corrects it.
    pub(super) expired: Option<EndedHold>,
}

impl Default for HoldHistory {
    fn default() -> Self {
        Self { position: 0, charged: Ok(None), expired: None }
    }
}

impl HoldHistory {
    pub(super) const fn is_end(event: &Event) -> bool {
        matches!(event, Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_) | Hold::Adjusted(_)))
    }

    /// Folds the next event of its stream.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        (self.position, self.expired) = (recorded.position, None);
        let Event::Hold(hold) = &recorded.event else { return };
        let unless_zero = |amount| Some(amount).filter(|amount| *amount != NanoUsd::ZERO);
        match hold {
            Hold::Reserved(_) => {}
            Hold::Settled(settled) => self.charged = Ok(Some(settled.charged_usd)),
            Hold::Released(_) => self.charged = Ok(None),
            Hold::Expired(expired) => {
                self.charged = Ok(unless_zero(expired.charged_usd));
                self.expired = Some(EndedHold { windows: expired.budgets.clone(), charged: expired.charged_usd });
            }
            Hold::Adjusted(adjusted) => {
                self.charged = self.charged.and_then(|before| match before {
                    None => Ok(unless_zero(adjusted.delta_usd)),
                    Some(before) => before.checked_add(adjusted.delta_usd).map(Some).ok_or(Overflow),
                });
            }
        }
    }
}
