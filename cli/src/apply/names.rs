//! The names that files have for resources, in place of their ids.
//!
//! A partner is named by its slug, a tenant by `PARTNER/TENANT`, a user or a team by `PARTNER/TENANT/USER`; the beginning may be left out
//! where the rest matches one resource alone. A provider is named by its name, within the tenant that owns it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::kind::Kind;
use super::yaml_writer::scalar;

/// The most providers of one name that an error names.
const NAMESAKES_MAX: usize = 3;

/// The whole name of a partner, tenant, user, team or provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub kind: Kind,
    /// The slugs of its owners, and its own slug or name.
    pub path: Vec<String>,
}

/// The names that there are, in files or in the gateway, and their ids.
#[derive(Debug, Default)]
pub struct Names {
    ids: BTreeMap<Name, String>,
    names: BTreeMap<String, Name>,
    /// Names that several have, as providers of earlier versions may: they name nobody.
    shared: BTreeSet<Name>,
    placeholders: u64,
}

/// No resource has the name, or several have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNamed {
    #[error("there is no {} {named} in the files or in the gateway{hint}", kind.word())]
    Unknown { kind: Kind, named: String, hint: String },
    #[error("{named} is ambiguous: {}", all.join(", "))]
    Ambiguous { named: String, all: Vec<String> },
}

impl Name {
    pub fn new(kind: Kind, owner: &[String], own: &str) -> Self {
        Self { kind, path: owner.iter().cloned().chain([own.to_owned()]).collect() }
    }

    /// The path of the owner; empty for what has none.
    pub fn owner(&self) -> &[String] {
        self.path.split_last().map_or(&[], |(_, owner)| owner)
    }

    pub fn own(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.join("/"))
    }
}

impl Names {
    /// Gives a name to a resource of the gateway.
    pub fn insert(&mut self, name: Name, id: impl Into<String>) {
        let id = id.into();
        self.names.insert(id.clone(), name.clone());
        if self.ids.insert(name.clone(), id.clone()).is_some_and(|before| before != id) {
            self.shared.insert(name);
        }
    }

    /// The id of a name in a file. If the gateway has no such resource yet, the id stands for the one that it will be given.
    pub fn id_or_placeholder(&mut self, name: &Name) -> String {
        if let Some(id) = self.ids.get(name) {
            return id.clone();
        }
        // Ids of gateways begin with the time, so none of them begins with so many zeros.
        self.placeholders += 1;
        let id = format!("{}{:032x}", name.kind.format().id_prefix(), self.placeholders);
        self.insert(name.clone(), id.clone());
        id
    }

    /// `None` also for what shares its name.
    pub fn name_of(&self, id: &str) -> Option<&Name> {
        self.names.get(id).filter(|name| !self.shared.contains(name))
    }

    pub fn id_of(&self, name: &Name) -> Option<&str> {
        self.ids.get(name).map(String::as_str)
    }

    /// The id of the partner, tenant, user or team with a name, whose beginning may be left out.
    pub fn find(&self, kind: Kind, named: &str) -> Result<&str, NotNamed> {
        let whole = Name { kind, path: named.split('/').map(str::to_owned).collect() };
        if let Some(id) = self.id_of(&whole).filter(|_| !self.shared.contains(&whole)) {
            return Ok(id);
        }
        let of_kind = || self.ids.iter().filter(|(name, _)| name.kind == kind);
        let matching: Vec<_> = of_kind().filter(|(name, _)| name.path.ends_with(&whole.path)).collect();
        match matching[..] {
            [(name, id)] if !self.shared.contains(name) => Ok(id),
            [] => {
                let known: Vec<String> = of_kind().map(|(name, _)| name.to_string()).collect();
                let own = of_kind().map(|(name, _)| name.own());
                let hint = events::nearest_name::did_you_mean(named, known.iter().map(String::as_str).chain(own));
                Err(NotNamed::Unknown { kind, named: shortened(named), hint })
            }
            _ => {
                let all = matching.iter().map(|(name, _)| name.to_string()).collect();
                Err(NotNamed::Ambiguous { named: shortened(named), all })
            }
        }
    }

    /// The id of the provider with a name, of the tenant or of all tenants.
    pub fn find_provider(&self, owner: &[String], named: &str) -> Result<&str, NotNamed> {
        self.provider(owner, named).ok_or_else(|| self.unknown_provider(|name| name.owner() == owner, named))
    }

    /// The id of the provider that a name alone means in what this tenant owns: its own one, or else one that all tenants share.
    pub fn find_provider_seen_by(&self, owner: &[String], named: &str) -> Result<&str, NotNamed> {
        let found = self.provider(owner, named).or_else(|| self.provider(&[], named));
        found.ok_or_else(|| self.unknown_provider(|name| name.owner() == owner || name.owner().is_empty(), named))
    }

