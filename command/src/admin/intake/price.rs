//! `/v1/admin/prices`: `provider_id`, `model`, a price a class, `request_usd`, `effective_from`. Absent: cache classes
//! cost what input costs, reasoning what output costs, a request nothing; what is absent stays absent when another price
//! changes. In force from now on where nothing else is said. The platform's alone.

use events::event::admin::Price;
use events::event::{Chain, ResourceState};
use events::ids::{PriceId, ProviderId};
use events::money::{GivenRates, OptionalRate};
use openapi::resource::{self, Form};
use openapi::schema;
use projections::tables::Tables;
use serde_json::{Value, json};

use super::NAME_LEN_MAX;
use crate::admin::admin_context::AdminContext;
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, FieldError, Fields};
use crate::admin::lifecycle::{Command, LifecycleError};
use crate::admin::price::ChangePrice;
use crate::admin::routes::{Administered, Plan};

const PLATFORM_ONLY: &str = "prices are managed by the platform";

fn given(fields: &mut Fields) -> Result<GivenRates, FieldError> {
    Ok(GivenRates {
        input: fields.required("input_usd_per_mtok", Field::price)?,
        output: fields.required("output_usd_per_mtok", Field::price)?,
        cache_read: fields.optional("cache_read_usd_per_mtok", Field::price)?,
        cache_write: fields.optional("cache_write_usd_per_mtok", Field::price)?,
        reasoning: fields.optional("reasoning_usd_per_mtok", Field::price)?,
        request: fields.optional("request_usd", Field::money)?,
    })
}

/// Whose a provider's price is: the provider's own tenant's, or nobody's.
fn chain_of(provider: ProviderId, tables: &Tables) -> Chain {
    let tenant = tables.provider(provider).and_then(|entry| entry.value.tenant_id);
    tenant.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
}

impl Administered for Price {
    const PATH: &'static str = "/v1/admin/prices";

    fn form_of() -> Form {
        let price = |name, default: &str| {
            resource::defaulting(name, schema::amount(), Value::Null)
                .reset_by_null()
                .shown_as(schema::money())
                .meaning(default)
        };
        let defaulted = schema::list(schema::one_of(OptionalRate::ALL.iter().map(|rate| rate.as_str())), None);
        let members = vec![
            resource::required("provider_id", schema::id(ProviderId::PREFIX)).fixed(),
            resource::required("model", schema::text(NAME_LEN_MAX)).fixed(),
            resource::required("input_usd_per_mtok", schema::amount()).shown_as(schema::money()),
            resource::required("output_usd_per_mtok", schema::amount()).shown_as(schema::money()),
            price(
                "cache_read_usd_per_mtok",
                "What input costs for as long as it is absent; null in a change makes it absent",
            ),
            price(
                "cache_write_usd_per_mtok",
                "What input costs for as long as it is absent; null in a change makes it absent",
            ),
            price(
                "reasoning_usd_per_mtok",
                "What output costs for as long as it is absent; null in a change makes it absent",
            ),
            price("request_usd", "Nothing for as long as it is absent; null in a change makes it absent"),
            resource::replied("defaulted", defaulted)
                .meaning("The prices that are absent, so that they follow input, output or cost nothing"),
            resource::defaulting("effective_from", schema::time(), Value::Null)
                .meaning("In force from then on, until a later price of the same model is; now, where it is absent"),
            resource::read("in_force", schema::boolean()).meaning("Whether requests are charged by it now"),
        ];
        let example = json!({
            "provider_id": "prv_0000000000000000000000000000000b", "model": "echo",
            "input_usd_per_mtok": "2.5", "output_usd_per_mtok": "10",
        });
        Form { kind: "price", prefix: PriceId::PREFIX, members, example }
    }

    fn chain(state: &Price, tables: &Tables) -> Chain {
        chain_of(state.provider_id, tables)
    }

    fn refused(error: LifecycleError) -> CommandError {
        CommandError::of_lifecycle(Self::KIND, error)
    }

    fn manage(cx: &AdminContext<'_>, _: &Price) -> Result<(), CommandError> {
        cx.platform(PLATFORM_ONLY)
    }

    async fn create(cx: &AdminContext<'_>, id: PriceId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        cx.platform(PLATFORM_ONLY)?;
        let provider_id = fields.required("provider_id", Field::parsed)?;
        let model = fields.required("model", |field| field.text(NAME_LEN_MAX))?;
        let given = given(&mut fields)?;
        let effective_from = fields.optional("effective_from", Field::time)?.unwrap_or(cx.now);
        fields.finish()?;
        let tenant = cx.tables.provider(provider_id).and_then(|entry| entry.value.tenant_id);
        cx.provider(provider_id, tenant, "provider_id")?;
        let (rates, defaulted) = (given.resolved(), Some(given.defaulted()));
        let made = Price { price_id: id, provider_id, model, rates, defaulted, effective_from };
        Ok(Plan::new(Command::Create(made), chain_of(provider_id, &cx.tables)))
    }

    async fn change(cx: &AdminContext<'_>, state: &Price, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["provider_id", "model"])?;
        let change = ChangePrice {
            input: fields.changed("input_usd_per_mtok", Field::price)?,
            output: fields.changed("output_usd_per_mtok", Field::price)?,
            cache_read: fields.patched("cache_read_usd_per_mtok", Field::price)?,
            cache_write: fields.patched("cache_write_usd_per_mtok", Field::price)?,
            reasoning: fields.patched("reasoning_usd_per_mtok", Field::price)?,
            request: fields.patched("request_usd", Field::money)?,
            effective_from: fields.changed("effective_from", Field::time)?,
        };
        fields.finish()?;
        Ok(Plan::new(Command::Change(change), Self::chain(state, &cx.tables)))
    }

    async fn end(cx: &AdminContext<'_>, state: &Price, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        Ok(Plan::new(Command::End, Self::chain(state, &cx.tables)))
    }
}
