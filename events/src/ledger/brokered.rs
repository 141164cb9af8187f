//! The brokered part of a request: what counts in budgets above its tenant if some of its providers are the tenant's own.
//!
//! A tenant sets the prices of its own providers, and these report what tokens they like. Both are the tenant's word, for which it pays
//! with its own budgets and not with those that others share: of such a request, a budget above the tenant counts only what the other
//! providers cost.

use serde::{Deserialize, Serialize};

use super::{Admission, Charge, EndedHold, Hold};
use crate::event::admin::Scope;
use crate::event::hold::{BrokeredCorrection, BrokeredPart, BudgetWindow};
use crate::money::{CostLine, NanoUsd, NanoUsdSum};

/// The bound of a request that has targets of its tenant's own, over all of its other targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokeredBound {
    /// The upper bound on their cost.
    pub held: NanoUsd,
    /// The same by output cap, for lower ones.
    pub line: CostLine,
    /// Whether its user is one of another tenant: then the budgets of its user and key are not this tenant's either.
    pub is_guest: bool,
}

/// The part of an open hold in the windows of budgets above its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokeredHold {
    pub held: NanoUsd,
    pub windows: Vec<BudgetWindow>,
}

/// The part of a charge in the windows of budgets above its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokeredCharge {
    pub windows: Vec<BudgetWindow>,
    pub charged: NanoUsd,
}

/// The amounts that a decision moves in some windows.
pub(super) struct Moved<'a> {
    pub(super) windows: &'a [BudgetWindow],
    pub(super) settled: NanoUsd,
    pub(super) released: NanoUsd,
}

impl Admission {
    /// The amount that the request would hold of a budget of this owner; `None` if nothing of it counts there.
    pub fn wanted_of(&self, owner: Scope) -> Option<NanoUsd> {
        let Wanted { all, brokered } = Wanted::of(self);
        match self.brokered.filter(|bound| owner.is_above_tenant(bound.is_guest)) {
            Some(_) => Some(brokered).filter(|brokered| *brokered != NanoUsd::ZERO),
            None => Some(all),
        }
    }
}

/// The amounts that a request would hold.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) all: NanoUsd,
    /// The amount above its tenant.
    pub(super) brokered: NanoUsd,
}

impl Wanted {
    /// The amounts for its cap.
    pub(super) fn of(admission: &Admission) -> Self {
        let all = admission.held;
        Self { all, brokered: admission.brokered.map_or(all, |bound| bound.held.min(all)) }
    }

    /// The amounts for a lower cap, for which the ledger holds so much in all.
    pub(super) fn under(admission: &Admission, cap: u64, all: NanoUsd) -> Self {
        let brokered = admission.brokered.and_then(|bound| bound.line.at(cap));
        Self { all, brokered: brokered.map_or(all, |brokered| brokered.min(all)) }
    }
}

impl Hold {
    /// Its amounts, each with the windows in which it is held.
    pub(super) fn parts(&self) -> impl Iterator<Item = (NanoUsdSum, &[BudgetWindow])> {
        let brokered = self.brokered.as_deref().map(|part| (NanoUsdSum::from(part.held), part.windows.as_slice()));
        [(NanoUsdSum::from(self.held), self.windows.as_slice())].into_iter().chain(brokered)
    }

    /// The amounts that its end moves: all that is charged, and the brokered part of it.
    pub(super) fn ended(&self, charged: NanoUsd, brokered: NanoUsd) -> impl Iterator<Item = Moved<'_>> {
        let all = Moved { windows: &self.windows, settled: charged, released: self.held };
        let part = self.brokered.as_deref();
        let part = part.map(|part| Moved { windows: &part.windows, settled: brokered, released: part.held });
        [all].into_iter().chain(part)
    }

    /// Its brokered part as its end records it; `None` for the charge of one that is released.
    pub(super) fn recorded_part(&self, charged_usd: Option<NanoUsd>) -> Option<Box<BrokeredPart>> {
        let BrokeredHold { held, windows } = self.brokered.as_deref()?;
        Some(Box::new(BrokeredPart { held_usd: *held, charged_usd, budgets: windows.clone() }))
    }
}

impl EndedHold {
    /// All windows in which it was charged.
    pub fn all_windows(&self) -> impl Iterator<Item = &BudgetWindow> {
        self.windows.iter().chain(self.brokered.iter().flat_map(|part| &part.windows))
    }

    /// The amounts that its correction moves.
    pub(super) fn corrected(&self, delta: NanoUsd, brokered: NanoUsd) -> impl Iterator<Item = Moved<'_>> {
        let moved = |windows, settled| Moved { windows, settled, released: NanoUsd::ZERO };
        let part = self.brokered.as_ref().map(|part| moved(part.windows.as_slice(), brokered));
        [moved(self.windows.as_slice(), delta)].into_iter().chain(part)
    }

    /// Its brokered part as a correction records it.
    pub(super) fn recorded_correction(&self, delta: Option<NanoUsd>) -> Option<Box<BrokeredCorrection>> {
        let (part, delta_usd) = self.brokered.as_ref().zip(delta)?;
        Some(Box::new(BrokeredCorrection { delta_usd, budgets: part.windows.clone() }))
    }
}

impl Charge {
    /// The charge without what the tenant says of its own providers.
    pub(super) fn without(&self, own: NanoUsd) -> NanoUsd {
        self.amount().checked_sub(own).unwrap_or(NanoUsd::ZERO)
    }
}
