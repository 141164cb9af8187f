//! The history of a hold that has ended, folded from the events on its stream.

use crate::event::hold::BudgetWindow;
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
    /// The windows in which it was charged by usage and price; `None` if it ended in another way.
    pub(super) settled_in: Option<Vec<BudgetWindow>>,
    /// The version of the price that corrected it last; 0 if none did.
    pub(super) revalued_by: u64,
}

impl Default for HoldHistory {
    fn default() -> Self {
        Self { position: 0, charged: Ok(None), expired: None, settled_in: None, revalued_by: 0 }
    }
}

impl HoldHistory {
    pub(super) const fn is_end(event: &Event) -> bool {
        matches!(event, Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_) | Hold::Adjusted(_)))
    }

    /// The present charge of a settled hold, and its windows; `None` if the hold ended in another way.
    pub(super) fn settled(&self) -> Result<Option<EndedHold>, Overflow> {
        let charged = self.charged?;
        Ok(charged.zip(self.settled_in.clone()).map(|(charged, windows)| EndedHold { windows, charged }))
    }

    /// Folds the next event of its stream.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        (self.position, self.expired) = (recorded.position, None);
        let Event::Hold(hold) = &recorded.event else { return };
        let unless_zero = |amount| Some(amount).filter(|amount| *amount != NanoUsd::ZERO);
        match hold {
            Hold::Reserved(_) => {}
            Hold::Settled(settled) => {
                self.charged = Ok(Some(settled.charged_usd));
                self.settled_in = Some(settled.budgets.clone());
            }
            Hold::Released(_) => self.charged = Ok(None),
            Hold::Expired(expired) => {
                self.charged = Ok(unless_zero(expired.charged_usd));
                self.expired = Some(EndedHold { windows: expired.budgets.clone(), charged: expired.charged_usd });
            }
            Hold::Adjusted(adjusted) => {
                self.revalued_by = adjusted.price.map_or(self.revalued_by, |price| price.version.max(self.revalued_by));
                self.charged = self.charged.and_then(|before| match before {
                    None => Ok(unless_zero(adjusted.delta_usd)),
                    Some(before) => before.checked_add(adjusted.delta_usd).map(Some).ok_or(Overflow),
                });
            }
        }
    }
}
