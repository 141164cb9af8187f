//! The export of a gateway's resources as a file for `ledgerway apply`: in an order that depends on the resources alone, without ids,
//! defaults and secrets.
//!
//! The file is read back as `apply` reads it, for this gateway and for an empty one. What would be a mistake is left out, with all that
//! hangs on it, until there is none: so what is written can be read, whatever the resources are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use command::admin::CHANGES_MAX;
use command::admin::body_format::Body;
use serde_json::{Map, Value, json};

use super::between_resources;
use super::desired::{self, Desired, label, unique_key};
use super::files::{FILES_BYTES_MAX, SourceFile};
use super::kind::Kind;
use super::live::{self, Live};
use super::mistake::Mistake;
use super::model_names::{ModelNames, owner, stood_for};
use super::names::Names;
use super::plan::{Plan, Wanted};
use super::planned_secrets::SecretsSent;
use super::prune::texts_of;
use super::references::{FieldTree, Nameless, ToNames};
use super::secret_source::{API_KEY, ApiKey, ENV, OwnSecrets, SECRET_HEADERS, SecretHeaders};
use super::yaml_writer::{NamedField, section};

/// The fields that come first.
const LEADING: [&str; 9] = ["slug", "name", "partner", "tenant", "provider", "model", "scope", "period", "kind"];
const HEAD: &str = "# Written by `ledgerway export config`; `ledgerway apply -f FILE` reads it. API keys and secret headers are in the variables that are named here.\n";
/// Variables that begin like this are settings of ledgerway.
const OWN_PREFIX: &str = "LEDGERWAY_";
const ALIKE: &str = "files cannot tell it apart from another one of the gateway: delete all but one";
const PRICE_OF_SAME_TIME: &str = "files cannot tell it apart from another one, which is in the output";

/// A file, and what it does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct Exported {
    pub text: String,
    /// A sentence for each resource that the file does not have; those that hang on others come last.
    pub left_out: Vec<String>,
    /// Sentences about the whole, with which the file ends.
    pub end: Vec<String>,
}

/// A resource as a file has it.
struct Item<'a> {
    live: &'a Live,
    label: String,
    fields: Vec<NamedField>,
}

/// A resource that the file does not have.
struct LeftOut {
    label: String,
    reason: LeftOutReason,
}

enum LeftOutReason {
    /// Why no file can have it.
    NotInFiles(String),
    /// The label of a resource that it names, and that is left out.
    HangsOn(String),
}

/// Resources that are left out, by their ids.
type LeftOutById<'a> = BTreeMap<&'a str, LeftOut>;

/// The file with everything that no gateway made by itself, as far as `apply` can read it.
///
/// Errors: `apply` reads no file that is as large. A sentence.
pub fn export(live: &[Live], now: DateTime<Utc>) -> Result<Exported, String> {
    let names = live::names(live);
    // A tenant's key does not see the tenant's partner, so its file cannot say whose tenant that is.
    let has_partners = live.iter().any(|one| one.kind == Kind::Partner);
    let is_outside = |one: &&Live| one.is_made_by_gateway || one.kind == Kind::Tenant && !has_partners;
    let outside: Vec<Live> = live.iter().filter(is_outside).cloned().collect();
    let own: Vec<&Live> = live.iter().filter(|one| !is_outside(one)).collect();
    let models = live.iter().filter(|one| !one.is_made_by_gateway);
    let models = ModelNames::of(models.map(|one| (one.kind, Some(&*one.id), &one.normal, &*one.id)));
    let mut left_out = LeftOutById::new();
    let mut items = items(&own, &names, &models, &mut left_out);
    loop {
        let mut found = hanging(&items, &models, &left_out);
        if found.is_empty() {
            let end = end(&items, &left_out, &outside, &names);
            let file = SourceFile { name: "the output".into(), folder: PathBuf::new(), text: text(&items, &end) };
            if file.text.len() > FILES_BYTES_MAX {
                return Err(not_written(&format!("it has more than {} MiB", FILES_BYTES_MAX >> 20)));
            }
            let here = mistakes(&file, live, now);
            let all = if here.is_empty() { mistakes(&file, &outside, now) } else { here };
            if all.is_empty() {
                return Ok(Exported { text: file.text, left_out: lines(&left_out), end });
            }
            found = mistaken(&items, &all)?;
        }
        items.retain(|item| !found.contains_key(&*item.live.id));
        left_out.extend(found);
    }
}

