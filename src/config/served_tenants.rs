//! Which tenants this node serves: `all`, or ids and slugs of tenants, separated by commas.

use std::collections::BTreeSet;

use events::event::admin::is_slug;
use events::ids::TenantId;
use projections::tables::Tables;
use secrets::ServedTenants;

const ALL: &str = "all";
const NAMES_MAX: usize = 1_000;

/// The tenants as they are named in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedNames {
    All,
    Some(Vec<ServedName>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedName {
    Id(TenantId),
    Slug(String),
}

impl ServedNames {
    /// Empty means all. The error is a problem with the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text == ALL {
            return Ok(Self::All);
        }
        let names = text.split(',').map(|name| ServedName::parse(name.trim())).collect::<Result<Vec<_>, _>>()?;
        if names.len() > NAMES_MAX {
            return Err(format!("names more than {NAMES_MAX} tenants"));
        }
        Ok(Self::Some(names))
    }

    /// The tenants that have these names now. A slug that moves to another tenant later does not move what this node serves.
    ///
    /// The error is a problem with the value: several tenants have a slug.
    pub fn resolve(&self, tables: &Tables) -> Result<ServedTenants, String> {
        let Self::Some(names) = self else { return Ok(ServedTenants::All) };
        let mut tenants = BTreeSet::new();
        for name in names {
            match name {
                ServedName::Id(id) => {
                    if tables.tenant(*id).is_none() {
                        tracing::warn!(tenant = %id, "LEDGERWAY_SERVES_TENANTS names a tenant that does not exist");
                    }
                    tenants.insert(*id);
                }
                ServedName::Slug(slug) => {
                    let found: Vec<_> = tables.tenants_with_slug(slug).filter_map(|chain| chain.tenant).collect();
                    match found[..] {
                        [] => tracing::warn!(slug, "LEDGERWAY_SERVES_TENANTS names a slug that no tenant has"),
                        [id] => drop(tenants.insert(id)),
                        _ => {
                            return Err(format!(
                                "has the slug {slug:?}, which several tenants have: give the tenant's id instead"
                            ));
                        }
                    }
                }
            }
        }
        Ok(ServedTenants::only(tenants))
    }
}

impl ServedName {
    fn parse(name: &str) -> Result<Self, String> {
        if let Ok(id) = name.parse() {
            return Ok(Self::Id(id));
        }
        if !is_slug(name) || name == ALL {
            let shown: String = name.chars().take(64).collect();
            return Err(format!("has {shown:?}, which is neither the id nor the slug of a tenant"));
        }
        Ok(Self::Slug(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: bin.wrong-configuration
    #[test]
    fn tenants_are_named_by_id_or_slug() {
        let id = "ten_00000000000000000000000000000007";
        for all in ["", " ", "all"] {
            assert_eq!(ServedNames::parse(all), Ok(ServedNames::All), "{all:?}");
        }
        let named = vec![ServedName::Slug("acme".to_owned()), ServedName::Id(id.parse().expect("an id"))];
        assert_eq!(ServedNames::parse(&format!("acme, {id}")), Ok(ServedNames::Some(named)));
        for wrong in ["acme,", ",", "all,acme", "Acme", "ten_7", "a b", "-a", &"a".repeat(64), "acme;beta"] {
            let problem = ServedNames::parse(wrong).expect_err(wrong);
            assert!(problem.contains("neither the id nor the slug"), "{problem}");
        }
        assert!(ServedNames::parse(&vec!["a"; 1001].join(",")).is_err());
    }
}
