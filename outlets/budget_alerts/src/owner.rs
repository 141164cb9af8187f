//! Whose alert it is.

use std::fmt;

use events::event::Recorded;
use events::ids::TenantId;

/// The text of the platform, which has no id.
const PLATFORM: &str = "-";

/// A tenant, or the platform with its partners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub Option<TenantId>);

impl Owner {
    pub const fn of(alert: &Recorded) -> Self {
        Self(alert.context.tenant_id)
    }

    pub fn read(text: &str) -> Option<Self> {
        if text == PLATFORM { Some(Self(None)) } else { text.parse().ok().map(|tenant| Self(Some(tenant))) }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(tenant) => tenant.fmt(f),
            None => f.write_str(PLATFORM),
        }
    }
}
