//! A partner: the widest owner. Its end stops every key below it.

use std::convert::Infallible;

use events::event::admin::Partner;

use crate::admin::handles::ChangeHandles;
use crate::admin::lifecycle::{LifecycleError, Rules};

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

impl Rules for Partner {
    type State = Self;
    type Change = ChangePartner;
    type Special = Infallible;
    type Error = LifecycleError;

    fn changed(&self, change: ChangePartner) -> Result<Self, LifecycleError> {
        Ok(change.over(self))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Handles;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::CommandOf;
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Partner> {
        spec::given(facts)
    }

    fn named(name: &str) -> Partner {
        Partner { partner_id: id(1), name: name.into(), handles: Handles::default() }
    }

    fn rename(name: &str) -> CommandOf<Partner> {
        Change(ChangePartner { name: Some(name.into()), ..ChangePartner::default() })
    }

    #[test]
    fn a_partner_is_made_once() {
        given([]).when(Create(named("Alpha"))).then([created(named("Alpha"))]);
        given([created(named("Alpha"))]).when(Create(named("Beta"))).then_refused(LifecycleError::Exists);
    }

    #[test]
    fn a_change_carries_the_whole_new_state() {
        given([created(named("Alpha"))]).when(rename("Beta")).then([changed(named("Beta"))]);
        given([created(named("Alpha"))]).when(Change(ChangePartner::default())).then([changed(named("Alpha"))]);
    }

    #[test]
    fn an_ended_partner_cannot_be_changed_and_ends_once() {
        let past = || [created(named("Alpha")), ended::<Partner>(id(1))];
        given([created(named("Alpha"))]).when(End).then([ended::<Partner>(id(1))]);
        given(past()).when(rename("Beta")).then_refused(LifecycleError::Ended);
        given(past()).when(End).then_nothing();
    }

    #[test]
    fn what_was_never_made_cannot_be_changed() {
        given([]).when(rename("Beta")).then_refused(LifecycleError::Absent);
        given([]).when(End).then_refused(LifecycleError::Absent);
    }
}
