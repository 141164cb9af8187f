//! What a caller may see. Every question to a view takes it, so that none can forget it.

use events::event::admin::Reach;
use events::ids::{PartnerId, TenantId};

use crate::caller::Caller;

/// A bound on rows: all of the platform's, one partner's or one tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    Platform,
    Partner(PartnerId),
    Tenant(TenantId),
}

impl Visible {
    /// For questions about what happened: all within reach, or the tenant that the request has chosen of it.
    pub fn to(caller: &Caller) -> Self {
        caller.chosen_tenant.map_or_else(|| Self::within_reach(caller), Self::Tenant)
    }

    /// For administration, which is also about what no tenant owns.
    pub fn within_reach(caller: &Caller) -> Self {
        match caller.reach {
            Reach::Platform => Self::Platform,
            Reach::Partner(id) => Self::Partner(id),
            Reach::Tenant(id) => Self::Tenant(id),
        }
    }

    /// The value for `:visible_partner`; `None` leaves partners unbound.
    pub fn partner(self) -> Option<String> {
        match self {
            Self::Partner(id) => Some(id.to_string()),
            Self::Platform | Self::Tenant(_) => None,
        }
    }

    /// The value for `:visible_tenant`; `None` leaves tenants unbound.
    pub fn tenant(self) -> Option<String> {
        match self {
            Self::Tenant(id) => Some(id.to_string()),
            Self::Platform | Self::Partner(_) => None,
        }
    }
}
