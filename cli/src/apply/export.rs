//! The export of a gateway's resources as files for `ledgerway apply`: in an order that depends on the resources alone, without ids,
//! defaults and secrets.

use std::collections::BTreeSet;
use std::fmt::Display;

use command::admin::body_format::Body;
use serde_json::{Map, Value, json};

use super::desired::{identity, label};
use super::kind::Kind;
use super::live::Live;
use super::names::Names;
use super::references::{FieldTree, ToNames};
use super::secret_source::{API_KEY, ENV};
use super::yaml_writer::{NamedField, section};

/// The fields that come first.
const LEADING: [&str; 9] = ["slug", "name", "partner", "tenant", "provider", "model", "scope", "period", "kind"];
const HEAD: &str = "# Written by `ledgerway export config`; `ledgerway apply -f FILE` reads it. API keys are in the variables that are named here.\n";
/// Variables that begin like this are settings of ledgerway.
const OWN_PREFIX: &str = "LEDGERWAY_";

/// A file, and what it does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct Exported {
    pub text: String,
    /// Sentences.
    pub left_out: Vec<String>,
}

/// A resource as a file has it.
struct Item {
    label: String,
    fields: Vec<NamedField>,
}

/// The file with everything that no gateway made by itself.
pub fn export(live: &[Live], names: &Names) -> Exported {
    let (mut text, mut left_out, mut variables) = (HEAD.to_owned(), Vec::new(), BTreeSet::new());
    for kind in Kind::IN_FILES {
        let tree = FieldTree::of(&kind.format().schema());
        let mut seen = BTreeSet::new();
        let mut of_kind: Vec<&Live> = live.iter().filter(|one| one.kind == kind && !one.is_made_by_gateway).collect();
        // Of several prices of one time, the one in force is kept; otherwise the newest, which comes first.
        of_kind.sort_by_key(|one| !one.is_in_force);
        let mut items = Vec::new();
        for one in of_kind {
            if let Some(field) = kind.required_name().filter(|field| !one.normal.contains_key(*field)) {
                let word = kind.word();
                left_out.push(format!("{word} {}: it has no {field}, by which files name a {word}", one.id));
                continue;
            }
            let label = label(kind, &one.normal, names);
            let mut leave_out = |reason: &dyn Display| left_out.push(format!("{label} ({}): {reason}", one.id));
            let fields = match fields(one, &tree, names) {
                Ok(fields) => fields,
                Err(nameless) => {
                    leave_out(&nameless);
                    continue;
                }
            };
            let distinction = kind.distinction().and_then(|field| one.normal.get(field)).map(Value::to_string);
            if !seen.insert((identity(kind, &one.normal), distinction)) {
                leave_out(&"files cannot tell it apart from another one, which is in the output");
                continue;
            }
            items.push((Item { label, fields }, one.has_api_key));
        }
        items.sort_by(|(one, _), (other, _)| (&one.label, one.text()).cmp(&(&other.label, other.text())));
        let items: Vec<_> =
            items.into_iter().map(|(item, has_api_key)| complete(item, has_api_key, &mut variables)).collect();
        if !items.is_empty() {
            text.push('\n');
            text.push_str(&section(kind.section(), &items));
        }
    }
    left_out.sort();
    Exported { text, left_out }
}

impl Item {
    fn text(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|field| (&field.name, &field.value)).collect();
        json!(fields).to_string()
    }
}

fn complete(item: Item, has_api_key: bool, variables: &mut BTreeSet<String>) -> Vec<NamedField> {
    let Item { label, mut fields } = item;
    if has_api_key {
        let variable = variable(label.split_once(' ').map_or(&*label, |(_, name)| name), variables);
        fields.push(NamedField { name: API_KEY.to_owned(), value: json!({ ENV: variable }) });
    }
    fields
}

fn fields(one: &Live, tree: &FieldTree, names: &Names) -> Result<Vec<NamedField>, super::references::Nameless> {
    let owner = one.normal.get("tenant_id").and_then(Value::as_str).and_then(|id| names.name_of(id));
    let owner = owner.map(|name| &name.path[..]).unwrap_or_default();
    let members = ToNames { names, owner }.members(&minimal(one), tree)?;
    let mut fields: Vec<_> = members.into_iter().map(|(name, value)| NamedField { name, value }).collect();
    let rank = |name: &str| LEADING.iter().position(|leading| *leading == name).unwrap_or(LEADING.len());
    fields.sort_by_key(|field| rank(&field.name));
    Ok(fields)
}

/// The body without what follows from the rest of it.
fn minimal(one: &Live) -> Body {
    let (format, mut body) = (one.kind.format(), one.normal.clone());
    let makes_the_same = |body: &Body| format.normal(body).is_ok_and(|normal| normal == one.normal);
    if !makes_the_same(&body) {
        return body;
    }
    let names: Vec<String> = body.keys().cloned().collect();
    for name in names {
        let Some(value) = body.remove(&name) else { continue };
        if !makes_the_same(&body) {
            let value = minimal_items(&name, value, &body, &makes_the_same);
            body.insert(name, value);
        }
    }
    body
}

/// The value of a field, a list of mappings without what follows from the rest of each.
fn minimal_items(name: &str, mut value: Value, rest: &Body, makes_the_same: &dyn Fn(&Body) -> bool) -> Value {
    let count = value.as_array().map_or(0, Vec::len);
    for index in 0..count {
        let members: Vec<String> = value[index].as_object().map_or(Vec::new(), |item| item.keys().cloned().collect());
        for member in members {
            let mut smaller = value.clone();
            smaller[index].as_object_mut().map(|item: &mut Map<String, Value>| item.remove(&member));
            let mut body = rest.clone();
            body.insert(name.to_owned(), smaller.clone());
            if makes_the_same(&body) {
                value = smaller;
            }
        }
    }
    value
}

/// A variable for the API key of a provider that no other has: `ACME_OPENAI_API_KEY`.
fn variable(provider: &str, taken: &mut BTreeSet<String>) -> String {
    let letters =
        provider.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' });
    let mut name: String = letters.collect::<String>() + "_API_KEY";
    if name.starts_with(OWN_PREFIX) || name.starts_with(|first: char| first.is_ascii_digit()) {
        name = format!("KEY_OF_{name}");
    }
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let free = [name.clone()].into_iter().chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_has_a_variable_of_its_own() {
        let mut taken = BTreeSet::new();
        let mut name = |provider: &str| variable(provider, &mut taken);
        assert_eq!(name("openai-main"), "OPENAI_MAIN_API_KEY");
        assert_eq!(name("openai main"), "OPENAI_MAIN_API_KEY_2");
        assert_eq!(name("default/acme/openai"), "DEFAULT_ACME_OPENAI_API_KEY");
        assert_eq!(name("ledgerway"), "KEY_OF_LEDGERWAY_API_KEY");
        assert_eq!(name("9"), "KEY_OF_9_API_KEY");
    }
}
