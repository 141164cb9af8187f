//! The source of the order in which the targets of a model are tried: its strategy or that of the tenant, the first of
//! its rules that holds for the request, or the request itself.

use chrono::{DateTime, Utc};
use dialects::ClientRequest;
use events::event::admin::{Model, Strategy};
use events::routing::{ChosenBy, ConditionSubject, RequestFeatures, RoutingRule};
use projections::caller::Caller;
use projections::tables::Tables;

use crate::inference::planned::request_features::features_of;

/// How the targets of a model are ordered for one request.
pub enum OrderSource<'a> {
    ByStrategy {
        strategy: Strategy,
        chosen_by: ChosenBy,
    },
    ByRules {
        features: RequestFeatures,
        /// The rule that holds, with its index.
        rule: Option<(usize, &'a RoutingRule)>,
        /// How the request wants the targets ordered that the rule permits.
        requested: Option<Strategy>,
    },
}

impl<'a> OrderSource<'a> {
    pub fn of(
        tables: &Tables,
        model: &'a Model,
        request: &ClientRequest,
        caller: &Caller,
        input_tokens: u64,
        now: DateTime<Utc>,
    ) -> Self {
        let requested = request.facts.directives.strategy;
        if model.strategy != Strategy::Rules {
            let (strategy, chosen_by) = match requested {
                Some(requested) => (requested, ChosenBy::Request),
                None => tables.strategy_for(caller.chain.tenant, model),
            };
            return Self::ByStrategy { strategy, chosen_by };
        }
        let features = features_of(request, input_tokens, now);
        let (metadata, tenant) = (&request.facts.directives.metadata, caller.chain.tenant);
        let subject = ConditionSubject { features: &features, metadata, tenant };
        let rule = model.rules.first_that_holds(&subject, conditions::compile);
        Self::ByRules { rule, features, requested }
    }

    /// The rule that holds.
    pub const fn rule(&self) -> Option<&'a RoutingRule> {
        match self {
            Self::ByRules { rule: Some((_, rule)), .. } => Some(rule),
            Self::ByRules { rule: None, .. } | Self::ByStrategy { .. } => None,
        }
    }

    /// The rule that holds, from 0, and what the rules went by. `None` for a model without rules.
    pub fn by_rules(&self) -> Option<(Option<usize>, &RequestFeatures)> {
        match self {
            Self::ByStrategy { .. } => None,
            Self::ByRules { features, rule, .. } => Some((rule.map(|(index, _)| index), features)),
        }
    }

    pub const fn chosen_by(&self) -> ChosenBy {
        match self {
            Self::ByStrategy { chosen_by, .. } => *chosen_by,
            Self::ByRules { requested: Some(_), .. } => ChosenBy::Request,
            Self::ByRules { requested: None, .. } => ChosenBy::Model,
        }
    }

    pub fn strategy(&self) -> Strategy {
        match self {
            Self::ByStrategy { strategy, .. } | Self::ByRules { requested: Some(strategy), .. } => *strategy,
            Self::ByRules { .. } => {
                self.rule().map_or(Strategy::Priority, |rule| rule.strategy.unwrap_or(Strategy::Rules))
            }
        }
    }
}
