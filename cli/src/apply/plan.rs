//! Compares what files ask for with what the gateway has.
//!
//! A resource in a file is all of it: a field that the file omits has its default, as on creation. Two fields are exceptions. An API
//! key and secret headers that are not mentioned stay, because they cannot be read back to be compared. A price without a time is the
//! one in force: another one replaces it from now on, and what was charged before stays.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use command::admin::body_format::Body;
use serde_json::Value;

use super::desired::{Desired, Identity, identity};
use super::document_labels::LABELS;
use super::kind::{EFFECTIVE_FROM, Kind, effective_from};
use super::live::Live;
use super::mistake::{Mistake, in_order};
use super::model_names::{ALIAS, is_alias, stood_for};
use super::planned_secrets::{LiveProvider, SecretChanges, SecretsSent};
use super::prune::{Deletion, InFiles, InUse, deletions, in_use};
use super::secret_source::OwnSecrets;
use crate::settings::Label;

const BASE_URL: &str = "base_url";
const WITHOUT_EFFECT: &str = "has no effect, because the files have a price of the same model that has begun: delete this one, or give it an \
                              effective_from that is still to come";

/// How the files are applied.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub sent: SecretsSent,
    /// Live resources with this label that no file has are deleted.
    pub prune: Option<&'a Label>,
    pub own_secrets: OwnSecrets<'a>,
}

/// The changes to make; [`Self::changes`] has their order.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order of the kinds; of models, [`ModelOrder`] decides.
    pub steps: Vec<Step>,
    pub deletions: Vec<Deletion>,
    /// Deletions that are not possible.
    pub in_use: Vec<InUse>,
    /// How many resources are as the files ask.
    pub unchanged: usize,
    /// Prices without a time that differ from the one in force, and are not made, because a price of the files has begun.
    pub without_effect: Vec<Mistake>,
}

/// A change of one resource.
#[derive(Debug)]
pub struct Step {
    pub desired: Desired,
    pub action: Action,
    pub secrets: SecretChanges,
    /// Whether it re-values requests that were admitted before.
    pub re_values_past: bool,
}

/// One of the changes of a plan.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    Step(&'a Step),
    Deletion(&'a Deletion),
}

/// The order among models. At no moment may an alias stand for an alias: so models with targets come first, then aliases that stay
/// aliases, and last the models that become aliases, for which no alias stands any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ModelOrder {
    Targets,
    StaysAlias,
    BecomesAlias,
}

#[derive(Debug)]
pub enum Action {
    Create,
    Change { id: String, fields: Vec<FieldChange> },
}

/// A field with its value before and after; `None` for none.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    pub name: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Plan {
    /// Errors: what no change can bring about.
    pub fn of(
        desired: Vec<Desired>,
        live: &[Live],
        wanted: &Wanted<'_>,
        now: DateTime<Utc>,
    ) -> Result<Self, Vec<Mistake>> {
        let index = Index::of(live);
        let asked = alike(&desired);
        let mut ids = BTreeSet::new();
        let (begun, existing) = (begun_prices(&desired, now), ExistingPrices::of(live));
        let in_files = wanted.prune.map(|_| desired.clone());
        let (mut plan, mut mistakes) = (Self::default(), Vec::new());
        for one in desired {
            let has_others = asked.get(&key_of(&one)).is_some_and(|count| *count > 1);
            let is_over = one.kind == Kind::Price && !one.normal.contains_key(EFFECTIVE_FROM);
            let counterpart = index.counterpart(&one, has_others);
            if is_over && begun.contains(&key_of(&one)) {
                let in_force = counterpart.ok().flatten();
                let differs = in_force.is_none_or(|live| !changes(&one, live).is_empty());
                plan.without_effect.extend(differs.then(|| one.mistake("", WITHOUT_EFFECT)));
                plan.unchanged += 1;
                continue;
            }
            ids.extend(counterpart.iter().flatten().map(|live| &*live.id));
            match counterpart.and_then(|live| step(one, live, wanted)) {
                Ok(Some(step)) => {
                    let re_values_past = existing.re_values_past(&step, now);
                    plan.steps.push(Step { re_values_past, ..step });
                }
                Ok(None) => plan.unchanged += 1,
                Err(mistake) => mistakes.push(mistake),
            }
        }
        plan.steps.sort_by_key(|step| (step.desired.kind, step.model_order()));
        if let Some(label) = wanted.prune {
            let files = InFiles { ids, identities: asked.into_keys().collect() };
            plan.deletions = deletions(live, label, &files, now);
            plan.in_use = in_use(&plan.deletions, in_files.as_deref().unwrap_or_default(), live, &files);
        }
        if mistakes.is_empty() { Ok(plan) } else { Err(in_order(mistakes)) }
    }

    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.deletions.is_empty()
    }

    /// All changes, in the order in which they are carried out: deletions come last, but for those of aliases of a model that becomes
    /// an alias.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let begin = self.steps.partition_point(|step| !step.makes_an_alias());
        let (before, new_aliases) = self.steps.split_at(begin);
        let names: BTreeSet<&str> =
            new_aliases.iter().filter_map(|step| step.desired.normal.get("name")?.as_str()).collect();
        let is_in_the_way =
            move |one: &&Deletion| one.kind == Kind::Model && stood_for(&one.normal).any(|name| names.contains(name));
        let (first, last): (Vec<_>, Vec<_>) = self.deletions.iter().partition(is_in_the_way);
        let before = before.iter().map(Change::Step).chain(first.into_iter().map(Change::Deletion));
        before.chain(new_aliases.iter().map(Change::Step)).chain(last.into_iter().map(Change::Deletion))
    }

    /// How many changes it has.
    pub const fn len(&self) -> usize {
        self.steps.len() + self.deletions.len()
    }

    pub fn created(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.action, Action::Create)).count()
    }

    pub fn changed(&self) -> usize {
        self.steps.len() - self.created()
    }
}

