//! A plan as text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::desired::label;
use super::names::Names;
use super::plan::{Action, Change, Plan, Step};
use super::references::{FieldTree, ToNames};
use super::text::{flat, shown, shown_apart};

const RE_VALUES_PAST: &str =
    "    re-values the requests admitted since its effective_from for which it is the price in force";

/// The changes: `+` for what is created and `~` for what is changed, each with its fields, and `-` for what is deleted.
pub fn changes(plan: &Plan, names: &Names) -> Vec<String> {
    let lines = plan.changes().map(|change| match change {
        Change::Step(step) => lines(step, names),
        Change::Deletion(one) => vec![format!("- {}", label(one.kind, &one.normal, names))],
    });
    lines.flatten().collect()
}

/// `2 to create, 1 to change, 7 unchanged`
pub fn planned(plan: &Plan) -> String {
    counts(plan, ["to create", "to change", "to delete"])
}

/// `2 created, 1 changed, 7 unchanged`
pub fn done(plan: &Plan) -> String {
    counts(plan, ["created", "changed", "deleted"])
}

/// The counts of a plan's changes. Deletions are counted if there are any.
fn counts(plan: &Plan, [created, changed, deleted]: [&str; 3]) -> String {
    let deleted = match plan.deletions.len() {
        0 => String::new(),
        count => format!(" {count} {deleted},"),
    };
    format!("{} {created}, {} {changed},{deleted} {} unchanged", plan.created(), plan.changed(), plan.unchanged)
}

/// The change that was refused, as `config.yaml:5: tenant default/acme`; no file asks for a deletion.
pub fn refused_at(change: Change<'_>, names: &Names) -> String {
    match change {
        Change::Step(step) => format!("{}: {}", step.desired.source.place(), subject_of(step, names)),
        Change::Deletion(one) => format!("deletion of {}", label(one.kind, &one.normal, names)),
    }
}

fn subject_of(step: &Step, names: &Names) -> String {
    label(step.desired.kind, &step.desired.normal, names)
}

fn lines(step: &Step, names: &Names) -> Vec<String> {
    let (sign, mut fields) = match &step.action {
        Action::Create => {
            let fields = flat(&named(step, step.desired.body.clone(), names));
            ('+', fields.into_iter().map(|(path, value)| format!("    {path}: {}", shown(&value))).collect::<Vec<_>>())
        }
        Action::Change { fields, .. } => {
            let of = |side: fn(&super::plan::FieldChange) -> &Option<Value>| {
                let values = fields.iter().filter_map(|change| Some((change.name.clone(), side(change).clone()?)));
                flat(&named(step, values.collect(), names))
            };
            ('~', differences(&of(|change| &change.before), &of(|change| &change.after)))
        }
    };
    if step.re_values_past {
        fields.push(RE_VALUES_PAST.to_owned());
    }
    fields.extend(step.secrets.lines());
    let head = format!("{sign} {}", subject_of(step, names));
    [head].into_iter().chain(fields).collect()
}

fn differences<P: Ord + std::fmt::Display>(before: &BTreeMap<P, String>, after: &BTreeMap<P, String>) -> Vec<String> {
    let paths: std::collections::BTreeSet<&P> = before.keys().chain(after.keys()).collect();
    let none = || "none".to_owned();
    let line = |path: &P| {
        let (before, after) = match (before.get(path), after.get(path)) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(before), Some(after)) => shown_apart(before, after),
            (before, after) => {
                (before.map_or_else(none, |text| shown(text)), after.map_or_else(none, |text| shown(text)))
            }
        };
        Some(format!("    {path}: {before} -> {after}"))
    };
    paths.into_iter().filter_map(line).collect()
}

/// Fields with names in place of ids. What has no name is shown by its id.
fn named(step: &Step, fields: Map<String, Value>, names: &Names) -> Map<String, Value> {
    let tree = FieldTree::of(&step.desired.kind.format().schema());
    let owner = step.desired.normal.get("tenant_id").and_then(Value::as_str).and_then(|id| names.name_of(id));
    let owner = owner.map(|name| &name.path[..]).unwrap_or_default();
    ToNames { names, owner }.members(&fields, &tree).unwrap_or(fields)
}
