//! The history of a hold that has ended, folded from the events on its stream.

use super::LogError;
use crate::event::{Event, Hold, Recorded};
use crate::ledger::{EndedHold, Overflow};
use crate::money::NanoUsd;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HoldHistory {
    /// The position of the last event.
    pub(super) position: u64,
    charged: Charged,
    /// The charge of its expiry, until an adjustment corrects it.
    pub(super) expired: Option<EndedHold>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Charged {
    #[default]
    Nothing,
    Amount(NanoUsd),
    Uncountable,
}

impl HoldHistory {
    pub(super) const fn is_end(event: &Event) -> bool {
        matches!(event, Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_) | Hold::Adjusted(_)))
    }

    /// Folds the next event of its stream.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        (self.position, self.expired) = (recorded.position, None);
        let Event::Hold(hold) = &recorded.event else { return };
        match hold {
            Hold::Reserved(_) => {}
            Hold::Settled(settled) => self.charged = Charged::Amount(settled.charged_usd),
            Hold::Released(_) => self.charged = Charged::Nothing,
            Hold::Expired(expired) => {
                self.charged = Charged::of(expired.charged_usd);
                self.expired = Some(EndedHold { windows: expired.budgets.clone(), charged: expired.charged_usd });
            }
            Hold::Adjusted(adjusted) => self.charged = self.charged.adjusted_by(adjusted.delta_usd),
        }
    }

    /// The total charge; `None` if the hold was released.
    ///
    /// Errors: the total overflows.
    pub(super) fn charged(&self) -> Result<Option<NanoUsd>, LogError> {
        match self.charged {
            Charged::Nothing => Ok(None),
            Charged::Amount(amount) => Ok(Some(amount)),
            Charged::Uncountable => Err(Overflow.into()),
        }
    }
}

impl Charged {
    /// The charge of an expired hold; zero counts as released.
    fn of(amount: NanoUsd) -> Self {
        if amount == NanoUsd::ZERO { Self::Nothing } else { Self::Amount(amount) }
    }

    fn adjusted_by(self, delta: NanoUsd) -> Self {
        match self {
            Self::Nothing => Self::of(delta),
            Self::Amount(before) => before.checked_add(delta).map_or(Self::Uncountable, Self::Amount),
            Self::Uncountable => Self::Uncountable,
        }
    }
}