fn key_of(one: &Desired) -> Identity {
    identity(one.kind, &one.normal)
}

/// How many resources in the files share each identity.
fn alike(desired: &[Desired]) -> BTreeMap<Identity, usize> {
    let mut counts = BTreeMap::new();
    for one in desired {
        *counts.entry(key_of(one)).or_default() += 1;
    }
    counts
}

/// Whose prices in the files have begun by now: one without a time was in force until then.
fn begun_prices(desired: &[Desired], now: DateTime<Utc>) -> BTreeSet<Identity> {
    let has_begun = |one: &&Desired| effective_from(&one.normal).is_some_and(|from| from <= now);
    let begun = desired.iter().filter(|one| one.kind == Kind::Price).filter(has_begun);
    begun.map(key_of).collect()
}

/// The prices that the gateway has, by which requests may have been charged.
struct ExistingPrices {
    identities: BTreeSet<Identity>,
    /// A tenant's prices at its own providers concern later requests alone.
    providers_of_tenants: BTreeSet<String>,
}

impl ExistingPrices {
    fn of(live: &[Live]) -> Self {
        let prices = live.iter().filter(|one| one.kind == Kind::Price);
        let owned = live.iter().filter(|one| one.kind == Kind::Provider && one.normal.contains_key("tenant_id"));
        Self {
            identities: prices.map(|one| identity(one.kind, &one.normal)).collect(),
            providers_of_tenants: owned.map(|one| one.id.clone()).collect(),
        }
    }

    /// Whether this step re-values earlier requests.
    fn re_values_past(&self, step: &Step, now: DateTime<Utc>) -> bool {
        let desired = &step.desired;
        let provider = desired.normal.get("provider_id").and_then(Value::as_str).unwrap_or_default();
        if desired.kind != Kind::Price || self.providers_of_tenants.contains(provider) {
            return false;
        }
        // A price without a time begins when it is made.
        let has_begun = effective_from(&desired.normal).is_some_and(|from| from <= now);
        has_begun
            && match &step.action {
                // The first price of a model concerns no request: without one, none was sent there.
                Action::Create => self.identities.contains(&key_of(desired)),
                Action::Change { fields, .. } => fields.iter().any(|change| change.name != LABELS),
            }
    }
}

/// Live resources by what tells them apart.
struct Index<'a>(BTreeMap<Identity, Vec<&'a Live>>);

impl<'a> Index<'a> {
    fn of(live: &'a [Live]) -> Self {
        let mut index: BTreeMap<Identity, Vec<&Live>> = BTreeMap::new();
        // What the gateway makes by itself gives way to models and prices of the same name.
        let gives_way = |one: &Live| one.is_made_by_gateway && matches!(one.kind, Kind::Model | Kind::Price);
        for one in live.iter().filter(|one| !gives_way(one)) {
            index.entry(identity(one.kind, &one.normal)).or_default().push(one);
        }
        Self(index)
    }

    /// The live resource that is meant.
    fn counterpart(&self, one: &Desired, has_others: bool) -> Result<Option<&'a Live>, Mistake> {
        let found = self.0.get(&key_of(one)).map_or(&[][..], Vec::as_slice);
        match one.kind {
            Kind::Price => Ok(price(one, found)),
            Kind::Budget if has_others || found.len() > 1 => {
                let has_same = |live: &&&Live| live.normal.get("enforcement") == one.normal.get("enforcement");
                single(one, &found.iter().filter(has_same).copied().collect::<Vec<_>>())
            }
            Kind::Partner
            | Kind::Tenant
            | Kind::User
            | Kind::Team
            | Kind::Budget
            | Kind::RateLimit
            | Kind::Provider
            | Kind::Model => single(one, found),
        }
    }
}

