//! A request, as far as it decides which budgets and rate limits bind it.

use std::collections::BTreeMap;

use super::Chain;
use crate::ids::TeamId;

/// The teams that a request counts for, each with its version, which is a log position.
pub type TeamVersions = BTreeMap<TeamId, u64>;

static NO_TEAMS: TeamVersions = BTreeMap::new();
static NO_METADATA: BTreeMap<String, String> = BTreeMap::new();

/// The properties of a request that scopes of budgets and rate limits match.
#[derive(Clone, Copy, Debug)]
pub struct ScopeSubject<'a> {
    pub chain: Chain,
    /// The frontend name that the client asks for.
    pub model: &'a str,
    /// The name of the model that serves it, if the client asks for an alias of that.
    pub stands_for: Option<&'a str>,
    pub metadata: &'a BTreeMap<String, String>,
    /// The teams of its user in its tenant.
    pub teams: &'a TeamVersions,
}

impl<'a> ScopeSubject<'a> {
    /// Whether it is one for the model of this name: by that name, or by an alias.
    pub fn is_for(&self, model: &str) -> bool {
        self.model == model || self.stands_for == Some(model)
    }

    /// A request without metadata and teams, for a model with targets.
    pub fn unmarked(chain: Chain, model: &'a str) -> Self {
        Self { chain, model, stands_for: None, metadata: &NO_METADATA, teams: &NO_TEAMS }
    }

    /// A request of which no more is known than its parties: no narrowed scope includes it.
    pub fn of_chain(chain: Chain) -> Self {
        Self::unmarked(chain, "")
    }
}
