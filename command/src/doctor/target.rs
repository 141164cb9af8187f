//! The targets of all models: their providers, their prices, and what the catalogue knows of their retirement.

use std::collections::BTreeMap;

use built_in_catalogue::{Catalogue, Model as CataloguedModel};
use chrono::{DateTime, NaiveDate, Utc};
use dialects::provider_dialects;
use events::abilities::{Ability, AbilitySet};
use events::event::admin::{Model, Provider, StatedFacts, Target};
use events::ids::{ProviderId, TenantId};
use projections::tables::{Entry, Tables};

use super::report::{Check, CheckedTarget, CheckedTargets, Finding};
use crate::environment::{NamedProviders, catalogued_at};

/// The most targets that are shown.
const SHOWN_MAX: usize = 200;
/// The most models that are named of one target.
const MODELS_NAMED_MAX: usize = 5;
/// The most models that are named of those of one provider that it retires.
const RETIREMENTS_NAMED_MAX: usize = 3;

/// The sources that tell which model of the catalogue a target is.
pub struct OfferedModels<'a> {
    pub catalogue: &'a Catalogue,
    /// `None` if nothing is to appear by itself.
    pub named: Option<&'a NamedProviders>,
}

impl<'a> OfferedModels<'a> {
    /// The model of the catalogue behind a provider's name for it.
    fn described(&self, provider: &Provider, backend: &str) -> Option<&'a CataloguedModel> {
        let Self { catalogue, named } = *self;
        match named {
            Some(named) => named.model_behind(catalogue, provider, backend),
            None => catalogued_at(catalogue, provider, backend),
        }
    }
}

/// The models of one target.
#[derive(Default)]
struct Use<'a> {
    models: Vec<&'a str>,
    /// True if a model has no target with a price, so that it is refused.
    is_only_hope: bool,
    /// True if a command created one of them.
    is_chosen: bool,
    /// The target in each of them.
    rows: Vec<UsedRow<'a>>,
}

/// The row of a target in one model.
struct UsedRow<'a> {
    model: &'a str,
    target: &'a Target,
    /// Whether a command created the model.
    is_chosen: bool,
}

/// Models of one provider with the days on which it retires them. Nobody has chosen them: they appeared by themselves.
#[derive(Debug, Default)]
pub struct Retirements(Vec<(NaiveDate, String)>);

impl Retirements {
    /// All of them as one finding, those that are retired first at its beginning.
    pub fn finding(mut self) -> Finding {
        self.0.sort_unstable();
        let count = self.0.len();
        let named = self.0.iter().take(RETIREMENTS_NAMED_MAX).map(|(day, model)| format!("{model} ({day})"));
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match count.saturating_sub(RETIREMENTS_NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let models_are = if count == 1 { "model is" } else { "models are" };
        // They are there whether or not anybody uses them: a warning at every check would hide those that matter.
        Finding::ok(
            Check::Deprecation,
            format!(
                "of those that appeared by themselves, {count} {models_are} retired or will be: {named}{more}. The next start \
                 leaves out those that are retired"
            ),
        )
    }
}

/// The findings of targets, or only of those of one provider; and by provider, the retirements of models that nobody has chosen.
pub fn check(
    tables: &Tables,
    known: &OfferedModels<'_>,
    now: DateTime<Utc>,
    only: Option<ProviderId>,
) -> (CheckedTargets, BTreeMap<ProviderId, Retirements>) {
    let uses = uses(tables, now, only);
    let mut checked = CheckedTargets { checked: uses.len(), ..CheckedTargets::default() };
    let mut retirements: BTreeMap<ProviderId, Retirements> = BTreeMap::new();
    for ((tenant, provider, backend), mut used) in uses {
        let mut findings = findings(tables, now, provider, backend, &used);
        checked.unknown_abilities += usize::from(used.rows.iter().all(|row| row.target.facts.abilities().is_unknown()));
        let live = tables.live_provider(provider);
        let catalogued = live.and_then(|live| known.described(&live.value, backend));
        findings.extend(findings_of_facts(&used.rows, catalogued, known.named.is_some() && live.is_some()));
        if let Some(retirement) = catalogued.and_then(|model| Retirement::of(model, now)) {
            // A deployment is there because the operator's variable names it.
            match used.is_chosen || live.is_some_and(|live| provider_dialects::has_deployments(&live.value.kind)) {
                true => findings.push(retirement.finding()),
                false => retirements.entry(provider).or_default().0.push((retirement.on, backend.to_owned())),
            }
        }
        if findings.is_empty() {
            continue;
        }
        checked.has_problem |= tenant.is_none() && findings.iter().any(Finding::is_problem);
        if checked.items.len() >= SHOWN_MAX {
            checked.left_out += 1;
            continue;
        }
        used.models.sort_unstable();
        used.models.dedup();
        let name = tables.provider(provider).map_or_else(|| provider.to_string(), |entry| entry.value.name.clone());
        checked.items.push(CheckedTarget {
            backend: format!("{name}/{backend}"),
            tenant_id: tenant.map(|tenant| tenant.to_string()),
            models_count: used.models.len(),
            models: used.models.into_iter().take(MODELS_NAMED_MAX).map(str::to_owned).collect(),
            findings,
        });
    }
    (checked, retirements)
}

/// The targets of live models, each with the models of one owner that have it: those that all tenants share come first.
type Uses<'a> = BTreeMap<(Option<TenantId>, ProviderId, &'a str), Use<'a>>;

