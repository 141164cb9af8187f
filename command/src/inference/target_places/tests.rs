use uuid::Uuid;

use super::*;

const LIMIT: u32 = 1;

fn backend() -> Backend {
    let provider_id = Uuid::from_u128(1).into();
    Backend { provider_id, provider: "p".to_owned(), model: "m".to_owned(), provider_key_id: None }
}

fn places() -> TargetPlaces {
    TargetPlaces::register(&Registry::new()).expect("a new registry")
}

fn who(priority: Priority, seconds: u64) -> Waiting {
    Waiting { owner: None, priority, deadline: Instant::now() + Duration::from_secs(seconds) }
}

/// The calls under way, and the entries of targets.
fn state(places: &TargetPlaces) -> (u32, usize) {
    let targets = places.lock();
    let calls = targets.values().flat_map(HashMap::values).map(|target| target.calls).sum();
    (calls, targets.values().map(HashMap::len).sum())
}

#[tokio::test(start_paused = true)]
async fn a_place_goes_to_the_next_one_that_waits_and_nothing_is_left_behind() {
    let (places, mut first, mut second) = (places(), HeldPlace::default(), HeldPlace::default());
    assert!(first.take(&places, &backend(), LIMIT));
    assert!(!second.take(&places, &backend(), LIMIT));
    let backend = backend();
    let waits = second.wait(&places, &backend, LIMIT, who(Priority::Interactive, 100));
    let ends = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        first.give_back();
    };
    assert!(tokio::join!(waits, ends).0);
    assert_eq!((second.waited(), first.waited()), (Some(Duration::from_secs(3)), None));
    assert_eq!(state(&places), (1, 1));
    drop(second);
    assert_eq!(state(&places), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_its_priority_and_its_deadline_allow() {
    let (places, mut held) = (places(), HeldPlace::default());
    assert!(held.take(&places, &backend(), LIMIT));
    for (priority, deadline, waited) in
        [(Priority::Interactive, 100, 10), (Priority::Batch, 100, 60), (Priority::Batch, 7, 7)]
    {
        let mut late = HeldPlace::default();
        assert!(!late.wait(&places, &backend(), LIMIT, who(priority, deadline)).await);
        assert_eq!(late.waited(), Some(Duration::from_secs(waited)));
    }
    drop(held);
    assert_eq!(state(&places), (0, 0));
}

#[tokio::test]
async fn who_leaves_the_queue_or_with_a_place_that_it_has_just_got_leaves_room() {
    let (places, mut held) = (places(), HeldPlace::default());
    assert!(held.take(&places, &backend(), LIMIT));
    let leaving = places.join(&backend(), LIMIT, who(Priority::Interactive, 100)).expect("room");
    drop(leaving);
    let served = places.join(&backend(), LIMIT, who(Priority::Interactive, 100)).expect("room");
    let next = places.join(&backend(), LIMIT, who(Priority::Batch, 100)).expect("room");
    held.give_back();
    assert_eq!(state(&places), (1, 1), "the place is given");
    drop(served);
    assert_eq!(state(&places), (1, 1), "and given on");
    drop(next);
    assert_eq!(state(&places), (0, 0));
}

#[test]
fn a_priority_is_interactive_or_batch() {
    let named = |name: &str| {
        let headers = HeaderMap::from_iter([(PRIORITY_HEADER, http::HeaderValue::try_from(name).expect("a value"))]);
        Priority::of(&headers).map_err(|refusal| refusal.code)
    };
    assert_eq!(Priority::of(&HeaderMap::new()).ok(), Some(Priority::Interactive));
    assert_eq!((named("interactive"), named("batch")), (Ok(Priority::Interactive), Ok(Priority::Batch)));
    for wrong in ["", "Batch", "high"] {
        assert_eq!(named(wrong), Err(ErrorCode::InvalidRequest), "{wrong}");
    }
}
