//! The authenticated caller of a request: its permissions and its reach. Authentication builds it from the tables and every
//! handler receives it, so that no handler decides by itself who may see what.

mod lookup;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{Permission, Reach};
use events::event::{Actor, Chain, Context};
use events::ids::TenantId;
use events::refusal::{ErrorCode, Refusal};
use events_log::concurrency::Requester;

use crate::model_globs::ModelGlobs;

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The actor that events name.
    pub actor: Actor,
    /// The chain that its requests are charged to: the key's owners, or the tenant that the request chose.
    pub chain: Chain,
    pub permissions: BTreeSet<Permission>,
    /// The reach that all of its permissions have.
    pub reach: Reach,
    /// The tenant that `X-Tenant-ID` names, within reach: queries of this request are limited to it.
    pub chosen_tenant: Option<TenantId>,
    /// The allow list of frontend models; `None` allows every model that the tenant can see.
    pub models: Option<Arc<ModelGlobs>>,
    /// Log position of the key's last event; `None` for the operator.
    pub key_version: Option<u64>,
    /// Generation of the secret that was presented; 0 for the operator.
    pub secret_generation: u32,
    /// When that secret expires; `None` for never.
    pub valid_until: Option<DateTime<Utc>>,
    /// Position of the tables that it was built from; 0 for the operator, who is not in them.
    pub tables_position: u64,
}

impl Caller {
    /// The operator, with every permission on the whole platform. Its inference requests are charged to `chain`.
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
            tables_position: 0,
        }
    }

    /// The context of what it does itself.
    pub fn context(&self) -> Context {
        Context::about(self.actor.clone(), self.chain)
    }

    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Refuses with `FORBIDDEN`, which names the permission, unless the caller has it.
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.may(permission) {
            return Ok(());
        }
        let message = format!("this key lacks the permission {}", permission.as_str());
        Err(Refusal::new(ErrorCode::Forbidden, message).with("permission", permission.as_str()))
    }

    /// Whether its own allow list matches the frontend model `name`: see [`Self::may_use_model`].
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.matches(name))
    }

    /// The party whose share of the common capacity its requests take.
    pub fn requester(&self) -> Requester {
        match (&self.actor, self.reach) {
            (Actor::Key(key), Reach::Platform) => Requester::PlatformKey(*key),
            // A key without a tenant gets a placeholder tenant of its own, so that it shares with nobody.
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
}

/// The origin of a request: personal data, stored apart from events. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOrigin {
    pub ip: IpAddr,
    pub user_agent: Option<String>,
}

/// The log position of a change. A response extension that becomes `x-ledgerway-position`.
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
