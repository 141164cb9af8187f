//! What files may have although it does nothing. It is said, and applied as it is: it may be meant for later.

use events::nearest_name::did_you_mean;
use serde_json::Value;

use super::conditions;
use super::desired::Desired;
use super::kind::Kind;
use super::live::Live;
use super::mistake::{Mistake, in_order};
use super::model_names::{ALIAS, ModelNames, owner, stood_for, text};

const RULES: &str = "rules";
const SHADOW: &str = "shadow";
const SUCCESSOR: &str = "successor";
const NOT_BY_RULES: &str = "no request goes by them: add strategy: rules, or remove them";

/// The fields without effect, in the order of the lines.
pub fn without_effect(desired: &[Desired], live: &[Live]) -> Vec<Mistake> {
    let of_live = live.iter().map(|one| (one.kind, Some(&*one.id), &one.normal, ()));
    let of_files = desired.iter().map(|one| (one.kind, one.id.as_deref(), &one.normal, ()));
    let names = ModelNames::of(of_live.chain(of_files));
    let models = desired.iter().filter(|one| one.kind == Kind::Model);
    let found = models.flat_map(|model| {
        let rules = rules(model).into_iter().chain(tenants_without_id(model));
        rules.chain(names_of_no_model(model, &names))
    });
    in_order(found.collect())
}

/// Neither a tenant nor a request can choose rules.
fn rules(model: &Desired) -> Option<Mistake> {
    let is_by_rules = text(&model.normal, "strategy") == Some(RULES);
    (conditions_of(model).next().is_some() && !is_by_rules).then(|| model.mistake(RULES, NOT_BY_RULES))
}

/// Comparisons of `tenant` with what is no id.
fn tenants_without_id(model: &Desired) -> impl Iterator<Item = Mistake> {
    conditions_of(model).enumerate().filter_map(|(index, condition)| {
        let name = conditions::tenant_without_id(condition)?;
        let reason = format!("tenant is an id, so it never equals {name:?}: compare it with tenant_id({name:?})");
        Some(model.mistake(&format!("{RULES}[{index}].when"), reason))
    })
}

fn conditions_of(model: &Desired) -> impl Iterator<Item = &str> {
    let rules = model.normal.get(RULES).and_then(Value::as_array);
    rules.into_iter().flatten().map(|rule| rule["when"].as_str().unwrap_or_default())
}

fn names_of_no_model(model: &Desired, names: &ModelNames<'_, ()>) -> Vec<Mistake> {
    let aliases = stood_for(&model.normal)
        .enumerate()
        .map(|(index, name)| (format!("{ALIAS}[{index}].model"), name, ", so requests get 404 until there is one"));
    let shadow = model.normal.get(SHADOW).and_then(|shadow| shadow["model"].as_str());
    let shadow = shadow.map(|name| (format!("{SHADOW}.model"), name, ", so no copies are answered until there is one"));
    let successor = text(&model.normal, SUCCESSOR);
    let successor = successor.map(|name| (SUCCESSOR.to_owned(), name, ", but clients are told to use it"));
    let unknown = aliases.chain(shadow).chain(successor).filter_map(|(field, name, effect)| {
        if names.may_be_meant_by(owner(&model.normal), name).next().is_some() {
            return None;
        }
        let hint = did_you_mean(name, names.names());
        Some(model.mistake(&field, format!("there is no model {name:?} in the files or in the gateway{effect}{hint}")))
    });
    unknown.collect()
}
