//! A budget: the amount that its scope may spend in a period. Scope and period never change, because the windows that money is
//! counted in depend on them. The limit, the alerts and what happens when money is short may change. A limit below what is
//! spent already ends no hold, and admits no new one.

use events::event::admin::{Budget, Enforcement, ResourceBound, WhenShort};
use events::fraction::{Fraction, InvalidFraction};
use events::ids::BudgetId;
use events::time::Period;

use super::prelude::*;
use super::scope::{require_room, scope, scope_name};

/// Bounded because every settlement checks each of them.
const ALERTS_LEN_MAX: usize = 16;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let fraction = FieldType::new(schema::formed(r"^(0\.[0-9]{1,9}|1(\.0{1,9})?)$"), fraction);
    let members = vec![
        required("scope", scope()).fixed(),
        required("limit_usd", amount()).shown_as(schema::money()),
        required("period", one_of(Period::NAMED)).fixed().meaning("In UTC; weeks begin on Monday"),
        defaulting("alert_at", fraction.list(ALERTS_LEN_MAX), json!([]))
            .shown_as(schema::list(schema::string(), None))
            .meaning("Fractions of the limit at which budget.threshold_reached is recorded, without repetition"),
        defaulting("when_short", one_of(WhenShort::NAMED), json!("refuse"))
            .meaning("refuse rejects the request; shrink lowers its output cap to what is left"),
        defaulting("enforcement", one_of(Enforcement::NAMED), json!("hard"))
            .meaning("observe refuses nothing, but records what hard would have refused"),
        labels(),
        scope_name(),
    ];
    let scope = json!({ "tenant_id": "ten_00000000000000000000000000000001" });
    let example = json!({ "scope": scope, "limit_usd": "5", "period": "month" });
    Declaration::of::<Budget>(members, example)
});

/// Refuses anything but a string with an example of one.
fn fraction(field: Field) -> Result<Fraction, FieldError> {
    if field.is_text() { field.parsed() } else { Err(field.error(InvalidFraction::Form.to_string())) }
}

impl Rules for Budget {
    type State = Self;

    /// Sorts the alerts.
    fn validated(mut self) -> Result<Self, RuleError> {
        if self.limit_usd.is_negative() {
            return Err(RuleError::of_field("limit_usd", "must not be negative"));
        }
        self.alert_at.sort_unstable();
        match self.alert_at.array_windows().find(|[before, after]| before == after) {
            Some([repeated, _]) => Err(RuleError::of_field("alert_at", format!("must not have {repeated} twice"))),
            None => Ok(self),
        }
    }
}

impl Administered for Budget {
    const PATH: &'static str = "/v1/admin/budgets";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    fn chain(state: &Budget, tables: &Tables) -> Chain {
        tables.chain_of_scope(state.scope.owner).unwrap_or_default()
    }

    fn may_manage(cx: &AdminContext<'_>, state: &Budget) -> Result<(), CommandError> {
        cx.require_wider_reach(state.scope.owner)
    }

    async fn create(cx: &AdminContext<'_>, id: BudgetId, given: FieldValues) -> PlanResult<Self> {
        let opened: Self = Self::of_values(id, given)?;
        let chain = cx.scope(opened.scope.owner, "scope")?;
        require_room(
            &opened.scope,
            cx.tables.budgets_under_same_condition(&opened.scope).count(),
            ResourceBound::Budgets,
        )?;
        Ok(CommandPlan::creation(opened, chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &Budget, given: FieldValues) -> PlanResult<Self> {
        cx.require_live_team(state.scope.owner)?;
        Ok(CommandPlan::of(Command::Change(given), state, cx))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Scope;
    use events::money::NanoUsd;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<Budget> {
        spec::given(facts)
    }

    fn budget(nanos: i64) -> Budget {
        Budget::new(id(1), Scope::Tenant(id(2)), NanoUsd::new(nanos), Period::Month)
    }

    fn limit(nanos: i64) -> Command<Budget> {
        let mut given = FieldValues::default();
        given.put("limit_usd", NanoUsd::new(nanos));
        Change(given)
    }

    #[test]
    fn a_limit_rises_and_falls_to_zero_but_not_below() {
        given([]).when(Create(budget(5))).then([created(budget(5))]);
        given([created(budget(5))]).when(limit(9)).then([changed(budget(9))]);
        given([created(budget(5))]).when(limit(0)).then([changed(budget(0))]);
        given([created(budget(5))])
            .when(limit(-1))
            .then_refused(RuleError::of_field("limit_usd", "must not be negative"));
        given([]).when(Create(budget(-1))).then_refused(RuleError::of_field("limit_usd", "must not be negative"));
    }

    #[test]
    fn a_closed_budget_stays_closed() {
        let closed = || ended::<Budget>(id(1));
        given([created(budget(5))]).when(End).then([closed()]);
        given([created(budget(5)), closed()]).when(End).then_nothing();
        given([created(budget(5)), closed()]).when(limit(9)).then_refused(RuleError::Ended);
        given([]).when(End).then_refused(RuleError::Absent);
    }

    #[test]
    fn alerts_are_sorted_and_may_not_repeat() {
        let fractions = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a fraction")).collect();
        let watched = |texts: &[&str]| Budget { alert_at: fractions(texts), ..budget(5) };
        given([]).when(Create(watched(&["1", "0.5", "0.8"]))).then([created(watched(&["0.5", "0.8", "1"]))]);
        let change = |texts: &[&str]| change(&json!({ "alert_at": texts }));
        given([created(watched(&["0.5"]))]).when(change(&[])).then([changed(budget(5))]);
        let twice = RuleError::of_field("alert_at", "must not have 0.5 twice");
        given([created(budget(5))]).when(change(&["0.5", "1", "0.50"])).then_refused(twice);
    }

    #[test]
    fn a_change_keeps_the_fields_that_it_omits() {
        let mild = Budget { when_short: WhenShort::Shrink, enforcement: Enforcement::Observe, ..budget(5) };
        given([created(mild.clone())])
            .when(limit(9))
            .then([changed(Budget { limit_usd: NanoUsd::new(9), ..mild.clone() })]);
        let milder = change(&json!({ "when_short": "shrink", "enforcement": "observe" }));
        given([created(budget(5))]).when(milder).then([changed(mild)]);
    }
}
