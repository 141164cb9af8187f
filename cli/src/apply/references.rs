//! Where bodies have ids, and files names: `provider` in a file is `provider_id` in a body, `{provider: NAME, model: MODEL}` is
//! `provider_id/model`, and [conditions](super::conditions) name tenants. The places follow from the schemas of the bodies, so that a
//! new one cannot be forgotten.

use std::collections::BTreeMap;

use command::admin::FieldError;
use events::ids::ProviderId;
use openapi::schema::{BACKEND_FORMAT, CONDITION_FORMAT};
use serde_json::{Map, Value, json};

use super::conditions;
use super::kind::Kind;
use super::names::{Name, Names, NotNamed};
use super::yaml::{Member, Node, NodeValue};

/// A field of files that names resources, the field of bodies with their ids, and their kind.
pub struct Reference {
    pub field: &'static str,
    pub id_field: &'static str,
    pub kind: Kind,
    pub is_list: bool,
}

impl Reference {
    const fn to_one(field: &'static str, id_field: &'static str, kind: Kind) -> Self {
        Self { field, id_field, kind, is_list: false }
    }
}

pub const REFERENCES: [Reference; 6] = [
    // Before the one whose name it begins with: texts are replaced in this order.
    Reference { field: "users", id_field: "user_ids", kind: Kind::User, is_list: true },
    Reference::to_one("partner", "partner_id", Kind::Partner),
    Reference::to_one("tenant", "tenant_id", Kind::Tenant),
    Reference::to_one("user", "user_id", Kind::User),
    Reference::to_one("team", "team_id", Kind::Team),
    Reference::to_one("provider", "provider_id", Kind::Provider),
];
/// The id of a key, which no file can name.
pub const KEY_ID: &str = "key_id";
const NO_KEYS: &str =
    "files do not have keys, whose secrets are shown once, so they cannot have what belongs to one either";
const PROVIDER_FORM: &str =
    "must be the name of a provider, or {name: NAME, tenant: TENANT}; without tenant, one that all tenants share";
const BACKEND_FORM: &str = "must be {provider: NAME, model: MODEL}, with the provider and the model of one of targets";
const BACKEND_ID: &str = "files have names in place of ids: give {provider: NAME, model: MODEL}";
const PROVIDER_ID: &str = "provider_id";
const MODEL: &str = "model";

/// How a text of a body names other resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextForm {
    /// Not at all, or as the id of one.
    #[default]
    Whole,
    /// A backend, as `provider_id/model`; a mapping in files.
    Backend,
    /// A condition, which may have ids of tenants in quotes.
    Condition,
}

impl TextForm {
    /// The form of what a JSON Schema describes.
    pub fn of(schema: &Value) -> Self {
        match schema["format"].as_str() {
            Some(BACKEND_FORMAT) => Self::Backend,
            Some(CONDITION_FORMAT) => Self::Condition,
            Some(_) | None => Self::Whole,
        }
    }
}

/// The fields that a schema has, with those inside them.
#[derive(Clone, Debug, Default)]
pub struct FieldTree {
    fields: BTreeMap<String, Self>,
    items: Option<Box<Self>>,
    text: TextForm,
}

impl FieldTree {
    /// The fields of a JSON Schema, of all its alternatives.
    pub fn of(schema: &Value) -> Self {
        let mut tree = Self::default();
        tree.add(schema);
        tree
    }

    fn add(&mut self, schema: &Value) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            self.fields.entry(name.clone()).or_default().add(field);
        }
        if schema["items"].is_object() {
            self.items.get_or_insert_default().add(&schema["items"]);
        }
        match TextForm::of(schema) {
            TextForm::Whole => {}
            TextForm::Condition => self.text = TextForm::Condition,
            TextForm::Backend => {
                self.text = TextForm::Backend;
                self.fields.extend([PROVIDER_ID, MODEL].map(|name| (name.to_owned(), Self::default())));
            }
        }
        for alternative in ["oneOf", "anyOf", "allOf"].iter().filter_map(|name| schema[name].as_array()).flatten() {
            self.add(alternative);
        }
    }

    fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    fn field(&self, name: &str) -> &Self {
        self.fields.get(name).unwrap_or(const { &Self::empty() })
    }

    fn item(&self) -> &Self {
        self.items.as_deref().unwrap_or(const { &Self::empty() })
    }

    const fn empty() -> Self {
        Self { fields: BTreeMap::new(), items: None, text: TextForm::Whole }
    }
}

/// Replaces the names in a file by ids.
pub struct ToIds<'a> {
    pub names: &'a Names,
    /// The tenant that owns the resource: its own providers come first.
    pub owner: &'a [String],
}