/// The resources as files have them, in the order of the file, in which each comes after the kinds that it names. Those that files
/// cannot have are left out, with what hangs on them.
fn items<'a>(
    own: &[&'a Live],
    names: &Names,
    models: &ModelNames<'a, &'a str>,
    left_out: &mut LeftOutById<'a>,
) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for kind in Kind::IN_FILES {
        let tree = FieldTree::of(&kind.format().schema());
        let mut of_kind: Vec<&'a Live> = own.iter().copied().filter(|one| one.kind == kind).collect();
        // Of several prices of one time, the one in force is kept; otherwise the newest, which comes first.
        of_kind.sort_by_key(|one| !one.is_in_force);
        let (mut counts, mut seen) = (BTreeMap::<_, usize>::new(), BTreeSet::new());
        of_kind.iter().for_each(|one| *counts.entry(unique_key(kind, &one.normal)).or_default() += 1);
        let mut found = Vec::new();
        for live in of_kind {
            let key = unique_key(kind, &live.normal);
            let alike = if kind == Kind::Price {
                (!seen.insert(key)).then_some(PRICE_OF_SAME_TIME)
            } else {
                counts.get(&key).filter(|count| **count > 1).map(|_| ALIKE)
            };
            let made = match (hangs_on(live, models, left_out), fields(live, &tree, names), alike) {
                (Some(reason), ..) => Err(reason),
                (None, Err(nameless), _) => Err(LeftOutReason::NotInFiles(nameless.to_string())),
                (None, Ok(_), Some(alike)) => Err(LeftOutReason::NotInFiles(alike.to_owned())),
                (None, Ok(fields), None) => Ok(fields),
            };
            let label = label(kind, &live.normal, names);
            match made {
                Ok(fields) => found.push(Item { live, label, fields }),
                Err(reason) => drop(left_out.insert(&live.id, LeftOut { label, reason })),
            }
        }
        found.sort_by(|one, other| one.label.cmp(&other.label).then_with(|| one.text().cmp(&other.text())));
        items.append(&mut found);
    }
    items
}

/// The items that hang on what is left out.
fn hanging<'a>(items: &[Item<'a>], models: &ModelNames<'a, &'a str>, left_out: &LeftOutById<'a>) -> LeftOutById<'a> {
    let found = items.iter().filter_map(|item| {
        let reason = hangs_on(item.live, models, left_out)?;
        Some((&*item.live.id, LeftOut { label: item.label.clone(), reason }))
    });
    found.collect()
}

/// The reason to leave a resource out that names one that is left out, by its id or as the model that an alias stands for.
fn hangs_on(one: &Live, models: &ModelNames<'_, &str>, left_out: &LeftOutById<'_>) -> Option<LeftOutReason> {
    let meant = stood_for(&one.normal).filter_map(|name| models.meant_by(owner(&one.normal), name));
    let mut named = texts_of(&one.normal).into_iter().chain(meant.copied());
    named.find_map(|id| left_out.get(id)).map(|other| LeftOutReason::HangsOn(other.label.clone()))
}

/// The mistakes that `apply` finds in a file for a gateway that has these resources.
fn mistakes(file: &SourceFile, live: &[Live], now: DateTime<Utc>) -> Vec<Mistake> {
    let mut names = live::names(live);
    let desired = match desired::read(std::slice::from_ref(file), &mut names) {
        Ok(desired) => desired,
        Err(mistakes) => return mistakes,
    };
    // The variables with the secrets are there when the file is applied, not now.
    let without_secrets =
        |one: Desired| Desired { api_key: ApiKey::Unsaid, secret_headers: SecretHeaders::Unsaid, ..one };
    let desired = desired.into_iter().map(without_secrets).collect();
    let own_secrets = OwnSecrets { data: Path::new(""), key: None };
    let wanted = Wanted { sent: SecretsSent::WhereNeeded, prune: None, own_secrets };
    match Plan::of(desired, live, &wanted, now) {
        Ok(plan) => between_resources::mistakes(&plan, live, &names),
        Err(mistakes) => mistakes,
    }
}

/// The items that have mistakes. Errors: a mistake of the file as a whole.
fn mistaken<'a>(items: &[Item<'a>], mistakes: &[Mistake]) -> Result<LeftOutById<'a>, String> {
    let found = mistakes.iter().map(|Mistake { field, reason, .. }| {
        let item = item_at(items, field).ok_or_else(|| not_written(reason))?;
        let field = field.split_once(']').map_or("", |(_, field)| field.trim_start_matches('.'));
        let reason = if field.is_empty() { reason.clone() } else { format!("{field}: {reason}") };
        Ok((&*item.live.id, LeftOut { label: item.label.clone(), reason: LeftOutReason::NotInFiles(reason) }))
    });
    found.collect()
}

