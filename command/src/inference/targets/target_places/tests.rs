use uuid::Uuid;

use super::*;

const LIMIT: u32 = 1;

fn backend() -> Backend {
    let provider_id = Uuid::from_u128(1).into();
    Backend { provider_id, provider: "p".to_owned(), model: "m".to_owned(), provider_key_id: None }
}

fn owner(number: u128) -> Owner {
    Some(Uuid::from_u128(number).into())
}

fn limited(backend: &Backend, limit: u32) -> LimitedTarget<'_> {
    LimitedTarget { backend, limit, is_shared: true }
}

fn places() -> TargetPlaces {
    TargetPlaces::register(&Registry::new()).expect("a new registry")
}

fn who(priority: Priority, seconds: u64) -> WaitingRequest {
    WaitingRequest { owner: None, priority, deadline: Instant::now() + Duration::from_secs(seconds) }
}

/// The calls under way, and the entries of targets.
fn state(places: &TargetPlaces) -> (usize, usize) {
    let targets = places.lock();
    let calls = targets.by_backend.values().flat_map(HashMap::values).map(|target| target.held.total()).sum();
    (calls, targets.by_backend.values().map(HashMap::len).sum())
}

#[tokio::test(start_paused = true)]
async fn a_place_goes_to_the_next_one_that_waits_and_nothing_is_left_behind() {
    let (places, mut first, mut second) = (places(), HeldPlace::default(), HeldPlace::default());
    assert!(first.take(&places, limited(&backend(), LIMIT), None));
    assert!(!second.take(&places, limited(&backend(), LIMIT), None));
    let backend = backend();
    let targets = [limited(&backend, LIMIT)];
    let waits = second.wait(&places, &targets, who(Priority::Interactive, 100), None);
    let ends = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        first.give_back();
    };
    assert_eq!(tokio::join!(waits, ends).0, Some(0));
    assert_eq!((second.waited(), first.waited()), (Some(Duration::from_secs(3)), None));
    assert_eq!(state(&places), (1, 1));
    drop(second);
    assert_eq!(state(&places), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_its_priority_and_its_deadline_allow() {
    let (places, mut held) = (places(), HeldPlace::default());
    assert!(held.take(&places, limited(&backend(), LIMIT), None));
    for (priority, deadline, waited) in
        [(Priority::Interactive, 100, 10), (Priority::Batch, 100, 60), (Priority::Batch, 7, 7)]
    {
        let mut late = HeldPlace::default();
        assert_eq!(late.wait(&places, &[limited(&backend(), LIMIT)], who(priority, deadline), None).await, None);
        assert_eq!(late.waited(), Some(Duration::from_secs(waited)));
    }
    drop(held);
    assert_eq!(state(&places), (0, 0));
}

#[tokio::test]
async fn who_leaves_the_queue_or_with_a_place_that_it_has_just_got_leaves_room() {
    let (places, mut held) = (places(), HeldPlace::default());
    assert!(held.take(&places, limited(&backend(), LIMIT), None));
    let leaving = places.join(limited(&backend(), LIMIT), who(Priority::Interactive, 100)).expect("room");
    drop(leaving);
    let served = places.join(limited(&backend(), LIMIT), who(Priority::Interactive, 100)).expect("room");
    let next = places.join(limited(&backend(), LIMIT), who(Priority::Batch, 100)).expect("room");
    held.give_back();
    assert_eq!(state(&places), (1, 1), "the place is given");
    drop(served);
    assert_eq!(state(&places), (1, 1), "and given on");
    drop(next);
    assert_eq!(state(&places), (0, 0));
}

/// Holds: inf.concurrency
#[tokio::test(start_paused = true)]
async fn the_first_place_at_any_of_several_targets_is_taken_and_the_others_are_left() {
    let places = places();
    let [first, second] = [backend(), Backend { model: "other".to_owned(), ..backend() }];
    let (mut at_first, mut at_second, mut waits) = (HeldPlace::default(), HeldPlace::default(), HeldPlace::default());
    assert!(at_first.take(&places, limited(&first, LIMIT), None));
    assert!(at_second.take(&places, limited(&second, LIMIT), None));
    let targets = [limited(&first, LIMIT), limited(&second, LIMIT)];
    let waiting = waits.wait(&places, &targets, who(Priority::Interactive, 100), None);
    let ends = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        at_second.give_back();
        // One that comes later does not overtake it.
        let mut newcomer = HeldPlace::default();
        assert!(!newcomer.take(&places, limited(&second, LIMIT), None));
        at_first.give_back();
    };
    assert_eq!(tokio::join!(waiting, ends).0, Some(0), "both have a place: the first one in the order is taken");
    assert_eq!(state(&places), (1, 1), "and the other is given back");
}

/// Holds: inf.concurrency
#[test]
fn a_tenant_has_all_places_while_it_is_the_only_one_and_of_a_shared_target_never_again() {
    let places = places();
    let backend = backend();
    let fill = |target: LimitedTarget<'_>, owner| {
        let mut held = Vec::new();
        while let Some(place) = places.take(target, owner) {
            held.push(place);
        }
        held
    };
    assert_eq!(fill(limited(&backend, 9), owner(1)).len(), 9);
    let own = Backend { model: "own".to_owned(), ..backend.clone() };
    for (limit, wanted) in [(1, [1, 0]), (2, [1, 1]), (3, [2, 1]), (9, [6, 2])] {
        // Who came first is forgotten with its calls, but not that there are several.
        drop(fill(limited(&backend, limit), owner(2)));
        let first = fill(limited(&backend, limit), owner(1));
        let second = fill(limited(&backend, limit), owner(2));
        assert_eq!([first.len(), second.len()], wanted, "{limit}");
        let of_its_own = LimitedTarget { is_shared: false, ..limited(&own, limit) };
        assert_eq!(fill(of_its_own, owner(1)).len(), usize::try_from(limit).expect("small"));
    }
    // One that waits at its share does not stop another, whose place is free.
    let _held = fill(limited(&backend, 3), owner(1));
    let waits = places.join(limited(&backend, 3), WaitingRequest { owner: owner(1), ..who_now() }).expect("room");
    assert!(places.take(limited(&backend, 3), owner(2)).is_some());
    drop(waits);
}

fn who_now() -> WaitingRequest {
    WaitingRequest { owner: None, priority: Priority::Batch, deadline: Instant::now() }
}

#[tokio::test]
async fn one_that_had_to_leave_a_full_queue_gives_back_no_place() {
    let (places, backend) = (places(), backend());
    let mut held = HeldPlace::default();
    assert!(held.take(&places, limited(&backend, LIMIT), owner(1)));
    let join = |number| places.join(limited(&backend, LIMIT), WaitingRequest { owner: owner(number), ..who_now() });
    let mut waiting: Vec<_> = (0..1000).map(|at| join(at / 100).expect("room")).collect();
    let newcomer = join(10).expect("room for an eleventh");
    let had_to_leave = waiting.iter_mut().filter_map(|waits| waits.served.try_recv().err());
    assert_eq!(had_to_leave.filter(|error| *error == oneshot::error::TryRecvError::Closed).count(), 1);
    drop(waiting);
    drop(newcomer);
    assert_eq!(state(&places), (1, 1));
}