impl ToIds<'_> {
    /// The value of a body. Errors: the first name that names nothing, by its path in the file.
    pub fn value(&self, node: &Node, tree: &FieldTree, path: &str) -> Result<Value, FieldError> {
        if tree.text == TextForm::Backend {
            return self.backend(node, tree, path);
        }
        Ok(match &node.value {
            NodeValue::Null => Value::Null,
            NodeValue::Boolean(boolean) => Value::Bool(*boolean),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::Text(text) if tree.text == TextForm::Condition => {
                let id_of = |named: &str| {
                    let found = self.names.find(Kind::Tenant, named);
                    found.map(str::to_owned).map_err(|error| error.to_string())
                };
                conditions::with_ids(text, id_of).map_err(|reason| FieldError::new(path, reason))?.into()
            }
            NodeValue::Text(text) => Value::String(text.clone()),
            NodeValue::List(items) => {
                let items = items.iter().enumerate();
                let values = items.map(|(index, item)| self.value(item, tree.item(), &format!("{path}[{index}]")));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            NodeValue::Map(members) => Value::Object(self.members(members, tree, path)?),
        })
    }

    fn members(&self, members: &[Member], tree: &FieldTree, path: &str) -> Result<Map<String, Value>, FieldError> {
        let mut fields = Map::new();
        for Member { name, node, .. } in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if tree.has(KEY_ID) && (name == KEY_ID || name == "key") {
                return Err(FieldError::new(path, NO_KEYS));
            }
            let is_here = |reference: &&Reference| tree.has(reference.id_field);
            let mut here = REFERENCES.iter().filter(is_here);
            if let Some(reference) = here.clone().find(|reference| reference.id_field == name) {
                let field = reference.field;
                return Err(FieldError::new(path, format!("files have names in place of ids: give {field}")));
            }
            let (name, value) = match here.find(|reference| reference.field == name) {
                Some(reference) if reference.is_list => (reference.id_field, self.ids(node, reference.kind, &path)?),
                Some(reference) => (reference.id_field, self.id(node, reference.kind, &path)?),
                None => (&**name, self.value(node, tree.field(name), &path)?),
            };
            fields.insert(name.to_owned(), value);
        }
        Ok(fields)
    }

    fn ids(&self, node: &Node, kind: Kind, path: &str) -> Result<Value, FieldError> {
        match &node.value {
            NodeValue::Null => Ok(Value::Null),
            NodeValue::List(items) => {
                let items = items.iter().enumerate();
                items.map(|(index, item)| self.id(item, kind, &format!("{path}[{index}]"))).collect()
            }
            NodeValue::Boolean(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::Map(_) => {
                Err(FieldError::new(path, format!("must be a list of names of {}s", kind.word())))
            }
        }
    }

    fn id(&self, node: &Node, kind: Kind, path: &str) -> Result<Value, FieldError> {
        let wrong = |error: NotNamed| FieldError::new(path, error.to_string());
        match (&node.value, kind) {
            (NodeValue::Null, _) => Ok(Value::Null),
            (NodeValue::Text(named), Kind::Provider) => {
                self.names.find_provider_seen_by(self.owner, named).map(Value::from).map_err(wrong)
            }
            (NodeValue::Map(members), Kind::Provider) => self.provider(members, path),
            (_, Kind::Provider) => Err(FieldError::new(path, PROVIDER_FORM)),
            (NodeValue::Text(named), kind) => self.names.find(kind, named).map(Value::from).map_err(wrong),
            (_, kind) => Err(FieldError::new(path, format!("must be the name of a {}", kind.word()))),
        }
    }

    /// A model at a provider, as `provider_id/model`.
    fn backend(&self, node: &Node, tree: &FieldTree, path: &str) -> Result<Value, FieldError> {
        let wrong = |reason| Err(FieldError::new(path, reason));
        let NodeValue::Map(members) = &node.value else {
            let is_id = node.text().is_some_and(|text| text.starts_with(ProviderId::PREFIX));
            return wrong(if is_id { BACKEND_ID } else { BACKEND_FORM });
        };
        let mut fields = self.members(members, tree, path)?;
        match (fields.remove(PROVIDER_ID), fields.remove(MODEL)) {
            (Some(Value::String(provider)), Some(Value::String(model))) if fields.is_empty() => {
                Ok(format!("{provider}/{model}").into())
            }
            _ => wrong(BACKEND_FORM),
        }
    }

    /// A provider by its name and its tenant.
    fn provider(&self, members: &[Member], path: &str) -> Result<Value, FieldError> {
        let (mut name, mut owner) = (None, Vec::new());
        for member in members {
            match (&*member.name, &member.node.value) {
                ("name", NodeValue::Text(text)) => name = Some(text),
                ("tenant", NodeValue::Null) => {}
                ("tenant", NodeValue::Text(named)) => {
                    let found = self.names.find(Kind::Tenant, named);
                    let id = found.map_err(|error| FieldError::new(format!("{path}.tenant"), error.to_string()))?;
                    owner = self.names.name_of(id).map(|name| name.path.clone()).unwrap_or_default();
                }
                _ => return Err(FieldError::new(path, PROVIDER_FORM)),
            }
        }
        let name = name.ok_or_else(|| FieldError::new(path, PROVIDER_FORM))?;
        let found = self.names.find_provider(&owner, name);
        found.map(Value::from).map_err(|error| FieldError::new(path, error.to_string()))
    }
}

