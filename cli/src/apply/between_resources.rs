//! Checks of resources against each other, made before anything is changed, as the gateway would refuse them: users of another tenant in a
//! team, targets at a provider of another tenant's, and aliases of aliases. They compare the
//! resources that there will be once all changes are carried out.

use std::collections::{BTreeMap, BTreeSet};

use command::admin::body_format::Body;
use serde_json::Value;

use super::desired::label;
use super::kind::Kind;
use super::live::Live;
use super::mistake::Mistake;
use super::model_names::{ALIAS, ModelNames, is_alias, owner, stood_for};
use super::names::{Name, Names};
use super::plan::{Action, Plan, Step};

const ALIAS_OF_ALIAS: &str = "is an alias: name the model with targets";

/// A resource as it will be, and the change that makes it so; `None` if it stays as it is.
#[derive(Clone, Copy)]
struct PlannedResource<'a> {
    kind: Kind,
    id: Option<&'a str>,
    body: &'a Body,
    step: Option<&'a Step>,
}

/// Mistakes in changes of the plan, each of which the gateway would refuse when it is its turn.
pub fn mistakes(plan: &Plan, live: &[Live], names: &Names) -> Vec<Mistake> {
    let planned = planned(plan, live);
    let mut found = of_another_tenant(&planned, names);
    found.extend(aliases_of_aliases(&planned, names));
    found
}

fn planned<'a>(plan: &'a Plan, live: &'a [Live]) -> Vec<PlannedResource<'a>> {
    let changed = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Change { id, .. } => Some(&**id),
        Action::Create => None,
    });
    let gone: BTreeSet<&str> = changed.chain(plan.deletions.iter().map(|one| &*one.id)).collect();
    let gives_way = |one: &Live| one.kind == Kind::Model && one.is_made_by_gateway;
    let stays = |one: &&Live| !gone.contains(&*one.id) && !gives_way(one);
    let of_live = |one: &'a Live| PlannedResource { kind: one.kind, id: Some(&one.id), body: &one.normal, step: None };
    let of_step = |step: &'a Step| {
        let desired = &step.desired;
        PlannedResource { kind: desired.kind, id: desired.id.as_deref(), body: &desired.normal, step: Some(step) }
    };
    live.iter().filter(stays).map(of_live).chain(plan.steps.iter().map(of_step)).collect()
}

fn of_another_tenant(planned: &[PlannedResource<'_>], names: &Names) -> Vec<Mistake> {
    let owned = planned.iter().filter(|one| matches!(one.kind, Kind::User | Kind::Provider));
    let owners: BTreeMap<&str, Option<&str>> =
        owned.filter_map(|one| Some((one.id?, one.body.get("tenant_id").and_then(Value::as_str)))).collect();
    let owner_of = |id: Option<&str>| id.and_then(|id| owners.get(id).copied()).flatten();
    let in_words = |tenant: &str| names.name_of(tenant).map_or_else(|| tenant.to_owned(), Name::to_string);
    let mut mistakes = Vec::new();
    for (one, step) in planned.iter().filter_map(|one| Some((one, one.step?))) {
        let own = one.body.get("tenant_id").and_then(Value::as_str);
        // As the file has them: their order in the normal form is another one.
        let items =
            |field: &str| step.desired.body.get(field).and_then(Value::as_array).into_iter().flatten().enumerate();
        let other = |id: Option<&str>| owner_of(id).filter(|owner| Some(*owner) != own).map(in_words);
        match one.kind {
            Kind::Team => mistakes.extend(items("user_ids").filter_map(|(index, user)| {
                let other = other(user.as_str())?;
                let reason = format!("belongs to the tenant {other}: a team can only have users of its own tenant");
                Some(step.desired.mistake(&format!("users[{index}]"), reason))
            })),
            Kind::Model => mistakes.extend(items("targets").filter_map(|(index, target)| {
                let other = other(target["provider_id"].as_str())?;
                let reason = format!("belongs to the tenant {other}: only models of that tenant can use it");
                Some(step.desired.mistake(&format!("targets[{index}].provider"), reason))
            })),
            Kind::Partner
            | Kind::Tenant
            | Kind::User
            | Kind::Budget
            | Kind::RateLimit
            | Kind::Provider
            | Kind::Price => {}
        }
    }
    mistakes
}

/// The gateway checks this when an alias gets other models, and when a model becomes an alias. In the second case it also refuses if an alias of
/// the same owner names the model while the tenant's allow list hides it.
fn aliases_of_aliases(planned: &[PlannedResource<'_>], names: &Names) -> Vec<Mistake> {
    let models = ModelNames::of(planned.iter().map(|one| (one.kind, one.id, one.body, *one)));
    let mut mistakes = Vec::new();
    for alias in models.values() {
        for (index, name) in stood_for(alias.body).enumerate() {
            let is_of_alias = models.meant_by(owner(alias.body), name).is_some_and(|meant| is_alias(meant.body));
            if let Some(step) = alias.step.filter(|step| is_of_alias && step.sets(ALIAS)) {
                mistakes.push(step.desired.mistake(&format!("{ALIAS}[{index}].model"), ALIAS_OF_ALIAS));
                continue;
            }
            let meant = models.may_be_meant_by(owner(alias.body), name).filter(|meant| is_alias(meant.body));
            let meant = meant.filter(|meant| !std::ptr::eq(meant.body, alias.body));
            for step in meant.filter_map(|meant| meant.step).filter(|step| step.makes_an_alias()) {
                let alias = label(Kind::Model, alias.body, names);
                let reason =
                    format!("must be left out: {alias} stands for this model, and no alias stands for an alias");
                mistakes.push(step.desired.mistake(ALIAS, reason));
            }
        }
    }
    mistakes
}
