//! `/v1/admin/budgets`: `scope`, `limit_usd`, `period`, `alert_at`, `when_short`, `enforcement`.

use events::event::admin::{Budget, Enforcement, WhenShort};
use events::event::{Chain, ResourceState};
use events::fraction::Fraction;
use events::ids::BudgetId;
use events::time::Period;
use openapi::refusals;
use openapi::resource::{self, Form};
use openapi::schema;
use projections::tables::Tables;
use serde_json::json;

use super::scope::{scope, scope_name};
use crate::admin::admin_context::AdminContext;
use crate::admin::budget::{BudgetError, ChangeBudget};
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, FieldError, Fields};
use crate::admin::lifecycle::Command;
use crate::admin::routes::{Administered, Plan};

const PERIODS: &[(&str, Period)] =
    &[("total", Period::Total), ("day", Period::Day), ("week", Period::Week), ("month", Period::Month)];
const WHEN_SHORT: &[(&str, WhenShort)] = &[("refuse", WhenShort::Refuse), ("shrink", WhenShort::Shrink)];
const ENFORCEMENTS: &[(&str, Enforcement)] = &[("hard", Enforcement::Hard), ("observe", Enforcement::Observe)];
/// Each is looked at whenever money is settled.
const ALERTS_LEN_MAX: usize = 16;

fn fractions(field: Field) -> Result<Vec<Fraction>, FieldError> {
    field.list(ALERTS_LEN_MAX, Field::parsed)
}

impl Administered for Budget {
    const PATH: &'static str = "/v1/admin/budgets";

    fn form_of() -> Form {
        let fraction = schema::formed(r"^(0\.[0-9]{1,9}|1(\.0{1,9})?)$");
        let members = vec![
            resource::required("scope", refusals::scope()).fixed(),
            resource::required("limit_usd", schema::amount()).shown_as(schema::money()),
            resource::required("period", schema::one_of_names(PERIODS))
                .fixed()
                .meaning("In UTC; weeks begin on Monday"),
            resource::defaulting("alert_at", schema::list(fraction, Some(ALERTS_LEN_MAX)), json!([]))
                .shown_as(schema::list(schema::string(), None))
                .meaning("Parts of the limit at which budget.threshold_reached is recorded, none twice"),
            resource::defaulting("when_short", schema::one_of_names(WHEN_SHORT), json!("refuse"))
                .meaning("shrink lowers the output cap to what is left"),
            resource::defaulting("enforcement", schema::one_of_names(ENFORCEMENTS), json!("hard"))
                .meaning("observe refuses nothing, and records what it would have refused"),
            scope_name(),
        ];
        let scope = json!({ "tenant_id": "ten_00000000000000000000000000000001" });
        let example = json!({ "scope": scope, "limit_usd": "5", "period": "month" });
        Form { kind: "budget", prefix: BudgetId::PREFIX, members, example }
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

    async fn create(cx: &AdminContext<'_>, id: BudgetId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let scope = fields.required("scope", scope)?;
        let limit_usd = fields.required("limit_usd", Field::money)?;
        let period = fields.required("period", |field| field.one_of(PERIODS))?;
        let alert_at = fields.optional("alert_at", fractions)?.unwrap_or_default();
        let when_short = fields.optional("when_short", |field| field.one_of(WHEN_SHORT))?.unwrap_or(WhenShort::Refuse);
        let enforcement =
            fields.optional("enforcement", |field| field.one_of(ENFORCEMENTS))?.unwrap_or(Enforcement::Hard);
        fields.finish()?;
        let chain = cx.scope(scope, "scope")?;
        let opened = Budget { budget_id: id, scope, limit_usd, period, alert_at, when_short, enforcement };
        Ok(Plan::new(Command::Create(opened), chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &Budget, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["scope", "period"])?;
        let limit_usd = fields.changed("limit_usd", Field::money)?;
        let alert_at = fields.changed("alert_at", fractions)?;
        let when_short = fields.changed("when_short", |field| field.one_of(WHEN_SHORT))?;
        let enforcement = fields.changed("enforcement", |field| field.one_of(ENFORCEMENTS))?;
        fields.finish()?;
        let change = ChangeBudget { limit_usd, alert_at, when_short, enforcement };
        Ok(Plan::new(Command::Change(change), Self::chain(state, &cx.tables)))
    }

    async fn end(cx: &AdminContext<'_>, state: &Budget, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        Ok(Plan::new(Command::End, Self::chain(state, &cx.tables)))
    }
}
