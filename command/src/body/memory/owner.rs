//! Whose memory a body counts against.

use events::concurrency::Requester;
use events::ids::{KeyId, TenantId};
use projections::caller::Caller;

/// Whose a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyOwner {
    pub(super) pool: Pool,
    pub(super) tenant: Option<TenantId>,
    pub(super) key: Option<KeyId>,
}

/// What a body takes its memory of. Nobody can take another pool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// Shared by all tenants.
    Tenants,
    /// Shared by the keys that administrate the platform.
    Platform,
    Operator,
}

impl BodyOwner {
    /// Among those of all tenants.
    pub const fn of(tenant: Option<TenantId>, key: Option<KeyId>) -> Self {
        Self { pool: Pool::Tenants, tenant, key }
    }

    /// For inference: whom it is charged to.
    pub fn of_inference(caller: &Caller) -> Self {
        Self::of(caller.chain.tenant, caller.chain.key)
    }

    /// For administration: the operator, and the keys that reach the whole platform, have pools of their own beyond what
    /// all tenants have, so that they always get through.
    pub fn of_administration(caller: &Caller) -> Self {
        match caller.requester() {
            Requester::Operator => Self { pool: Pool::Operator, tenant: None, key: None },
            Requester::PlatformKey(key) => Self { pool: Pool::Platform, tenant: None, key: Some(key) },
            Requester::TenantKey { key, tenant } => Self { pool: Pool::Tenants, tenant: Some(tenant), key: Some(key) },
        }
    }
}
