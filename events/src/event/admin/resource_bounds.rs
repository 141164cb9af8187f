//! The bounds of what one tenant, or one partner, may have: the one table of them. `docs/limits.md` has the same, and a test of
//! `command` compares them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::event::{Chain, StreamKind};
use crate::named;

named! {
    /// A quantity of a tenant, or of a partner, that is bounded: the live resources of a kind, or the bytes of their events'
    /// payloads.
    #[derive(PartialOrd, Ord)]
    pub enum ResourceBound {
        Tenants = "tenants",
        Users = "users",
        Teams = "teams",
        Keys = "keys",
        Providers = "providers",
        ProviderKeys = "provider_keys",
        /// Aliases are models.
        Models = "models",
        Prices = "prices",
        Budgets = "budgets",
        RateLimits = "rate_limits",
        AuditSearches = "audit_searches",
        /// Bytes of the states of its live resources.
        AdminBytesKept = "admin_bytes_kept",
        /// Bytes of the creations and changes by its keys on one day, in UTC.
        AdminBytesPerDay = "admin_bytes_per_day",
    }
}

/// How the resources on streams of a kind are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindBound {
    /// A bound for each owner. Those that belong to nobody are the platform's, and have none.
    By(ResourceBound),
    /// Only the platform creates them.
    PlatformOnly,
    /// No command creates any.
    NoResource,
}

impl KindBound {
    /// Without a wildcard, so that a new kind of resource has to choose its bound.
    pub const fn of(kind: StreamKind) -> Self {
        match kind {
            StreamKind::Partner => Self::PlatformOnly,
            StreamKind::Tenant => Self::By(ResourceBound::Tenants),
            StreamKind::User => Self::By(ResourceBound::Users),
            StreamKind::Team => Self::By(ResourceBound::Teams),
            StreamKind::Key => Self::By(ResourceBound::Keys),
            StreamKind::Provider => Self::By(ResourceBound::Providers),
            StreamKind::ProviderKey => Self::By(ResourceBound::ProviderKeys),
            StreamKind::Model => Self::By(ResourceBound::Models),
            StreamKind::Price => Self::By(ResourceBound::Prices),
            StreamKind::Budget => Self::By(ResourceBound::Budgets),
            StreamKind::RateLimit => Self::By(ResourceBound::RateLimits),
            StreamKind::AuditSearch => Self::By(ResourceBound::AuditSearches),
            StreamKind::Inference
            | StreamKind::Hold
            | StreamKind::NodeKey
            | StreamKind::LogKey
            | StreamKind::PublishedLog
            | StreamKind::Revaluation
            | StreamKind::Import
            | StreamKind::Access
            | StreamKind::Alert => Self::NoResource,
        }
    }
}

impl ResourceBound {
    /// The bound of a tenant, or a partner, for which the platform has set no other.
    pub const fn default_max(self) -> u64 {
        match self {
            Self::Providers => 100,
            Self::Teams | Self::ProviderKeys | Self::Models | Self::AuditSearches => 1_000,
            Self::Prices => 5_000,
            Self::Tenants | Self::Budgets | Self::RateLimits => 10_000,
            Self::Users | Self::Keys => 20_000,
            Self::AdminBytesKept | Self::AdminBytesPerDay => 32 * 1024 * 1024,
        }
    }

    /// Whether it bounds tenants.
    pub const fn binds_tenants(self) -> bool {
        !matches!(self, Self::Tenants)
    }

    /// Whether it bounds partners: their tenants, and what belongs to the partner and to none of its tenants.
    pub const fn binds_partners(self) -> bool {
        matches!(self, Self::Tenants | Self::Budgets | Self::RateLimits | Self::AdminBytesKept)
    }

    /// Its name in texts for people: `rate limits`.
    pub fn in_text(self) -> String {
        match self {
            Self::AuditSearches => "saved searches".to_owned(),
            named => named.as_str().replace('_', " "),
        }
    }
}

/// The tenant, or else the partner, that a resource of a kind with these owners counts for; `None` if it is the platform's.
pub fn bounded_owner(kind: StreamKind, owners: &Chain) -> Option<Scope> {
    // The chain of a tenant ends with itself.
    let tenant = owners.tenant.filter(|_| kind != StreamKind::Tenant);
    tenant.map(Scope::Tenant).or_else(|| owners.partner.map(Scope::Partner))
}

/// The bounds that the platform has set for one tenant or partner, by the names of [`ResourceBound`]. All others are those of
/// [`ResourceBound::default_max`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetBounds(BTreeMap<String, u64>);

impl SetBounds {
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, bound: ResourceBound) -> Option<u64> {
        self.0.get(bound.as_str()).copied()
    }
}

impl FromIterator<(ResourceBound, u64)> for SetBounds {
    fn from_iter<I: IntoIterator<Item = (ResourceBound, u64)>>(bounds: I) -> Self {
        Self(bounds.into_iter().map(|(bound, max)| (bound.as_str().to_owned(), max)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartnerId, TenantId};

    fn id<I: From<uuid::Uuid>>(number: u128) -> I {
        I::from(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_resource_counts_for_its_tenant_and_a_tenant_for_its_partner() {
        let (partner, tenant) = (id::<PartnerId>(1), id::<TenantId>(2));
        let of_partner = Chain { partner: Some(partner), ..Chain::default() };
        let of_tenant = Chain { tenant: Some(tenant), ..of_partner };
        for (kind, owners, owner) in [
            (StreamKind::Model, of_tenant, Some(Scope::Tenant(tenant))),
            (StreamKind::Budget, of_partner, Some(Scope::Partner(partner))),
            (StreamKind::Tenant, of_tenant, Some(Scope::Partner(partner))),
            (StreamKind::Model, Chain::default(), None),
        ] {
            assert_eq!(bounded_owner(kind, &owners), owner, "{kind} {owners:?}");
        }
    }

    #[test]
    fn a_bound_has_the_name_of_its_kind_and_binds_tenants_or_partners() {
        for bound in ResourceBound::ALL {
            assert!(bound.binds_tenants() || bound.binds_partners(), "{bound}");
            let mut kinds = StreamKind::ALL.iter().filter(|kind| KindBound::of(**kind) == KindBound::By(*bound));
            let is_of_bytes = bound.as_str().starts_with("admin_bytes_");
            let has_its_name = |kind: &StreamKind| bound.as_str().starts_with(kind.as_str());
            assert!(kinds.next().map_or(is_of_bytes, has_its_name), "{bound}");
            assert_eq!(kinds.next(), None, "{bound}");
        }
    }

    #[test]
    fn a_name_of_a_later_version_bounds_nothing() {
        let set: SetBounds = serde_json::from_str(r#"{"models":7,"of_later":1}"#).expect("bounds");
        assert_eq!((set.get(ResourceBound::Models), set.get(ResourceBound::Keys)), (Some(7), None));
    }
}