/// The item at a path of the file such as `models[2].name`.
fn item_at<'i, 'a>(items: &'i [Item<'a>], path: &str) -> Option<&'i Item<'a>> {
    let (section, rest) = path.split_once('[')?;
    let (kind, (index, _)) = (Kind::parse(section)?, rest.split_once(']')?);
    items.iter().filter(|item| item.live.kind == kind).nth(index.parse().ok()?)
}

fn not_written(reason: &str) -> String {
    format!(
        "nothing was written, because apply would not read it: {reason}; export parts instead, with the keys of administrators of \
         partners or tenants, who see their own resources alone"
    )
}

/// Sentences about all that the file has and does not have.
fn end(items: &[Item<'_>], left_out: &LeftOutById<'_>, outside: &[Live], names: &Names) -> Vec<String> {
    let hanging = left_out.values().filter(|one| one.reason.is_another()).count();
    let of_files = left_out.len() - hanging;
    let named: BTreeSet<&str> = items.iter().flat_map(|item| texts_of(&item.live.normal)).collect();
    let needed = outside.iter().filter(|one| named.contains(&*one.id));
    let needed = needed.filter_map(|one| Some(format!("{} {}", one.kind.word(), names.name_of(&one.id)?)));
    let needed: Vec<String> = needed.collect();
    let (needed, many) = (needed.join(", "), items.len());
    let sentences = [
        (!left_out.is_empty())
            .then(|| format!("left out in all: {of_files} that files cannot have, {hanging} that hang on them")),
        (!needed.is_empty()).then(|| {
            format!("the file names what it does not have, so a gateway must have it before: {needed}")
        }),
        (many > CHANGES_MAX).then(|| {
            format!(
                "the file has {many} resources, and a gateway makes at most {CHANGES_MAX} changes together: apply parts of the file, \
                 from its beginning on, to a gateway that does not have them"
            )
        }),
    ];
    sentences.into_iter().flatten().collect()
}

fn lines(left_out: &LeftOutById<'_>) -> Vec<String> {
    let lines = left_out.iter().map(|(id, LeftOut { label, reason })| {
        let line = format!("{label} ({id}): {reason}");
        (reason.is_another(), line)
    });
    let lines: BTreeSet<(bool, String)> = lines.collect();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn text(items: &[Item<'_>], end: &[String]) -> String {
    let (mut text, mut variables) = (HEAD.to_owned(), BTreeSet::new());
    for kind in Kind::IN_FILES {
        let of_kind = items.iter().filter(|item| item.live.kind == kind);
        let of_kind: Vec<_> = of_kind.map(|item| item.complete(&mut variables)).collect();
        if !of_kind.is_empty() {
            text.push('\n');
            text.push_str(&section(kind.section(), &of_kind));
        }
    }
    if !end.is_empty() {
        text.push('\n');
    }
    end.iter().for_each(|sentence| text.extend(["# ", sentence, "\n"]));
    text
}

impl Item<'_> {
    fn text(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|field| (&field.name, &field.value)).collect();
        json!(fields).to_string()
    }

    /// The fields with variables for the API key and the secret headers.
    fn complete(&self, variables: &mut BTreeSet<String>) -> Vec<NamedField> {
        let mut fields = self.fields.clone();
        let name = self.label.split_once(' ').map_or(&*self.label, |(_, name)| name);
        if self.live.has_api_key {
            let variable = variable(name, API_KEY, variables);
            fields.push(NamedField { name: API_KEY.to_owned(), value: json!({ ENV: variable }) });
        }
        if !self.live.secret_headers.is_empty() {
            let headers = self.live.secret_headers.iter();
            let headers: Map<String, Value> =
                headers.map(|header| (header.clone(), json!({ ENV: variable(name, header, variables) }))).collect();
            fields.push(NamedField { name: SECRET_HEADERS.to_owned(), value: headers.into() });
        }
        fields
    }
}

impl LeftOutReason {
    /// Whether it is that another one is left out.
    const fn is_another(&self) -> bool {
        matches!(self, Self::HangsOn(_))
    }
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInFiles(reason) => f.write_str(reason),
            Self::HangsOn(other) => write!(f, "it hangs on {other}, which is left out"),
        }
    }
}

fn fields(one: &Live, tree: &FieldTree, names: &Names) -> Result<Vec<NamedField>, Nameless> {
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

/// A variable for a secret of a provider, its API key or a header, that no other has: `ACME_OPENAI_API_KEY`.
fn variable(provider: &str, secret: &str, taken: &mut BTreeSet<String>) -> String {
    let words = format!("{provider}_{secret}");
    let letters =
        words.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' });
    let mut name: String = letters.collect();
    if name.starts_with(OWN_PREFIX) || name.starts_with(|first: char| first.is_ascii_digit()) {
        name = format!("KEY_OF_{name}");
    }
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let free = [name.clone()].into_iter().chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests;