fn single<'a>(one: &Desired, found: &[&'a Live]) -> Result<Option<&'a Live>, Mistake> {
    match found {
        [] => Ok(None),
        [live] => Ok(Some(live)),
        several => {
            let ids: Vec<&str> = several.iter().map(|live| live.id.as_str()).collect();
            let reason =
                format!("it matches several resources of the gateway: delete all but one of {}", ids.join(", "));
            Err(one.mistake("", reason))
        }
    }
}

/// The price with the same time, or else the one in force. Of several with one time, the newest is in force.
fn price<'a>(one: &Desired, found: &[&'a Live]) -> Option<&'a Live> {
    let from = one.normal.get(EFFECTIVE_FROM);
    let mut matching = found.iter().filter(|live| match from {
        Some(from) => live.normal.get(EFFECTIVE_FROM) == Some(from),
        None => live.is_in_force,
    });
    let newest = matching.clone().next();
    matching.find(|live| live.is_in_force).or(newest).copied()
}

/// The change of one resource; `None` if it is as the file asks.
fn step(desired: Desired, live: Option<&Live>, wanted: &Wanted<'_>) -> Result<Option<Step>, Mistake> {
    let Some(live) = live else {
        let secrets = SecretChanges::of(&desired, None, wanted.sent, wanted.own_secrets)?;
        return Ok(Some(Step::of(desired, Action::Create, secrets)));
    };
    if live.is_made_by_gateway {
        let reason = "the gateway made a provider of this name from its environment: choose another name";
        return Err(desired.mistake("name", reason));
    }
    let fields = changes(&desired, live);
    if desired.kind == Kind::Price && !desired.normal.contains_key(EFFECTIVE_FROM) && !fields.is_empty() {
        return Ok(Some(Step::of(desired, Action::Create, SecretChanges::NONE)));
    }
    let fixed = desired.kind.format().fixed_fields();
    if let Some(change) = fields.iter().find(|change| fixed.contains(&change.name.as_str())) {
        let before = change.before.as_ref().map_or("not set".to_owned(), Value::to_string);
        return Err(desired.mistake(&change.name, format!("cannot be changed: it is {before}")));
    }
    let moves = fields.iter().any(|change| change.name == BASE_URL);
    let provider = Some(LiveProvider { live, moves });
    let secrets = SecretChanges::of(&desired, provider, wanted.sent, wanted.own_secrets)?;
    if fields.is_empty() && secrets.is_none() {
        return Ok(None);
    }
    Ok(Some(Step::of(desired, Action::Change { id: live.id.clone(), fields }, secrets)))
}

fn changes(desired: &Desired, live: &Live) -> Vec<FieldChange> {
    let (before, after) = (&live.normal, &desired.normal);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let is_compared = |name: &&&String| {
        name.as_str() != EFFECTIVE_FROM || desired.kind != Kind::Price || after.contains_key(EFFECTIVE_FROM)
    };
    let changes = names.iter().filter(is_compared).map(|name| FieldChange {
        name: (*name).clone(),
        before: before.get(*name).cloned(),
        after: after.get(*name).cloned(),
    });
    changes.filter(|change| change.before != change.after).collect()
}

impl Step {
    const fn of(desired: Desired, action: Action, secrets: SecretChanges) -> Self {
        Self { desired, action, secrets, re_values_past: false }
    }

    /// Whether it sets this field.
    pub fn sets(&self, field: &str) -> bool {
        match &self.action {
            Action::Create => self.desired.body.contains_key(field),
            Action::Change { fields, .. } => fields.iter().any(|change| change.name == field),
        }
    }

    fn model_order(&self) -> ModelOrder {
        match (self.makes_an_alias(), is_alias(&self.desired.normal)) {
            (true, _) => ModelOrder::BecomesAlias,
            (false, true) => ModelOrder::StaysAlias,
            (false, false) => ModelOrder::Targets,
        }
    }

    /// Whether it makes an alias, new or of a model that had targets.
    pub fn makes_an_alias(&self) -> bool {
        let was_alias = match &self.action {
            Action::Create => false,
            Action::Change { fields, .. } => match fields.iter().find(|change| change.name == ALIAS) {
                Some(change) => change.before.as_ref().and_then(Value::as_array).is_some_and(|steps| !steps.is_empty()),
                None => true,
            },
        };
        self.desired.kind == Kind::Model && is_alias(&self.desired.normal) && !was_alias
    }

    /// The body that is sent, with the ids of [`super::names::Names`].
    pub fn body(&self) -> Body {
        let mut body = match &self.action {
            Action::Create => self.desired.body.clone(),
            Action::Change { fields, .. } => {
                let given = |change: &FieldChange| self.desired.body.get(&change.name).cloned();
                let value = |change: &FieldChange| given(change).or_else(|| change.after.clone());
                fields.iter().map(|change| (change.name.clone(), value(change).unwrap_or_default())).collect()
            }
        };
        self.secrets.put_into(&mut body);
        body
    }
}
