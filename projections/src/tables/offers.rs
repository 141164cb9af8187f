//! Who can serve whom, and at what price, and whom most requests are tried on first.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use events::event::admin::{Model, Price, Provider, Strategy, Target};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};

use super::{Entry, Tables};

/// A target's provider, live and for everybody or for this tenant, and the price in force.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub provider: &'a Provider,
    pub price: &'a Entry<Price>,
}

impl Tables {
    /// `None` where the target cannot serve a client of `tenant` now.
    pub fn offer(&self, tenant: Option<TenantId>, target: &Target, now: DateTime<Utc>) -> Option<Offer<'_>> {
        let provider = self.provider(target.provider_id).filter(|provider| provider.is_live())?;
        let is_theirs = provider.value.tenant_id.is_none_or(|owner| tenant == Some(owner));
        let price = self.price_in_force(target.provider_id, &target.model, now).filter(|_| is_theirs)?;
        Some(Offer { provider: &provider.value, price })
    }

    /// The target of a model that most requests of this tenant's are tried on first; `None` where nobody can serve them.
    pub fn first_offer<'a>(
        &'a self,
        tenant: Option<TenantId>,
        model: &'a Model,
        now: DateTime<Utc>,
    ) -> Option<(&'a Target, Offer<'a>)> {
        usual_order(model).into_iter().find_map(|target| Some((target, self.offer(tenant, target, now)?)))
    }
}

/// The targets with the one first that most requests try first. Targets of one priority, or of one weight, keep the order in
/// which they were given.
pub fn usual_order(model: &Model) -> Vec<&Target> {
    let mut targets: Vec<&Target> = model.targets.iter().collect();
    match model.strategy {
        Strategy::Priority => targets.sort_by_key(|target| target.priority),
        Strategy::Weighted => targets.sort_by_key(|target| Reverse(target.weight)),
    }
    targets
}

/// 404 that names the model, as far as its name goes.
pub fn model_not_found(model: &str) -> Refusal {
    let shown: String = model.chars().take(256).collect();
    Refusal::new(ErrorCode::ModelNotFound, format!("there is no model {shown}")).with("model", shown)
}

#[cfg(test)]
mod tests {
    use events::ids::{ModelId, ProviderId};
    use uuid::Uuid;

    use super::*;

    /// A target with a priority and a weight.
    fn target((name, priority, weight): (&str, u32, u32)) -> Target {
        Target {
            provider_id: ProviderId::from(Uuid::from_u128(1)),
            model: name.to_owned(),
            priority,
            weight,
            context_window: None,
            max_output_tokens: None,
            default_max_output_tokens: None,
            tokenizer: None,
        }
    }

    /// Holds: admin.strategies
    #[test]
    fn the_target_that_most_requests_try_first_comes_first() {
        let order = |strategy, targets: &[(&str, u32, u32)]| -> Vec<String> {
            let (model_id, targets) =
                (ModelId::from(Uuid::from_u128(2)), targets.iter().copied().map(target).collect());
            let model = Model { model_id, name: "m".into(), strategy, targets, system_prefix: None, tenant_id: None };
            usual_order(&model).into_iter().map(|target| target.model.clone()).collect()
        };
        assert_eq!(order(Strategy::Priority, &[("c", 2, 9), ("a", 1, 0), ("b", 1, 5)]), ["a", "b", "c"]);
        assert_eq!(
            order(Strategy::Weighted, &[("one", 0, 1), ("six", 5, 6), ("three", 9, 3)]),
            ["six", "three", "one"]
        );
    }
}
