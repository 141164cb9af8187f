//! Which model a name means to whoever owns another model: one of the tenant's own comes before one that all tenants share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use command::admin::body_format::Body;
use serde_json::Value;

use super::kind::Kind;

/// The field with the models that a model stands for.
pub const ALIAS: &str = "alias";

/// Values of models, by their owners and names.
pub struct ModelNames<'a, T> {
    models: BTreeMap<(Option<&'a str>, &'a str), T>,
    /// Tenants with an allow list of models, which see shared ones alone.
    with_allow_list: BTreeSet<&'a str>,
}

impl<'a, T> ModelNames<'a, T> {
    /// Collects the names of the tenants and models among resources, which are given by their kind, their id and their body. A name is
    /// resolved as by `Tables::route` in the gateway.
    pub fn of(resources: impl IntoIterator<Item = (Kind, Option<&'a str>, &'a Body, T)>) -> Self {
        let mut names = Self { models: BTreeMap::new(), with_allow_list: BTreeSet::new() };
        for (kind, id, body, value) in resources {
            if kind == Kind::Tenant && body.contains_key("models") {
                names.with_allow_list.extend(id);
            }
            if let Some(name) = text(body, "name").filter(|_| kind == Kind::Model) {
                names.models.insert((owner(body), name), value);
            }
        }
        names
    }

    /// The model that this owner means by a name; `None` is the owner of what all tenants share.
    pub fn meant_by<'b>(&'b self, owner: Option<&'b str>, name: &'b str) -> Option<&'b T> {
        let own = owner.filter(|tenant| !self.with_allow_list.contains(tenant));
        let own = own.and_then(|tenant| self.models.get(&(Some(tenant), name)));
        own.or_else(|| self.models.get(&(None, name)))
    }

    /// The models that a name may mean to this owner: its own one, even if an allow list hides that now, and the one that it means now.
    pub fn may_be_meant_by<'b>(&'b self, owner: Option<&'b str>, name: &'b str) -> impl Iterator<Item = &'b T> {
        let own = owner.and_then(|tenant| self.models.get(&(Some(tenant), name)));
        own.into_iter().chain(self.meant_by(owner, name))
    }

    /// The names of the models that this owner may name.
    pub fn names_for<'b>(&'b self, owner: Option<&'b str>) -> impl Iterator<Item = &'a str> {
        let is_seen = move |of: &Option<&str>| of.is_none() || *of == owner;
        self.models.keys().filter(move |(of, _)| is_seen(of)).map(|(_, name)| *name)
    }

    /// Whether any owner has a model of this name.
    pub fn is_of_any(&self, name: &str) -> bool {
        self.models.keys().any(|(_, one)| *one == name)
    }

    /// Whether there are models that all tenants share.
    pub fn has_shared(&self) -> bool {
        self.models.keys().any(|(owner, _)| owner.is_none())
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.models.values()
    }
}

/// The tenant that owns a model; `None` if all tenants share it.
pub fn owner(model: &Body) -> Option<&str> {
    text(model, "tenant_id")
}

/// The names of the models that an alias stands for, one after the other; none for a model with targets.
pub fn stood_for(model: &Body) -> impl Iterator<Item = &str> {
    let steps = model.get(ALIAS).and_then(Value::as_array);
    steps.into_iter().flatten().map(|step| step["model"].as_str().unwrap_or_default())
}

pub fn is_alias(model: &Body) -> bool {
    stood_for(model).next().is_some()
}

/// A field of a model that names another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedIn {
    Alias(usize),
    Shadow,
    Successor,
}

impl fmt::Display for NamedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(index) => write!(f, "{ALIAS}[{index}].model"),
            Self::Shadow => f.write_str("shadow.model"),
            Self::Successor => f.write_str("successor"),
        }
    }
}

/// The names of all models that a model names, and where.
pub fn named_models(model: &Body) -> impl Iterator<Item = (NamedIn, &str)> {
    let aliases = stood_for(model).enumerate().map(|(index, name)| (NamedIn::Alias(index), name));
    let shadow = model.get("shadow").and_then(|shadow| shadow["model"].as_str());
    let shadow = shadow.map(|name| (NamedIn::Shadow, name));
    aliases.chain(shadow).chain(text(model, "successor").map(|name| (NamedIn::Successor, name)))
}

pub fn text<'a>(body: &'a Body, field: &str) -> Option<&'a str> {
    body.get(field).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: &Value) -> Body {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn a_tenants_own_model_comes_first_unless_it_has_an_allow_list() {
        let (shared, own, only) = (
            json!({ "name": "m" }),
            json!({ "name": "m", "tenant_id": "a" }),
            json!({ "name": "n", "tenant_id": "a" }),
        );
        let listed = body(&json!({ "name": "m", "tenant_id": "b" }));
        let (shared, own, only) = (body(&shared), body(&own), body(&only));
        let tenant = body(&json!({ "slug": "b", "models": ["m"] }));
        let names = ModelNames::of([
            (Kind::Model, None, &shared, "shared"),
            (Kind::Model, None, &own, "own"),
            (Kind::Model, None, &only, "only"),
            (Kind::Model, None, &listed, "hidden"),
            (Kind::Tenant, Some("b"), &tenant, ""),
        ]);
        for (owner, name, meant) in [
            (None, "m", Some("shared")),
            (Some("a"), "m", Some("own")),
            (Some("a"), "n", Some("only")),
            (Some("b"), "m", Some("shared")),
            (Some("c"), "m", Some("shared")),
            (None, "n", None),
            (Some("b"), "n", None),
        ] {
            assert_eq!(names.meant_by(owner, name).copied(), meant, "{owner:?} {name}");
        }
        let may_mean = |owner| names.may_be_meant_by(owner, "m").copied().collect::<Vec<_>>();
        assert_eq!(may_mean(Some("b")), ["hidden", "shared"], "with and without its allow list");
        assert_eq!((may_mean(Some("c")), may_mean(None)), (vec!["shared"], vec!["shared"]));
        assert_eq!(names.names_for(Some("a")).collect::<BTreeSet<_>>(), BTreeSet::from(["m", "n"]));
        assert_eq!(names.names_for(None).collect::<Vec<_>>(), ["m"]);
    }

    #[test]
    fn a_model_names_what_it_stands_for_its_shadow_and_its_successor() {
        let alias = body(
            &json!({ "name": "x", "alias": [{ "model": "a" }, { "model": "b", "from": "2126-01-01T00:00:00Z" }] }),
        );
        fn named(model: &Body) -> Vec<(String, &str)> {
            named_models(model).map(|(field, name)| (field.to_string(), name)).collect()
        }
        assert_eq!(named(&alias), [("alias[0].model".to_owned(), "a"), ("alias[1].model".to_owned(), "b")]);
        let targets = json!([{ "provider_id": "p", "model": "echo" }]);
        let model = json!({ "name": "x", "strategy": "cost", "targets": targets, "shadow": { "model": "s" }, "successor": "t" });
        let model = body(&model);
        assert_eq!(
            (named(&model), is_alias(&model), is_alias(&alias)),
            (vec![("shadow.model".to_owned(), "s"), ("successor".to_owned(), "t")], false, true)
        );
    }
}
