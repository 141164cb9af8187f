use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;

/// Half of what is kept of all of them, and half of their number: what one tenant may have.
const HALF_BYTES: usize = 32 * 1024 * 1024;
const HALF_CALLS: usize = 512;

fn owner(number: u128) -> Owner {
    Some(TenantId::from(Uuid::from_u128(number)))
}

fn gauge() -> IntGauge {
    IntGauge::new("calls", "calls").expect("a gauge")
}

/// So many calls that keep so much, as far as there is room.
fn taken(calls: &AbandonedCalls, owner: Owner, number: usize, bytes: usize) -> Vec<KeptBytes> {
    let call = |_| {
        let kept = KeptBytes::default();
        assert!(kept.add(bytes), "a call whose client waits is not bounded here");
        kept.count_for(calls.clone(), owner).then_some(kept)
    };
    (0..number).map_while(call).collect()
}

#[test]
fn no_tenant_has_more_than_half_of_the_calls_and_all_together_have_no_more_than_all() {
    let calls = AbandonedCalls::default();
    let first = taken(&calls, owner(1), 2000, 0);
    assert_eq!(first.len(), HALF_CALLS);
    let second = taken(&calls, owner(2), 2000, 0);
    assert_eq!(second.len(), HALF_CALLS);
    assert!(taken(&calls, owner(3), 1, 0).is_empty() && taken(&calls, None, 1, 0).is_empty());
    drop(first);
    assert_eq!(taken(&calls, owner(3), 2000, 0).len(), HALF_CALLS);
    drop(second);
    let load = calls.load();
    assert_eq!((load.all, load.by_owner.len()), (Amount::default(), 0));
}

#[test]
fn what_they_keep_is_bounded_in_the_same_way_and_given_back() {
    let calls = AbandonedCalls::default();
    let first = taken(&calls, owner(1), 1, HALF_BYTES - 1);
    assert!(first[0].add(1) && !first[0].add(1));
    assert!(taken(&calls, owner(1), 1, 1).is_empty());
    let second = taken(&calls, owner(2), 1, HALF_BYTES);
    assert_eq!(second.len(), 1);
    assert!(taken(&calls, owner(3), 1, 1).is_empty());
    // Their requests have been taken.
    first[0].subtract(HALF_BYTES - 10);
    assert_eq!(calls.load().all, Amount { calls: 2, bytes: HALF_BYTES + 10 });
    assert_eq!(taken(&calls, owner(3), 1, 100).len(), 1);
    drop((first, second));
    assert_eq!(calls.load().all, Amount::default());
}

#[tokio::test]
async fn they_go_on_to_their_end_unless_it_is_time_to_stop() {
    let (calls, gauge, ended) = (AbandonedCalls::default(), gauge(), Arc::new(AtomicUsize::new(0)));
    let (go, may_end) = oneshot::channel::<()>();
    let count = Arc::clone(&ended);
    calls.go_on(owner(1), &KeptBytes::default(), Counted::of(&gauge), async move {
        let _ = may_end.await;
        count.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(gauge.get(), 1);
    go.send(()).expect("it waits");
    calls.drain().await;
    assert_eq!((ended.load(Ordering::SeqCst), gauge.get()), (1, 0));

    let (dropped, is_dropped) = oneshot::channel::<()>();
    let call = async move {
        let _dropped = dropped;
        pending::<()>().await;
    };
    calls.go_on(owner(1), &KeptBytes::default(), Counted::of(&gauge), call);
    calls.stop().await;
    assert!(is_dropped.await.is_err());
    assert_eq!(gauge.get(), 0);
    let count = Arc::clone(&ended);
    calls.go_on(owner(1), &KeptBytes::default(), Counted::of(&gauge), async move {
        count.fetch_add(1, Ordering::SeqCst);
    });
    calls.drain().await;
    assert_eq!((ended.load(Ordering::SeqCst), gauge.get()), (1, 0));
}
