//! The memory that bodies may take, of requests and of answers. It is counted as they arrive and for as long as anybody holds their bytes or
//! what was made of them, the connection to the upstream included: a key, a tenant and the process have a bound each, so
//! that no tenant can take more than its share. A body whose next bytes do not fit is refused and gives its own back, so
//! that of several that do not fit together one gets through; an answer, which was paid for, waits instead.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use events::concurrency::Requester;
use events::ids::{IdMap, KeyId, TenantId};
use projections::caller::Caller;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::BODY_BYTES_MAX;

const MIB: usize = 1024 * 1024;
/// One body of the largest size and some small ones beside it: no share is below it.
const SHARE_MIN: usize = BODY_BYTES_MAX + MIB;
/// Beside the share of a key that administrates, for the commands of the other keys of its tenant.
const OTHER_COMMANDS: usize = 7 * MIB;

/// Whoever holds no more holds little.
const LITTLE_BYTES_MAX: usize = MIB;

/// What may be held at a time, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    pub process: usize,
    pub tenant: usize,
    pub key: usize,
    /// Of the process's, what only tenants may take that hold little.
    pub reserve: usize,
}

impl BodyBounds {
    /// A quarter of what the process may hold for a tenant, and three quarters of that for a key.
    pub fn of_process(bytes: usize) -> Self {
        let tenant = (bytes / 4).max(SHARE_MIN);
        Self { process: bytes.max(tenant), tenant, key: (tenant / 4 * 3).max(SHARE_MIN), reserve: 0 }
    }

    /// The same, and a quarter of the process's in reserve: an answer that there is no memory for has been paid for, so that
    /// a few tenants must not take what all others need.
    pub fn of_answers(bytes: usize) -> Self {
        let bounds = Self::of_process(bytes);
        Self { reserve: (bounds.process / 4).min(bounds.process - bounds.tenant), ..bounds }
    }

    /// Of commands, which are small and few. What one key leaves of its tenant's share is enough for those of the others.
    pub const fn of_administration() -> Self {
        let tenant = SHARE_MIN + OTHER_COMMANDS;
        Self { process: 2 * tenant, tenant, key: SHARE_MIN, reserve: 0 }
    }
}

/// Bodies that may be on their way at a time, whatever has arrived of them: each holds a request.
const ARRIVING_OF_KEY_MAX: usize = 768;
const ARRIVING_OF_TENANT_MAX: usize = 1024;
const ARRIVING_MAX: usize = 8192;

/// To read what is thrown away takes time from everybody: so many bodies at once are worth it.
const LINGERING_MAX: usize = 32;

/// Whose a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyOwner {
    pool: Pool,
    tenant: Option<TenantId>,
    key: Option<KeyId>,
}

/// What a body takes its memory of. Nobody can take another pool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
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

/// Whose bound has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundOf {
    Key,
    Tenant,
    Process,
}

impl BoundOf {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Tenant => "tenant",
            Self::Process => "gateway",
        }
    }

    pub const fn of_whom(self) -> &'static str {
        match self {
            Self::Key => " for this key",
            Self::Tenant => " for this tenant",
            Self::Process => "",
        }
    }
}

/// Shared by all requests of a kind.
#[derive(Debug)]
pub struct BodyMemory {
    bounds: BodyBounds,
    held: Mutex<Held>,
    /// How many wait for room, and what they wait for.
    waiting: AtomicUsize,
    given_back: Notify,
    /// Bodies that are refused and read all the same.
    pub lingering: Semaphore,
}

#[derive(Debug, Default)]
struct Held {
    all_tenants: Share,
    platform: Share,
    operator: Share,
    tenants: IdMap<TenantId, Share>,
    keys: IdMap<KeyId, Share>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    bytes: usize,
    arriving: usize,
}

impl Share {
    const fn fits(self, more: Self, bytes_max: usize, arriving_max: usize) -> bool {
        self.bytes.saturating_add(more.bytes) <= bytes_max
            && self.arriving.saturating_add(more.arriving) <= arriving_max
    }

    const fn add(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.arriving += more.arriving;
    }

    const fn subtract(&mut self, less: Self) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.arriving = self.arriving.saturating_sub(less.arriving);
    }
}

