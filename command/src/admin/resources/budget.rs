//! A budget: how much its scope may spend in a period. Scope and period are its own for ever, since the windows that
//! money is counted in hang on them; its limit may rise and fall, and so may what is done when it is short and at which
//! fractions of it somebody wants to know. A limit below what is spent ends no hold, and admits none.

use std::convert::Infallible;
use std::sync::LazyLock;

use events::event::admin::{Budget, Enforcement, WhenShort};
use events::event::{Chain, ResourceState};
use events::fraction::Fraction;
use events::ids::BudgetId;
use events::time::Period;
use openapi::schema;
use projections::tables::Tables;
use serde_json::json;

use super::scope::{scope, scope_name};
use crate::admin::admin_context::AdminContext;
use crate::admin::declaration::{Declaration, Members, defaulting, required};
use crate::admin::error::CommandError;
use crate::admin::field_type::{FieldType, amount, one_of};
use crate::admin::fields::{Field, FieldError};
use crate::admin::given::{FromGiven, Given};
use crate::admin::lifecycle::{Command, LifecycleError, Rules};
use crate::admin::routes::{Administered, Plan};

const PERIODS: [(&str, Period); 4] =
    [("total", Period::Total), ("day", Period::Day), ("week", Period::Week), ("month", Period::Month)];
const WHEN_SHORT: [(&str, WhenShort); 2] = [("refuse", WhenShort::Refuse), ("shrink", WhenShort::Shrink)];
const ENFORCEMENTS: [(&str, Enforcement); 2] = [("hard", Enforcement::Hard), ("observe", Enforcement::Observe)];
/// Each is looked at whenever money is settled.
const ALERTS_LEN_MAX: usize = 16;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let fraction = FieldType::new(schema::formed(r"^(0\.[0-9]{1,9}|1(\.0{1,9})?)$"), Field::parsed::<Fraction>);
    let members = vec![
        required("scope", scope()).fixed(),
        required("limit_usd", amount()).shown_as(schema::money()),
        required("period", one_of(PERIODS)).fixed().meaning("In UTC; weeks begin on Monday"),
        defaulting("alert_at", fraction.list(ALERTS_LEN_MAX), json!([]))
            .shown_as(schema::list(schema::string(), None))
            .meaning("Parts of the limit at which budget.threshold_reached is recorded, none twice"),
        defaulting("when_short", one_of(WHEN_SHORT), json!("refuse"))
            .meaning("shrink lowers the output cap to what is left"),
        defaulting("enforcement", one_of(ENFORCEMENTS), json!("hard"))
            .meaning("observe refuses nothing, and records what it would have refused"),
        scope_name(),
    ];
    let scope = json!({ "tenant_id": "ten_00000000000000000000000000000001" });
    let example = json!({ "scope": scope, "limit_usd": "5", "period": "month" });
    Declaration { kind: Budget::KIND, prefix: BudgetId::PREFIX, members: Members(members), example }
});

/// Why a command to a budget is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("must not be negative")]
    NegativeLimit,
    #[error("has {0} twice")]
    AlertRepeated(Fraction),
}

impl FromGiven for Budget {}

impl Rules for Budget {
    type State = Self;
    type Special = Infallible;
    type Error = BudgetError;

    /// Alerts are put in order.
    fn sound(mut self) -> Result<Self, BudgetError> {
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

    fn refused(error: BudgetError) -> CommandError {
        match error {
            BudgetError::Lifecycle(error) => CommandError::of_lifecycle(Self::KIND, error),
            BudgetError::NegativeLimit => FieldError::new("limit_usd", error.to_string()).into(),
            BudgetError::AlertRepeated(_) => FieldError::new("alert_at", error.to_string()).into(),
        }
    }

    fn manage(cx: &AdminContext<'_>, state: &Budget) -> Result<(), CommandError> {
        cx.wider_than(state.scope)
    }

    async fn create(cx: &AdminContext<'_>, id: BudgetId, given: Given) -> Result<Plan<Self>, CommandError> {
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
        let mut given = Given::default();
        given.put("limit_usd", NanoUsd::new(nanos));
        Change(given)
    }

    #[test]
    fn a_limit_rises_and_falls_to_nothing_but_not_below() {
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
    fn alerts_are_put_in_order_and_none_is_there_twice() {
        let fractions = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a fraction")).collect();
        let watched = |texts: &[&str]| Budget { alert_at: fractions(texts), ..budget(5) };
        given([]).when(Create(watched(&["1", "0.5", "0.8"]))).then([created(watched(&["0.5", "0.8", "1"]))]);
        let change = |texts: &[&str]| change(&json!({ "alert_at": texts }));
        given([created(watched(&["0.5"]))]).when(change(&[])).then([changed(budget(5))]);
        let twice = "0.5".parse().expect("a fraction");
        given([created(budget(5))]).when(change(&["0.5", "1", "0.50"])).then_refused(BudgetError::AlertRepeated(twice));
    }

    #[test]
    fn what_is_done_when_it_is_short_may_change_and_what_is_not_mentioned_stays() {
        let mild = Budget { when_short: WhenShort::Shrink, enforcement: Enforcement::Observe, ..budget(5) };
        given([created(mild.clone())])
            .when(limit(9))
            .then([changed(Budget { limit_usd: NanoUsd::new(9), ..mild.clone() })]);
        let milder = change(&json!({ "when_short": "shrink", "enforcement": "observe" }));
        given([created(budget(5))]).when(milder).then([changed(mild)]);
    }
}
