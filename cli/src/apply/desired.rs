//! The resources that files ask for, each as a body, checked as the gateway would check it.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use command::admin::FieldError;
use command::admin::body_format::Body;
use events::event::admin::NarrowedScope;
use events::nearest_name::did_you_mean;
use serde_json::{Value, json};

use super::super::printable_text::printable_line;
use super::document_labels::{self, LABELS};
use super::files::SourceFile;
use super::kind::Kind;
use super::mistake::{Mistake, Place, in_order};
use super::names::{Name, Names};
use super::references::{FieldTree, ToIds, in_files};
use super::secret_source::{API_KEY, ApiKey, SECRET_HEADERS, SecretHeaders, Secrets};
use super::yaml::{Node, NodeValue, documents};

const LABEL_CHARS_MAX: usize = 120;
const NO_KEYS: &str = "files do not have keys: their secrets are shown once, when POST /v1/admin/keys makes them";
/// The partner and the tenant of what names none, as in the API.
const DEFAULT: &str = "default";

/// A resource as a file has it.
#[derive(Clone, Debug)]
pub struct Desired {
    pub kind: Kind,
    /// `models[2]`
    pub path: String,
    pub source: Source,
    /// The fields that the file gives, with ids, without a secret.
    pub body: Body,
    pub normal: Body,
    pub api_key: ApiKey,
    pub secret_headers: SecretHeaders,
    /// The id by which others name it; for one that the gateway does not have, what stands for its id.
    pub id: Option<String>,
}

/// Where a resource is in a file.
#[derive(Clone, Debug)]
pub struct Source {
    file: Rc<str>,
    node: Rc<Node>,
}

/// An item of a list in a file.
struct Entry {
    kind: Kind,
    path: String,
    source: Source,
    folder: Rc<Path>,
}

impl Source {
    pub fn place(&self) -> Place {
        Place { file: Rc::clone(&self.file), line: self.node.line }
    }

    fn place_of(&self, field: &str) -> Place {
        Place { file: Rc::clone(&self.file), line: self.node.line_of(field) }
    }
}

impl Desired {
    /// A mistake in one of its fields.
    pub fn mistake(&self, field: &str, reason: impl Into<String>) -> Mistake {
        mistake(&self.path, &self.source, field, reason)
    }
}

fn mistake(path: &str, source: &Source, field: &str, reason: impl Into<String>) -> Mistake {
    let place = source.place_of(field);
    let dot = if field.is_empty() { "" } else { "." };
    Mistake { place, field: format!("{path}{dot}{field}"), reason: reason.into() }
}

/// The resources of all files, in the order in which they are carried out. Names that the gateway does not have are added.
///
/// Errors: the mistakes, in the order of the lines.
pub fn read(files: &[SourceFile], names: &mut Names) -> Result<Vec<Desired>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let entries: Vec<Entry> = files.iter().flat_map(|file| entries(file, &mut mistakes)).collect();
    let mut desired = Vec::new();
    for &kind in Kind::ALL {
        let tree = FieldTree::of(&kind.format().schema());
        for entry in entries.iter().filter(|entry| entry.kind == kind) {
            match one(entry, &tree, names) {
                Ok(one) => desired.push(one),
                Err(FieldError { field, reason }) => {
                    mistakes.push(mistake(&entry.path, &entry.source, &field, reason));
                }
            }
        }
    }
    mistakes.extend(repeated(&desired));
    if mistakes.is_empty() {
        return Ok(desired);
    }
    Err(in_order(mistakes))
}

