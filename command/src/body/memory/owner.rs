//! The owner of a body's memory.

use events::ids::{KeyId, TenantId};
use events_log::concurrency::Requester;
use projections::caller::Caller;

/// The owner whose bounds a body counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyOwner {
    pub(super) pool: Pool,
    pub tenant: Option<TenantId>,
    pub key: Option<KeyId>,
}

/// The pool that a body takes memory from. Pools do not share memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// Shared by all tenants.
    Tenants,
    /// Shared by the keys that administer the platform; of copies of requests, all that the platform pays for.
    Platform,
    Operator,
}

impl BodyOwner {
    /// An owner in the pool of all tenants.
    pub const fn of(tenant: Option<TenantId>, key: Option<KeyId>) -> Self {
        Self { pool: Pool::Tenants, tenant, key }
    }

    /// The owner of an inference request: the tenant and key that are charged.
    pub fn of_inference(caller: &Caller) -> Self {
        Self::of(caller.chain.tenant, caller.chain.key)
    }

    /// The owner of what is kept for a copy of a request: the one who pays for it. What the platform pays for has a pool of its own,
    /// so that tenants never keep it out.
    pub const fn of_copies(payer: Option<TenantId>) -> Self {
        let pool = if payer.is_some() { Pool::Tenants } else { Pool::Platform };
        Self { pool, tenant: payer, key: None }
    }

    /// The owner of a command. The operator, and keys that reach the whole platform, have pools of their own, so that tenants
    /// never keep them out.
    pub fn of_administration(caller: &Caller) -> Self {
        match caller.requester() {
            Requester::Operator => Self { pool: Pool::Operator, tenant: None, key: None },
            Requester::PlatformKey(key) => Self { pool: Pool::Platform, tenant: None, key: Some(key) },
            Requester::TenantKey { key, tenant } => Self { pool: Pool::Tenants, tenant: Some(tenant), key: Some(key) },
        }
    }
}
