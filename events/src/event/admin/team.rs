//! Teams: groups of users of one tenant, which budgets and rate limits can bind together.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Handles, Labels};
use crate::event::Shown;
use crate::ids::{TeamId, TenantId, UserId};

/// A group of users of a tenant. The requests of all of their keys in that tenant count for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    pub team_id: TeamId,
    pub tenant_id: TenantId,
    pub name: String,
    /// In ascending order, without repetition. A user who has ended stays until a change leaves it out.
    pub user_ids: Vec<UserId>,
    #[serde(flatten)]
    pub handles: Handles,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Team {
    /// The most users that a team may have.
    pub const USERS_MAX: usize = 1000;
    /// The most teams that a user may be in: each may have budgets that bind a request.
    pub const TEAMS_OF_USER_MAX: usize = 32;

    pub fn new(team_id: TeamId, tenant_id: TenantId, name: impl Into<String>, user_ids: Vec<UserId>) -> Self {
        let (name, handles, labels) = (name.into(), Handles::default(), Labels::none());
        Self { team_id, tenant_id, name, user_ids, handles, labels }
    }
}

impl Shown for Team {
    fn left_out() -> Value {
        json!({ "slug": null, "external_id": null, "labels": {} })
    }
}
