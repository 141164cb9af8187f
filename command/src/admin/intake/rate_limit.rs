//! `/v1/admin/rate-limits`: `scope`, and at least one of `requests_per_minute`, `requests_per_hour`,
//! `requests_per_day`, `tokens_per_minute`, `tokens_per_day` and `concurrent_requests`.

use events::event::admin::RateLimit;
use events::event::{Chain, ResourceState};
use events::ids::LimitId;
use events::limit::{Bounds, Measure};
use openapi::refusals;
use openapi::resource::{self, Form};
use openapi::schema;
use projections::tables::Tables;
use serde_json::json;

use super::scope::{scope, scope_name};
use crate::admin::admin_context::AdminContext;
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, FieldError, Fields};
use crate::admin::lifecycle::Command;
use crate::admin::rate_limit::{ChangeRateLimit, RateLimitError};
use crate::admin::routes::{Administered, Plan};

const REQUESTS_MAX: u64 = 1_000_000_000;
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// A limit of nothing is none: a key is stopped by ending it.
fn number(measure: Measure) -> impl FnOnce(Field) -> Result<u64, FieldError> {
    move |field| field.whole(1..=number_max(measure))
}

const fn number_max(measure: Measure) -> u64 {
    if measure.is_of_tokens() { TOKENS_MAX } else { REQUESTS_MAX }
}

impl Administered for RateLimit {
    const PATH: &'static str = "/v1/admin/rate-limits";

    fn form_of() -> Form {
        let scope = resource::required("scope", refusals::scope()).fixed();
        let measures = Measure::ALL.into_iter().map(|measure| {
            resource::optional(measure.as_str(), schema::whole(1, number_max(measure)))
                .meaning("At least one of the measures is there")
        });
        let members = [scope].into_iter().chain(measures).chain([scope_name()]).collect();
        let scope = json!({ "tenant_id": "ten_00000000000000000000000000000001" });
        let example = json!({ "scope": scope, "requests_per_minute": 60 });
        Form { kind: "rate_limit", prefix: LimitId::PREFIX, members, example }
    }

    fn chain(state: &RateLimit, tables: &Tables) -> Chain {
        tables.chain_of_scope(state.scope).unwrap_or_default()
    }

    fn refused(error: RateLimitError) -> CommandError {
        match error {
            RateLimitError::Lifecycle(error) => CommandError::of_lifecycle(Self::KIND, error),
            RateLimitError::NoMeasure => {
                let names = Measure::ALL.map(Measure::as_str).join(", ");
                FieldError::new("", format!("a rate limit has at least one of: {names}")).into()
            }
        }
    }

    fn manage(cx: &AdminContext<'_>, state: &RateLimit) -> Result<(), CommandError> {
        cx.wider_than(state.scope)
    }

    async fn create(cx: &AdminContext<'_>, id: LimitId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let scope = fields.required("scope", scope)?;
        let mut bounds = Bounds::default();
        for measure in Measure::ALL {
            bounds.set(measure, fields.optional(measure.as_str(), number(measure))?);
        }
        fields.finish()?;
        let chain = cx.scope(scope, "scope")?;
        let made = RateLimit { limit_id: id, scope, bounds };
        Ok(Plan::new(Command::Create(made), chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &RateLimit, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["scope"])?;
        let mut change = ChangeRateLimit::default();
        for measure in Measure::ALL {
            change.bounds.push((measure, fields.patched(measure.as_str(), number(measure))?));
        }
        fields.finish()?;
        Ok(Plan::new(Command::Change(change), Self::chain(state, &cx.tables)))
    }

    async fn end(cx: &AdminContext<'_>, state: &RateLimit, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        Ok(Plan::new(Command::End, Self::chain(state, &cx.tables)))
    }
}
