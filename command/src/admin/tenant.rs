//! A tenant: a customer, of one partner for ever. Its end stops every key below it.

use std::convert::Infallible;

use events::event::admin::Tenant;

use crate::admin::handles::ChangeHandles;
use crate::admin::lifecycle::{LifecycleError, Rules};

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

impl Rules for Tenant {
    type State = Self;
    type Change = ChangeTenant;
    type Special = Infallible;
    type Error = LifecycleError;

    fn changed(&self, change: ChangeTenant) -> Result<Self, LifecycleError> {
        Ok(change.over(self))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Handles;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Tenant> {
        spec::given(facts)
    }

    fn named(name: &str) -> Tenant {
        Tenant { tenant_id: id(1), partner_id: id(2), name: name.into(), handles: Handles::default() }
    }

    #[test]
    fn a_tenant_is_made_renamed_and_ended() {
        let rename = || Change(ChangeTenant { name: Some("Beta".into()), ..ChangeTenant::default() });
        let created = || created(named("Alpha"));
        let ended = || ended::<Tenant>(id(1));
        given([]).when(Create(named("Alpha"))).then([created()]);
        given([created()]).when(rename()).then([changed(named("Beta"))]);
        given([created()]).when(End).then([ended()]);
        given([created(), ended()]).when(rename()).then_refused(LifecycleError::Ended);
        given([created(), ended()]).when(Create(named("Alpha"))).then_refused(LifecycleError::Ended);
    }
}