    fn provider(&self, owner: &[String], named: &str) -> Option<&str> {
        self.id_of(&Name::new(Kind::Provider, owner, named))
    }

    /// There is none among those that it could have meant. The hint says how others of this name are named, and who can use them.
    fn unknown_provider(&self, could_mean: impl Fn(&Name) -> bool, named: &str) -> NotNamed {
        let providers = || self.ids.keys().filter(|name| name.kind == Kind::Provider);
        let of_name: Vec<&Name> = providers().filter(|name| name.own() == named).take(NAMESAKES_MAX).collect();
        let namesakes: Vec<String> = of_name.iter().map(|name| whole_name(name)).collect();
        let hint = if namesakes.is_empty() {
            events::nearest_name::did_you_mean(named, providers().filter(|name| could_mean(name)).map(Name::own))
        } else {
            let is_own = of_name.iter().any(|name| !name.owner().is_empty());
            let used_by = if is_own { " Only models of its tenant can use a tenant's own provider" } else { "" };
            format!("; did you mean {}?{used_by}", namesakes.join(" or "))
        };
        NotNamed::Unknown { kind: Kind::Provider, named: shortened(named), hint }
    }
}

/// How files name a provider from everywhere.
fn whole_name(provider: &Name) -> String {
    let written = |text: &str| scalar(&text.into());
    match provider.owner() {
        [] => format!("{{name: {}}}", written(provider.own())),
        owner => format!("{{name: {}, tenant: {}}}", written(provider.own()), written(&owner.join("/"))),
    }
}

/// The beginning of a text of a file, for an error.
pub fn shortened(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kind: Kind, path: &str) -> Name {
        Name { kind, path: path.split('/').map(str::to_owned).collect() }
    }

    #[test]
    fn a_name_is_found_by_its_end_if_that_is_enough() {
        let mut names = Names::default();
        names.insert(name(Kind::Tenant, "a/x"), "ten_1");
        names.insert(name(Kind::Tenant, "b/x"), "ten_2");
        names.insert(name(Kind::Tenant, "b/acme"), "ten_3");
        assert_eq!(names.find(Kind::Tenant, "acme"), Ok("ten_3"));
        assert_eq!(names.find(Kind::Tenant, "a/x"), Ok("ten_1"));
        assert_eq!(names.find(Kind::Tenant, "x").expect_err("two").to_string(), "\"x\" is ambiguous: a/x, b/x");
        let unknown = names.find(Kind::Tenant, "acm").expect_err("none").to_string();
        assert_eq!(unknown, "there is no tenant \"acm\" in the files or in the gateway; did you mean acme?");
        assert!(names.find(Kind::User, "acme").is_err());
    }

    #[test]
    fn what_is_not_there_yet_has_one_placeholder() {
        let mut names = Names::default();
        let new = name(Kind::Provider, "openai");
        let id = names.id_or_placeholder(&new);
        assert_eq!((names.id_or_placeholder(&new), names.name_of(&id)), (id.clone(), Some(&new)));
        assert_eq!(names.find_provider(&[], "openai"), Ok(&*id));
        assert!(names.find_provider(&["a".to_owned(), "x".to_owned()], "openai").is_err());
    }

    #[test]
    fn a_provider_of_another_owner_is_shown_as_it_has_to_be_named() {
        let mut names = Names::default();
        for path in ["shared", "a/x/own", "b/x/own", "b/y/own", "c/x/own"] {
            names.insert(name(Kind::Provider, path), path);
        }
        let (acme, hint) = (["b".to_owned(), "x".to_owned()], "in the files or in the gateway; did you mean");
        let own = "{name: own, tenant: a/x} or {name: own, tenant: b/x} or {name: own, tenant: b/y}";
        for (owner, named, says) in [
            (&[][..], "own", format!("{own}? Only models of its tenant can use a tenant's own provider")),
            (&[][..], "share", "shared?".to_owned()),
            (&acme[..], "shared", "{name: shared}?".to_owned()),
            (&acme[..], "ownn", "own?".to_owned()),
        ] {
            let unknown = names.find_provider(owner, named).expect_err("none").to_string();
            assert_eq!(unknown, format!("there is no provider {named:?} {hint} {says}"));
        }
        assert_eq!(names.find_provider_seen_by(&acme, "own"), Ok("b/x/own"));
        assert_eq!(names.find_provider_seen_by(&acme, "shared"), Ok("shared"));
        let unknown = names.find_provider_seen_by(&acme, "share").expect_err("none").to_string();
        assert!(unknown.ends_with("did you mean shared?"), "{unknown}");
    }
}
