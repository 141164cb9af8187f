//! The history of a hold that has ended, folded from the events on its stream.

use events::event::hold::BrokeredPart;
use events::event::{Event, Hold, Recorded};
use events::ledger::{BrokeredCharge, EndedHold, Overflow};
use events::money::NanoUsd;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HoldHistory {
    /// The position of the last event.
    pub(super) position: u64,
    /// The total charge; `None` if the hold was released, or expired without a charge. An error if the
    /// total cannot be counted.
    pub(super) charged: Result<Option<NanoUsd>, Overflow>,
    /// The charge of its expiry, until an adjustment corrects it.
    pub(super) expired: Option<EndedHold>,
    /// Its first charge by usage and price, with its windows; `None` if it ended in another way.
    pub(super) settled_in: Option<EndedHold>,
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
        let Some((charged, mut settled)) = charged.zip(self.settled_in.clone()) else { return Ok(None) };
        if let Some(part) = &mut settled.brokered {
            // Corrections leave the tenant's own part as it is.
            let own = settled.charged.checked_sub(part.charged).ok_or(Overflow)?;
            part.charged = charged.checked_sub(own).ok_or(Overflow)?;
        }
        Ok(Some(EndedHold { charged, ..settled }))
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
                self.settled_in = Some(EndedHold {
                    windows: settled.budgets.clone(),
                    charged: settled.charged_usd,
                    brokered: charged_part(settled.brokered.as_deref()),
                });
            }
            Hold::Released(_) => self.charged = Ok(None),
            Hold::Expired(expired) => {
                self.charged = Ok(unless_zero(expired.charged_usd));
                self.expired = Some(EndedHold {
                    windows: expired.budgets.clone(),
                    charged: expired.charged_usd,
                    brokered: charged_part(expired.brokered.as_deref()),
                });
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

fn charged_part(part: Option<&BrokeredPart>) -> Option<BrokeredCharge> {
    let BrokeredPart { charged_usd, budgets, .. } = part?;
    Some(BrokeredCharge { windows: budgets.clone(), charged: charged_usd.unwrap_or(NanoUsd::ZERO) })
}
