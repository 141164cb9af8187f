//! A user: a person or service of one tenant for ever. Only digests of name and e-mail are facts; the texts themselves
//! stand in the erasable side table. Its end stops its keys.

use events::event::admin::RoleGrant;
use events::event::admin::{Ended, User};
use events::ids::UserId;

use crate::admin::handles::ChangeHandles;
use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserCommand {
    /// As it will stand in the log.
    CreateUser(User),
    ChangeUser(ChangeUser),
    EndUser,
}

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

admin_aggregate! {
    User, User, "user", UserCommand, LifeError,
    /// What can have happened to a user.
    UserFact { UserCreated(User), UserChanged(User), UserEnded(Ended<UserId>) }
}

fn decide(life: &Life<User>, command: UserCommand) -> Result<Vec<UserFact>, LifeError> {
    match command {
        UserCommand::CreateUser(made) => {
            life.absent()?;
            Ok(vec![UserFact::UserCreated(made)])
        }
        UserCommand::ChangeUser(change) => Ok(vec![UserFact::UserChanged(change.over(life.live()?))]),
        UserCommand::EndUser => life.end(|state| UserFact::UserEnded(Ended { id: state.user_id })),
    }
}

fn evolve(life: &mut Life<User>, fact: UserFact) {
    match fact {
        UserFact::UserCreated(state) | UserFact::UserChanged(state) => *life = Life::Live(state),
        UserFact::UserEnded(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::{Handles, Reach, Role};

    use super::UserCommand::{ChangeUser as Change, CreateUser, EndUser};
    use super::UserFact::{UserChanged, UserCreated, UserEnded};
    use super::*;
    use crate::admin::life::spec::id;

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
        given([UserCreated(user())])
            .when(Change(ChangeUser { roles: Some(roles.clone()), ..ChangeUser::default() }))
            .then([UserChanged(User { roles, ..user() })]);
    }

    #[test]
    fn a_removed_email_leaves_no_digest() {
        let digests = PersonDigests { name: "eva".into(), email: None };
        given([UserCreated(user())])
            .when(Change(ChangeUser { digests: Some(digests), ..ChangeUser::default() }))
            .then([UserChanged(User { name_digest: "eva".into(), email_digest: None, ..user() })]);
    }

    #[test]
    fn a_user_is_made_and_ended_once() {
        let ended = || UserEnded(Ended { id: id(1) });
        given([]).when(CreateUser(user())).then([UserCreated(user())]);
        given([UserCreated(user())]).when(EndUser).then([ended()]);
        given([UserCreated(user()), ended()]).when(EndUser).then_nothing();
        given([UserCreated(user()), ended()]).when(Change(ChangeUser::default())).then_refused(LifeError::Ended);
    }
}