/// Replaces the ids in a body by names.
pub struct ToNames<'a> {
    pub names: &'a Names,
    /// The tenant that owns the resource.
    pub owner: &'a [String],
}

/// No file can have the resource, because it names one that has no name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it refers to {id}, which has no name in files")]
pub struct Nameless {
    pub id: String,
}

impl ToNames<'_> {
    /// The value of a file.
    pub fn value(&self, value: &Value, tree: &FieldTree) -> Result<Value, Nameless> {
        Ok(match value {
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.value(item, tree.item())).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => Value::Object(self.members(members, tree)?),
            Value::String(text) => self.text(text, tree)?,
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    fn text(&self, text: &str, tree: &FieldTree) -> Result<Value, Nameless> {
        match (tree.text, text.split_once('/')) {
            (TextForm::Backend, Some((provider, model))) => {
                let name = self.name(provider).ok_or_else(|| Nameless { id: provider.to_owned() })?;
                Ok(json!({ "provider": name, MODEL: model }))
            }
            (TextForm::Condition, _) => {
                let name_of = |id: &str| self.names.name_of(id).map(Name::to_string);
                let named = conditions::with_names(text, name_of);
                named.map(Value::from).map_err(|id| Nameless { id: id.to_owned() })
            }
            (TextForm::Whole | TextForm::Backend, _) => Ok(text.into()),
        }
    }

    pub fn members(&self, members: &Map<String, Value>, tree: &FieldTree) -> Result<Map<String, Value>, Nameless> {
        let mut fields = Map::new();
        for (name, value) in members {
            let nameless = || Nameless { id: value.as_str().unwrap_or_default().to_owned() };
            if tree.has(KEY_ID) && name == KEY_ID {
                return Err(nameless());
            }
            let reference = REFERENCES.iter().find(|reference| reference.id_field == name && tree.has(name));
            match (reference, value) {
                (Some(reference), Value::String(id)) => {
                    fields.insert(reference.field.to_owned(), self.name(id).ok_or_else(nameless)?);
                }
                (Some(reference), Value::Array(ids)) => {
                    fields.insert(reference.field.to_owned(), self.sorted_names(ids)?);
                }
                _ => drop(fields.insert(name.clone(), self.value(value, tree.field(name))?)),
            }
        }
        Ok(fields)
    }

    /// The names of several resources, in an order that does not depend on their ids.
    fn sorted_names(&self, ids: &[Value]) -> Result<Value, Nameless> {
        let name = |id: &Value| {
            let id = id.as_str().unwrap_or_default();
            self.name(id).ok_or_else(|| Nameless { id: id.to_owned() })
        };
        let mut names: Vec<Value> = ids.iter().map(name).collect::<Result<_, _>>()?;
        names.sort_by_key(Value::to_string);
        Ok(names.into())
    }

    /// The name of a resource as the file has it.
    fn name(&self, id: &str) -> Option<Value> {
        let name = self.names.name_of(id)?;
        if name.kind != Kind::Provider {
            return Some(name.to_string().into());
        }
        let (owner, own) = (name.owner(), name.own());
        let is_found_by_name = match self.names.find_provider(self.owner, own) {
            Ok(found) => found == id,
            Err(_) => owner.is_empty(),
        };
        Some(match (is_found_by_name, owner) {
            (true, _) => own.into(),
            (false, []) => json!({ "name": own }),
            (false, owner) => json!({ "name": own, "tenant": owner.join("/") }),
        })
    }
}

/// The path of a field of a body as files have it, and the reason in their words.
pub fn in_files(error: FieldError) -> FieldError {
    let FieldError { mut field, mut reason } = error;
    reason = reason.replace("provider_id/model", "provider and model");
    for Reference { field: name, id_field, .. } in &REFERENCES {
        field = field.replace(id_field, name);
        reason = reason.replace(id_field, name);
    }
    FieldError { field, reason: reason.replace(&format!(", {KEY_ID}"), "").replace("JSON number", "number") }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::documents;
    use super::*;

    const TENANT: &str = "ten_00000000000000000000000000000001";

    fn names() -> Names {
        let mut names = Names::default();
        for (kind, path, id) in [
            (Kind::Tenant, "a/x", TENANT),
            (Kind::Provider, "shared", "prv_1"),
            (Kind::Provider, "both", "prv_2"),
            (Kind::Provider, "a/x/both", "prv_3"),
        ] {
            names.insert(Name { kind, path: path.split('/').map(str::to_owned).collect() }, id);
        }
        names
    }

    fn tree(kind: Kind) -> FieldTree {
        FieldTree::of(&kind.format().schema())
    }

    /// The paths of references in a tree.
    fn places(tree: &FieldTree, path: &str, found: &mut Vec<String>) {
        for (name, inside) in &tree.fields {
            let path = format!("{path}.{name}");
            if REFERENCES.iter().any(|reference| reference.id_field == name) || name == KEY_ID {
                found.push(path.clone());
            }
            places(inside, &path, found);
        }
        if let Some(items) = &tree.items {
            places(items, &format!("{path}[]"), found);
        }
    }

    #[test]
    fn every_id_in_a_body_is_a_name_in_files() {
        let mut found = Vec::new();
        for kind in Kind::IN_FILES {
            places(&tree(kind), kind.section(), &mut found);
        }
        let scope = |section: &str| {
            ["key_id", "partner_id", "team_id", "tenant_id", "user_id"].map(|id| format!("{section}.scope.{id}"))
        };
        let mut wanted: Vec<String> = [
            "tenants.partner_id",
            "users.roles[].scope.partner_id",
            "users.roles[].scope.tenant_id",
            "users.tenant_id",
            "teams.tenant_id",
            "teams.user_ids",
            "providers.tenant_id",
            "models.canary.provider_id",
            "models.rules[].targets[].provider_id",
            "models.targets[].provider_id",
            "models.tenant_id",
            "prices.provider_id",
        ]
        .map(str::to_owned)
        .to_vec();
        wanted.extend(scope("budgets").into_iter().chain(scope("rate_limits")));
        assert_eq!(found, wanted);
        // No other field is one of an id.
        for kind in Kind::IN_FILES {
            let schema = kind.format().schema().to_string();
            let ids = schema.matches("_[0-9a-f]{32}").count();
            let (mut places_found, tree) = (Vec::new(), tree(kind));
            places(&tree, "", &mut places_found);
            assert_eq!(places_found.len(), ids, "{schema}");
        }
    }

    #[test]
    fn a_tenants_own_provider_comes_first_and_the_others_have_another_form() {
        let (names, tree) = (names(), tree(Kind::Model));
        let owner = ["a".to_owned(), "x".to_owned()];
        let both = |text: &str, owner: &[String]| {
            let node = documents(text).expect("YAML").remove(0);
            let body = ToIds { names: &names, owner }.value(&node, &tree, "").expect("names");
            let back = ToNames { names: &names, owner }.value(&body, &tree).expect("names");
            (body["targets"][0]["provider_id"].clone(), back["targets"][0]["provider"].clone())
        };
        for (named, owner, id) in
            [("shared", &owner[..], "prv_1"), ("both", &owner[..], "prv_3"), ("both", &[][..], "prv_2")]
        {
            assert_eq!(both(&format!("targets: [{{provider: {named}}}]"), owner), (json!(id), json!(named)));
        }
        let (id, back) = both("targets: [{provider: {name: both}}]", &owner);
        assert_eq!((id, back), (json!("prv_2"), json!({ "name": "both" })));
        let (id, back) = both("targets: [{provider: {name: both, tenant: x}}]", &[]);
        assert_eq!((id, back), (json!("prv_3"), json!({ "name": "both", "tenant": "a/x" })));
    }

    #[test]
    fn rules_name_their_targets_and_tenants() {
        let (names, tree) = (names(), tree(Kind::Model));
        let owner = ["a".to_owned(), "x".to_owned()];
        let text = "rules: [{when: tenant == tenant_id('x'), targets: [{provider: both, model: m/n}, {provider: {name: both}, model: m}]}]";
        let node = documents(text).expect("YAML").remove(0);
        let body = ToIds { names: &names, owner: &owner }.value(&node, &tree, "").expect("names");
        let rule = json!({ "when": format!("tenant == '{TENANT}'"), "targets": ["prv_3/m/n", "prv_2/m"] });
        assert_eq!(body, json!({ "rules": [rule] }));
        let back = ToNames { names: &names, owner: &owner }.value(&body, &tree).expect("names");
        let targets = json!([{ "provider": "both", "model": "m/n" }, { "provider": { "name": "both" }, "model": "m" }]);
        assert_eq!(back, json!({ "rules": [{ "when": "tenant == tenant_id('a/x')", "targets": targets }] }));
        let nameless = json!({ "rules": [{ "targets": ["prv_9/m"] }] });
        let nameless = ToNames { names: &names, owner: &owner }.value(&nameless, &tree).expect_err("no name");
        assert_eq!(nameless.id, "prv_9");
    }

    #[test]
    fn lists_of_ids_are_lists_of_names_in_their_order() {
        let (mut names, tree) = (names(), tree(Kind::Team));
        for (path, id) in [("a/x/zoe", "usr_1"), ("a/x/ada", "usr_2")] {
            names.insert(Name { kind: Kind::User, path: path.split('/').map(str::to_owned).collect() }, id);
        }
        let node = documents("users: [zoe, a/x/ada]").expect("YAML").remove(0);
        let body = ToIds { names: &names, owner: &[] }.value(&node, &tree, "").expect("names");
        assert_eq!(body, json!({ "user_ids": ["usr_1", "usr_2"] }));
        let back = ToNames { names: &names, owner: &[] }.value(&body, &tree).expect("names");
        assert_eq!(back, json!({ "users": ["a/x/ada", "a/x/zoe"] }));
        let node = documents("users: zoe").expect("YAML").remove(0);
        let refused = ToIds { names: &names, owner: &[] }.value(&node, &tree, "").expect_err("no list");
        assert_eq!((&*refused.field, &*refused.reason), ("users", "must be a list of names of users"));
        let node = documents("users: [zoe, zo]").expect("YAML").remove(0);
        let refused = ToIds { names: &names, owner: &[] }.value(&node, &tree, "").expect_err("no such user");
        assert_eq!(refused.field, "users[1]");
    }

    #[test]
    fn what_cannot_be_named_is_refused_by_its_path() {
        let (names, model, budget) = (names(), tree(Kind::Model), tree(Kind::Budget));
        let refused = |text: &str, tree: &FieldTree| {
            let node = documents(text).expect("YAML").remove(0);
            let error = ToIds { names: &names, owner: &[] }.value(&node, tree, "").expect_err("refused");
            (error.field, error.reason)
        };
        let (field, reason) = refused("targets: [{provider: share}]", &model);
        assert_eq!(field, "targets[0].provider");
        assert!(reason.ends_with("; did you mean shared?"), "{reason}");
        for (target, at, reason) in [
            ("prv_1/m", "", BACKEND_ID),
            ("shared/m", "", BACKEND_FORM),
            ("{provider: shared}", "", BACKEND_FORM),
            ("{provider: shared, model: m, weight: 1}", "", BACKEND_FORM),
            ("{provider: shared, model: 1}", "", BACKEND_FORM),
            ("{provider: 1, model: m}", ".provider", PROVIDER_FORM),
            ("{provider_id: prv_1, model: m}", ".provider_id", "files have names in place of ids: give provider"),
        ] {
            let wanted = (format!("rules[0].targets[0]{at}"), reason.to_owned());
            assert_eq!(refused(&format!("rules: [{{targets: [{target}]}}]"), &model), wanted, "{target}");
        }
        let (field, reason) = refused("rules: [{when: tenant == tenant_id('y')}]", &model);
        assert_eq!(field, "rules[0].when");
        assert!(reason.starts_with("there is no tenant \"y\""), "{reason}");
        assert_eq!(refused("tenant_id: ten_1", &model).1, "files have names in place of ids: give tenant");
        assert_eq!(refused("scope: {key: a}", &budget), ("scope.key".to_owned(), NO_KEYS.to_owned()));
        assert_eq!(refused("tenant: 5", &model).1, "must be the name of a tenant");
        assert_eq!(refused("targets: [{provider: 5}]", &model).1, PROVIDER_FORM);
        let scope = json!({ "scope": { "key_id": "key_1" } });
        let nameless = ToNames { names: &names, owner: &[] }.value(&scope, &budget).expect_err("no name");
        assert_eq!(nameless.id, "key_1");
    }
}
