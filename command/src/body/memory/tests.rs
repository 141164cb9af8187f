use events::event::admin::Reach;
use events::event::{Actor, Chain};
use projections::caller::Caller;
use proptest::prelude::*;
use uuid::Uuid;

use super::bounds::MIB;
use super::held::{ARRIVING_OF_KEY_MAX, ARRIVING_OF_TENANT_MAX};
use super::owner::Pool;
use super::*;
use crate::body::BODY_BYTES_MAX;

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
    // None of them fits next to the others.
    let outcomes: Vec<bool> = growing.iter_mut().map(|permit| permit.grow_to(30).is_ok()).collect();
    assert_eq!(outcomes, [false, false, false, false, false, true]);
    assert_eq!(memory.bytes_held(), 30);
    drop(growing);
    assert_eq!(memory.bytes_held(), 0);
}

#[test]
fn of_two_bodies_that_grow_at_the_same_time_one_gets_through() {
    const ROUNDS: usize = 20_000;
    let memory = BodyMemory::new(BOUNDS);
    let (arrived, grown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Threads that slept until the other is there would not go on at the same time.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let meet = |times: usize| {
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < 2 * times {
            assert!(std::time::Instant::now() < until, "the other thread has failed");
            std::thread::yield_now();
        }
    };
    let grow = || {
        for round in 0..ROUNDS {
            let mut permit = taking(&memory, owner(1, 1), 15).unwrap();
            meet(3 * round + 1);
            grown.fetch_add(usize::from(permit.grow_to(30).is_ok()), Ordering::SeqCst);
            meet(3 * round + 2);
            assert_eq!(grown.load(Ordering::SeqCst), round + 1);
            drop(permit);
            meet(3 * round + 3);
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(grow);
        threads.spawn(grow);
    });
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
    permits[0].mark_arrived();
    permits[0].mark_arrived();
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
    let mut large: Vec<_> = (0..3).map(|tenant| taking(&memory, owner(tenant, tenant), 33 * MIB).unwrap()).collect();
    large.push(taking(&memory, owner(3, 3), 21 * MIB).unwrap());
    assert_eq!(taking(&memory, owner(4, 4), MIB + 1).err(), Some(BoundOf::Process));
    assert_eq!(large[3].try_grow_to(21 * MIB + 1), Err(BoundOf::Process));
    let little: Vec<_> = (10..50).map(|tenant| taking(&memory, owner(tenant, tenant), MIB).unwrap()).collect();
    assert_eq!(memory.bytes_held(), 160 * MIB);
    // The keys of a tenant count together.
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
                prop_assert_eq!(permit.amount.bytes, if grown.is_ok() { bytes * 2 } else { 0 });
                permits.push(permit);
            }
            let sum = |is: &dyn Fn(&BodyOwner) -> bool| -> usize {
                permits.iter().filter(|permit| is(&permit.owner)).map(|permit| permit.amount.bytes).sum()
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
