//! `/v1/admin/partners`: `name`.

use events::event::Chain;
use events::event::admin::Partner;
use events::ids::PartnerId;
use projections::resource::ResourceState;
use projections::tables::Tables;

use super::NAME_LEN_MAX;
use crate::admin::desk::Desk;
use crate::admin::fields::Fields;
use crate::admin::life::{AdminAggregate, Life, LifeError};
use crate::admin::partner::{ChangePartner, PartnerCommand};
use crate::admin::routes::{Administered, Plan};
use crate::error::CommandError;

const PLATFORM_ONLY: &str = "partners are made and ended by the platform";

fn chain_of(id: PartnerId) -> Chain {
    Chain { partner: Some(id), ..Chain::default() }
}

impl Administered for Life<Partner> {
    type Id = PartnerId;
    const PATH: &'static str = "/v1/admin/partners";

    fn chain(state: &Partner, _: &Tables) -> Chain {
        chain_of(state.partner_id)
    }

    fn form(state: &Partner) -> ResourceState<'_> {
        ResourceState::Partner(state)
    }

    fn refused(error: LifeError) -> CommandError {
        CommandError::of_life(Self::KIND, error)
    }

    fn manage(_: &Desk<'_>, _: &Partner) -> Result<(), CommandError> {
        Ok(())
    }

    async fn create(desk: &Desk<'_>, id: PartnerId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        desk.platform(PLATFORM_ONLY)?;
        let name = fields.required("name", |field| field.text(NAME_LEN_MAX))?;
        fields.finish()?;
        Ok(Plan::new(PartnerCommand::CreatePartner(Partner { partner_id: id, name }), chain_of(id)))
    }

    async fn change(_: &Desk<'_>, state: &Partner, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let name = fields.changed("name", |field| field.text(NAME_LEN_MAX))?;
        fields.finish()?;
        Ok(Plan::new(PartnerCommand::ChangePartner(ChangePartner { name }), chain_of(state.partner_id)))
    }

    async fn end(desk: &Desk<'_>, state: &Partner, fields: Fields) -> Result<Plan<Self>, CommandError> {
        desk.platform(PLATFORM_ONLY)?;
        fields.finish()?;
        Ok(Plan::new(PartnerCommand::EndPartner, chain_of(state.partner_id)))
    }
}
