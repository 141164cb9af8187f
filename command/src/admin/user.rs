//! A user: a person or service of one tenant for ever. Only digests of name and e-mail are facts; the texts themselves
//! stand in the erasable side table. Its end stops its keys.

use std::convert::Infallible;

use events::event::admin::RoleGrant;
use events::event::admin::User;

use crate::admin::handles::ChangeHandles;
use crate::admin::lifecycle::{LifecycleError, Rules};

/// `None` keeps what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeUser {
    pub roles: Option<Vec<RoleGrant>>,
    pub digests: Option<PersonDigests>,
    pub handles: ChangeHandles,
}

/// Salted SHA-256 in hex of what the side table then holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonDigests {
    pub name: String,
    pub email: Option<String>,
}

impl ChangeUser {
    fn over(self, current: &User) -> User {
        let kept = || PersonDigests { name: current.name_digest.clone(), email: current.email_digest.clone() };
        let digests = self.digests.unwrap_or_else(kept);
        User {
            user_id: current.user_id,
            tenant_id: current.tenant_id,
            roles: self.roles.unwrap_or_else(|| current.roles.clone()),
            name_digest: digests.name,
            email_digest: digests.email,
            handles: self.handles.over(&current.handles),
        }
    }
}

impl Rules for User {
    type State = Self;
    type Change = ChangeUser;
    type Special = Infallible;
    type Error = LifecycleError;

    fn changed(&self, change: ChangeUser) -> Result<Self, LifecycleError> {
        Ok(change.over(self))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::{Handles, Reach, Role};

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<User> {
        spec::given(facts)
    }

    fn user() -> User {
        let (user_id, tenant_id) = (id(1), id(2));
        User {
            user_id,
            tenant_id,
            roles: vec![],
            name_digest: "ada".into(),
            email_digest: Some("mail".into()),
            handles: Handles::default(),
        }
    }

    #[test]
    fn roles_change_without_touching_the_digests() {
        let roles = vec![RoleGrant { role: Role::Auditor, scope: Reach::Tenant(id(2)) }];
        given([created(user())])
            .when(Change(ChangeUser { roles: Some(roles.clone()), ..ChangeUser::default() }))
            .then([changed(User { roles, ..user() })]);
    }

    #[test]
    fn a_removed_email_leaves_no_digest() {
        let digests = PersonDigests { name: "eva".into(), email: None };
        given([created(user())])
            .when(Change(ChangeUser { digests: Some(digests), ..ChangeUser::default() }))
            .then([changed(User { name_digest: "eva".into(), email_digest: None, ..user() })]);
    }

    #[test]
    fn a_user_is_made_and_ended_once() {
        let ended = || ended::<User>(id(1));
        given([]).when(Create(user())).then([created(user())]);
        given([created(user())]).when(End).then([ended()]);
        given([created(user()), ended()]).when(End).then_nothing();
        given([created(user()), ended()]).when(Change(ChangeUser::default())).then_refused(LifecycleError::Ended);
    }
}