fn entries(file: &SourceFile, mistakes: &mut Vec<Mistake>) -> Vec<Entry> {
    let mut wrong = |line: usize, field: &str, reason: String| {
        mistakes.push(Mistake { place: Place { file: Rc::clone(&file.name), line }, field: field.to_owned(), reason });
    };
    let documents = match documents(&file.text) {
        Ok(documents) => documents,
        Err(error) => {
            wrong(error.line, "", error.reason);
            return Vec::new();
        }
    };
    let folder: Rc<Path> = file.folder.as_path().into();
    let (mut entries, mut counts) = (Vec::new(), BTreeMap::<Kind, usize>::new());
    for document in documents {
        let NodeValue::Map(sections) = document.value else {
            wrong(document.line, "", "must be a mapping with lists such as providers and models".to_owned());
            continue;
        };
        let labels = sections.iter().find(|section| section.name == LABELS).map(|section| section.node.clone());
        if let Some(labels) =
            labels.as_ref().filter(|labels| !matches!(labels.value, NodeValue::Map(_) | NodeValue::Null))
        {
            wrong(labels.line, LABELS, "must be a mapping of names and values".to_owned());
        }
        for section in sections {
            if section.name == LABELS {
                continue;
            }
            let Some(kind) = Kind::parse(&section.name) else {
                wrong(section.line, &section.name.chars().take(64).collect::<String>(), unknown_section(&section.name));
                continue;
            };
            let items = match section.node.value {
                NodeValue::List(items) => items,
                NodeValue::Null => continue,
                NodeValue::Boolean(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::Map(_) => {
                    wrong(section.line, kind.section(), "must be a list".to_owned());
                    continue;
                }
            };
            for mut node in items {
                // Counted through all documents of the file, so that a path is one place.
                let count = counts.entry(kind).or_default();
                let path = format!("{}[{count}]", kind.section());
                *count += 1;
                if !matches!(node.value, NodeValue::Map(_)) {
                    wrong(node.line, &path, "must be a mapping of fields".to_owned());
                    continue;
                }
                labels.iter().for_each(|labels| document_labels::put(&mut node, labels));
                let source = Source { file: Rc::clone(&file.name), node: Rc::new(node) };
                entries.push(Entry { kind, path, source, folder: Rc::clone(&folder) });
            }
        }
    }
    entries
}

fn unknown_section(name: &str) -> String {
    match name {
        "keys" => NO_KEYS.to_owned(),
        _ => {
            let known = [LABELS].into_iter().chain(Kind::IN_FILES.map(Kind::section)).collect::<Vec<_>>();
            format!("unknown field{}; there are {}", did_you_mean(name, known.iter().copied()), known.join(", "))
        }
    }
}

fn one(entry: &Entry, tree: &FieldTree, names: &mut Names) -> Result<Desired, FieldError> {
    let Entry { kind, path, source, folder } = entry;
    let (kind, format) = (*kind, kind.format());
    let mut node = Node::clone(&source.node);
    let api_key = take_secrets(&mut node, kind, API_KEY, |node| ApiKey::read(node, folder))?;
    let secret_headers = take_secrets(&mut node, kind, SECRET_HEADERS, |node| SecretHeaders::read(node, folder))?;
    if let Some(field) = kind.required_name()
        && node.get(field).is_none_or(|member| member.node.value == NodeValue::Null)
    {
        return Err(FieldError::new("", format!("{field} is required: files name a {} by it", kind.word())));
    }
    let owner = owner_of(&node, names)?;
    let value = ToIds { names, owner: &owner }.value(&node, tree, "")?;
    let Value::Object(mut body) = value else { return Err(FieldError::new("", "must be a mapping of fields")) };
    body.retain(|_, value| !value.is_null());
    put_default_owner(&mut body, kind, names)?;
    let mut checked = body.clone();
    if matches!(api_key, ApiKey::From(_)) {
        // Any will do: it is read when it is known to be needed.
        checked.insert(API_KEY.to_owned(), json!("key"));
    }
    if let SecretHeaders::From(sources) = &secret_headers {
        let headers: Body = sources.keys().map(|name| (name.clone(), json!("value"))).collect();
        checked.insert(SECRET_HEADERS.to_owned(), headers.into());
    }
    let normal = format.normal(&checked).map_err(in_files)?;
    let id = register(kind, &normal, names);
    Ok(Desired { kind, path: path.clone(), source: source.clone(), body, normal, api_key, secret_headers, id })
}

/// Takes a field with secrets out of a provider.
fn take_secrets<S>(
    node: &mut Node,
    kind: Kind,
    field: &str,
    read: impl FnOnce(&Node) -> Result<Secrets<S>, &'static str>,
) -> Result<Secrets<S>, FieldError> {
    let NodeValue::Map(members) = &mut node.value else { return Ok(Secrets::Unsaid) };
    let at = members.iter().position(|member| member.name == field);
    let Some(at) = at.filter(|_| kind == Kind::Provider) else { return Ok(Secrets::Unsaid) };
    let member = members.remove(at);
    read(&member.node).map_err(|reason| FieldError::new(field, reason))
}

/// The path of the tenant that owns a provider or a model, or of the partner or tenant that owns others.
fn owner_of(node: &Node, names: &Names) -> Result<Vec<String>, FieldError> {
    let Some(named) = node.get("tenant").and_then(|member| member.node.text()) else { return Ok(Vec::new()) };
    let id = names.find(Kind::Tenant, named).map_err(|error| FieldError::new("tenant", error.to_string()))?;
    Ok(names.name_of(id).map(|name| name.path.clone()).unwrap_or_default())
}

/// A tenant without a partner is one of the default partner, and a user or a team without a tenant one of the default tenant.
fn put_default_owner(body: &mut Body, kind: Kind, names: &Names) -> Result<(), FieldError> {
    let (field, name, owner) = match kind {
        Kind::Tenant => ("partner_id", "partner", Name::new(Kind::Partner, &[], DEFAULT)),
        Kind::User | Kind::Team => ("tenant_id", "tenant", Name::new(Kind::Tenant, &[DEFAULT.to_owned()], DEFAULT)),
        Kind::Partner | Kind::Budget | Kind::RateLimit | Kind::Provider | Kind::Price | Kind::Model => return Ok(()),
    };
    if body.contains_key(field) {
        return Ok(());
    }
    let id = names.id_of(&owner).ok_or_else(|| FieldError::new(name, format!("is required: there is no {owner}")))?;
    body.insert(field.to_owned(), id.into());
    Ok(())
}

/// Makes the name of a resource known to those that come after it. Returns the id that it stands for.
fn register(kind: Kind, normal: &Body, names: &mut Names) -> Option<String> {
    let text = |field: &str| normal.get(field).and_then(Value::as_str);
    let owner = |field: &str| text(field).and_then(|id| names.name_of(id)).map(|name| name.path.clone());
    let (owner, own) = match kind {
        Kind::Partner => (Vec::new(), text("slug")),
        Kind::Tenant => (owner("partner_id").unwrap_or_default(), text("slug")),
        Kind::User | Kind::Team => (owner("tenant_id").unwrap_or_default(), text("slug")),
        Kind::Provider => (owner("tenant_id").unwrap_or_default(), text("name")),
        Kind::Budget | Kind::RateLimit | Kind::Price | Kind::Model => return None,
    };
    Some(names.id_or_placeholder(&Name::new(kind, &owner, own?)))
}

/// Resources that are there twice.
fn repeated(desired: &[Desired]) -> Vec<Mistake> {
    let mut seen = BTreeMap::new();
    let mut mistakes = Vec::new();
    for one in desired {
        let key = unique_key(one.kind, &one.normal);
        match seen.get(&key) {
            None => drop(seen.insert(key, one.source.place())),
            Some(place) => {
                mistakes.push(one.mistake("", format!("is the same {} as the one at {place}", one.kind.word())));
            }
        }
    }
    mistakes
}

/// The fields that tell a resource from all others; several prices or budgets may share them.
pub type Identity = (Kind, Vec<String>);

pub fn identity(kind: Kind, normal: &Body) -> Identity {
    (kind, kind.identity().iter().map(|field| normal.get(*field).unwrap_or(&Value::Null).to_string()).collect())
}

/// The identity of a resource, and the value of the field that tells it from others of that identity.
pub fn unique_key(kind: Kind, normal: &Body) -> (Identity, Option<String>) {
    let distinction = kind.distinction().and_then(|field| normal.get(field));
    (identity(kind, normal), distinction.map(Value::to_string))
}

/// The resource in words: `tenant default/acme`.
pub fn label(kind: Kind, normal: &Body, names: &Names) -> String {
    let text = |field: &str| normal.get(field).and_then(Value::as_str);
    let named = |id: &str| names.name_of(id).map_or_else(|| id.to_owned(), Name::to_string);
    let owned = |own: &str, owner: Option<&str>| {
        let owner = owner.map(|id| format!("{}/", named(id))).unwrap_or_default();
        format!("{owner}{own}")
    };
    let own = |field: &str| text(field).unwrap_or_default();
    let of_scope = || {
        let scope = normal.get("scope").unwrap_or(&Value::Null);
        let (field, id) = NarrowedScope::owner_in(scope).unwrap_or_default();
        let read = serde_json::from_value::<NarrowedScope>(scope.clone());
        let narrowing = read.ok().and_then(|scope| scope.narrowing);
        let narrowing = narrowing.map(|conditions| format!(" with {conditions}")).unwrap_or_default();
        format!("of {} {}{narrowing}", field.trim_end_matches("_id"), named(id))
    };
    let label = match kind {
        Kind::Partner => own("slug").to_owned(),
        Kind::Tenant => owned(own("slug"), text("partner_id")),
        Kind::User | Kind::Team => owned(own("slug"), text("tenant_id")),
        Kind::Provider | Kind::Model => owned(own("name"), text("tenant_id")),
        Kind::Price => {
            let from = text("effective_from").map(|from| format!(" from {from}")).unwrap_or_default();
            format!("{}{from}", owned(own("model"), text("provider_id")))
        }
        Kind::Budget => format!("{} a {}", of_scope(), own("period")),
        Kind::RateLimit => of_scope(),
    };
    format!("{} {}", kind.word(), printable_line(&label, LABEL_CHARS_MAX))
}