impl BodyMemory {
    pub fn new(bounds: BodyBounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            held: Mutex::default(),
            waiting: AtomicUsize::new(0),
            given_back: Notify::new(),
            lingering: Semaphore::new(LINGERING_MAX),
        })
    }

    /// For a body that takes nothing yet, nor is on its way from a client.
    pub fn permit(self: &Arc<Self>, owner: BodyOwner) -> BodyPermit {
        BodyPermit { memory: Arc::clone(self), owner, share: Share::default() }
    }

    /// Whether key and tenant have not used up what they may hold, whatever others do.
    ///
    /// Errors: whose bound has been reached.
    pub fn must_have_room(&self, owner: BodyOwner, bytes: usize) -> Result<(), BoundOf> {
        self.held().must_have_room(self.bounds, owner, Share { bytes, arriving: 0 })
    }

    /// A body is on its way.
    ///
    /// Errors: whose bound has been reached.
    pub fn begin(self: &Arc<Self>, owner: BodyOwner) -> Result<BodyPermit, BoundOf> {
        let begun = Share { bytes: 0, arriving: 1 };
        self.held().take(self.bounds, owner, begun)?;
        Ok(BodyPermit { memory: Arc::clone(self), owner, share: begun })
    }

    /// Bytes that are held now.
    pub fn bytes_held(&self) -> usize {
        let held = self.held();
        held.all_tenants.bytes + held.platform.bytes + held.operator.bytes
    }

    pub const fn bounds(&self) -> BodyBounds {
        self.bounds
    }

    fn give_back(&self, owner: BodyOwner, less: Share) {
        self.held().give_back(owner, less);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.given_back.notify_waiters();
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn take(&mut self, bounds: BodyBounds, owner: BodyOwner, more: Share) -> Result<(), BoundOf> {
        self.must_have_room(bounds, owner, more)?;
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

    fn must_have_room(&self, bounds: BodyBounds, owner: BodyOwner, more: Share) -> Result<(), BoundOf> {
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

    fn of_tenant(&self, owner: BodyOwner) -> Share {
        owner.tenant.and_then(|tenant| self.tenants.get(&tenant)).copied().unwrap_or_default()
    }

    fn add(&mut self, owner: BodyOwner, more: Share) {
        self.pool(owner.pool).add(more);
        if let Some(key) = owner.key {
            self.keys.entry(key).or_default().add(more);
        }
        if let Some(tenant) = owner.tenant {
            self.tenants.entry(tenant).or_default().add(more);
        }
    }

    const fn pool(&mut self, pool: Pool) -> &mut Share {
        match pool {
            Pool::Tenants => &mut self.all_tenants,
            Pool::Platform => &mut self.platform,
            Pool::Operator => &mut self.operator,
        }
    }

    fn give_back(&mut self, owner: BodyOwner, less: Share) {
        if let Some(key) = owner.key {
            subtract(&mut self.keys, key, less);
        }
        if let Some(tenant) = owner.tenant {
            subtract(&mut self.tenants, tenant, less);
        }
        self.pool(owner.pool).subtract(less);
    }
}

/// Who holds nothing is not kept.
fn subtract<I: std::hash::Hash + Eq>(shares: &mut IdMap<I, Share>, id: I, less: Share) {
    if let Some(share) = shares.get_mut(&id) {
        share.subtract(less);
        if *share == Share::default() {
            shares.remove(&id);
        }
    }
}

/// What one body takes. Dropped, it gives that back.
#[derive(Debug)]
pub struct BodyPermit {
    memory: Arc<BodyMemory>,
    owner: BodyOwner,
    share: Share,
}

impl BodyPermit {
    /// Counts so many bytes in all.
    ///
    /// Errors: whose bound does not allow it. Then it counts nothing any more: were its bytes given back only later, the
    /// last two bodies that do not fit together could both be refused.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BoundOf> {
        let grown = self.try_grow_to(bytes);
        if grown.is_err() {
            self.memory.give_back(self.owner, std::mem::take(&mut self.share));
        }
        grown
    }

    /// The same, and waits until `until` for what others give back. Meanwhile it counts what it did.
    ///
    /// Errors: whose bound does not allow it.
    pub async fn grow_when_there_is_room(&mut self, bytes: usize, until: Instant) -> Result<(), BoundOf> {
        if self.try_grow_to(bytes).is_ok() {
            return Ok(());
        }
        let memory = Arc::clone(&self.memory);
        let _waiting = Waiting::new(&memory.waiting);
        loop {
            // Before it is tried: what is given back from here on is not missed.
            let mut given_back = pin!(memory.given_back.notified());
            given_back.as_mut().enable();
            let Err(bound) = self.try_grow_to(bytes) else { return Ok(()) };
            if Instant::now() >= until || timeout_at(until, given_back).await.is_err() {
                return Err(bound);
            }
        }
    }

    fn try_grow_to(&mut self, bytes: usize) -> Result<(), BoundOf> {
        let more = Share { bytes: bytes.saturating_sub(self.share.bytes), arriving: 0 };
        self.memory.held().take(self.memory.bounds, self.owner, more)?;
        self.share.add(more);
        Ok(())
    }

    /// Counts so many bytes in all, whether there is room or not: for what is there already.
    pub fn count(&mut self, bytes: usize) {
        let more = Share { bytes: bytes.saturating_sub(self.share.bytes), arriving: 0 };
        let less = Share { bytes: self.share.bytes.saturating_sub(bytes), arriving: 0 };
        self.share.bytes = bytes;
        if more != Share::default() {
            self.memory.held().add(self.owner, more);
        } else if less != Share::default() {
            self.memory.give_back(self.owner, less);
        }
    }

    /// For another body of the same owner's, which takes nothing yet.
    pub fn another(&self) -> Self {
        self.memory.permit(self.owner)
    }

    /// That are counted.
    pub const fn bytes(&self) -> usize {
        self.share.bytes
    }

    /// All of it is there.
    pub fn has_arrived(&mut self) {
        let arriving = Share { bytes: 0, arriving: std::mem::take(&mut self.share.arriving) };
        self.memory.give_back(self.owner, arriving);
    }

    /// The same bytes, which hold this permit: what they take is given back once the last of them is dropped, wherever
    /// they have got to.
    pub fn attach_to(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(CountedBytes { bytes, _permit: Arc::clone(self) })
    }
}

struct CountedBytes {
    bytes: Bytes,
    _permit: Arc<BodyPermit>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        if self.share != Share::default() {
            self.memory.give_back(self.owner, self.share);
        }
    }
}

