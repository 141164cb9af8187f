//! The first rule whose condition holds decides: for the targets that it names, in its order or in that of a strategy. Where no rule
//! holds, the strategy is `priority`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::{RequestFeatures, Strategy};
use crate::ids::TenantId;

pub use super::priority::{MEASURED, arrange, rate};

/// The place in a rule that names targets alone, which callers give as the priority.
pub const WHAT: &str = "place";

/// The action of a model on requests for which a condition holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingRule {
    /// An expression of the Common Expression Language.
    pub when: String,
    /// The targets that may serve, as `provider_id/model`; all if it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// How they are ordered; absent for the order in which they are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
}

impl RoutingRule {
    /// The place of a target among those that it names; `None` if it may not serve. All have the same place where it names none.
    pub fn place_of(&self, backend: &str) -> Option<usize> {
        if self.targets.is_empty() { Some(0) } else { self.targets.iter().position(|target| target == backend) }
    }
}

/// The rules of a model, which are compiled when the first request needs them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoutingRules {
    rules: Vec<RoutingRule>,
    #[serde(skip)]
    conditions: OnceLock<Arc<dyn Conditions>>,
}

/// The facts that conditions test.
#[derive(Clone, Copy, Debug)]
pub struct ConditionSubject<'a> {
    pub features: &'a RequestFeatures,
    pub metadata: &'a BTreeMap<String, String>,
    pub tenant: Option<TenantId>,
}

/// The compiled conditions of a model's rules. What they are written in is not known here.
pub trait Conditions: fmt::Debug + Send + Sync {
    /// The first condition that holds, from 0.
    fn first_that_holds(&self, subject: &ConditionSubject<'_>) -> Option<usize>;
}

/// Compiles the conditions of rules.
pub type CompileConditions = fn(&[RoutingRule]) -> Arc<dyn Conditions>;

impl RoutingRules {
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&RoutingRule> {
        self.rules.get(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &RoutingRule> {
        self.rules.iter()
    }

    /// The first rule whose condition holds, with its index.
    pub fn first_that_holds(
        &self,
        subject: &ConditionSubject<'_>,
        compile: CompileConditions,
    ) -> Option<(usize, &RoutingRule)> {
        let index = self.conditions.get_or_init(|| compile(&self.rules)).first_that_holds(subject)?;
        Some((index, self.rules.get(index)?))
    }
}

impl From<Vec<RoutingRule>> for RoutingRules {
    fn from(rules: Vec<RoutingRule>) -> Self {
        Self { rules, conditions: OnceLock::new() }
    }
}

impl PartialEq for RoutingRules {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for RoutingRules {}
