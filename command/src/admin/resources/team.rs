//! A team: a group of users of one tenant, which never changes. Budgets and rate limits can bind it: all requests of its users in
//! that tenant. The end of a user leaves its teams as they are: it has no requests any more, and the next change of the list must
//! leave it out. The end of a team frees its users of whatever bound it.

use std::sync::LazyLock;

use events::event::Chain;
use events::event::admin::Team;
use events::ids::{TeamId, TenantId, UserId};
use events_log::SideRow;
use openapi::schema;
use projections::tables::Tables;
use serde_json::{Map, Value, json};

use super::NAME_LEN_MAX;
use super::handles;
use super::labels::labels;
use crate::admin::admin_context::AdminContext;
use crate::admin::administered::{Administered, CommandPlan, PlanResult};
use crate::admin::declaration::{Declaration, defaulting, required};
use crate::admin::field_type::{id, text};
use crate::admin::field_values::FieldValues;
use crate::admin::fields::FieldError;
use crate::admin::lifecycle::{Command, RuleError, Rules};

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let users = id::<UserId>().list(Team::USERS_MAX);
    let shown = schema::list(schema::id(UserId::PREFIX), None);
    let members = [
        defaulting("tenant_id", id::<TenantId>(), Value::Null).fixed(),
        required("name", text(NAME_LEN_MAX)).meaning("Events contain it, so use no personal data"),
        defaulting("user_ids", users, json!([])).shown_as(shown).meaning(
            "Users of the tenant, in any order and without repetition. A change replaces the whole list, and names live users only",
        ),
    ];
    let members = members.into_iter().chain(handles::members()).chain([labels()]);
    let example = json!({ "name": "Search" });
    Declaration::of::<Team>(members, example)
});

impl Rules for Team {
    type State = Self;

    fn claim(&self) -> Option<SideRow> {
        handles::claim::<Self>(self.team_id, self.tenant_id, &self.handles)
    }

    /// Sorts the users.
    fn validated(mut self) -> Result<Self, RuleError> {
        self.user_ids.sort_unstable();
        match self.user_ids.array_windows().find(|[before, after]| before == after) {
            Some([repeated, _]) => Err(RuleError::of_field("user_ids", format!("must not have {repeated} twice"))),
            None => Ok(self),
        }
    }
}

impl Administered for Team {
    const PATH: &'static str = "/v1/admin/teams";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    fn complete(given: &mut FieldValues) -> Result<Map<String, Value>, RuleError> {
        given.get::<TenantId>("tenant_id")?.ok_or_else(|| FieldError::new("tenant_id", "is required"))?;
        Ok(Map::new())
    }

    fn chain(state: &Team, tables: &Tables) -> Chain {
        let owners = tables.chain_of_tenant(state.tenant_id).unwrap_or_default();
        Chain { tenant: Some(state.tenant_id), ..owners }
    }

    async fn create(cx: &AdminContext<'_>, id: TeamId, mut given: FieldValues) -> PlanResult<Self> {
        let tenant_id = cx.parent(&mut given, "tenant_id", cx.caller.chain.tenant)?;
        let chain = cx.tenant(tenant_id, "tenant_id")?;
        let made: Self = Self::of_values(id, given)?;
        cx.require_team_users(id, tenant_id, &made.user_ids)?;
        Ok(CommandPlan::creation(made, chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &Team, given: FieldValues) -> PlanResult<Self> {
        if let Some(users) = given.get::<Vec<UserId>>("user_ids")? {
            cx.require_team_users(state.team_id, state.tenant_id, &users)?;
        }
        let claims = state.reclaim("slug", &given)?;
        Ok(CommandPlan::of(Command::Change(given), state, cx).with_side(claims))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<Team> {
        spec::given(facts)
    }

    fn team(users: &[u128]) -> Team {
        Team::new(id(1), id(2), "Search", users.iter().map(|user| id(*user)).collect())
    }

    fn to(users: &[u128]) -> Command<Team> {
        let users: Vec<UserId> = users.iter().map(|user| id(*user)).collect();
        change(&json!({ "user_ids": users }))
    }

    #[test]
    fn users_are_sorted_and_may_not_repeat() {
        given([]).when(Create(team(&[5, 3, 4]))).then([created(team(&[3, 4, 5]))]);
        given([created(team(&[3]))]).when(to(&[4, 3])).then([changed(team(&[3, 4]))]);
        given([created(team(&[3]))]).when(to(&[])).then([changed(team(&[]))]);
        let user: UserId = id(3);
        let twice = RuleError::of_field("user_ids", format!("must not have {user} twice"));
        given([created(team(&[]))]).when(to(&[3, 4, 3])).then_refused(twice);
    }

    #[test]
    fn a_team_is_created_and_ended_once() {
        let ended = || ended::<Team>(id(1));
        given([]).when(Create(team(&[]))).then([created(team(&[]))]);
        given([created(team(&[3]))]).when(End).then([ended()]);
        given([created(team(&[3])), ended()]).when(End).then_nothing();
        given([created(team(&[3])), ended()]).when(to(&[4])).then_refused(RuleError::Ended);
    }
}
