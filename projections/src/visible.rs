//! The rows that a caller may see. Every question that its reach bounds takes it as a parameter, so that it cannot be
//! forgotten.

use events::event::admin::{Permission, Reach, Scope};
use events::event::{Chain, TeamVersions};
use events::ids::{PartnerId, TenantId};

use crate::caller::Caller;

/// A bound on rows: those of the platform, of one partner or of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    Platform,
    Partner(PartnerId),
    Tenant(TenantId),
}

impl Visible {
    /// The bound for queries of past events: everything within reach, or only the tenant that the request chose.
    pub fn for_caller(caller: &Caller) -> Self {
        caller.chosen_tenant.map_or_else(|| Self::within_reach(caller), Self::Tenant)
    }

    /// The bound for administration, which includes resources that no tenant owns.
    pub fn within_reach(caller: &Caller) -> Self {
        match caller.reach {
            Reach::Platform => Self::Platform,
            Reach::Partner(id) => Self::Partner(id),
            Reach::Tenant(id) => Self::Tenant(id),
        }
    }

    /// Whether what belongs to this chain may be seen. What belongs to nobody is the platform's.
    pub fn includes(self, owners: &Chain) -> bool {
        match self {
            Self::Platform => true,
            Self::Partner(id) => owners.partner == Some(id),
            Self::Tenant(id) => owners.tenant == Some(id),
        }
    }

    /// The owners of the caller's requests whose narrowed budgets and rate limits it may see: those that this bound includes, if it may
    /// read usage, and always its key, its user and its tenant. Those of a partner have the metadata of other tenants.
    pub fn owners_of_narrowed<'a>(
        caller: &'a Caller,
        teams: &'a TeamVersions,
    ) -> impl Iterator<Item = Scope> + use<'a> {
        let visible = caller.may(Permission::UsageRead).then(|| Self::for_caller(caller));
        Scope::all_of(&caller.chain, teams).filter(move |owner| match owner {
            Scope::Partner(id) => {
                let owners = Chain { partner: Some(*id), ..Chain::default() };
                visible.is_some_and(|visible| visible.includes(&owners))
            }
            Scope::Tenant(_) | Scope::Team(_) | Scope::User(_) | Scope::Key(_) => true,
        })
    }

    /// The value for `:visible_partner`; `None` leaves partners unbound.
    pub fn partner(self) -> Option<String> {
        if let Self::Partner(id) = self { Some(id.to_string()) } else { None }
    }

    /// The value for `:visible_tenant`; `None` leaves tenants unbound.
    pub fn tenant(self) -> Option<String> {
        if let Self::Tenant(id) = self { Some(id.to_string()) } else { None }
    }
}
