//! Events of one hold on money. Stream `hold-{request_id}`: reserved is 1 and its end is 2, so that it can end only once.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::family::family;
use super::inference::{Backend, Payer};
use crate::ids::{BudgetId, RequestId};
use crate::money::NanoUsd;
use crate::time::wire;

family! {
    /// Events of one hold on money.
    Hold {
        Reserved(BudgetReserved) "budget.reserved" v 1 in set 1 at First;
        Settled(BudgetSettled) "budget.settled" v 1 in set 1 at Later;
        Released(BudgetReleased) "budget.released" v 1 in set 1 at Later;
        Expired(BudgetExpired) "budget.expired" v 1 in set 1 at Later;
        Adjusted(BudgetAdjusted) "budget.adjusted" v 1 in set 1 at Later;
    }
}

/// The amounts that an event of a hold moves in each of its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement<'a> {
    pub windows: &'a [BudgetWindow],
    /// Added to the settled amount; a correction can be negative.
    pub settled: NanoUsd,
    /// Added to the held amount.
    pub held: NanoUsd,
    /// Subtracted from the held amount.
    pub released: NanoUsd,
}

impl Hold {
    /// Its movements: in the windows that count all of the request, and in those that count only its brokered part.
    pub fn movements(&self) -> impl Iterator<Item = Movement<'_>> {
        [Some(self.movement()), self.brokered_movement()].into_iter().flatten()
    }

    /// The movement in the windows that count all of the request.
    pub fn movement(&self) -> Movement<'_> {
        let none = NanoUsd::ZERO;
        let (windows, settled, held, released) = match self {
            Self::Reserved(hold) => (&hold.budgets, none, hold.held_usd, none),
            Self::Settled(end) => (&end.budgets, end.charged_usd, none, end.held_usd),
            Self::Expired(end) => (&end.budgets, end.charged_usd, none, end.held_usd),
            Self::Released(end) => (&end.budgets, none, none, end.held_usd),
            Self::Adjusted(correction) => (&correction.budgets, correction.delta_usd, none, none),
        };
        Movement { windows, settled, held, released }
    }

    /// The movement in the windows that count only the request's brokered part; `None` if there are none.
    pub fn brokered_movement(&self) -> Option<Movement<'_>> {
        let none = NanoUsd::ZERO;
        let (part, is_begun) = match self {
            Self::Reserved(hold) => (hold.brokered.as_deref()?, true),
            Self::Settled(end) => (end.brokered.as_deref()?, false),
            Self::Expired(end) => (end.brokered.as_deref()?, false),
            Self::Released(end) => (end.brokered.as_deref()?, false),
            Self::Adjusted(correction) => {
                let BrokeredCorrection { delta_usd, budgets } = correction.brokered.as_deref()?;
                return Some(Movement { windows: budgets, settled: *delta_usd, held: none, released: none });
            }
        };
        let (held, released) = if is_begun { (part.held_usd, none) } else { (none, part.held_usd) };
        Some(Movement { windows: &part.budgets, settled: part.charged_usd.unwrap_or(none), held, released })
    }

    /// The windows that it moves money in.
    pub fn windows(&self) -> Cow<'_, [BudgetWindow]> {
        let all = self.movement().windows;
        match self.brokered_movement() {
            Some(brokered) => Cow::Owned([all, brokered.windows].concat()),
            None => Cow::Borrowed(all),
        }
    }
}

/// A budget, and the window in which a hold counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BudgetWindow {
    pub budget_id: BudgetId,
    /// `null` for the period `total`.
    #[serde(with = "wire::option")]
    pub window_start: Option<DateTime<Utc>>,
}

/// `bud_…`, or `bud_… from 2026-11-01` if the period ends.
impl fmt::Display for BudgetWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.budget_id.fmt(f)?;
        self.window_start.map_or(Ok(()), |start| write!(f, " from {}", start.date_naive()))
    }
}

/// The part of a hold for the budgets above its tenant: what providers cost that are not the tenant's own. The prices of its own providers
/// are the tenant's to say, and so are the tokens that these report, so that they are not spent from what others share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokeredPart {
    pub held_usd: NanoUsd,
    /// Absent at the beginning, and of a hold that was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_usd: Option<NanoUsd>,
    /// The budgets of its partner; and of its user and key, if these are of another tenant.
    pub budgets: Vec<BudgetWindow>,
}

/// The part of a correction for the budgets above the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokeredCorrection {
    pub delta_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
}

/// Money was reserved for a request that is about to be sent.
///
/// - `held_usd`: the upper bound, from the body's size, the output cap and the prices in force.
/// - `budgets`: every budget that binds the request, each with the window in which it counts; empty if none does. Those that `brokered`
///   names are not among them.
/// - `expires_at`: the sweeper ends the hold after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReserved {
    pub held_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    #[serde(with = "wire")]
    pub expires_at: DateTime<Utc>,
    /// The part for the budgets above its tenant; absent if no provider is the tenant's own, or none of them binds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokered: Option<Box<BrokeredPart>>,
}

impl BudgetReserved {
    /// The amounts that it holds, each with the windows in which it does.
    pub fn parts(&self) -> impl Iterator<Item = (NanoUsd, &[BudgetWindow])> {
        let brokered = self.brokered.as_deref().map(|part| (part.held_usd, part.budgets.as_slice()));
        [(self.held_usd, self.budgets.as_slice())].into_iter().chain(brokered)
    }
}

/// The hold became a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSettled {
    pub held_usd: NanoUsd,
    pub charged_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    /// The part of the charge above the hold; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrun_usd: Option<NanoUsd>,
    /// The part for the budgets above its tenant; absent if no provider is the tenant's own, or none of them binds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokered: Option<Box<BrokeredPart>>,
}

/// The hold was released: nothing is charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReleased {
    pub held_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    pub reason: String,
    /// The part for the budgets above its tenant; absent if no provider is the tenant's own, or none of them binds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokered: Option<Box<BrokeredPart>>,
}

/// The hold was not ended in time, and was charged by policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetExpired {
    pub held_usd: NanoUsd,
    pub charged_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    /// `charge_hold` or `release`.
    pub policy: String,
    /// The part for the budgets above its tenant; absent if no provider is the tenant's own, or none of them binds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokered: Option<Box<BrokeredPart>>,
}

/// A signed correction of an earlier charge: by real figures that came late, or by a price that was corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetAdjusted {
    pub delta_usd: NanoUsd,
    pub budgets: Vec<BudgetWindow>,
    /// `settled_after_expiry` or `price_corrected`.
    pub reason: String,
    pub of: RequestId,
    /// The correction of a price; absent if the correction has another cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<CorrectedValue>,
    /// The model, backend and payer that the request was counted under when it ended, so that the correction is counted there too;
    /// absent if the correction has another cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<CorrectedRequest>>,
    /// The correction for the budgets above its tenant, if its hold has such a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokered: Option<Box<BrokeredCorrection>>,
}

/// The model, backend and payer that a corrected request was counted under when it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectedRequest {
    /// The frontend model.
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<Payer>,
}

impl BudgetAdjusted {
    /// The reason of corrections by a price.
    pub const PRICE_CORRECTED: &'static str = "price_corrected";
}

/// The cost of a request by prices that were corrected after it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectedValue {
    /// The log position of the price's event; the value is that of the price list as of it.
    pub version: u64,
    /// The cost of the whole request: what it was charged, and the sum of all its corrections up to this one.
    pub cost_usd: NanoUsd,
}
