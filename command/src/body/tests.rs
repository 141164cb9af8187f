use events::event::Chain;
use http::HeaderValue;
use projections::caller::Caller;

use super::memory::BodyBounds;
use super::*;

const MIB: usize = 1024 * 1024;

fn memory() -> Arc<BodyMemory> {
    BodyMemory::new(BodyBounds::of_administration())
}

async fn read(memory: &Arc<BodyMemory>, headers: &HeaderMap, body: Body) -> Result<HeldBody, BodyError> {
    read_all(memory, BodyOwner::of_administration(&Caller::operator(Chain::default())), headers, body).await
}

fn announcing(length: usize) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))])
}

/// A body that never arrives.
fn stalled() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>())
}

/// An endless body: `bytes` at a time, with a pause before each.
fn dripping(bytes: usize, pause: Duration) -> Body {
    let drops = futures_util::stream::unfold((), move |()| async move {
        tokio::time::sleep(pause).await;
        Some((Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes])), ()))
    });
    Body::from_stream(drops)
}

fn in_pieces(pieces: usize, bytes: usize) -> Body {
    let pieces = (0..pieces).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes])));
    Body::from_stream(futures_util::stream::iter(pieces))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_announced_as_too_large_is_discarded_while_it_arrives() {
    let (memory, mut headers) = (memory(), announcing(BODY_BYTES_MAX + 1));
    let began = Instant::now();
    assert_eq!(read(&memory, &headers, stalled()).await.err(), Some(BodyError::TooLarge));
    assert_eq!(began.elapsed(), SILENCE_MAX);
    headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
    assert_eq!(read(&memory, &headers, stalled()).await.err(), Some(BodyError::TooLarge));
    assert_eq!(began.elapsed(), SILENCE_MAX, "a client that waits to be asked has sent nothing");
    headers.remove(EXPECT);
    let endless = dripping(1, SILENCE_MAX / 2);
    assert_eq!(read(&memory, &headers, endless).await.err(), Some(BodyError::TooLarge));
    assert_eq!(began.elapsed(), SILENCE_MAX + LINGER_MAX);
    let unannounced = in_pieces(33, MIB);
    assert_eq!(read(&memory, &HeaderMap::new(), unannounced).await.err(), Some(BodyError::TooLarge));
    assert_eq!(memory.bytes_held(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_largest_body_gets_through_however_it_comes() {
    let memory = memory();
    for headers in [HeaderMap::new(), announcing(BODY_BYTES_MAX)] {
        for (pieces, bytes) in [(1, BODY_BYTES_MAX), (32, MIB), (32 * 64, 16 * 1024)] {
            let held = read(&memory, &headers, in_pieces(pieces, bytes)).await.expect("a whole body");
            assert_eq!(held.bytes.len(), BODY_BYTES_MAX);
            assert!((BODY_BYTES_MAX..BODY_BYTES_MAX + MIB).contains(&memory.bytes_held()));
        }
    }
    let small = read(&memory, &announcing(3), Body::from("abc")).await.expect("a whole body");
    assert_eq!((&*small.bytes, memory.bytes_held()), (b"abc".as_slice(), 3));
    assert_eq!(read(&memory, &HeaderMap::new(), Body::empty()).await.expect("nothing").bytes.len(), 0);
    drop(small);
    assert_eq!(memory.bytes_held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_finds_no_memory_is_refused_and_gives_back_what_it_had() {
    let memory = memory();
    let first = read(&memory, &HeaderMap::new(), in_pieces(20, MIB)).await.expect("a whole body");
    let held = memory.bytes_held();
    let second = read(&memory, &HeaderMap::new(), in_pieces(21, MIB)).await;
    assert_eq!(second.err(), Some(BodyError::NoMemory(BoundOf::Process)));
    assert_eq!(memory.bytes_held(), held);
    drop(first);
    read(&memory, &HeaderMap::new(), in_pieces(20, MIB)).await.expect("there is room again");
    assert_eq!(memory.bytes_held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_too_slowly_or_not_at_all_is_refused() {
    let memory = memory();
    let took = async |body| {
        let began = Instant::now();
        assert_eq!(read(&memory, &HeaderMap::new(), body).await.err(), Some(BodyError::TooSlow));
        began.elapsed()
    };
    assert_eq!(took(stalled()).await, SPAN);
    // A little less than the required speed, and a little more, which gets the whole time.
    let second = Duration::from_secs(1);
    assert_eq!(took(dripping(8 * 1024 - 1, second)).await, SPAN);
    assert_eq!(took(dripping(9 * 1024, second)).await, BODY_WAIT_MAX);
    // Enough bytes in one span earn the next span; many bytes at the start earn no more than that.
    let at_once = |bytes| {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes]))]);
        Body::from_stream(first.chain(futures_util::stream::pending()))
    };
    assert_eq!(took(at_once(SPAN_BYTES_MIN - 1)).await, SPAN);
    assert_eq!(took(at_once(SPAN_BYTES_MIN)).await, 2 * SPAN);
    assert_eq!(took(at_once(31 * MIB)).await, 2 * SPAN);
    // A body that always has a chunk ready is not read for ever.
    assert!(took(dripping(0, Duration::from_millis(1))).await <= SPAN + second);
    assert_eq!(memory.bytes_held(), 0);
}

#[test]
fn a_refusal_for_lack_of_memory_names_the_bound_and_when_to_retry() {
    for (bound, scope, whose) in [
        (BoundOf::Key, "key", " for this key"),
        (BoundOf::Tenant, "tenant", " for this tenant"),
        (BoundOf::Process, "gateway", ""),
    ] {
        let refusal = BodyError::NoMemory(bound).into_refusal();
        assert_eq!((refusal.code, &refusal.details["scope"]), (ErrorCode::Overloaded, &scope.into()));
        assert!(refusal.message.contains(&format!("request bodies{whose} as it may")), "{}", refusal.message);
        assert_eq!(refusal.retry_after, Some(Refusal::TRY_AGAIN_AFTER));
    }
}

#[test]
fn a_body_is_json_where_its_type_says_so_in_any_case_and_with_any_parameters() {
    for (given, expected) in [
        (Some("application/json"), true),
        (Some("Application/JSON"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some(" application/json ;charset=utf-8"), true),
        (Some("application/jsonl"), false),
        (Some("text/plain; application/json"), false),
        (Some(""), false),
        (None, false),
    ] {
        let headers = given.map(|given| (CONTENT_TYPE, HeaderValue::from_static(given)));
        assert_eq!(is_json(&HeaderMap::from_iter(headers)), expected, "{given:?}");
    }
}
