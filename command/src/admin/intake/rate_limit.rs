//! `/v1/admin/rate-limits`: `scope`, `requests_per_minute`.

use events::event::Chain;
use events::event::admin::RateLimit;
use events::ids::LimitId;
use projections::resource::ResourceState;
use projections::tables::Tables;

use super::scope::scope;
use crate::admin::desk::Desk;
use crate::admin::fields::{Field, FieldError, Fields};
use crate::admin::life::{AdminAggregate, Life, LifeError};
use crate::admin::rate_limit::{ChangeRateLimit, RateLimitCommand};
use crate::admin::routes::{Administered, Plan};
use crate::error::CommandError;

const REQUESTS_MAX: u64 = 1_000_000_000;

fn requests(field: Field) -> Result<u64, FieldError> {
    field.whole(1..=REQUESTS_MAX)
}

impl Administered for Life<RateLimit> {
    type Id = LimitId;
    const PATH: &'static str = "/v1/admin/rate-limits";

    fn chain(state: &RateLimit, tables: &Tables) -> Chain {
        tables.chain_of_scope(state.scope).unwrap_or_default()
    }

    fn form(state: &RateLimit) -> ResourceState<'_> {
        ResourceState::RateLimit(state)
    }

    fn refused(error: LifeError) -> CommandError {
        CommandError::of_life(Self::KIND, error)
    }

    fn manage(desk: &Desk<'_>, state: &RateLimit) -> Result<(), CommandError> {
        desk.wider_than(state.scope)
    }

    async fn create(desk: &Desk<'_>, id: LimitId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let scope = fields.required("scope", scope)?;
        let requests_per_minute = fields.required("requests_per_minute", requests)?;
        fields.finish()?;
        let chain = desk.scope(scope, "scope")?;
        let made = RateLimit { limit_id: id, scope, requests_per_minute };
        Ok(Plan::new(RateLimitCommand::CreateRateLimit(made), chain))
    }

    async fn change(desk: &Desk<'_>, state: &RateLimit, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["scope"])?;
        let requests_per_minute = fields.changed("requests_per_minute", requests)?;
        fields.finish()?;
        let change = ChangeRateLimit { requests_per_minute };
        Ok(Plan::new(RateLimitCommand::ChangeRateLimit(change), Self::chain(state, &desk.tables)))
    }

    async fn end(desk: &Desk<'_>, state: &RateLimit, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        Ok(Plan::new(RateLimitCommand::EndRateLimit, Self::chain(state, &desk.tables)))
    }
}
