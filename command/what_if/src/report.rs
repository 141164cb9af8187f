//! The answer: what differs from what is recorded, in total and by tenant, user and model.

use std::collections::BTreeMap;

use events::event::Context;
use events::event::admin::{Model, NarrowedScope};
use events::ids::{BudgetId, LimitId, TenantId, UserId};
use events::limit::Measure;
use events::money::{NanoUsd, NanoUsdSum};
use serde::Serialize;

use crate::Period;

/// The models that have figures of their own. Clients choose the names of those that do not exist.
const MODELS_MAX: usize = 10_000;
/// The name under which further models are counted. It is not a valid model name.
const OTHER_MODELS: &str = "*";

/// Requests of the period, and their cost. `cost_usd` is the cost under the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Recorded as admitted.
    pub admitted: u64,
    /// Recorded as refused, for any reason.
    pub refused: u64,
    /// Recorded as admitted, and refused under the rules.
    pub newly_refused: u64,
    /// Recorded as admitted, and admitted with a lower output cap under the rules.
    pub newly_shortened: u64,
    /// Recorded as refused, and admitted under the rules. Their cost is unknown, since nobody ran them.
    pub newly_admitted: u64,
    /// The most that these can cost. Those that a rate limit had refused are not in it: their bound is not recorded.
    pub newly_admitted_at_most_usd: NanoUsdSum,
    /// Recorded as refused by a rate limit that the rules raise, without what it takes to decide them again.
    pub undecided: u64,
    /// Recorded as admitted, and not ended at the end of the log: their cost is not known yet.
    pub open: u64,
    pub recorded_cost_usd: NanoUsdSum,
    pub cost_usd: NanoUsdSum,
}

impl Figures {
    /// Adds a charge, as recorded and under the rules.
    pub(crate) fn charge(&mut self, recorded: NanoUsd, ruled: NanoUsd) {
        self.recorded_cost_usd = self.recorded_cost_usd + recorded.into();
        self.cost_usd = self.cost_usd + ruled.into();
    }

    /// Returns the cost that the rules would have added; negative for what they would have saved.
    pub fn difference(&self) -> NanoUsdSum {
        self.cost_usd - self.recorded_cost_usd
    }

    /// True if every decision and every sum of costs is as recorded.
    pub fn is_as_recorded(&self) -> bool {
        self.newly_refused == 0
            && self.newly_shortened == 0
            && self.newly_admitted == 0
            && self.undecided == 0
            && self.cost_usd == self.recorded_cost_usd
    }
}

/// A rule that refuses. Added ones are numbered as in the file, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusingRule {
    Budget(BudgetId),
    AddedBudget(usize),
    RateLimit(LimitId, Measure),
    AddedRateLimit(usize, Measure),
}

/// A rule that has refused a request, and whom it binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refuser {
    pub(crate) rule: RefusingRule,
    pub(crate) scope: Option<NarrowedScope>,
}

/// How many requests that were recorded as admitted a rule refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedBy {
    pub scope: Option<NarrowedScope>,
    pub requests: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub period: Period,
    /// The last position that was read.
    pub position: u64,
    pub total: Figures,
    pub tenants: BTreeMap<Option<TenantId>, Figures>,
    pub tenant_names: BTreeMap<TenantId, String>,
    pub users: BTreeMap<(Option<TenantId>, Option<UserId>), Figures>,
    /// Indexed by frontend name. Requests that a rate limit refused are not in it: their model is not recorded.
    pub models: BTreeMap<String, Figures>,
    pub refused_by: BTreeMap<RefusingRule, RefusedBy>,
}

/// Whom a request is counted for.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    tenant: Option<TenantId>,
    user: Option<UserId>,
    model: Option<String>,
}

impl Party {
    pub(crate) fn new(context: &Context, model: Option<&str>) -> Self {
        Self { tenant: context.tenant_id, user: context.user_id, model: model.map(Model::bounded_name) }
    }
}

impl Report {
    /// Changes every figure that counts this party.
    pub(crate) fn count(&mut self, party: &Party, change: impl Fn(&mut Figures)) {
        change(&mut self.total);
        change(self.tenants.entry(party.tenant).or_default());
        change(self.users.entry((party.tenant, party.user)).or_default());
        let Some(model) = &party.model else { return };
        let is_full = self.models.len() >= MODELS_MAX && !self.models.contains_key(model);
        let name = if is_full { OTHER_MODELS } else { model };
        match self.models.get_mut(name) {
            Some(figures) => change(figures),
            None => change(self.models.entry(name.to_owned()).or_default()),
        }
    }

    pub(crate) fn note_refusal(&mut self, Refuser { rule, scope }: Refuser) {
        self.refused_by.entry(rule).or_insert(RefusedBy { scope, requests: 0 }).requests += 1;
    }
}
