//! The tenants whose requests a node serves, and whose own keys it can open. Nothing is dispatched, opened or sealed for a tenant
//! that the node does not serve.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use events::ids::TenantId;

const ALL: &str = "all";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServedTenants {
    #[default]
    All,
    Only(Arc<BTreeSet<TenantId>>),
}

impl ServedTenants {
    pub fn only(tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self::Only(Arc::new(tenants.into_iter().collect()))
    }

    pub fn contain(&self, tenant: TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(&tenant),
        }
    }

    /// `None` for a text that [`fmt::Display`] does not write.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == ALL {
            return Some(Self::All);
        }
        text.split(',').map(|id| id.parse().ok()).collect::<Option<BTreeSet<_>>>().map(|ids| Self::Only(Arc::new(ids)))
    }
}

impl fmt::Display for ServedTenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Only(tenants) = self else { return f.write_str(ALL) };
        for (index, tenant) in tenants.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{tenant}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let id = |digit: char| -> TenantId { format!("ten_{:0>32}", digit).parse().unwrap() };
        let some = ServedTenants::only([id('2'), id('1')]);
        for served in [ServedTenants::All, some.clone()] {
            assert_eq!(ServedTenants::parse(&served.to_string()), Some(served));
        }
        assert!(some.contain(id('1')) && !some.contain(id('3')) && ServedTenants::All.contain(id('3')));
        for wrong in ["", "ALL", "all,", "ten_1", "acme"] {
            assert_eq!(ServedTenants::parse(wrong), None, "{wrong}");
        }
    }
}
