//! The field `alias`: a model that stands for another one.

use events::event::admin::{AliasStep, Model, Strategy};
use events::ids::TenantId;

use super::slug;
use crate::admin::resources::prelude::*;

const STEPS_LEN_MAX: usize = 32;

pub fn alias() -> Member {
    let steps = step().into_object().list(STEPS_LEN_MAX);
    defaulting("alias", steps, json!([])).shown_as(schema::list(step().creation().open(), None)).meaning(
        "Instead of targets: the model that it stands for, and from further times on other ones. The last one whose time has come \
         counts. No alias stands for an alias",
    )
}

fn step() -> Members {
    Members(vec![
        required("model", slug()).meaning("The name of a model with targets, as the alias's owner sees it"),
        optional("from", time()).meaning("Absent for the first one; after that of the one before"),
    ])
}

/// The rules of a model that is an alias, or has targets.
pub fn check(model: &Model) -> Result<(), RuleError> {
    let steps = model.alias.steps();
    if steps.is_empty() {
        let has_targets = !model.targets.is_empty();
        return if has_targets { Ok(()) } else { Err(RuleError::of_field("targets", "must have at least one target")) };
    }
    if !model.targets.is_empty() {
        return Err(RuleError::of_field("targets", "must be empty, because the model is an alias"));
    }
    let of_the_model = [
        ("strategy", model.strategy != Strategy::Priority || !model.rules.is_empty()),
        ("affinity", !model.affinity.is_none()),
        ("canary", model.canary.is_some()),
        ("hedge_after_ms", model.hedge_after_ms.is_some()),
        ("shadow", model.shadow.is_some()),
        ("system_prefix", model.system_prefix.is_some()),
    ];
    if let Some((field, _)) = of_the_model.into_iter().find(|(_, is_given)| *is_given) {
        let reason = "must be left out: an alias goes by that of the model that it stands for";
        return Err(RuleError::of_field(field, reason));
    }
    for (index, step) in steps.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| steps.get(before));
        let refused = match (before, step.from) {
            (None, Some(_)) => Some("must be absent for the first one, which counts until the second one does"),
            (Some(_), None) => Some("is required"),
            (Some(before), Some(from)) if before.from.is_some_and(|before| before >= from) => {
                Some("must be after that of the one before")
            }
            _ => None,
        };
        if let Some(reason) = refused {
            return Err(RuleError::of_field(format!("alias[{index}].from"), reason));
        }
        if step.model == model.name {
            return Err(RuleError::of_field(format!("alias[{index}].model"), "must be another model"));
        }
    }
    Ok(())
}

/// Refuses a step to a model that is an alias now. One that is not there yet may be made until then.
pub fn check_names(cx: &AdminContext<'_>, steps: &[AliasStep], tenant: Option<TenantId>) -> Result<(), CommandError> {
    for (index, step) in steps.iter().enumerate() {
        if cx.tables.route(tenant, &step.model).is_some_and(|entry| !entry.value.alias.is_empty()) {
            return Err(
                FieldError::new(format!("alias[{index}].model"), "is an alias: name the model with targets").into()
            );
        }
    }
    Ok(())
}

/// Refuses to make an alias of what other aliases stand for, whenever: their callers would get nothing.
pub fn check_not_stood_for(cx: &AdminContext<'_>, name: &str, owner: Option<TenantId>) -> Result<(), CommandError> {
    let sees_it = |tenant: Option<TenantId>| {
        let seen = || cx.tables.route(tenant, name).is_none_or(|entry| entry.value.tenant_id == owner);
        tenant == owner || owner.is_none() && seen()
    };
    let stands_for_it = |model: &&Model| {
        model.name != name && sees_it(model.tenant_id) && model.alias.steps().iter().any(|step| step.model == name)
    };
    // The aliases of a tenant name its own model, and nobody else's do.
    let alias = match owner {
        Some(tenant) => cx.tables.models_of(tenant).map(|entry| &*entry.value).find(stands_for_it),
        None => cx.tables.models().filter(|entry| entry.is_live()).map(|entry| &*entry.value).find(stands_for_it),
    };
    let Some(alias) = alias else { return Ok(()) };
    let other = &alias.name;
    let reason = format!(
        "{other} stands for this model, and no alias stands for an alias: first let {other} stand for another one"
    );
    Err(FieldError::new("alias", reason).into())
}
