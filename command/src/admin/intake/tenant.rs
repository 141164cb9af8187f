//! `/v1/admin/tenants`: `partner_id`, `name`, `slug`, `external_id`.

use events::event::admin::{Reach, Tenant};
use events::event::{Chain, ResourceState};
use events::ids::{PartnerId, TenantId};
use openapi::resource::{self, Form};
use openapi::schema;
use projections::tables::Tables;
use serde_json::{Value, json};

use super::NAME_LEN_MAX;
use super::handles::{self, Claimant};
use crate::admin::admin_context::AdminContext;
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, Fields};
use crate::admin::lifecycle::{Command, LifecycleError};
use crate::admin::routes::{Administered, Plan};
use crate::admin::tenant::ChangeTenant;

const MADE_FROM_ABOVE: &str = "tenants are made and ended by their partner or the platform";
/// They say whom its partner bills, and whether one is taken says what its siblings are called.
const HANDLES_FROM_ABOVE: &str = "a tenant's slug and external_id are its partner's or the platform's to change";

/// What a tenant's own administrator does not do.
fn above_tenants(cx: &AdminContext<'_>, reason: &'static str) -> Result<(), CommandError> {
    match cx.caller.reach {
        Reach::Platform | Reach::Partner(_) => Ok(()),
        Reach::Tenant(_) => Err(CommandError::OutOfReach { reason }),
    }
}

/// Of a slug.
pub fn claimant(id: TenantId) -> Claimant<TenantId> {
    Claimant { kind: Tenant::KIND, id }
}

impl Administered for Tenant {
    const PATH: &'static str = "/v1/admin/tenants";

    fn form_of() -> Form {
        let partner = "The caller's own where it is absent";
        let members = [
            resource::defaulting("partner_id", schema::id(PartnerId::PREFIX), Value::Null).fixed().meaning(partner),
            resource::required("name", schema::text(NAME_LEN_MAX)),
        ];
        let members = members.into_iter().chain(handles::members()).collect();
        Form { kind: "tenant", prefix: TenantId::PREFIX, members, example: json!({ "name": "customer" }) }
    }

    fn chain(state: &Tenant, _: &Tables) -> Chain {
        Chain { partner: Some(state.partner_id), tenant: Some(state.tenant_id), ..Chain::default() }
    }

    fn refused(error: LifecycleError) -> CommandError {
        CommandError::of_lifecycle(Self::KIND, error)
    }

    fn manage(_: &AdminContext<'_>, _: &Tenant) -> Result<(), CommandError> {
        Ok(())
    }

    async fn create(cx: &AdminContext<'_>, id: TenantId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let partner = fields.optional("partner_id", Field::parsed)?;
        let name = fields.required("name", |field| field.text(NAME_LEN_MAX))?;
        let handles = handles::given(&mut fields)?;
        fields.finish()?;
        above_tenants(cx, MADE_FROM_ABOVE)?;
        let partner_id = cx.parent(partner, cx.caller.chain.partner, "partner_id")?;
        let partner = cx.partner(partner_id, "partner_id")?;
        let claim = claimant(id).claim(partner_id, &handles);
        let made = Tenant { tenant_id: id, partner_id, name, handles };
        Ok(Plan::new(Command::Create(made), Chain { tenant: Some(id), ..partner }).with_side(claim))
    }

    async fn change(cx: &AdminContext<'_>, state: &Tenant, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["partner_id"])?;
        let name = fields.changed("name", |field| field.text(NAME_LEN_MAX))?;
        let handles = handles::changed(&mut fields)?;
        fields.finish()?;
        if !handles.is_nothing() {
            above_tenants(cx, HANDLES_FROM_ABOVE)?;
        }
        let claims = claimant(state.tenant_id).reclaim(state.partner_id, &handles);
        let change = ChangeTenant { name, handles };
        Ok(Plan::new(Command::Change(change), Self::chain(state, &cx.tables)).with_side(claims))
    }

    async fn end(cx: &AdminContext<'_>, state: &Tenant, fields: Fields) -> Result<Plan<Self>, CommandError> {
        above_tenants(cx, MADE_FROM_ABOVE)?;
        fields.finish()?;
        let freed = claimant(state.tenant_id).release();
        Ok(Plan::new(Command::End, Self::chain(state, &cx.tables)).with_side([freed]))
    }
}
