//! Who asks: the authenticated caller of one request, what it may do and how far it reaches. Made at the door from the
//! tables, then handed to every handler, so that no handler decides on its own who may see what.

mod lookup;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::concurrency::Requester;
use events::event::admin::{Permission, Reach};
use events::event::{Actor, Chain};
use events::ids::{PartnerId, TenantId};
use events::refusal::{ErrorCode, Refusal};

use crate::model_globs::ModelGlobs;

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As it stands in events.
    pub actor: Actor,
    /// Whom its requests are for and charged to: the key's owners, or the tenant that the operator chose.
    pub chain: Chain,
    pub permissions: BTreeSet<Permission>,
    /// How far every one of its permissions reaches.
    pub reach: Reach,
    /// The tenant that this request names with `X-Tenant-ID`, within reach: its questions are about that one alone.
    pub chosen_tenant: Option<TenantId>,
    /// Allow list of frontend models; `None` means every model that the tenant can see.
    pub models: Option<Arc<ModelGlobs>>,
    /// Log position of the key's last event; `None` for the operator.
    pub key_version: Option<u64>,
    /// Which of the key's secrets was presented; 0 for the operator.
    pub secret_generation: u32,
    /// Until when that secret works by itself; `None` for good.
    pub valid_until: Option<DateTime<Utc>>,
    /// Position of the tables that it was looked up in; 0 for the operator, who is in none.
    pub as_of: u64,
}

impl Caller {
    /// The operator: every permission, the whole platform. `chain` is whom it infers as.
    pub fn operator(chain: Chain) -> Self {
        Self {
            actor: Actor::Operator,
            chain,
            permissions: Permission::ALL.iter().copied().collect(),
            reach: Reach::Platform,
            chosen_tenant: None,
            models: None,
            key_version: None,
            secret_generation: 0,
            valid_until: None,
            as_of: 0,
        }
    }

    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Refuses with `FORBIDDEN`, naming the permission, unless the caller has it.
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.may(permission) {
            return Ok(());
        }
        let message = format!("this needs the permission {}", permission.as_str());
        Err(Refusal::new(ErrorCode::Forbidden, message).with("permission", permission.as_str()))
    }

    /// Whether the allow list has the frontend model `name`.
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.matches(name))
    }

    /// Whose share of what all callers use together its requests take.
    pub fn requester(&self) -> Requester {
        match (&self.actor, self.reach) {
            (Actor::Key(key), Reach::Platform) => Requester::PlatformKey(*key),
            // Nobody's tenant for a key without one: it shares with itself alone.
            (Actor::Key(key), Reach::Partner(_) | Reach::Tenant(_)) => Requester::TenantKey {
                key: *key,
                tenant: self.chain.tenant.unwrap_or_else(|| TenantId::from(key.uuid())),
            },
            (Actor::Operator | Actor::System(_) | Actor::Other(_), _) => Requester::Operator,
        }
    }

    pub fn reaches_platform(&self) -> bool {
        self.reach == Reach::Platform
    }

    /// Whether `tenant`, which belongs to `partner`, is within reach.
    pub fn reaches_tenant(&self, partner: PartnerId, tenant: TenantId) -> bool {
        match self.reach {
            Reach::Platform => true,
            Reach::Partner(own) => own == partner,
            Reach::Tenant(own) => own == tenant,
        }
    }
}

/// Where a request came from: personal data, kept apart from events. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOrigin {
    pub ip: IpAddr,
    pub user_agent: Option<String>,
}

/// Log position at which a change is a fact. A response extension; becomes `x-ledgerway-position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtPosition(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_is_forbidden_by_name() {
        let mut caller = Caller::operator(Chain::default());
        assert!(caller.require(Permission::AuditRead).is_ok());
        caller.permissions.remove(&Permission::AuditRead);
        let refusal = caller.require(Permission::AuditRead).expect_err("not permitted");
        assert_eq!((refusal.code, refusal.details["permission"].as_str()), (ErrorCode::Forbidden, Some("audit:read")));
    }
}
