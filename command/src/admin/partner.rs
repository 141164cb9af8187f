//! A partner: the widest owner. Its end stops every key below it.

use events::event::admin::{Ended, Partner};
use events::ids::PartnerId;

use crate::admin::handles::ChangeHandles;
use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerCommand {
    /// As it will stand in the log.
    CreatePartner(Partner),
    ChangePartner(ChangePartner),
    EndPartner,
}

/// `None` keeps what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangePartner {
    pub name: Option<String>,
    pub handles: ChangeHandles,
}

impl ChangePartner {
    fn over(self, current: &Partner) -> Partner {
        Partner {
            partner_id: current.partner_id,
            name: self.name.unwrap_or_else(|| current.name.clone()),
            handles: self.handles.over(&current.handles),
        }
    }
}

admin_aggregate! {
    Partner, Partner, "partner", PartnerCommand, LifeError,
    /// What can have happened to a partner.
    PartnerFact { PartnerCreated(Partner), PartnerChanged(Partner), PartnerEnded(Ended<PartnerId>) }
}

fn decide(life: &Life<Partner>, command: PartnerCommand) -> Result<Vec<PartnerFact>, LifeError> {
    match command {
        PartnerCommand::CreatePartner(made) => {
            life.absent()?;
            Ok(vec![PartnerFact::PartnerCreated(made)])
        }
        PartnerCommand::ChangePartner(change) => Ok(vec![PartnerFact::PartnerChanged(change.over(life.live()?))]),
        PartnerCommand::EndPartner => life.end(|state| PartnerFact::PartnerEnded(Ended { id: state.partner_id })),
    }
}

fn evolve(life: &mut Life<Partner>, fact: PartnerFact) {
    match fact {
        PartnerFact::PartnerCreated(state) | PartnerFact::PartnerChanged(state) => *life = Life::Live(state),
        PartnerFact::PartnerEnded(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::Handles;

    use super::PartnerCommand::{ChangePartner as Change, CreatePartner, EndPartner};
    use super::PartnerFact::{PartnerChanged, PartnerCreated, PartnerEnded};
    use super::*;
    use crate::admin::life::spec::id;

    fn named(name: &str) -> Partner {
        Partner { partner_id: id(1), name: name.into(), handles: Handles::default() }
    }

    fn rename(name: &str) -> PartnerCommand {
        Change(ChangePartner { name: Some(name.into()), ..ChangePartner::default() })
    }

    #[test]
    fn a_partner_is_made_once() {
        given([]).when(CreatePartner(named("Alpha"))).then([PartnerCreated(named("Alpha"))]);
        given([PartnerCreated(named("Alpha"))]).when(CreatePartner(named("Beta"))).then_refused(LifeError::Exists);
    }

    #[test]
    fn a_change_carries_the_whole_new_state() {
        given([PartnerCreated(named("Alpha"))]).when(rename("Beta")).then([PartnerChanged(named("Beta"))]);
        given([PartnerCreated(named("Alpha"))])
            .when(Change(ChangePartner::default()))
            .then([PartnerChanged(named("Alpha"))]);
    }

    #[test]
    fn an_ended_partner_cannot_be_changed_and_ends_once() {
        let ended = || [PartnerCreated(named("Alpha")), PartnerEnded(Ended { id: id(1) })];
        given([PartnerCreated(named("Alpha"))]).when(EndPartner).then([PartnerEnded(Ended { id: id(1) })]);
        given(ended()).when(rename("Beta")).then_refused(LifeError::Ended);
        given(ended()).when(EndPartner).then_nothing();
    }

    #[test]
    fn what_was_never_made_cannot_be_changed() {
        given([]).when(rename("Beta")).then_refused(LifeError::Absent);
        given([]).when(EndPartner).then_refused(LifeError::Absent);
    }
}
