use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use events::ids::TenantId;
use prometheus::IntGauge;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;

fn owner(number: u128) -> Owner {
    Some(TenantId::from(Uuid::from_u128(number)))
}

fn gauge() -> IntGauge {
    IntGauge::new("calls", "calls").expect("a gauge")
}

/// Adds up to `number` calls, as far as there is room, and returns their numbers and tokens.
fn added(calls: &AbandonedCalls, owner: Owner, number: usize) -> Vec<(u64, CancellationToken)> {
    let call = |_| {
        let end = CancellationToken::new();
        Some((calls.calls().add(owner, &end)?, end))
    };
    (0..number).map_while(call).collect()
}

fn ended(calls: &[(u64, CancellationToken)]) -> Vec<usize> {
    (0..calls.len()).filter(|at| calls[*at].1.is_cancelled()).collect()
}

fn is_sound(calls: &AbandonedCalls, wanted: &[(Owner, usize)]) -> bool {
    let calls = calls.calls();
    let all: usize = calls.by_owner.values().map(BTreeMap::len).sum();
    let has = |(owner, number): &(Owner, usize)| calls.by_owner.get(owner).map(BTreeMap::len) == Some(*number);
    all == calls.count && calls.by_owner.len() == wanted.len() && wanted.iter().all(has)
}

#[test]
fn a_tenant_alone_has_all_the_room_and_gives_it_up_for_others_newest_first() {
    let calls = AbandonedCalls::default();
    let first = added(&calls, owner(1), 2000);
    assert_eq!((first.len(), added(&calls, owner(1), 1).len()), (1024, 0));
    let second = added(&calls, owner(2), 3);
    assert_eq!((second.len(), ended(&first)), (3, vec![1021, 1022, 1023]));
    assert!(is_sound(&calls, &[(owner(1), 1021), (owner(2), 3)]));
    // Up to the fair share, and no further.
    let more = added(&calls, owner(2), 2000);
    assert_eq!((more.len(), ended(&first).len(), ended(&more).len()), (509, 512, 0));
    assert!(is_sound(&calls, &[(owner(1), 512), (owner(2), 512)]));
    assert!(added(&calls, owner(1), 1).is_empty());
    let operator = added(&calls, None, 2000);
    assert_eq!(operator.len(), 341);
    assert!(ended(&operator).is_empty());
    let shares: Vec<usize> = calls.calls().by_owner.values().map(BTreeMap::len).collect();
    assert!(shares.iter().all(|share| [341, 342].contains(share)), "{shares:?}");
}

#[test]
fn owners_with_one_call_each_do_not_have_to_make_room() {
    let calls = AbandonedCalls::default();
    let each: Vec<_> = (0..1024).map(|number| added(&calls, owner(number), 1)).collect();
    assert!(added(&calls, owner(2000), 1).is_empty());
    assert!(each.iter().all(|one| one.len() == 1 && ended(one).is_empty()));
}

#[test]
fn an_ended_call_leaves_nothing_behind_and_one_that_made_room_is_not_counted_twice() {
    let calls = AbandonedCalls::default();
    let first = added(&calls, owner(1), 1024);
    let second = added(&calls, owner(2), 1);
    for (number, _) in first {
        calls.calls().remove(owner(1), number);
    }
    assert!(is_sound(&calls, &[(owner(2), 1)]));
    calls.calls().remove(owner(2), second[0].0);
    calls.calls().remove(owner(2), second[0].0);
    assert!(is_sound(&calls, &[]));
}

/// The call that has to make room is dropped, and the new one runs.
#[tokio::test]
async fn a_call_that_has_to_make_room_is_dropped_before_its_end() {
    let (calls, gauge) = (AbandonedCalls::default(), gauge());
    let mut ends = Vec::new();
    for _ in 0..CALLS_MAX {
        let (dropped, is_dropped) = oneshot::channel::<()>();
        calls.spawn(owner(1), GaugeGuard::of(&gauge), async move {
            let _dropped = dropped;
            pending::<()>().await;
        });
        ends.push(is_dropped);
    }
    let (go, may_end) = oneshot::channel::<()>();
    let (done, is_done) = oneshot::channel();
    calls.spawn(owner(2), GaugeGuard::of(&gauge), async move {
        let _ = may_end.await;
        let _ = done.send(());
    });
    assert!(ends.pop().expect("a call").await.is_err());
    go.send(()).expect("it waits");
    assert_eq!(is_done.await, Ok(()));
    assert!(ends.iter_mut().all(|end| end.try_recv() == Err(oneshot::error::TryRecvError::Empty)));
    calls.stop().await;
    assert_eq!(gauge.get(), 0);
    assert!(is_sound(&calls, &[]));
}

#[tokio::test]
async fn calls_run_to_their_end_unless_they_are_stopped() {
    let (calls, gauge, ended) = (AbandonedCalls::default(), gauge(), Arc::new(AtomicUsize::new(0)));
    let (go, may_end) = oneshot::channel::<()>();
    let count = Arc::clone(&ended);
    calls.spawn(owner(1), GaugeGuard::of(&gauge), async move {
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
    calls.spawn(owner(1), GaugeGuard::of(&gauge), call);
    calls.stop().await;
    assert!(is_dropped.await.is_err());
    assert_eq!(gauge.get(), 0);
    let count = Arc::clone(&ended);
    calls.spawn(owner(1), GaugeGuard::of(&gauge), async move {
        count.fetch_add(1, Ordering::SeqCst);
    });
    calls.drain().await;
    assert_eq!((ended.load(Ordering::SeqCst), gauge.get()), (1, 0));
}
