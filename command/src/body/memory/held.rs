//! The memory that is held now, by owner. [`BodyMemory`](super::BodyMemory) locks it.

use events::ids::{IdMap, KeyId, TenantId};

use super::bounds::{BodyBounds, BoundOf, MIB};
use super::owner::{BodyOwner, Pool};

/// The most bodies that arrive at a time, whatever their size: each occupies a request.
pub(super) const ARRIVING_OF_KEY_MAX: usize = 768;
pub(super) const ARRIVING_OF_TENANT_MAX: usize = 1024;
const ARRIVING_MAX: usize = 8192;

/// A tenant that holds at most this much may use the reserve.
const LITTLE_BYTES_MAX: usize = MIB;

#[derive(Debug, Default)]
pub(super) struct HeldMemory {
    pub(super) all_tenants: Amount,
    pub(super) platform: Amount,
    pub(super) operator: Amount,
    pub(super) tenants: IdMap<TenantId, Amount>,
    pub(super) keys: IdMap<KeyId, Amount>,
}

/// Bytes, and bodies that are arriving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) bytes: usize,
    pub(super) arriving: usize,
}

impl Amount {
    const fn fits(self, more: Self, bytes_max: usize, arriving_max: usize) -> bool {
        self.bytes.saturating_add(more.bytes) <= bytes_max
            && self.arriving.saturating_add(more.arriving) <= arriving_max
    }

    /// The bytes by which this has to grow to be so many.
    pub(super) const fn more_until(self, bytes: usize) -> Self {
        Self { bytes: bytes.saturating_sub(self.bytes), arriving: 0 }
    }

    pub(super) const fn add(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.arriving += more.arriving;
    }

    const fn subtract(&mut self, less: Self) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.arriving = self.arriving.saturating_sub(less.arriving);
    }
}

impl HeldMemory {
    pub(super) fn take(&mut self, bounds: BodyBounds, owner: BodyOwner, more: Amount) -> Result<(), BoundOf> {
        self.check_room(bounds, owner, more)?;
        let (bytes_max, arriving_max) = match owner.pool {
            Pool::Tenants if self.of_tenant(owner).bytes.saturating_add(more.bytes) > LITTLE_BYTES_MAX => {
                (bounds.process - bounds.reserve, ARRIVING_MAX)
            }
            Pool::Tenants => (bounds.process, ARRIVING_MAX),
            Pool::Platform | Pool::Operator => (bounds.tenant, ARRIVING_OF_TENANT_MAX),
        };
        if !self.pool(owner.pool).fits(more, bytes_max, arriving_max) {
            return Err(BoundOf::Process);
        }
        self.add(owner, more);
        Ok(())
    }

    pub(super) fn check_room(&self, bounds: BodyBounds, owner: BodyOwner, more: Amount) -> Result<(), BoundOf> {
        let of_key = owner.key.and_then(|key| self.keys.get(&key)).copied().unwrap_or_default();
        let of_tenant = self.of_tenant(owner);
        if owner.key.is_some() && !of_key.fits(more, bounds.key, ARRIVING_OF_KEY_MAX) {
            return Err(BoundOf::Key);
        }
        if !of_tenant.fits(more, bounds.tenant, ARRIVING_OF_TENANT_MAX) {
            return Err(BoundOf::Tenant);
        }
        Ok(())
    }

    fn of_tenant(&self, owner: BodyOwner) -> Amount {
        owner.tenant.and_then(|tenant| self.tenants.get(&tenant)).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, owner: BodyOwner, more: Amount) {
        self.pool(owner.pool).add(more);
        if let Some(key) = owner.key {
            self.keys.entry(key).or_default().add(more);
        }
        if let Some(tenant) = owner.tenant {
            self.tenants.entry(tenant).or_default().add(more);
        }
    }

    const fn pool(&mut self, pool: Pool) -> &mut Amount {
        match pool {
            Pool::Tenants => &mut self.all_tenants,
            Pool::Platform => &mut self.platform,
            Pool::Operator => &mut self.operator,
        }
    }

    pub(super) fn give_back(&mut self, owner: BodyOwner, less: Amount) {
        if let Some(key) = owner.key {
            subtract(&mut self.keys, key, less);
        }
        if let Some(tenant) = owner.tenant {
            subtract(&mut self.tenants, tenant, less);
        }
        self.pool(owner.pool).subtract(less);
    }
}

/// Removes owners that hold nothing.
fn subtract<I: std::hash::Hash + Eq>(shares: &mut IdMap<I, Amount>, id: I, less: Amount) {
    if let Some(share) = shares.get_mut(&id) {
        share.subtract(less);
        if *share == Amount::default() {
            shares.remove(&id);
        }
    }
}
