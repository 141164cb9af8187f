//! Models, with the backends that serve them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Alias, Labels, Origin, Retirement};
use crate::event::Shown;
use crate::ids::{ModelId, TenantId};
use crate::routing::{Affinity, Canary, RoutingRules, Shadow, Strategy, Target};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub model_id: ModelId,
    /// The frontend name that clients request.
    pub name: String,
    pub strategy: Strategy,
    /// Empty for an alias.
    pub targets: Vec<Target>,
    /// For which model it stands, if it has no targets.
    #[serde(default, skip_serializing_if = "Alias::is_empty")]
    pub alias: Alias,
    #[serde(default, skip_serializing_if = "Affinity::is_none")]
    pub affinity: Affinity,
    /// The target that is tried out; absent if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The model that gets a copy of a share of its requests; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// The rules of the strategy `rules`.
    #[serde(default, skip_serializing_if = "RoutingRules::is_empty")]
    pub rules: RoutingRules,
    /// After how many milliseconds without content from the first target the next one is called, too; absent if it never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prefix: Option<String>,
    #[serde(flatten)]
    pub retirement: Retirement,
    /// The tenant that owns it; absent for a model shared by all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// Its origin; absent if a command created it. A model with an origin yields its name to any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Model {
    /// The longest name that a model can have, in characters.
    pub const NAME_CHARS_MAX: usize = 256;

    /// A name from a client, cut to the longest that a model can have: for refusals, events and traces.
    pub fn bounded_name(name: &str) -> String {
        name.chars().take(Self::NAME_CHARS_MAX).collect()
    }

    /// Its targets in the order that strategies get them in: those with a name first, in the order of their names.
    pub fn sort_targets(&mut self) {
        self.targets.sort_by(|a, b| (a.name.is_none(), &a.name).cmp(&(b.name.is_none(), &b.name)));
    }

    /// The index of its canary among its targets.
    pub fn canary_index(&self) -> Option<usize> {
        let canary = self.canary.as_ref()?;
        self.targets.iter().position(|target| canary.is(target))
    }

    /// A model that all tenants share, whose targets are tried in the order of their priorities.
    pub fn new(model_id: ModelId, name: impl Into<String>, targets: Vec<Target>) -> Self {
        let (name, strategy) = (name.into(), Strategy::Priority);
        Self {
            model_id,
            name,
            strategy,
            targets,
            alias: Alias::default(),
            affinity: Affinity::None,
            canary: None,
            shadow: None,
            rules: RoutingRules::default(),
            hedge_after_ms: None,
            system_prefix: None,
            retirement: Retirement::default(),
            tenant_id: None,
            origin: None,
            labels: Labels::none(),
        }
    }
}

impl Shown for Model {
    fn left_out() -> Value {
        json!({ "alias": [], "affinity": "none", "canary": null, "shadow": null, "rules": [], "hedge_after_ms": null, "system_prefix": null, "deprecated_at": null, "retires_at": null, "successor": null, "tenant_id": null, "origin": null, "labels": {} })
    }
}
