use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use events::ids::TenantId;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn tenant(number: u128) -> Owner {
    Some(TenantId::from(Uuid::from_u128(number)))
}

fn name(owner: Owner, host: &str) -> Name {
    Name { owner, host: host.to_owned() }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// A resolver for a test, which is never dropped.
fn resolver(
    look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    tenants: Pool,
    late: Pool,
) -> &'static Resolver {
    let leaked = |pool: Pool| -> &'static Pool { Box::leak(Box::new(pool)) };
    let pools = Pools { tenants: leaked(tenants), platform: leaked(Pool::new("platform", 1)), late: leaked(late) };
    Box::leak(Box::new(Resolver::new(Box::new(look_up), pools)))
}

async fn until(is: impl Fn() -> bool) {
    let reached = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, reached).await.expect("in time");
}

#[tokio::test]
async fn a_name_is_looked_up_once_whoever_waits_for_it_and_a_missing_one_not_again_at_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let look_up = move |host: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        if host == "here" { Ok(vec![address(1)]) } else { Err(io::Error::other("unknown")) }
    };
    let resolver = resolver(look_up, Pool::new("names", 4), Pool::new("late", 4));
    for (host, wanted) in [("here", Ok(address(1))), ("missing", Err(NotResolved::NoAddresses))] {
        asked.store(0, Ordering::SeqCst);
        let mut asking = JoinSet::new();
        (0..10).for_each(|_| drop(asking.spawn(resolver.resolve(name(None, host)))));
        let mut answers = asking.join_all().await;
        answers.push(resolver.resolve(name(None, host)).await);
        assert!(answers.iter().all(|answer| answer.as_ref().map(|found| found[0]).map_err(|error| *error) == wanted));
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{host}");
        assert!(resolver.resolve(name(tenant(1), host)).await.is_ok() == wanted.is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 2, "another owner's is another name");
    }
}

