use events::ids::{KeyId, TenantId};
use uuid::Uuid;

use super::*;
use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner, BoundOf};

const MIB: usize = 1024 * 1024;
const BOUNDS: BodyBounds = BodyBounds { process: 3 * MIB, tenant: 2 * MIB, key: MIB, reserve: 0 };

fn permit(memory: &Arc<BodyMemory>, key: u128) -> AnswerPermit {
    let (tenant, key) = (TenantId::from(Uuid::from_u128(1)), KeyId::from(Uuid::from_u128(key)));
    let owner = BodyOwner::of(Some(tenant), Some(key));
    AnswerPermit::new(memory.permit(owner), Instant::now() + Duration::from_secs(60), WAIT_MAX)
}

fn is_refused(grown: Result<(), CallFailure>, wanted: BoundOf) -> bool {
    matches!(grown, Err(CallFailure { cause: Cause::NoMemory(bound), .. }) if bound == wanted)
}

#[tokio::test(start_paused = true)]
async fn a_small_answer_takes_nothing_and_a_larger_one_whole_steps_until_its_last_bytes_are_dropped() {
    let memory = BodyMemory::new(BOUNDS);
    let mut answer = permit(&memory, 1);
    for (bytes, held) in [(16_384, 0), (16_385, 65_536), (65_536, 65_536), (65_537, 131_072), (1, 131_072)] {
        answer.grow_to(bytes).await.expect("room");
        assert_eq!(memory.bytes_held(), held, "{bytes}");
    }
    let bytes = answer.attach_to(vec![b'x'; 100_000].into());
    assert_eq!(memory.bytes_held(), 100_000);
    let last = bytes.slice(99_999..);
    drop(bytes);
    assert_eq!(memory.bytes_held(), 100_000);
    drop(last);
    assert_eq!(memory.bytes_held(), 0);
    assert_eq!((permit(&memory, 1).attach_to(vec![b'x'; 16_384].into()).len(), memory.bytes_held()), (16_384, 0));
}

#[tokio::test(start_paused = true)]
async fn pieces_count_beside_the_answer_and_outlive_it() {
    let memory = BodyMemory::new(BOUNDS);
    let mut answer = permit(&memory, 1);
    answer.grow_to(500_000).await.expect("room");
    let large = answer.attach_to_piece(vec![b'x'; 400_000].into());
    let small = answer.attach_to_piece(vec![b'x'; 16_384].into());
    answer.shrink_to(0);
    assert_eq!(memory.bytes_held(), 400_000 + 65_536);
    drop((answer, small));
    assert_eq!(memory.bytes_held(), 400_000);
    drop(large);
    assert_eq!(memory.bytes_held(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_room_waits_for_memory_and_is_refused_after_five_seconds() {
    let memory = BodyMemory::new(BOUNDS);
    let (mut first, mut second, mut other) = (permit(&memory, 1), permit(&memory, 1), permit(&memory, 2));
    first.grow_to(MIB).await.expect("room");
    let began = Instant::now();
    assert!(is_refused(permit(&memory, 1).grow_to(20_000).await, BoundOf::Key));
    assert_eq!((began.elapsed(), memory.bytes_held()), (Duration::from_secs(5), MIB));
    other.grow_to(MIB).await.expect("another key has room of its own");
    let mut third = permit(&memory, 3);
    assert!(is_refused(third.grow_to(20_000).await, BoundOf::Tenant));
    let (grown, ()) = tokio::join!(second.grow_to(MIB), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
    });
    assert!(grown.is_ok(), "{grown:?}");
    // It has used one of its five seconds.
    let began = Instant::now();
    assert!(is_refused(second.grow_to(MIB + 1).await, BoundOf::Key));
    assert_eq!(began.elapsed(), Duration::from_secs(4));
    // A refused permit keeps its bytes: they may be all that is left of an answer.
    second.shrink_to(0);
    third.grow_to(20_000).await.expect("room");
    assert!(is_refused(other.grow_to(MIB + 1).await, BoundOf::Key));
    assert_eq!(memory.bytes_held(), MIB + 2 * STEP);
    // The request's deadline bounds the wait.
    let mut late = permit(&memory, 2);
    late.deadline = Instant::now() + Duration::from_secs(1);
    let began = Instant::now();
    assert!(is_refused(late.grow_to(20_000).await, BoundOf::Key));
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[test]
fn an_answer_waits_three_to_five_seconds() {
    assert_eq!([0, u16::MAX / 2 + 1, u16::MAX].map(|random| random_wait(random).as_secs()), [3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn of_answers_that_keep_each_other_waiting_one_gives_up_and_the_others_go_on() {
    let memory = BodyMemory::new(BOUNDS);
    let [mut patient, mut hasty] =
        [WAIT_MAX, WAIT_MIN].map(|wait| AnswerPermit { wait_left: wait, ..permit(&memory, 1) });
    for answer in [&mut patient, &mut hasty] {
        answer.grow_to(MIB / 2).await.expect("room");
    }
    let (goes_on, gives_up) = tokio::join!(patient.grow_to(MIB), async move { hasty.grow_to(MIB).await });
    assert!(is_refused(gives_up, BoundOf::Key));
    assert!(goes_on.is_ok(), "{goes_on:?}");
}
