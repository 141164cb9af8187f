//! A caller as the tables have it: looked up when it authenticates, and again whenever something took its time since.

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
    /// Whom a secret of `generation` of the key stands for at `now`. `None` where it lets nobody in: the key or one of
    /// its owners has ended, it has expired, or the secret was rotated out.
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
            as_of: tables.position,
        };
        caller.has_not_expired(now).then_some(caller)
    }

    /// Whether its secret still works at `now`, where nothing else ends it: the tables tell of that.
    pub fn has_not_expired(&self, now: DateTime<Utc>) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }

    /// The same caller as it is at `now`: what it was let in with may have been taken away since.
    ///
    /// Errors: `UNAUTHENTICATED` where its key would not be let in any more; `FORBIDDEN` where the tenant that it chose
    /// has ended or is out of its reach.
    pub fn looked_up_again(self: &Arc<Self>, tables: &Tables, now: DateTime<Utc>) -> Result<Arc<Self>, Refusal> {
        let Actor::Key(key) = self.actor else { return self.operator_looked_up_again(tables) };
        if self.as_of == tables.position && self.has_not_expired(now) {
            return Ok(Arc::clone(self));
        }
        let unauthenticated = || Refusal::new(ErrorCode::Unauthenticated, "a valid API key is needed");
        let caller = Self::of_key(tables, key, self.secret_generation, now).ok_or_else(unauthenticated)?;
        match self.chosen_tenant {
            None => Ok(Arc::new(caller)),
            Some(tenant) => choose_again(&caller, tables, tenant).map(Arc::new),
        }
    }

    /// Nothing but the tenant that it chose can have changed.
    fn operator_looked_up_again(self: &Arc<Self>, tables: &Tables) -> Result<Arc<Self>, Refusal> {
        match self.chosen_tenant {
            Some(tenant) => choose_again(self, tables, tenant).map(Arc::new),
            None => Ok(Arc::clone(self)),
        }
    }

    /// The same caller for a tenant, whose chain is given: a key keeps its own id, and its user's, since their budgets
    /// bind it wherever it goes. `None` where the tenant has ended or is out of reach.
    pub fn choosing(&self, tables: &Tables, chain: Chain) -> Option<Self> {
        // A key may always name its own tenant, however far it reaches.
        let reached = chain.tenant == self.chain.tenant
            || chain.partner.zip(chain.tenant).is_some_and(|(partner, tenant)| self.reaches_tenant(partner, tenant));
        if !reached || !tables.owners_are_live(&chain) {
            return None;
        }
        let (own, chosen_tenant) = (self.chain, chain.tenant);
        let chain = if own.tenant == chosen_tenant {
            own
        } else {
            // The operator's own user belongs to the default tenant alone.
            Chain { user: own.key.and(own.user), key: own.key, ..chain }
        };
        Some(Self { chain, chosen_tenant, ..self.clone() })
    }

    /// The streams that say what it may do: its key's, its owners' and those of the tenant that it chose. None for the
    /// operator.
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

/// Nobody's tenant for a key without its user: it reaches nothing.
fn reach_of(tables: &Tables, key: &Key) -> Reach {
    let nowhere = || Reach::Tenant(TenantId::from(key.user_id.uuid()));
    tables.user(key.user_id).map_or_else(nowhere, |user| reach::of_permissions(&user.value, &key.permissions))
}

fn choose_again(caller: &Caller, tables: &Tables, tenant: TenantId) -> Result<Caller, Refusal> {
    let chosen = tables.chain_of_tenant(tenant).and_then(|chain| caller.choosing(tables, chain));
    chosen.ok_or_else(|| {
        Refusal::new(ErrorCode::Forbidden, "the tenant that X-Tenant-ID names is no longer within the key's reach")
    })
}

/// Until when a secret of `generation` works, where nothing else ends it: `Some(None)` means without an end, `None` that
/// it does not work at all.
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
