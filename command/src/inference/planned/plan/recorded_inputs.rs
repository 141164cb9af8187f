//! The inputs of a decision that the admission records, so that the log shows the order of its targets.

use chrono::{DateTime, Utc};
use events::content::ContentSalt;
use events::event::admin::{Model, Strategy};
use events::event::inference::Route;
use events::routing::{ChosenBy, LeftOut, Order, SeenRequest};
use events::terms::AdmittedTerms;

use super::order_source::OrderSource;

/// The inputs of a decision that are recorded beside figures.
pub struct RecordedInputs {
    /// `None` if no date is near.
    pub decided_at: Option<DateTime<Utc>>,
    /// The model that an alias stands for.
    pub stands_for: Option<String>,
    /// The digest of the session that was gone by.
    pub session: Option<String>,
    /// The model's canary, if it came first.
    pub canary: Option<String>,
    /// The terms required of each target.
    pub terms: Option<AdmittedTerms>,
}

impl RecordedInputs {
    const fn is_nothing(&self) -> bool {
        self.decided_at.is_none()
            && self.stands_for.is_none()
            && self.session.is_none()
            && self.canary.is_none()
            && self.terms.is_none()
    }
}

/// The route of a plan.
#[derive(Debug)]
pub struct PlannedRoute {
    /// The inputs that its order follows from, and the targets that were left out.
    pub inputs: Box<Route>,
    /// Whether the model's row and the request's id show all of them.
    follows_from_model: bool,
    seen: SeenRequest,
}

impl PlannedRoute {
    /// The route as it is recorded: with the digest of what it was decided by, or, without a salt, without anything that says something
    /// of the prompt.
    pub fn recorded(&self, salt: Option<&ContentSalt>) -> Option<Box<Route>> {
        let mut route = self.inputs.clone();
        match salt {
            Some(salt) => route.features_digest = self.seen.digest(route.features.as_ref(), salt),
            None if self.follows_from_model => return None,
            None => route.features = None,
        }
        Some(route)
    }
}

/// Returns the route of an order.
pub fn route(
    model: &Model,
    order: &Order<'_>,
    source: OrderSource<'_>,
    recorded: RecordedInputs,
    seen: SeenRequest,
) -> PlannedRoute {
    let is_one_level = || model.targets.windows(2).all(|pair| pair[0].priority == pair[1].priority);
    let is_in_the_log = match &source {
        OrderSource::ByStrategy { strategy: Strategy::Priority, chosen_by: ChosenBy::Model } => true,
        OrderSource::ByStrategy { strategy: Strategy::Weighted, chosen_by: ChosenBy::Model } => is_one_level(),
        OrderSource::ByStrategy { .. } | OrderSource::ByRules { .. } => false,
    };
    let has_nothing_else = recorded.is_nothing() && order.left_out().next().is_none();
    let named = |(at, why): (usize, LeftOut)| Some((model.targets.get(at)?.key(), why.recorded()));
    let left_out = order.left_out().filter_map(named).collect();
    let figures = model.targets.iter().enumerate().filter(|_| !is_in_the_log);
    let figures = figures.filter_map(|(at, target)| Some((target.key(), order.figures(at)?))).collect();
    let (strategy, chosen_by) = (order.strategy, source.chosen_by());
    let (features, rule) = match source {
        OrderSource::ByStrategy { .. } => (None, None),
        OrderSource::ByRules { features, rule, .. } => (Some(features), rule.map(|(index, _)| index as u64)),
    };
    let RecordedInputs { decided_at, stands_for, session, canary, terms } = recorded;
    let inputs = Box::new(Route {
        strategy,
        chosen_by,
        figures,
        left_out,
        features,
        features_digest: None,
        rule,
        stands_for,
        session,
        canary,
        decided_at,
        terms,
    });
    PlannedRoute { inputs, follows_from_model: is_in_the_log && has_nothing_else, seen }
}
