//! The share of a budget that one of those who share it may hold. Holds cost nothing: without a share, one key could hold all that
//! is left, again and again, and nobody else would be served.
//!
//! The share is a part of what is not settled. Half of the limit would be all of a budget that is half spent.
//!
//! The fraction, and whose budgets a request shares with others, are inputs of a decision. Sums by holder follow from the open holds
//! alone: whoever folds the log has them.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use super::brokered::Wanted;
use super::{Admission, Balances, Binding, BrokeredBound, BudgetInForce, Hold};
use crate::event::Context;
use crate::event::admin::{Enforcement, Scope};
use crate::event::hold::BudgetWindow;
use crate::event::inference::{BudgetShare, ShareHolder};
use crate::fraction::Fraction;
use crate::ids::{BudgetId, KeyId, TenantId};
use crate::money::{NanoUsd, NanoUsdSum};

/// The bounds of an admission beside the limits of its budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionBounds {
    /// The most budgets that may bind the request: its events name all of them.
    pub budgets_max: usize,
    /// `None` if one may hold all that is left.
    pub share: Option<HoldShare>,
}

impl AdmissionBounds {
    pub const NONE: Self = Self { budgets_max: usize::MAX, share: None };

    /// The bounds for deciding again what was decided by these shares.
    pub const fn of_recorded(shares: BTreeMap<BudgetId, BudgetShare>) -> Self {
        Self { budgets_max: usize::MAX, share: Some(HoldShare::Recorded(shares)) }
    }
}

/// The share of budgets that a requester may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldShare {
    /// A fraction of each budget that it shares. A key that has a budget of its own is bound by that one instead.
    OfShared { fraction: Fraction, shared: SharedScopes },
    /// The recorded shares that mattered for a decision.
    Recorded(BTreeMap<BudgetId, BudgetShare>),
}

impl HoldShare {
    /// Whether any budget may be bound by it.
    fn may_bind(&self, has_own_budget: bool) -> bool {
        match self {
            Self::OfShared { shared, .. } => shared.partner_tenants || !has_own_budget && shared.with_any_keys(),
            Self::Recorded(shares) => !shares.is_empty(),
        }
    }
}

/// The owners whose budgets a request shares with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedScopes {
    /// Its partner, with other keys.
    pub partner: bool,
    /// Its partner, with other tenants.
    pub partner_tenants: bool,
    pub tenant: bool,
    pub teams: bool,
    pub user: bool,
}

impl SharedScopes {
    const fn with_keys(self, owner: Scope) -> bool {
        match owner {
            Scope::Partner(_) => self.partner,
            Scope::Tenant(_) => self.tenant,
            Scope::Team(_) => self.teams,
            Scope::User(_) => self.user,
            Scope::Key(_) => false,
        }
    }

    const fn with_any_keys(self) -> bool {
        self.partner || self.tenant || self.teams || self.user
    }

    const fn with_tenants(self, owner: Scope) -> bool {
        self.partner_tenants && matches!(owner, Scope::Partner(_))
    }
}

/// A party whose open holds are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Key(KeyId),
    Tenant(TenantId),
}

impl Holder {
    /// The parties whose sums a hold of this context counts in.
    pub fn all_of(context: &Context) -> impl Iterator<Item = Self> + use<> {
        let (key, tenant) = (context.key_id.map(Self::Key), context.tenant_id.map(Self::Tenant));
        key.into_iter().chain(tenant)
    }

    /// The party of this kind among those of a context.
    pub fn of(kind: ShareHolder, context: &Context) -> Option<Self> {
        Self::all_of(context).find(|holder| holder.kind() == kind)
    }

    const fn kind(self) -> ShareHolder {
        match self {
            Self::Key(_) => ShareHolder::Key,
            Self::Tenant(_) => ShareHolder::Tenant,
        }
    }
}

/// The windows of a hold that count in the sums of its holders: a bit for each, by its place among all windows of the hold. Nobody shares
/// the budget of a key, and tenants share those of their partner alone. A budget keeps its owner. Once it is closed, nobody asks for sums
/// of it, but what was counted is still taken out of them when the hold ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct SummedWindows {
    of_key: u64,
    of_tenant: u64,
}

// Two holds of the same windows are equal, whenever they were opened or restored.
impl PartialEq for SummedWindows {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SummedWindows {}

impl SummedWindows {
    /// The number of windows that have a bit. A hold of an earlier version may have more: those count for each holder.
    const MARKED_MAX: usize = 64;

    const fn counts(self, holder: Holder, place: usize) -> bool {
        let marked = match holder {
            Holder::Key(_) => self.of_key,
            Holder::Tenant(_) => self.of_tenant,
        };
        place >= Self::MARKED_MAX || (marked >> place) & 1 == 1
    }
}

/// The requester, as far as what it may hold of budgets depends on it.
pub(super) struct Requester<'a> {
    share: Option<&'a HoldShare>,
    pub(super) brokered: Option<&'a BrokeredBound>,
    context: &'a Context,
    has_own_budget: bool,
}

