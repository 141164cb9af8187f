//! The check of budgets: every hold counts against every budget of its chain, and every prefix of every budget is within its
//! limit.

use events::event::admin::Enforcement;
use events::event::hold::{BudgetReserved, BudgetWindow};
use events::event::inference::BudgetShortfall;
use events::event::{Event, Hold, Recorded};
use events::ledger::{Amounts, Balances, BudgetInForce};

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
        let mut named = reserved.budgets.clone();
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
        // The admission names exactly the observing budgets that have too little left, with their amounts.
        let short = reserved.budgets.iter().filter_map(|window| self.observed(recorded, reserved, window));
        if !short.eq(request.admitted.would_have_refused.iter().cloned()) {
            return Err("its admission does not say what the budgets that observe would have refused".to_owned());
        }
        Ok(())
    }

    /// The shortfall of an observing budget that has too little left.
    fn observed(
        &self,
        recorded: &Recorded,
        reserved: &BudgetReserved,
        window: &BudgetWindow,
    ) -> Option<BudgetShortfall> {
        let BudgetInForce { budget, .. } = self.balances.budget(window.budget_id)?;
        let Amounts { settled, held } = self.balances.amounts(window);
        let used = settled + held + reserved.held_usd.into();
        let is_short = budget.enforcement == Enforcement::Observe && used > budget.limit_usd.into();
        is_short.then(|| BudgetShortfall {
            budget_id: window.budget_id,
            scope: budget.scope.clone(),
            limit_usd: budget.limit_usd,
            settled_usd: settled,
            held_usd: held,
            requested_usd: reserved.held_usd,
            resets_at: budget.period.window(recorded.recorded_at).end,
        })
    }

    fn must_be_within(&self, reserved: &BudgetReserved) -> Result<(), String> {
        for window in &reserved.budgets {
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
