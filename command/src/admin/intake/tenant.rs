//! `/v1/admin/tenants`: `partner_id`, `name`.

use events::event::Chain;
use events::event::admin::{Reach, Tenant};
use events::ids::TenantId;
use projections::resource::ResourceState;
use projections::tables::Tables;

use super::NAME_LEN_MAX;
use crate::admin::desk::Desk;
use crate::admin::fields::{Field, Fields};
use crate::admin::life::{AdminAggregate, Life, LifeError};
use crate::admin::routes::{Administered, Plan};
use crate::admin::tenant::{ChangeTenant, TenantCommand};
use crate::error::CommandError;

/// A tenant's own administrator neither makes tenants nor ends its own.
fn above_tenants(desk: &Desk<'_>) -> Result<(), CommandError> {
    match desk.caller.reach {
        Reach::Platform | Reach::Partner(_) => Ok(()),
        Reach::Tenant(_) => {
            Err(CommandError::OutOfReach { reason: "tenants are made and ended by their partner or the platform" })
        }
    }
}

impl Administered for Life<Tenant> {
    type Id = TenantId;
    const PATH: &'static str = "/v1/admin/tenants";

    fn chain(state: &Tenant, _: &Tables) -> Chain {
        Chain { partner: Some(state.partner_id), tenant: Some(state.tenant_id), ..Chain::default() }
    }

    fn form(state: &Tenant) -> ResourceState<'_> {
        ResourceState::Tenant(state)
    }

    fn refused(error: LifeError) -> CommandError {
        CommandError::of_life(Self::KIND, error)
    }

    fn manage(_: &Desk<'_>, _: &Tenant) -> Result<(), CommandError> {
        Ok(())
    }

    async fn create(desk: &Desk<'_>, id: TenantId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let partner = fields.optional("partner_id", Field::parsed)?;
        let name = fields.required("name", |field| field.text(NAME_LEN_MAX))?;
        fields.finish()?;
        above_tenants(desk)?;
        let partner_id = desk.parent(partner, desk.caller.chain.partner, "partner_id")?;
        let partner = desk.partner(partner_id, "partner_id")?;
        let made = Tenant { tenant_id: id, partner_id, name };
        Ok(Plan::new(TenantCommand::CreateTenant(made), Chain { tenant: Some(id), ..partner }))
    }

    async fn change(desk: &Desk<'_>, state: &Tenant, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["partner_id"])?;
        let name = fields.changed("name", |field| field.text(NAME_LEN_MAX))?;
        fields.finish()?;
        Ok(Plan::new(TenantCommand::ChangeTenant(ChangeTenant { name }), Self::chain(state, &desk.tables)))
    }

    async fn end(desk: &Desk<'_>, state: &Tenant, fields: Fields) -> Result<Plan<Self>, CommandError> {
        above_tenants(desk)?;
        fields.finish()?;
        Ok(Plan::new(TenantCommand::EndTenant, Self::chain(state, &desk.tables)))
    }
}
