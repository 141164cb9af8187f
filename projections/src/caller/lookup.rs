//! Callers from the tables: built at authentication, and refreshed after every wait.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::admin::{Key, Reach};
use events::event::{Actor, Chain, Stream, StreamKind};
use events::ids::{KeyId, TenantId};
use events::refusal::{ErrorCode, Refusal};

use super::Caller;
use crate::reach;
use crate::tables::{KeyEntry, Tables};

impl Caller {
    /// The caller that a key's secret of `generation` authenticates at `now`. `None` if the key or one of its owners has ended,
    /// the key has expired, or the secret was rotated out.
    pub fn of_key(tables: &Tables, key: KeyId, generation: u32, now: DateTime<Utc>) -> Option<Self> {
        let entry = tables.key(key).filter(|entry| tables.key_is_live(entry, now))?;
        let caller = Self {
            actor: Actor::Key(entry.key.key_id),
            chain: entry.chain,
            permissions: entry.key.permissions.iter().copied().collect(),
            reach: reach_of(tables, &entry.key),
            chosen_tenant: None,
            models: entry.models.clone(),
            key_version: Some(entry.version),
            secret_generation: generation,
            valid_until: valid_until(entry, generation)?,
            tables_position: tables.position,
        };
        caller.has_not_expired(now).then_some(caller)
    }

    /// Whether its own allow list and that of its tenant match the frontend model `name`.
    pub fn may_use_model(&self, tables: &Tables, name: &str) -> bool {
        self.allows_model(name)
            && tables.tenant_settings(self.chain.tenant).is_none_or(|settings| settings.allows_model(name))
    }

    /// Whether its secret has not expired at `now`. Only the tables tell whether it was revoked.
    pub fn has_not_expired(&self, now: DateTime<Utc>) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }

    /// The same caller as it is at `now`: its permissions may have been revoked since.
    ///
    /// Errors: `UNAUTHENTICATED` if its key is no longer valid; `FORBIDDEN` if the tenant that it chose has ended or is out
    /// of its reach.
    pub fn refreshed(self: &Arc<Self>, tables: &Tables, now: DateTime<Utc>) -> Result<Arc<Self>, Refusal> {
        let Actor::Key(key) = self.actor else { return self.refreshed_operator(tables) };
        if self.tables_position == tables.position && self.has_not_expired(now) {
            return Ok(Arc::clone(self));
        }
        let unauthenticated = || Refusal::new(ErrorCode::Unauthenticated, "a valid API key is needed");
        let caller = Self::of_key(tables, key, self.secret_generation, now).ok_or_else(unauthenticated)?;
        match self.chosen_tenant {
            None => Ok(Arc::new(caller)),
            Some(tenant) => choose_tenant_again(&caller, tables, tenant).map(Arc::new),
        }
    }

    /// Refreshes the operator, for whom only the chosen tenant can have changed.
    fn refreshed_operator(self: &Arc<Self>, tables: &Tables) -> Result<Arc<Self>, Refusal> {
        match self.chosen_tenant {
            Some(tenant) => choose_tenant_again(self, tables, tenant).map(Arc::new),
            None => Ok(Arc::clone(self)),
        }
    }

    /// The same caller acting for a tenant with this chain. A key keeps its own id and its user's, since their budgets bind
    /// it everywhere. `None` if the tenant has ended or is out of reach.
    pub fn for_tenant(&self, tables: &Tables, chain: Chain) -> Option<Self> {
        // A key may always name its own tenant, whatever its reach.
        let reached = chain.tenant == self.chain.tenant || reach::contains(self.reach, &chain);
        if !reached || !tables.owners_are_live(&chain) {
            return None;
        }
        let (own, chosen_tenant) = (self.chain, chain.tenant);
        let chain = if own.tenant == chosen_tenant {
            own
        } else {
            // The operator's own user belongs to the default tenant only.
            Chain { user: own.key.and(own.user), key: own.key, ..chain }
        };
        Some(Self { chain, chosen_tenant, ..self.clone() })
    }

    /// The streams that its permissions depend on: those of its key, of its owners and of the tenant that it chose. Empty
    /// for the operator.
    pub fn streams(&self, tables: &Tables) -> Vec<Stream> {
        let Actor::Key(key) = self.actor else { return Vec::new() };
        let own = self.chain.user.and_then(|user| tables.chain_of_user(user)).unwrap_or_default();
        let owners = [own, self.chain].into_iter().flat_map(|chain| {
            let (partner, tenant) = (chain.partner, chain.tenant);
            [
                partner.map(|id| Stream::new(StreamKind::Partner, id)),
                tenant.map(|id| Stream::new(StreamKind::Tenant, id)),
            ]
        });
        let user = self.chain.user.map(|id| Stream::new(StreamKind::User, id));
        owners.chain([user, Some(Stream::new(StreamKind::Key, key))]).flatten().collect()
    }
}

/// The reach of a key. Without its user it gets a placeholder tenant and reaches nothing.
fn reach_of(tables: &Tables, key: &Key) -> Reach {
    let nowhere = || Reach::Tenant(TenantId::from(key.user_id.uuid()));
    tables.user(key.user_id).map_or_else(nowhere, |user| reach::of_permissions(&user.value, &key.permissions))
}

fn choose_tenant_again(caller: &Caller, tables: &Tables, tenant: TenantId) -> Result<Caller, Refusal> {
    let chosen = tables.chain_of_tenant(tenant).and_then(|chain| caller.for_tenant(tables, chain));
    chosen.ok_or_else(|| {
        Refusal::new(ErrorCode::Forbidden, "the tenant that X-Tenant-ID names is no longer within the key's reach")
    })
}

/// When a secret of `generation` expires: `Some(None)` for never, `None` if it is not valid at all.
fn valid_until(entry: &KeyEntry, generation: u32) -> Option<Option<DateTime<Utc>>> {
    let expires_at = entry.key.expires_at;
    if generation == entry.generation {
        return Some(expires_at);
    }
    match entry.previous {
        Some((previous, until)) if previous == generation => {
            Some(Some(expires_at.map_or(until, |expires_at| expires_at.min(until))))
        }
        Some(_) | None => None,
    }
}
