//! The check of budgets: every hold counts against every budget of its chain, and every prefix of every budget is within its
//! limit.

use events::event::admin::{Enforcement, Scope};
use events::event::hold::{BudgetReserved, BudgetWindow};
use events::event::inference::BudgetShortfall;
use events::event::{Event, Hold, Recorded};
use events::ledger::{Amounts, Balances, BudgetInForce};
use events::money::NanoUsd;

use super::open_requests::OpenRequest;

#[derive(Default)]
pub(super) struct Books {
    pub(super) balances: Balances,
}

impl Books {
    /// Folds the event. A hold must then be within every budget that it names.
    pub(super) fn fold(&mut self, recorded: &Recorded) -> Result<(), String> {
        self.balances.fold(recorded).map_err(|error| error.to_string())?;
        match &recorded.event {
            Event::Hold(Hold::Reserved(reserved)) => self.must_be_within(reserved),
            _ => Ok(()),
        }
    }

    /// A hold names exactly the budgets that bind it, in the versions in force and the windows of that time.
    pub(super) fn must_bind_all(
        &self,
        recorded: &Recorded,
        reserved: &BudgetReserved,
        request: &OpenRequest,
    ) -> Result<(), String> {
        let mut wanted = self.balances.windows_that_bind(&request.scope_subject(), recorded.recorded_at);
        let mut named: Vec<BudgetWindow> = reserved.parts().flat_map(|(_, windows)| windows).copied().collect();
        named.sort_unstable();
        wanted.sort_unstable();
        if named != wanted {
            let (named, wanted) = (named.len(), wanted.len());
            return Err(format!(
                "the {named} windows of budgets that the hold names are not the {wanted} that bind it"
            ));
        }
        let versions = &request.admitted.versions.budgets;
        let in_force = |window: &BudgetWindow| {
            let version = self.balances.budget(window.budget_id).map(|in_force| in_force.version);
            version.is_some() && version.as_ref() == versions.get(&window.budget_id)
        };
        if versions.len() != named.len() || !named.iter().all(in_force) {
            return Err("its admission names other versions of its budgets than those in force".to_owned());
        }
        self.must_be_above(reserved)?;
        // The admission names exactly the observing budgets that have too little left, with their amounts.
        let of_part = |(held, windows): (NanoUsd, &[BudgetWindow])| -> Vec<BudgetShortfall> {
            windows.iter().filter_map(|window| self.observed(recorded, held, window)).collect()
        };
        let mut short: Vec<BudgetShortfall> = counted_parts(reserved).flat_map(of_part).collect();
        let mut recorded_as_short = request.admitted.would_have_refused.clone();
        for shortfalls in [&mut short, &mut recorded_as_short] {
            shortfalls.sort_unstable_by_key(|shortfall| shortfall.budget_id);
        }
        if short != recorded_as_short {
            return Err("its admission does not say what the budgets that observe would have refused".to_owned());
        }
        Ok(())
    }

    /// The brokered part of a hold is of the budgets of its partner, all of them, and of no team or tenant.
    fn must_be_above(&self, reserved: &BudgetReserved) -> Result<(), String> {
        let Some(part) = &reserved.brokered else { return Ok(()) };
        let owner = |window: &BudgetWindow| {
            self.balances.budget(window.budget_id).map(|BudgetInForce { budget, .. }| budget.scope.owner)
        };
        let is_partners = |window: &BudgetWindow| matches!(owner(window), Some(Scope::Partner(_)));
        let is_inside = |window: &BudgetWindow| matches!(owner(window), Some(Scope::Tenant(_) | Scope::Team(_)));
        if reserved.budgets.iter().any(is_partners) || part.budgets.iter().any(is_inside) {
            return Err("its brokered part is not that of the budgets above its tenant".to_owned());
        }
        Ok(())
    }

    /// The shortfall of an observing budget that has too little left.
    fn observed(&self, recorded: &Recorded, requested: NanoUsd, window: &BudgetWindow) -> Option<BudgetShortfall> {
        let BudgetInForce { budget, .. } = self.balances.budget(window.budget_id)?;
        let Amounts { settled, held } = self.balances.amounts(window);
        let used = settled + held + requested.into();
        let is_short = budget.enforcement == Enforcement::Observe && used > budget.limit_usd.into();
        is_short.then(|| BudgetShortfall {
            budget_id: window.budget_id,
            scope: budget.scope.clone(),
            limit_usd: budget.limit_usd,
            settled_usd: settled,
            held_usd: held,
            requested_usd: requested,
            resets_at: budget.period.window(recorded.recorded_at).end,
            share: None,
            brokered_usd: None,
        })
    }

    fn must_be_within(&self, reserved: &BudgetReserved) -> Result<(), String> {
        for window in counted_parts(reserved).flat_map(|(_, windows)| windows) {
            let Some(BudgetInForce { budget, .. }) = self.balances.budget(window.budget_id) else {
                return Err(format!("{} is not open", window.budget_id));
            };
            if budget.enforcement == Enforcement::Observe {
                continue;
            }
            let Amounts { settled, held } = self.balances.amounts(window);
            if settled + held > budget.limit_usd.into() {
                let (id, limit) = (window.budget_id, budget.limit_usd);
                return Err(format!("{id} has {settled} USD charged and {held} USD held of {limit} USD"));
            }
        }
        Ok(())
    }
}

/// The parts of a hold that count. Of a request that its tenant's own providers alone may serve nothing counts above the tenant, whatever
/// is left there.
fn counted_parts(reserved: &BudgetReserved) -> impl Iterator<Item = (NanoUsd, &[BudgetWindow])> {
    let (all, part) = ((reserved.held_usd, reserved.budgets.as_slice()), reserved.brokered.as_deref());
    let part = part.filter(|part| part.held_usd != NanoUsd::ZERO);
    [all].into_iter().chain(part.map(|part| (part.held_usd, part.budgets.as_slice())))
}