impl<'a> Requester<'a> {
    pub(super) fn of(admission: &'a Admission, windows: &[Binding<'_>]) -> Self {
        let is_own = |(_, BudgetInForce { budget, .. }): &Binding<'_>| {
            budget.enforcement == Enforcement::Hard && matches!(budget.scope.owner, Scope::Key(_))
        };
        let has_own_budget = windows.iter().any(is_own);
        let share = admission.bounds.share.as_ref().filter(|share| share.may_bind(has_own_budget));
        let brokered = admission.brokered.as_ref();
        Self { share, brokered, context: &admission.context, has_own_budget }
    }

    /// The fraction of a budget that a party may hold.
    fn fraction(&self, holder: Holder, budget: BudgetId, owner: Scope) -> Option<Fraction> {
        match self.share? {
            HoldShare::OfShared { fraction, shared } => {
                let is_bound = match holder {
                    Holder::Key(_) => !self.has_own_budget && shared.with_keys(owner),
                    Holder::Tenant(_) => shared.with_tenants(owner),
                };
                is_bound.then_some(*fraction)
            }
            HoldShare::Recorded(shares) => {
                shares.get(&budget).filter(|share| share.of == holder.kind()).map(|share| share.fraction)
            }
        }
    }

    /// Whether only the brokered part counts in this budget.
    pub(super) fn is_brokered(&self, (_, in_force): &Binding<'_>) -> bool {
        self.brokered.is_some_and(|bound| in_force.budget.scope.owner.is_above_tenant(bound.is_guest))
    }

    /// The amount that the request would hold of a budget.
    pub(super) fn wanted(&self, binding: &Binding<'_>, wanted: Wanted) -> NanoUsd {
        if self.is_brokered(binding) { wanted.brokered } else { wanted.all }
    }

    /// Whether nothing of a request that would hold so much of this budget counts there: then it is not short, whatever is left of it.
    pub(super) fn counts_nothing(&self, binding: &Binding<'_>, wanted: NanoUsd) -> bool {
        wanted == NanoUsd::ZERO && self.is_brokered(binding)
    }
}

/// The most that a request may hold of a budget.
pub(super) struct HoldRoom {
    /// Negative if more is used than the limit, or held than the share.
    pub(super) left: NanoUsdSum,
    /// Present if that is less than what is left of the budget.
    pub(super) share: Option<BudgetShare>,
}

impl Balances {
    pub(super) fn room_for(&self, requester: &Requester<'_>, (window, in_force): &Binding<'_>) -> HoldRoom {
        let budget = &in_force.budget;
        let amounts = self.amounts(window);
        let unsettled = NanoUsdSum::from(budget.limit_usd) - amounts.settled;
        let mut room = HoldRoom { left: unsettled - amounts.held, share: None };
        if requester.share.is_none() {
            return room;
        }
        for holder in Holder::all_of(requester.context) {
            let Some(fraction) = requester.fraction(holder, window.budget_id, budget.scope.owner) else { continue };
            let share = BudgetShare { of: holder.kind(), fraction, held_usd: self.held_by(holder, window) };
            let left = share.left_of(unsettled);
            if left < room.left {
                room = HoldRoom { left, share: Some(share) };
            }
        }
        room
    }

    /// The amount that the open holds of a party have in a window that it shares with others.
    pub fn held_by(&self, holder: Holder, window: &BudgetWindow) -> NanoUsdSum {
        self.held_by.get(&(holder, *window)).copied().unwrap_or_default()
    }

    /// Adds to what the open holds of a party have in a window; for holds that are not known one by one.
    pub fn add_held_by(&mut self, holder: Holder, window: BudgetWindow, held: NanoUsdSum) {
        match self.held_by.entry((holder, window)) {
            Entry::Occupied(mut sum) => {
                *sum.get_mut() = *sum.get() + held;
                if *sum.get() == NanoUsdSum::ZERO {
                    sum.remove();
                }
            }
            Entry::Vacant(none) => {
                if held != NanoUsdSum::ZERO {
                    none.insert(held);
                }
            }
        }
    }

    /// Adds to the sums of those whose hold it is.
    pub(super) fn count_opened(&mut self, hold: &Hold) {
        self.count_hold(hold, |held| held);
    }

    /// Takes a closed hold out of the sums of those whose it was.
    pub(super) fn count_closed(&mut self, hold: &Hold) {
        self.count_hold(hold, |held| NanoUsdSum::ZERO - held);
    }

    fn count_hold(&mut self, hold: &Hold, added: impl Fn(NanoUsdSum) -> NanoUsdSum) {
        for holder in Holder::all_of(&hold.context) {
            let windows = hold.parts().flat_map(|(held, windows)| windows.iter().map(move |window| (held, window)));
            for (place, (held, window)) in windows.enumerate() {
                if hold.summed.counts(holder, place) {
                    self.add_held_by(holder, *window, added(held));
                }
            }
        }
    }

    /// The windows of a hold in which its holders' sums matter, by the owners of their budgets.
    pub(super) fn summed_windows(&self, hold: &Hold) -> SummedWindows {
        let mut summed = SummedWindows::default();
        let windows = hold.parts().flat_map(|(_, windows)| windows).take(SummedWindows::MARKED_MAX);
        for (place, window) in windows.enumerate() {
            let Some(in_force) = self.budgets.get(&window.budget_id) else { continue };
            let bit = 1_u64 << place;
            match in_force.budget.scope.owner {
                Scope::Partner(_) => {
                    summed.of_key |= bit;
                    summed.of_tenant |= bit;
                }
                Scope::Tenant(_) | Scope::Team(_) | Scope::User(_) => summed.of_key |= bit,
                Scope::Key(_) => {}
            }
        }
        summed
    }
}
