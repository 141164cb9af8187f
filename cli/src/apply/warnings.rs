//! Warnings about probable mistakes in files that may be meant for later: they are shown, and the files are applied as they are.

use events::nearest_name::did_you_mean;
use serde_json::Value;

use super::conditions;
use super::desired::Desired;
use super::kind::Kind;
use super::live::Live;
use super::mistake::{Mistake, in_order};
use super::model_names::{ModelNames, NamedIn, named_models, owner, text};

const RULES: &str = "rules";
const NOT_BY_RULES: &str = "no request goes by them: add strategy: rules, or remove them";

/// The warnings, in the order of the lines.
pub fn warnings(desired: &[Desired], live: &[Live]) -> Vec<Mistake> {
    let of_live = live.iter().map(|one| (one.kind, Some(&*one.id), &one.normal, ()));
    let of_files = desired.iter().map(|one| (one.kind, one.id.as_deref(), &one.normal, ()));
    let names = ModelNames::of(of_live.chain(of_files));
    let models = desired.iter().filter(|one| one.kind == Kind::Model);
    let found = models.flat_map(|model| {
        let rules = rules(model).into_iter().chain(names_compared_with_tenant(model));
        rules.chain(names_of_no_model(model, &names))
    });
    in_order(found.collect())
}

/// Neither a tenant nor a request can choose rules.
fn rules(model: &Desired) -> Option<Mistake> {
    let is_by_rules = text(&model.normal, "strategy") == Some(RULES);
    (conditions_of(model).next().is_some() && !is_by_rules).then(|| model.mistake(RULES, NOT_BY_RULES))
}

fn names_compared_with_tenant(model: &Desired) -> impl Iterator<Item = Mistake> {
    conditions_of(model).enumerate().flat_map(move |(index, condition)| {
        conditions::names_compared_with_tenant(condition).into_iter().map(move |name| {
            let reason =
                format!("tenant is an id and {name:?} is not, so they are never equal: write tenant_id({name:?})");
            model.mistake(&format!("{RULES}[{index}].when"), reason)
        })
    })
}

fn conditions_of(model: &Desired) -> impl Iterator<Item = &str> {
    let rules = model.normal.get(RULES).and_then(Value::as_array);
    rules.into_iter().flatten().map(|rule| rule["when"].as_str().unwrap_or_default())
}

fn names_of_no_model(model: &Desired, names: &ModelNames<'_, ()>) -> Vec<Mistake> {
    let of = owner(&model.normal);
    // A tenant's key does not see shared models, so a name that seems unknown may be that of a shared model.
    if of.is_some() && !names.has_shared() {
        return Vec::new();
    }
    // A successor is told to tenants, who may have such a model of their own.
    let is_known = |field: NamedIn, name: &str| match field {
        NamedIn::Successor if of.is_none() => names.is_of_any(name),
        NamedIn::Alias(_) | NamedIn::Shadow | NamedIn::Successor => names.may_be_meant_by(of, name).next().is_some(),
    };
    let unknown = named_models(&model.normal).filter(|(field, name)| !is_known(*field, name));
    let warnings = unknown.map(|(field, name)| {
        let is_of_other_tenant = names.is_of_any(name);
        let what = if is_of_other_tenant {
            format!("model {name:?} belongs to a tenant, and this model cannot use it")
        } else {
            format!("there is no model {name:?} in the files or in the gateway")
        };
        let effect = match field {
            NamedIn::Alias(_) if is_of_other_tenant => "so requests get 404",
            NamedIn::Shadow if is_of_other_tenant => "so copies are refused",
            NamedIn::Alias(_) => "so requests get 404 until there is one",
            NamedIn::Shadow => "so copies are refused until there is one",
            NamedIn::Successor => "but clients are told to use it",
        };
        let hint = did_you_mean(name, names.names_for(of).filter(|seen| *seen != name));
        let reason = format!("{what}, {effect}{hint}");
        model.mistake(&field.to_string(), reason)
    });
    warnings.collect()
}
