//! The cost of requests under the rules: by the ledger's own tariffs, from the tokens that were recorded.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::hold::BudgetReserved;
use events::event::inference::{Backend, InferenceAdmitted};
use events::event::{Event, Recorded, Resource};
use events::ids::ProviderId;
use events::ledger::BrokeredBound;
use events::money::{CallsAtOnce, CostLine, Dearest, NanoUsd, PromptBound, Tariff};
use events::output_cap::{SHRUNK_OUTPUT_TOKENS_MIN, Shrinking};
use events::usage::Usage;
use projections::tables::Tables;

use crate::rules::Rules;

pub(crate) struct Pricing {
    /// The prices of the rules.
    ruled: HashMap<ProviderId, HashMap<String, Arc<Tariff>>>,
    /// The routes of the rules, by frontend model.
    routes: HashMap<String, (ProviderId, String)>,
    /// The recorded prices, by version.
    recorded: HashMap<u64, Arc<Tariff>>,
    /// Those of them that tenants set for their own providers.
    own: HashSet<u64>,
}

/// The hold of a request under the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) held: NanoUsd,
    /// How its output cap can be lowered; `None` if that cannot be told from the record.
    pub(crate) shrinking: Option<Shrinking>,
}

/// A backend of a route that has no price.
pub(crate) struct NoPrice {
    pub(crate) provider: ProviderId,
    pub(crate) model: String,
}

impl Pricing {
    pub(crate) fn new(rules: &Rules) -> Self {
        let mut ruled: HashMap<_, HashMap<_, _>> = HashMap::new();
        for rule in &rules.prices {
            let of_provider = ruled.entry(rule.provider_id).or_default();
            of_provider.insert(rule.model.clone(), Arc::new(rule.tariff.clone()));
        }
        let route =
            |rule: &crate::rules::RouteRule| (rule.model.clone(), (rule.provider_id, rule.backend_model.clone()));
        Self { ruled, routes: rules.routes.iter().map(route).collect(), recorded: HashMap::new(), own: HashSet::new() }
    }

    /// Folds a recorded price.
    pub(crate) fn fold(&mut self, recorded: &Recorded) {
        if let Event::Resource(Resource::Price(change)) = &recorded.event
            && let Some(price) = change.state()
        {
            self.recorded.insert(recorded.position, Arc::new(price.tariff.clone()));
            if recorded.context.tenant_id.is_some() {
                self.own.insert(recorded.position);
            }
        }
    }

    /// The backends of an admission that are on its tenant's own providers, as `provider_id/model`.
    pub(crate) fn own_backends(&self, admitted: &InferenceAdmitted) -> BTreeSet<String> {
        let own = admitted.versions.prices.iter().filter(|(_, version)| self.own.contains(version));
        own.map(|(backend, _)| backend.clone()).collect()
    }

    /// The part of a request's bound that is held above its tenant: over the targets that are not its own. If none is recorded, because
    /// no budget above the tenant bound the request, it is computed from the whole hold. `None` if money cannot count it.
    pub(crate) fn brokered_bound(
        &self,
        admitted: &InferenceAdmitted,
        reserved: &BudgetReserved,
    ) -> Option<BrokeredBound> {
        let mut others = admitted.clone();
        others.versions.prices.retain(|_, version| !self.own.contains(version));
        let line = match self.dearest(&others, None) {
            Some([_, ruled]) => ruled.line()?,
            None => CostLine::ZERO,
        };
        let recorded = match &reserved.brokered {
            Some(part) => part.held_usd,
            None => self.part_of(&others, admitted, reserved.held_usd)?,
        };
        let held = self.bound(&others, recorded, None)?.held;
        Some(BrokeredBound { held, line, is_guest: false })
    }

    /// The part of a recorded hold that would be held for these targets of the request alone. `None` if money cannot count it.
    fn part_of(&self, targets: &InferenceAdmitted, admitted: &InferenceAdmitted, held: NanoUsd) -> Option<NanoUsd> {
        if targets.versions.prices.is_empty() {
            return Some(NanoUsd::ZERO);
        }
        let bound = |of: &InferenceAdmitted| match self.dearest(of, None) {
            Some([recorded, _]) => recorded.held(),
            None => Some(NanoUsd::ZERO),
        };
        scaled(held, bound(admitted)?, bound(targets)?).map(|part| part.min(held))
    }

    /// The price of everything that a model answers, if the rules route it elsewhere.
    pub(crate) fn route(
        &self,
        model: &str,
        tables: &Tables,
        at: DateTime<Utc>,
    ) -> Result<Option<Arc<Tariff>>, NoPrice> {
        let Some((provider, backend_model)) = self.routes.get(model) else { return Ok(None) };
        if let Some(tariff) = self.of_backend(*provider, backend_model) {
            return Ok(Some(Arc::clone(tariff)));
        }
        let in_force = tables.price_in_force(*provider, backend_model, at);
        let tariff = in_force.and_then(|price| self.recorded.get(&price.version));
        tariff
            .map(|tariff| Some(Arc::clone(tariff)))
            .ok_or_else(|| NoPrice { provider: *provider, model: backend_model.clone() })
    }