fn uses(tables: &Tables, now: DateTime<Utc>, only: Option<ProviderId>) -> Uses<'_> {
    let mut uses = Uses::new();
    for model in tables.models().filter(|entry| is_in_use(tables, entry)).map(|entry| &*entry.value) {
        let is_priced = |target: &Target| tables.price_in_force(target.provider_id, &target.model, now).is_some();
        let has_price = model.targets.iter().any(is_priced);
        let is_asked_for = |target: &&Target| only.is_none_or(|only| target.provider_id == only);
        for target in model.targets.iter().filter(is_asked_for) {
            let used = uses.entry((model.tenant_id, target.provider_id, target.model.as_str())).or_default();
            used.models.push(&model.name);
            used.is_only_hope |= !has_price;
            used.is_chosen |= model.origin.is_none();
            used.rows.push(UsedRow { model: &model.name, target, is_chosen: model.origin.is_none() });
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

fn findings(tables: &Tables, now: DateTime<Utc>, provider: ProviderId, backend: &str, used: &Use<'_>) -> Vec<Finding> {
    if tables.live_provider(provider).is_none() {
        let advice = "take the target out of its models, or end them";
        return vec![Finding::warning(Check::Target, "its provider has ended, so it is never called", advice)];
    }
    let mut findings = Vec::new();
    if tables.price_in_force(provider, backend, now).is_none() {
        let advice = "give it a price: POST /v1/admin/prices";
        findings.push(match used.is_only_hope {
            true => Finding::problem(Check::Price, "its price is not known, so its models are refused (422)", advice),
            false => Finding::warning(Check::Price, "its price is not known, so it is passed over", advice),
        });
    }
    findings
}

/// The findings of what is stated of the target: abilities by which a model sends it nothing, abilities that the catalogue says it lacks,
/// and facts of the catalogue that have changed since. `are_recorded` says whether the catalogue's facts are recorded where targets are given.
fn findings_of_facts(rows: &[UsedRow<'_>], catalogued: Option<&CataloguedModel>, are_recorded: bool) -> Vec<Finding> {
    let models = |is_it: &dyn Fn(&UsedRow<'_>) -> bool| -> Option<String> {
        let named: Vec<&str> = rows.iter().filter(|row| is_it(row)).map(|row| row.model).collect();
        let more = named.len().saturating_sub(MODELS_NAMED_MAX);
        let shown = named.get(..MODELS_NAMED_MAX).unwrap_or(&named).join(", ");
        (!named.is_empty()).then(|| if more > 0 { format!("{shown} and {more} more") } else { shown })
    };
    let serves_nothing = |target: &Target| {
        let lacks = |ability| target.facts.abilities().has(ability) == Some(false);
        lacks(Ability::Text) || lacks(Ability::Chat) && lacks(Ability::Embeddings)
    };
    let mut findings = Vec::new();
    if let Some(models) = models(&|row| serves_nothing(row.target)) {
        let detail = format!(
            "by its abilities in {models} it takes no text, or serves neither chats nor embeddings, so these never call it"
        );
        let advice = "take the target out of these models, or correct its abilities";
        findings.push(Finding::warning(Check::Abilities, detail, advice));
    }
    // One that the catalogue no longer has, perhaps because its provider has another address, has no facts.
    let known = catalogued.map_or(StatedFacts::UNKNOWN, CataloguedModel::stated_facts);
    let stated_of = |target: &Target| -> AbilitySet {
        let has = |ability: &Ability| target.facts.stated.abilities.has(*ability) == Some(true);
        Ability::ALL.iter().copied().filter(has).collect()
    };
    let denied_of = |target: &Target| known.abilities.lacks_of(stated_of(target));
    if let Some(models) = models(&|row| !denied_of(row.target).is_empty()) {
        let denied = rows.iter().map(|row| denied_of(row.target)).fold(AbilitySet::NONE, AbilitySet::union);
        let detail = format!("{models} state abilities of it that the catalogue says it lacks: {denied}");
        let advice = "requests that need them fail at the provider: correct the abilities of the target";
        findings.push(Finding::warning(Check::Abilities, detail, advice));
    }
    let is_outdated = |row: &UsedRow<'_>| are_recorded && row.is_chosen && row.target.facts.catalogued != known;
    if let Some(models) = models(&is_outdated) {
        let detail = format!("the catalogue states other facts of it than when the targets of {models} were given");
        let advice = "send the targets of these models again: PATCH with the list as it is read";
        findings.push(Finding::warning(Check::Abilities, detail, advice));
    }
    findings
}

/// A model's retirement, as the catalogue has it.
struct Retirement {
    on: NaiveDate,
    is_past: bool,
    successor: Option<String>,
}

impl Retirement {
    fn of(model: &CataloguedModel, now: DateTime<Utc>) -> Option<Self> {
        let is_past = model.is_retired(now.date_naive());
        Some(Self { on: model.deprecated_on?, is_past, successor: model.successor.clone() })
    }

    fn finding(&self) -> Finding {
        let on = self.on;
        let advice = match &self.successor {
            Some(successor) => format!("the provider recommends {successor}"),
            None => "choose another model of the provider".to_owned(),
        };
        match self.is_past {
            true => Finding::problem(Check::Deprecation, format!("the provider retired it on {on}"), advice),
            false => Finding::warning(Check::Deprecation, format!("the provider retires it on {on}"), advice),
        }
    }
}

#[cfg(test)]
mod tests {
    use events::abilities::Abilities;

    use super::*;

    #[test]
    fn models_that_nobody_chose_are_one_finding_which_names_the_first_ones() {
        let day = |day| NaiveDate::from_ymd_opt(2026, 12, day).expect("a day");
        let finding = |count| {
            let days = (1..=count).rev().map(|at| (day(at), format!("m{at}"))).collect();
            format!("{:?}", Retirements(days).finding())
        };
        let one = finding(1);
        assert!(one.contains(" 1 model is retired or will be: m1 (2026-12-01). "), "{one}");
        let many = finding(24);
        assert!(
            many.contains(
                "24 models are retired or will be: m1 (2026-12-01), m2 (2026-12-02), m3 (2026-12-03) and 21 more"
            ),
            "{many}"
        );
    }

    /// Its provider may have another address since: what the catalogue stated of the old one still counts.
    #[test]
    fn recorded_facts_that_the_catalogue_no_longer_states_are_outdated() {
        let mut target = Target::new(format!("prv_{:032x}", 1).parse().expect("an id"), "m");
        let outdated = |target: &Target, are_recorded| {
            let rows = [UsedRow { model: "mine", target, is_chosen: true }];
            findings_of_facts(&rows, None, are_recorded).len()
        };
        assert_eq!(outdated(&target, true), 0);
        target.facts.catalogued.abilities = Abilities::UNKNOWN.stating(Ability::Tools, false);
        assert_eq!((outdated(&target, true), outdated(&target, false)), (1, 0));
    }
}
