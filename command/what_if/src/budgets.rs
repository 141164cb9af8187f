//! Budgets under the rules: recorded changes of budgets go on, and the rules are applied to each.

use chrono::{DateTime, Utc};
use events::event::admin::{Budget, Scope};
use events::event::hold::BudgetWindow;
use events::event::{Change, ScopeSubject};
use events::ids::BudgetId;
use events::ledger::Balances;

use crate::report::RefusingRule;
use crate::rules::{BudgetRules, added_number};

impl BudgetRules {
    /// Puts the rules in force.
    pub(crate) fn begin(&self, balances: &mut Balances, position: u64, now: DateTime<Utc>) {
        for rule in &self.change {
            if let Some(in_force) = balances.budget(rule.budget_id) {
                let changed = Change::changed(rule.applied_to(&in_force.budget));
                balances.fold_budget(&changed, position, now);
            }
        }
        for id in &self.remove {
            balances.fold_budget(&Change::Ended(*id), position, now);
        }
        for budget in &self.add {
            balances.fold_budget(&Change::created(budget.clone()), position, now);
        }
    }

    /// Folds a recorded change of a budget, under the rules.
    pub(crate) fn fold(&self, balances: &mut Balances, change: &Change<Budget>, position: u64, now: DateTime<Utc>) {
        let id = change.id();
        if self.removes(id) {
            return;
        }
        let rule = self.change.iter().find(|rule| rule.budget_id == id);
        match (rule, change.state()) {
            (Some(rule), Some(budget)) => {
                balances.fold_budget(&Change::changed(rule.applied_to(budget)), position, now);
            }
            (None, _) | (_, None) => balances.fold_budget(change, position, now),
        }
    }

    pub(crate) fn removes(&self, id: BudgetId) -> bool {
        self.remove.contains(&id)
    }

    /// The budget under the rules, as a recorded shortfall knows it.
    pub(crate) fn applied_to(&self, budget: Budget) -> Budget {
        let rule = self.change.iter().find(|rule| rule.budget_id == budget.budget_id);
        rule.map_or_else(|| budget.clone(), |rule| rule.applied_to(&budget))
    }

    /// The windows of added budgets in which a request counts that was admitted then, with the budgets' owners.
    pub(crate) fn added_windows(
        &self,
        request: &ScopeSubject<'_>,
        admitted_at: DateTime<Utc>,
    ) -> impl Iterator<Item = (Scope, BudgetWindow)> {
        let binds = move |budget: &&Budget| budget.scope.binds(request);
        self.add.iter().filter(binds).map(move |budget| {
            let window_start = budget.period.window_start(admitted_at);
            (budget.scope.owner, BudgetWindow { budget_id: budget.budget_id, window_start })
        })
    }

    pub(crate) fn rule(&self, id: BudgetId) -> RefusingRule {
        added_number(id.uuid(), self.add.len()).map_or(RefusingRule::Budget(id), RefusingRule::AddedBudget)
    }
}
