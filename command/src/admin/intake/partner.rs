//! `/v1/admin/partners`: `name`, `slug`, `external_id`.

use events::event::admin::Partner;
use events::event::{Chain, ResourceState};
use events::ids::PartnerId;
use openapi::resource::{self, Form};
use openapi::schema;
use projections::tables::Tables;
use serde_json::json;

use super::NAME_LEN_MAX;
use super::handles::{self, Claimant, PLATFORM};
use crate::admin::admin_context::AdminContext;
use crate::admin::error::CommandError;
use crate::admin::fields::Fields;
use crate::admin::lifecycle::{Command, LifecycleError};
use crate::admin::partner::ChangePartner;
use crate::admin::routes::{Administered, Plan};

const PLATFORM_ONLY: &str = "partners are made and ended by the platform";
const HANDLES_PLATFORM_ONLY: &str = "a partner's slug and external_id are the platform's to change";

fn chain_of(id: PartnerId) -> Chain {
    Chain { partner: Some(id), ..Chain::default() }
}

/// Of a slug.
pub fn claimant(id: PartnerId) -> Claimant<PartnerId> {
    Claimant { kind: Partner::KIND, id }
}

impl Administered for Partner {
    const PATH: &'static str = "/v1/admin/partners";

    fn form_of() -> Form {
        let name = resource::required("name", schema::text(NAME_LEN_MAX));
        let members = [name].into_iter().chain(handles::members()).collect();
        Form { kind: "partner", prefix: PartnerId::PREFIX, members, example: json!({ "name": "reseller" }) }
    }

    fn chain(state: &Partner, _: &Tables) -> Chain {
        chain_of(state.partner_id)
    }

    fn refused(error: LifecycleError) -> CommandError {
        CommandError::of_lifecycle(Self::KIND, error)
    }

    fn manage(_: &AdminContext<'_>, _: &Partner) -> Result<(), CommandError> {
        Ok(())
    }

    async fn create(cx: &AdminContext<'_>, id: PartnerId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        cx.platform(PLATFORM_ONLY)?;
        let name = fields.required("name", |field| field.text(NAME_LEN_MAX))?;
        let handles = handles::given(&mut fields)?;
        fields.finish()?;
        let claim = claimant(id).claim(PLATFORM, &handles);
        let made = Partner { partner_id: id, name, handles };
        Ok(Plan::new(Command::Create(made), chain_of(id)).with_side(claim))
    }

    async fn change(cx: &AdminContext<'_>, state: &Partner, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let name = fields.changed("name", |field| field.text(NAME_LEN_MAX))?;
        let handles = handles::changed(&mut fields)?;
        fields.finish()?;
        if !handles.is_nothing() {
            cx.platform(HANDLES_PLATFORM_ONLY)?;
        }
        let claims = claimant(state.partner_id).reclaim(PLATFORM, &handles);
        let change = ChangePartner { name, handles };
        Ok(Plan::new(Command::Change(change), chain_of(state.partner_id)).with_side(claims))
    }

    async fn end(cx: &AdminContext<'_>, state: &Partner, fields: Fields) -> Result<Plan<Self>, CommandError> {
        cx.platform(PLATFORM_ONLY)?;
        fields.finish()?;
        let freed = claimant(state.partner_id).release();
        Ok(Plan::new(Command::End, chain_of(state.partner_id)).with_side([freed]))
    }
}
