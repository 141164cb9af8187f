//! The targets of all models: their providers, their prices, and what the catalogue knows of their retirement.

use std::collections::BTreeMap;

use catalogue::Catalogue;
use chrono::{DateTime, Utc};
use events::event::admin::{Model, Provider};
use events::ids::ProviderId;
use projections::tables::{Entry, Tables};

use super::report::{Check, CheckedTarget, CheckedTargets, Finding};
use crate::environment::{NamedProviders, catalogued_at};

/// The most targets that are shown.
const SHOWN_MAX: usize = 200;
/// The most models that are named of one target.
const MODELS_NAMED_MAX: usize = 5;

/// What tells which model of the catalogue a target is.
pub struct Known<'a> {
    pub catalogue: &'a Catalogue,
    /// `None` if nothing is to appear by itself.
    pub named: Option<&'a NamedProviders>,
}

/// The models of one target.
#[derive(Default)]
struct Use<'a> {
    models: Vec<&'a str>,
    /// True if a model has no target with a price, so that it is refused.
    is_only_hope: bool,
}

pub fn check(tables: &Tables, known: &Known<'_>, now: DateTime<Utc>) -> CheckedTargets {
    let uses = uses(tables, now);
    let mut checked = CheckedTargets { checked: uses.len(), ..CheckedTargets::default() };
    for ((provider, backend), mut used) in uses {
        let findings = findings(tables, known, now, provider, backend, &used);
        if findings.is_empty() {
            continue;
        }
        checked.has_problem |= findings.iter().any(Finding::is_problem);
        if checked.items.len() >= SHOWN_MAX {
            checked.left_out += 1;
            continue;
        }
        used.models.sort_unstable();
        used.models.dedup();
        let name = tables.provider(provider).map_or_else(|| provider.to_string(), |entry| entry.value.name.clone());
        checked.items.push(CheckedTarget {
            backend: format!("{name}/{backend}"),
            models_count: used.models.len(),
            models: used.models.into_iter().take(MODELS_NAMED_MAX).map(str::to_owned).collect(),
            findings,
        });
    }
    checked
}

/// The targets of live models, each with the models that have it.
fn uses(tables: &Tables, now: DateTime<Utc>) -> BTreeMap<(ProviderId, &str), Use<'_>> {
    let mut uses: BTreeMap<(ProviderId, &str), Use<'_>> = BTreeMap::new();
    for model in tables.models().filter(|entry| is_in_use(tables, entry)).map(|entry| &*entry.value) {
        let is_priced = |target: &events::event::admin::Target| {
            tables.price_in_force(target.provider_id, &target.model, now).is_some()
        };
        let has_price = model.targets.iter().any(is_priced);
        for target in &model.targets {
            let used = uses.entry((target.provider_id, target.model.as_str())).or_default();
            used.models.push(&model.name);
            used.is_only_hope |= !has_price;
        }
    }
    uses
}

/// True if clients can name the model: neither it nor the tenant that owns it has ended.
fn is_in_use(tables: &Tables, entry: &Entry<Model>) -> bool {
    let owner = entry.value.tenant_id;
    let is_live = |tenant| tables.chain_of_tenant(tenant).is_some_and(|chain| tables.owners_are_live(&chain));
    entry.is_live() && owner.is_none_or(is_live)
}

fn findings(
    tables: &Tables,
    known: &Known<'_>,
    now: DateTime<Utc>,
    provider: ProviderId,
    backend: &str,
    used: &Use<'_>,
) -> Vec<Finding> {
    let Some(live) = tables.live_provider(provider) else {
        let advice = "take the target out of its models, or end them";
        return vec![Finding::warning(Check::Target, "its provider has ended, so it is never called", advice)];
    };
    let mut findings = Vec::new();
    if tables.price_in_force(provider, backend, now).is_none() {
        let advice = "give it a price: POST /v1/admin/prices";
        findings.push(match used.is_only_hope {
            true => Finding::problem(Check::Price, "its price is not known, so its models are refused (422)", advice),
            false => Finding::warning(Check::Price, "its price is not known, so it is passed over", advice),
        });
    }
    findings.extend(of_retirement(known, now, &live.value, backend));
    findings
}

/// What the catalogue knows of the model's retirement.
fn of_retirement(known: &Known<'_>, now: DateTime<Utc>, provider: &Provider, backend: &str) -> Option<Finding> {
    let Known { catalogue, named } = known;
    let described = named.and_then(|named| named.described(catalogue, provider, backend));
    let model = described.or_else(|| catalogued_at(catalogue, provider, backend))?;
    let retired_on = model.deprecated_on?;
    let advice = match &model.successor {
        Some(successor) => format!("the provider recommends {successor}"),
        None => "choose another model of the provider".to_owned(),
    };
    Some(match model.is_deprecated(now.date_naive()) {
        true => Finding::problem(Check::Deprecation, format!("the provider retired it on {retired_on}"), advice),
        false => Finding::warning(Check::Deprecation, format!("the provider retires it on {retired_on}"), advice),
    })
}
