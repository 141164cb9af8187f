//! A tenant: a customer, of one partner for ever. Its end stops every key below it.

use events::event::admin::{Ended, Tenant};
use events::ids::TenantId;

use crate::admin::handles::ChangeHandles;
use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantCommand {
    /// As it will stand in the log.
    CreateTenant(Tenant),
    ChangeTenant(ChangeTenant),
    EndTenant,
}

/// `None` keeps what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeTenant {
    pub name: Option<String>,
    pub handles: ChangeHandles,
}

impl ChangeTenant {
    fn over(self, current: &Tenant) -> Tenant {
        Tenant {
            tenant_id: current.tenant_id,
            partner_id: current.partner_id,
            name: self.name.unwrap_or_else(|| current.name.clone()),
            handles: self.handles.over(&current.handles),
        }
    }
}

admin_aggregate! {
    Tenant, Tenant, "tenant", TenantCommand, LifeError,
    /// What can have happened to a tenant.
    TenantFact { TenantCreated(Tenant), TenantChanged(Tenant), TenantEnded(Ended<TenantId>) }
}

fn decide(life: &Life<Tenant>, command: TenantCommand) -> Result<Vec<TenantFact>, LifeError> {
    match command {
        TenantCommand::CreateTenant(made) => {
            life.absent()?;
            Ok(vec![TenantFact::TenantCreated(made)])
        }
        TenantCommand::ChangeTenant(change) => Ok(vec![TenantFact::TenantChanged(change.over(life.live()?))]),
        TenantCommand::EndTenant => life.end(|state| TenantFact::TenantEnded(Ended { id: state.tenant_id })),
    }
}

fn evolve(life: &mut Life<Tenant>, fact: TenantFact) {
    match fact {
        TenantFact::TenantCreated(state) | TenantFact::TenantChanged(state) => *life = Life::Live(state),
        TenantFact::TenantEnded(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::Handles;

    use super::TenantCommand::{ChangeTenant as Change, CreateTenant, EndTenant};
    use super::TenantFact::{TenantChanged, TenantCreated, TenantEnded};
    use super::*;
    use crate::admin::life::spec::id;

    fn named(name: &str) -> Tenant {
        Tenant { tenant_id: id(1), partner_id: id(2), name: name.into(), handles: Handles::default() }
    }

    #[test]
    fn a_tenant_is_made_renamed_and_ended() {
        let rename = || Change(ChangeTenant { name: Some("Beta".into()), ..ChangeTenant::default() });
        let created = || TenantCreated(named("Alpha"));
        let ended = || TenantEnded(Ended { id: id(1) });
        given([]).when(CreateTenant(named("Alpha"))).then([created()]);
        given([created()]).when(rename()).then([TenantChanged(named("Beta"))]);
        given([created()]).when(EndTenant).then([ended()]);
        given([created(), ended()]).when(rename()).then_refused(LifeError::Ended);
        given([created(), ended()]).when(CreateTenant(named("Alpha"))).then_refused(LifeError::Ended);
    }
}
