//! The holders of shares here: the keys of a tenant share one.

use events::concurrency::{Holder, Requester};

pub const fn holder_of(requester: Requester) -> Holder {
    match requester {
        Requester::Operator => Holder::Operator,
        Requester::PlatformKey(key) => Holder::Key(key),
        Requester::TenantKey { tenant, .. } => Holder::Tenant(tenant),
    }
}

/// False for the platform: the operator, and keys that reach everything.
pub const fn is_tenant(holder: Holder) -> bool {
    matches!(holder, Holder::Tenant(_))
}