/// One that waits for room, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::Reach;
    use events::event::{Actor, Chain};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const BOUNDS: BodyBounds = BodyBounds { process: 100, tenant: 40, key: 30, reserve: 0 };

    fn owner(tenant: u128, key: u128) -> BodyOwner {
        let (tenant, key) = (Uuid::from_u128(tenant).into(), Uuid::from_u128(key).into());
        BodyOwner { pool: Pool::Tenants, tenant: Some(tenant), key: Some(key) }
    }

    fn taking(memory: &Arc<BodyMemory>, owner: BodyOwner, bytes: usize) -> Result<BodyPermit, BoundOf> {
        let mut permit = memory.begin(owner)?;
        permit.grow_to(bytes)?;
        Ok(permit)
    }

    #[test]
    fn key_tenant_and_process_have_a_bound_each_and_what_is_refused_takes_nothing() {
        let memory = BodyMemory::new(BOUNDS);
        let first = taking(&memory, owner(1, 1), 30).unwrap();
        assert_eq!(taking(&memory, owner(1, 1), 1).err(), Some(BoundOf::Key));
        let second = taking(&memory, owner(1, 2), 10).unwrap();
        assert_eq!(taking(&memory, owner(1, 3), 1).err(), Some(BoundOf::Tenant));
        assert_eq!(memory.bytes_held(), 40);
        let others = [taking(&memory, owner(2, 4), 30).unwrap(), taking(&memory, owner(3, 5), 30).unwrap()];
        assert_eq!(taking(&memory, owner(4, 6), 1).err(), Some(BoundOf::Process));
        drop(first);
        let again = taking(&memory, owner(4, 6), 30).unwrap();
        drop((second, others, again));
        assert_eq!(memory.bytes_held(), 0);
        let held = memory.held();
        assert!(held.keys.is_empty() && held.tenants.is_empty(), "{held:?}");
    }

    #[test]
    fn of_bodies_that_do_not_fit_together_one_gets_through() {
        let memory = BodyMemory::new(BOUNDS);
        let mut growing: Vec<_> = (0..6).map(|_| taking(&memory, owner(1, 1), 5).unwrap()).collect();
        // All of them have grown to a bound that none of them fits into beside the others.
        let outcomes: Vec<bool> = growing.iter_mut().map(|permit| permit.grow_to(30).is_ok()).collect();
        assert_eq!(outcomes, [false, false, false, false, false, true]);
        assert_eq!(memory.bytes_held(), 30);
        drop(growing);
        assert_eq!(memory.bytes_held(), 0);
    }

    #[test]
    fn commands_of_the_operator_and_of_platform_keys_get_through_whatever_tenants_hold() {
        let memory = BodyMemory::new(BOUNDS);
        let _others = [1, 2, 3].map(|tenant| taking(&memory, owner(tenant, tenant), 30).unwrap());
        let _rest = taking(&memory, owner(4, 4), 10).unwrap();
        let operator = BodyOwner { pool: Pool::Operator, tenant: None, key: None };
        let of_operator = taking(&memory, operator, 40).unwrap();
        assert_eq!(taking(&memory, operator, 1).err(), Some(BoundOf::Process));
        let platform = |key: u128| BodyOwner { pool: Pool::Platform, tenant: None, ..owner(0, key) };
        let of_platform = taking(&memory, platform(5), 30).unwrap();
        assert_eq!(taking(&memory, platform(5), 1).err(), Some(BoundOf::Key));
        let of_another = taking(&memory, platform(6), 10).unwrap();
        assert_eq!(taking(&memory, platform(7), 1).err(), Some(BoundOf::Process));
        drop((of_operator, of_platform, of_another));
        assert_eq!(memory.bytes_held(), 100);
    }

    #[test]
    fn a_body_is_counted_for_its_key_and_tenant_and_commands_for_as_far_as_their_caller_reaches() {
        let chain = Chain { tenant: owner(1, 1).tenant, key: owner(1, 1).key, ..Chain::default() };
        let of_key = |reach| Caller { actor: Actor::Key(Uuid::from_u128(1).into()), reach, ..Caller::operator(chain) };
        let tenant_key = of_key(Reach::Tenant(Uuid::from_u128(1).into()));
        let platform_key = of_key(Reach::Platform);
        let operator = Caller::operator(Chain { key: None, ..chain });
        for caller in [&tenant_key, &platform_key] {
            assert_eq!(BodyOwner::of_inference(caller), owner(1, 1), "{:?}", caller.reach);
        }
        assert_eq!(BodyOwner::of_inference(&operator), BodyOwner { key: None, ..owner(1, 1) });
        assert_eq!(BodyOwner::of_administration(&tenant_key), owner(1, 1));
        let none = BodyOwner { tenant: None, ..owner(1, 1) };
        assert_eq!(BodyOwner::of_administration(&platform_key), BodyOwner { pool: Pool::Platform, ..none });
        let operators = BodyOwner { pool: Pool::Operator, key: None, ..none };
        assert_eq!(BodyOwner::of_administration(&operator), operators);
    }

    #[test]
    fn bodies_on_their_way_are_counted_until_they_are_there() {
        let memory = BodyMemory::new(BOUNDS);
        let mut permits: Vec<_> = (0..ARRIVING_OF_KEY_MAX).map(|_| memory.begin(owner(1, 1)).unwrap()).collect();
        assert_eq!(memory.begin(owner(1, 1)).err(), Some(BoundOf::Key));
        permits.extend((0..ARRIVING_OF_TENANT_MAX - ARRIVING_OF_KEY_MAX).map(|_| memory.begin(owner(1, 2)).unwrap()));
        assert_eq!(memory.begin(owner(1, 3)).err(), Some(BoundOf::Tenant));
        permits[0].has_arrived();
        permits[0].has_arrived();
        let _one_more = memory.begin(owner(1, 1)).unwrap();
        assert_eq!(memory.begin(owner(1, 1)).err(), Some(BoundOf::Key));
        permits[0].grow_to(30).unwrap();
        permits.clear();
        assert_eq!(memory.bytes_held(), 0);
    }

    #[test]
    fn bytes_count_until_the_last_of_them_is_dropped() {
        let memory = BodyMemory::new(BOUNDS);
        let permit = Arc::new(taking(&memory, owner(1, 1), 30).unwrap());
        let mut bytes = permit.attach_to(Bytes::from_static(b"received"));
        let made_of_it = permit.attach_to(Bytes::from_static(b"sent"));
        drop(permit);
        assert_eq!((&*bytes, &*made_of_it, memory.bytes_held()), (&b"received"[..], &b"sent"[..], 30));
        let last = bytes.split_off(7);
        drop((bytes, made_of_it));
        assert_eq!((&*last, memory.bytes_held()), (&b"d"[..], 30));
        drop(last);
        assert_eq!(memory.bytes_held(), 0);
    }

    #[test]
    fn one_body_of_the_largest_size_fits_into_every_share() {
        for bytes in [0, 1, 100 * MIB, 160 * MIB, 1024 * MIB] {
            let bounds = BodyBounds::of_process(bytes);
            let BodyBounds { process, tenant, key, .. } = bounds;
            assert!(BODY_BYTES_MAX < key && key <= tenant && tenant <= process && process >= bytes, "{bounds:?}");
        }
        let bounds = BodyBounds::of_administration();
        assert!(BODY_BYTES_MAX < bounds.key && bounds.key < bounds.tenant && bounds.tenant < bounds.process);
    }

    #[test]
    fn a_tenant_has_a_quarter_of_all_and_a_key_three_quarters_of_that_and_nobody_less_than_33_mib() {
        let gib = BodyBounds { process: 1 << 30, tenant: 1 << 28, key: 3 << 26, reserve: 0 };
        assert_eq!(BodyBounds::of_process(1 << 30), gib);
        let least = 34_603_008;
        assert_eq!(BodyBounds::of_process(0), BodyBounds { process: least, tenant: least, key: least, reserve: 0 });
        let administration = BodyBounds { process: 80 * MIB, tenant: 40 * MIB, key: least, reserve: 0 };
        assert_eq!(BodyBounds::of_administration(), administration);
    }

    #[test]
    fn tenants_that_hold_little_have_a_reserve_that_others_cannot_take() {
        let bounds = BodyBounds::of_answers(160 * MIB);
        assert_eq!(bounds, BodyBounds { reserve: 40 * MIB, ..BodyBounds::of_process(160 * MIB) });
        assert_eq!(BodyBounds::of_answers(66 * MIB).reserve, 66 * MIB / 4);
        assert_eq!(BodyBounds::of_answers(0).reserve, 0, "one answer of the largest size always fits");
        let memory = BodyMemory::new(bounds);
        let mut large: Vec<_> =
            (0..3).map(|tenant| taking(&memory, owner(tenant, tenant), 33 * MIB).unwrap()).collect();
        large.push(taking(&memory, owner(3, 3), 21 * MIB).unwrap());
        assert_eq!(taking(&memory, owner(4, 4), MIB + 1).err(), Some(BoundOf::Process));
        assert_eq!(large[3].try_grow_to(21 * MIB + 1), Err(BoundOf::Process));
        let little: Vec<_> = (10..50).map(|tenant| taking(&memory, owner(tenant, tenant), MIB).unwrap()).collect();
        assert_eq!(memory.bytes_held(), 160 * MIB);
        // All keys of a tenant are one.
        assert_eq!(taking(&memory, owner(10, 11), 1).err(), Some(BoundOf::Process));
        assert_eq!(taking(&memory, owner(60, 60), 1).err(), Some(BoundOf::Process));
        drop((large, little));
        assert_eq!(memory.bytes_held(), 0);
    }

    proptest! {
        #[test]
        fn nobody_ever_holds_more_than_its_bound_and_the_sum_is_what_is_held(
            steps in proptest::collection::vec((0u128..4, 0u128..3, 1usize..20, any::<bool>()), 1..200)
        ) {
            let memory = BodyMemory::new(BOUNDS);
            let mut permits: Vec<BodyPermit> = Vec::new();
            for (tenant, key, bytes, ends) in steps {
                if ends && !permits.is_empty() {
                    permits.remove(bytes % permits.len());
                } else if let Ok(mut permit) = memory.begin(owner(tenant, tenant * 10 + key)) {
                    let grown = permit.grow_to(bytes).and_then(|()| permit.grow_to(bytes * 2));
                    prop_assert_eq!(permit.share.bytes, if grown.is_ok() { bytes * 2 } else { 0 });
                    permits.push(permit);
                }
                let sum = |is: &dyn Fn(&BodyOwner) -> bool| -> usize {
                    permits.iter().filter(|permit| is(&permit.owner)).map(|permit| permit.share.bytes).sum()
                };
                prop_assert_eq!(memory.bytes_held(), sum(&|_| true));
                prop_assert!(memory.bytes_held() <= BOUNDS.process);
                for permit in &permits {
                    prop_assert!(sum(&|owner| owner.tenant == permit.owner.tenant) <= BOUNDS.tenant);
                    prop_assert!(sum(&|owner| owner.key == permit.owner.key) <= BOUNDS.key);
                }
            }
        }
    }
}