#[tokio::test]
async fn names_that_hang_keep_nobody_from_others() {
    let (end, ends) = mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    let look_up = move |host: &str| {
        if host.starts_with("hang") {
            // The first waits for the end of the test, and all others for it.
            let _ = ends.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        Ok(vec![address(2)])
    };
    let resolver = resolver(look_up, Pool::new("names", 4).with_owners(1), Pool::new("late", 2).with_owners(1));
    let mut hanging = JoinSet::new();
    for tenant in [tenant(1), tenant(2)] {
        for number in 0..5 {
            hanging.spawn(resolver.resolve(name(tenant, &format!("hang{number}"))));
        }
    }
    until(|| resolver.pools.tenants.running() == 2).await;
    // All turns of owners without an answer are taken: others begin among the late ones.
    let other = timeout(SOON, resolver.resolve(name(tenant(3), "here"))).await.expect("in time");
    assert_eq!(other.as_deref(), Ok(&[address(2)][..]));
    until(|| resolver.pools.late.running() == 2).await;
    let answers = hanging.join_all().await;
    assert!(answers.iter().all(Result::is_err));
    drop(end);
    // Their turns end with them.
    until(|| resolver.pools.tenants.running() + resolver.pools.late.running() == 0).await;
}

#[tokio::test]
async fn names_of_many_tenants_that_hang_keep_the_platform_from_none_and_are_no_fault_of_others() {
    let (end, ends) = mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    let look_up = move |host: &str| {
        if host == "hang" {
            let _ = ends.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        Ok(vec![address(2)])
    };
    let resolver = resolver(look_up, Pool::new("names", 1).with_owners(1), Pool::new("late", 1).with_owners(1));
    let mut hanging = JoinSet::new();
    hanging.spawn(resolver.resolve(name(tenant(1), "hang")));
    until(|| resolver.pools.late.running() == 1).await;
    hanging.spawn(resolver.resolve(name(tenant(2), "hang")));
    until(|| resolver.pools.tenants.running() == 1).await;
    // It finds no turn among the late ones, and so keeps its own.
    let (of_platform, of_tenant) =
        tokio::join!(resolver.resolve(name(None, "here")), resolver.resolve(name(tenant(3), "here")));
    assert_eq!((of_platform.is_ok(), of_tenant), (true, Err(NotResolved::Busy)));
    let answers = hanging.join_all().await;
    assert!(answers.iter().all(|answer| *answer == Err(NotResolved::NoAddresses)), "nobody has answered");
    drop(end);
    until(|| resolver.pools.tenants.running() + resolver.pools.late.running() == 0).await;
}

#[tokio::test]
async fn tenants_whose_names_have_only_hung_leave_turns_for_those_who_have_had_an_answer() {
    let (end, ends) = mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    let look_up = move |host: &str| {
        if host == "hang" {
            let _ = ends.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        Ok(vec![address(2)])
    };
    let resolver = resolver(look_up, Pool::new("names", 2).with_owners(1), Pool::new("late", 1).with_owners(1));
    assert!(resolver.resolve(name(tenant(9), "here")).await.is_ok());
    let mut hanging = JoinSet::new();
    hanging.spawn(resolver.resolve(name(tenant(1), "hang")));
    until(|| resolver.pools.late.running() == 1).await;
    hanging.spawn(resolver.resolve(name(tenant(2), "hang")));
    until(|| resolver.pools.tenants.running() == 1).await;
    hanging.spawn(resolver.resolve(name(tenant(3), "hang")));
    until(|| resolver.pools.late.waiting() == 1).await;
    let answer = resolver.resolve(name(tenant(9), "there")).await;
    assert_eq!(answer.as_deref(), Ok(&[address(2)][..]));
    assert_eq!(resolver.pools.tenants.running(), 1);
    drop(end);
    assert_eq!(hanging.join_all().await.len(), 3);
}

/// The kind of the answer to whoever asks for a name, and the addresses that it has.
fn lookup(cache: &mut AddressCache, asked: &Name, now: Instant) -> (&'static str, Option<Addresses>) {
    match cache.ask(asked, now) {
        Lookup::Cached(answer) => ("cached", answer.ok()),
        Lookup::InProgress { older, .. } => ("in progress", older),
        Lookup::Start { older, .. } => ("start", older),
    }
}

#[tokio::test]
async fn older_addresses_count_for_ten_minutes_if_there_are_no_newer_ones() {
    let (mut cache, asked, begin) = (AddressCache::default(), name(tenant(1), "a.example"), Instant::now());
    let after = |seconds| begin + Duration::from_secs(seconds);
    let found: Addresses = Arc::new([address(3)]);
    let some = Some(Arc::clone(&found));
    assert_eq!(lookup(&mut cache, &asked, begin), ("start", None));
    assert_eq!(lookup(&mut cache, &asked, begin), ("in progress", None));
    cache.record(&asked, Outcome::Found(found), begin).tell();
    assert_eq!(lookup(&mut cache, &asked, after(29)), ("cached", some.clone()));
    assert_eq!(lookup(&mut cache, &asked, after(30)), ("start", some.clone()));
    cache.record(&asked, Outcome::Silence, after(35)).tell();
    assert_eq!(lookup(&mut cache, &asked, after(64)), ("cached", some.clone()));
    assert_eq!(lookup(&mut cache, &asked, after(65)), ("start", some.clone()));
    cache.record(&asked, Outcome::NoTurn, after(66)).tell();
    assert_eq!(lookup(&mut cache, &asked, after(66)), ("start", some));
    cache.record(&asked, Outcome::Missing, after(598)).tell();
    assert_eq!(lookup(&mut cache, &asked, after(600)), ("cached", None));
    assert_eq!(lookup(&mut cache, &asked, after(603)), ("start", None));
}

#[tokio::test]
async fn an_owner_has_room_of_its_own() {
    let (mut cache, now) = (AddressCache::default(), Instant::now());
    let mut kinds = (0..40).map(|number| lookup(&mut cache, &name(tenant(1), &format!("n{number}")), now).0);
    assert_eq!(kinds.by_ref().take(32).filter(|kind| *kind == "start").count(), 32);
    assert!(kinds.all(|kind| kind == "cached"), "all of its room is being looked up");
    assert_eq!(lookup(&mut cache, &name(tenant(2), "n1"), now).0, "start");
    cache.record(&name(tenant(1), "n7"), Outcome::Missing, now).tell();
    assert_eq!(lookup(&mut cache, &name(tenant(1), "n39"), now).0, "start", "in the room of the one that is done");
    cache.note_late(tenant(1), now);
    let late = |owner, seconds| cache.was_late(owner, now + Duration::from_secs(seconds));
    assert_eq!([late(tenant(1), 599), late(tenant(1), 600), late(tenant(2), 0)], [true, false, false]);
    let late_one = name(tenant(50), "a");
    lookup(&mut cache, &late_one, now);
    cache.record(&late_one, Outcome::Silence, now).tell();
    cache.note_late(tenant(50), now);
    // Tenants that do not come again are forgotten, those of whom a name is being looked up are not.
    for number in 100..3000_u64 {
        let (asked, at) = (name(tenant(u128::from(number)), "a"), now + Duration::from_millis(number));
        lookup(&mut cache, &asked, at);
        cache.record(&asked, Outcome::Missing, at).tell();
    }
    assert_eq!(lookup(&mut cache, &name(tenant(2), "n1"), now).0, "in progress");
    assert_eq!(lookup(&mut cache, &name(tenant(100), "a"), now).0, "start");
    assert!(cache.was_late(tenant(50), now), "others are forgotten first");
}
