//! The inputs of a route: what is known of the request and of each target when it is decided. Requests gather them from the tables
//! and from what the node has measured.

use chrono::{DateTime, Utc};

use super::{Canary, Features, Observed, RoutingRule, Strategy, Target};
use crate::abilities::AbilitySet;
use crate::ids::{ModelId, TenantId};
use crate::maintenance::MaintenanceWindows;
use crate::money::Tariff;
use crate::terms::{Requirements, StatedTerms};

/// Everything that the route of a request follows from.
pub struct RouteInputs<'a> {
    /// The model that serves.
    pub model_id: ModelId,
    /// Its canary.
    pub canary: Option<&'a Canary>,
    pub tenant: Option<TenantId>,
    /// The strategy that orders the targets.
    pub strategy: Strategy,
    pub features: Features,
    /// The digest of the session, if the model goes by it.
    pub session: Option<String>,
    pub question: RouteQuestion<'a>,
    /// In the order of the model's row.
    pub targets: Vec<TargetInputs<'a>>,
}

/// The part of a request that rules judge each target by.
#[derive(Clone, Copy)]
pub struct RouteQuestion<'a> {
    pub now: DateTime<Utc>,
    /// The rule of the model that holds for it.
    pub rule: Option<&'a RoutingRule>,
    /// The terms required of each target.
    pub required: Requirements<'a>,
    /// The abilities that it needs.
    pub needs: AbilitySet,
    /// The client's own output cap; `None` if it gave none.
    pub output_cap: Option<u64>,
    /// Whether it has documents whose tokens nobody can count.
    pub has_documents: bool,
}

impl<'a> RouteQuestion<'a> {
    /// The question without a request: which targets could serve one that needs nothing but these terms.
    pub const fn of_none(now: DateTime<Utc>, required: Requirements<'a>) -> Self {
        Self { now, rule: None, required, needs: AbilitySet::NONE, output_cap: None, has_documents: false }
    }
}

/// The facts about a target that a route is decided by.
#[derive(Clone, Copy)]
pub struct TargetInputs<'a> {
    /// The target in the model's row.
    pub target: &'a Target,
    /// When its provider is under maintenance; `None` if the provider is deleted or belongs to another tenant.
    pub provider_maintenance: Option<&'a MaintenanceWindows>,
    /// The price in force; `None` if there is none.
    pub tariff: Option<&'a Tariff>,
    /// The most tokens of a prompt; `None` if unknown.
    pub context_window: Option<u64>,
    /// Whether the output cap counts within that window as well.
    pub window_counts_output: bool,
    /// The highest output cap that it accepts.
    pub max_output_tokens: Option<u64>,
    /// The terms stated of it.
    pub terms: &'a StatedTerms,
    pub dialect: DialectFit,
    /// The prompt's tokens as the target counts them, or their bound if that fits into its window; `None` if nobody knows.
    pub prompt_tokens: Option<u64>,
    /// `None` if its breaker lets requests through.
    pub open_breaker: Option<OpenBreakerInputs>,
    pub observed: Observed,
}

impl<'a> TargetInputs<'a> {
    /// A target of which no more is known than this: nothing else leaves it out.
    pub fn known_by(
        target: &'a Target,
        provider_maintenance: &'a MaintenanceWindows,
        tariff: &'a Tariff,
        terms: &'a StatedTerms,
    ) -> Self {
        Self {
            target,
            provider_maintenance: Some(provider_maintenance),
            tariff: Some(tariff),
            context_window: None,
            window_counts_output: false,
            max_output_tokens: None,
            terms,
            dialect: DialectFit::Fits,
            prompt_tokens: None,
            open_breaker: None,
            observed: Observed::default(),
        }
    }

    /// The tokens of output that have to fit into its window beside the prompt.
    pub fn output_in_window(&self, question: &RouteQuestion<'_>) -> u64 {
        question.output_cap.filter(|_| self.window_counts_output).unwrap_or(0)
    }
}

/// Whether the dialect of a target's provider can express the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialectFit {
    #[default]
    Fits,
    KindUnknown,
    NoSuchApi,
    ForAnotherApi,
    FieldNotAllowed,
}

/// An open breaker of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBreakerInputs {
    /// Whether the target has answered since it opened.
    pub has_answered: bool,
    /// When it lets a request try the target again.
    pub until: Option<DateTime<Utc>>,
}
