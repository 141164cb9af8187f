//! A budget: the amount that its scope may spend in a period. Scope and period never change, because the windows that money is
//! counted in depend on them. The limit, the alerts and what happens when money is short may change. A limit below what is
//! spent already ends no hold, and admits no new one.

use std::convert::Infallible;
use std::sync::LazyLock;

use events::event::admin::{Budget, Enforcement, WhenShort};
use events::event::{Chain, StreamKind};
use events::fraction::Fraction;
use events::ids::BudgetId;
use events::time::Period;
use openapi::schema;
use projections::tables::Tables;
use serde_json::json;

use super::scope::{scope, scope_name};
use crate::admin::admin_context::AdminContext;
use crate::admin::declaration::{Declaration, defaulting, required};
use crate::admin::error::{CommandError, RuleError};
use crate::admin::field_type::{FieldType, amount, one_of};
use crate::admin::field_values::{FieldValues, FromFieldValues};
use crate::admin::fields::{Field, FieldError};
use crate::admin::lifecycle::{Command, LifecycleError, Rules};
use crate::admin::routes::{Administered, Plan};

/// Bounded because every settlement checks each of them.
const ALERTS_LEN_MAX: usize = 16;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let fraction = FieldType::new(schema::formed(r"^(0\.[0-9]{1,9}|1(\.0{1,9})?)$"), Field::parsed::<Fraction>);
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
        scope_name(),
    ];
    let scope = json!({ "tenant_id": "ten_00000000000000000000000000000001" });
    let example = json!({ "scope": scope, "limit_usd": "5", "period": "month" });
    Declaration::of::<Budget>(members, example)
});

/// The reason why a command to a budget is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("must not be negative")]
    NegativeLimit,
    #[error("must not have {0} twice")]
    AlertRepeated(Fraction),
}

impl RuleError for BudgetError {
    fn into_command_error(self, kind: StreamKind) -> CommandError {
        let field = match self {
            Self::Lifecycle(error) => return error.into_command_error(kind),
            Self::NegativeLimit => "limit_usd",
            Self::AlertRepeated(_) => "alert_at",
        };
        FieldError::new(field, self.to_string()).into()
    }
}

impl FromFieldValues for Budget {}

impl Rules for Budget {
    type State = Self;
    type Special = Infallible;
    type Error = BudgetError;

    /// Sorts the alerts.
    fn validated(mut self) -> Result<Self, BudgetError> {
        if self.limit_usd.is_negative() {
            return Err(BudgetError::NegativeLimit);
        }
        self.alert_at.sort_unstable();
        match self.alert_at.array_windows().find(|[before, after]| before == after) {
            Some([repeated, _]) => Err(BudgetError::AlertRepeated(*repeated)),
            None => Ok(self),
        }
    }
}

impl Administered for Budget {
    const PATH: &'static str = "/v1/admin/budgets";

    fn declaration() -> &'static Declaration {
        &DECLARATION
    }

    fn chain(state: &Budget, tables: &Tables) -> Chain {
        tables.chain_of_scope(state.scope).unwrap_or_default()
    }

    fn may_manage(cx: &AdminContext<'_>, state: &Budget) -> Result<(), CommandError> {
        cx.require_wider_reach(state.scope)
    }

    async fn create(cx: &AdminContext<'_>, id: BudgetId, given: FieldValues) -> Result<Plan<Self>, CommandError> {
        let opened: Self = given.make(id)?;
        let chain = cx.scope(opened.scope, "scope")?;
        Ok(Plan::new(Command::Create(opened), chain))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Scope;
    use events::money::NanoUsd;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::CommandOf;
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<Budget> {
        spec::given(facts)
    }

    fn budget(nanos: i64) -> Budget {
        Budget::new(id(1), Scope::Tenant(id(2)), NanoUsd::new(nanos), Period::Month)
    }

    fn limit(nanos: i64) -> CommandOf<Budget> {
        let mut given = FieldValues::default();
        given.put("limit_usd", NanoUsd::new(nanos));
        Change(given)
    }

    #[test]
    fn a_limit_rises_and_falls_to_zero_but_not_below() {
        given([]).when(Create(budget(5))).then([created(budget(5))]);
        given([created(budget(5))]).when(limit(9)).then([changed(budget(9))]);
        given([created(budget(5))]).when(limit(0)).then([changed(budget(0))]);
        given([created(budget(5))]).when(limit(-1)).then_refused(BudgetError::NegativeLimit);
        given([]).when(Create(budget(-1))).then_refused(BudgetError::NegativeLimit);
    }

    #[test]
    fn a_closed_budget_stays_closed() {
        let closed = || ended::<Budget>(id(1));
        given([created(budget(5))]).when(End).then([closed()]);
        given([created(budget(5)), closed()]).when(End).then_nothing();
        given([created(budget(5)), closed()])
            .when(limit(9))
            .then_refused(BudgetError::Lifecycle(LifecycleError::Ended));
        given([]).when(End).then_refused(BudgetError::Lifecycle(LifecycleError::Absent));
    }

    #[test]
    fn alerts_are_sorted_and_may_not_repeat() {
        let fractions = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a fraction")).collect();
        let watched = |texts: &[&str]| Budget { alert_at: fractions(texts), ..budget(5) };
        given([]).when(Create(watched(&["1", "0.5", "0.8"]))).then([created(watched(&["0.5", "0.8", "1"]))]);
        let change = |texts: &[&str]| change(&json!({ "alert_at": texts }));
        given([created(watched(&["0.5"]))]).when(change(&[])).then([changed(budget(5))]);
        let twice = "0.5".parse().expect("a fraction");
        given([created(budget(5))]).when(change(&["0.5", "1", "0.50"])).then_refused(BudgetError::AlertRepeated(twice));
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