    /// The bound of a request that was admitted with `held`. The recorded bound is scaled by what the rules change of the
    /// prices of its targets, so that what the record does not have (several choices, images, a service tier) stays in it.
    /// `None` if money cannot count it.
    pub(crate) fn bound(&self, admitted: &InferenceAdmitted, held: NanoUsd, route: Option<&Tariff>) -> Option<Bound> {
        let Some([recorded, ruled]) = self.dearest(admitted, route) else {
            return Some(Bound { held, shrinking: None });
        };
        let recorded_bound = recorded.held()?;
        let is_exact = recorded_bound == held;
        let held = scaled(held, recorded_bound, ruled.held()?)?;
        let shrinking = Shrinking { line: ruled.line()?, resent: None, tokens_min: SHRUNK_OUTPUT_TOKENS_MIN };
        Some(Bound { held, shrinking: is_exact.then_some(shrinking) })
    }

    /// Returns the dearest calls by the recorded prices, and by those of the rules. `None` if the record does not name
    /// the prices of its targets.
    fn dearest(&self, admitted: &InferenceAdmitted, route: Option<&Tariff>) -> Option<[Dearest; 2]> {
        let prompt = PromptBound { tokens: admitted.input_tokens_bound, ..PromptBound::default() };
        let beyond_cap = admitted.output_tokens_beyond_cap.unwrap_or(0);
        let calls = CallsAtOnce::of(admitted.hedge_after_ms);
        let mut both = [Dearest::new(calls, admitted.max_output_tokens); 2];
        for (backend, version) in &admitted.versions.prices {
            let recorded = &**self.recorded.get(version)?;
            let (provider, model) = backend.split_once('/')?;
            let by_rule = || self.of_backend(provider.parse().ok()?, model).map(|tariff| &**tariff);
            let ruled = route.or_else(by_rule).unwrap_or(recorded);
            for (dearest, tariff) in both.iter_mut().zip([recorded, ruled]) {
                *dearest = dearest.with(CostLine::of(tariff, prompt, 1)?.with_more_output(beyond_cap)?)?;
            }
        }
        (!admitted.versions.prices.is_empty()).then_some(both)
    }

    /// The cost of one call, which is recorded as `cost`. `None` if money cannot count it.
    pub(crate) fn of_call(
        &self,
        route: Option<&Tariff>,
        backend: Option<&Backend>,
        usage: &Usage,
        cost: NanoUsd,
    ) -> Option<NanoUsd> {
        let by_rule = || self.of_backend(backend?.provider_id, &backend?.model).map(|tariff| &**tariff);
        match route.or_else(by_rule) {
            Some(tariff) => tariff.cost(&usage.tokens, usage.service_tier),
            None => Some(cost),
        }
    }

    /// Whether the rules have another price for what this backend answers for this model.
    pub(crate) fn changes(&self, model: &str, backend: Option<&Backend>) -> bool {
        self.routes.contains_key(model)
            || backend.is_some_and(|backend| self.of_backend(backend.provider_id, &backend.model).is_some())
    }

    fn of_backend(&self, provider: ProviderId, model: &str) -> Option<&Arc<Tariff>> {
        self.ruled.get(&provider)?.get(model)
    }
}

/// `held` in the proportion of `to` to `from`, rounded up. `None` if money cannot count it.
pub(crate) fn scaled(held: NanoUsd, from: NanoUsd, to: NanoUsd) -> Option<NanoUsd> {
    if from == to {
        return Some(held);
    }
    if from == NanoUsd::ZERO {
        return Some(to);
    }
    let [held, from, to] = [held, from, to].map(|amount| u128::from(amount.nanos().unsigned_abs()));
    i64::try_from((held * to).div_ceil(from)).ok().map(NanoUsd::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_grows_as_prices_do_and_is_rounded_up() {
        let scaled =
            |held, from, to| scaled(NanoUsd::new(held), NanoUsd::new(from), NanoUsd::new(to)).map(NanoUsd::nanos);
        assert_eq!(scaled(10, 10, 15), Some(15));
        assert_eq!(scaled(20, 10, 15), Some(30), "two choices");
        assert_eq!(scaled(10, 3, 1), Some(4));
        assert_eq!((scaled(10, 7, 7), scaled(10, 0, 7), scaled(10, 7, 0)), (Some(10), Some(7), Some(0)));
        assert_eq!(scaled(i64::MAX, 1, 2), None);
    }
}
