//! Tests against HTTP/2 peers that fail, change their settings, or are hostile.

use tokio::net::TcpListener;

use super::frames::{CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, Listener, NO_ERROR, Setting};
use super::*;

/// A running request.
struct RunningRequest(JoinSet<Result<Response<ResponseBody>, SendError>>);

fn asked(client: &Arc<UpstreamClient>) -> RunningRequest {
    let (client, mut asking) = (Arc::clone(client), JoinSet::new());
    asking.spawn(async move { ask(&client, owner(1), "/").await });
    RunningRequest(asking)
}

impl RunningRequest {
    async fn answer(mut self) -> Result<Response<ResponseBody>, SendError> {
        soon(self.0.join_next()).await.expect("a task").expect("no panic")
    }

    async fn leave(mut self) {
        self.0.shutdown().await;
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("in time")
}

/// How a peer ends a request that it may have processed.
#[derive(Clone, Copy, Debug)]
enum End {
    GoAway(u32),
    Reset(u32),
    Close,
}

/// Holds: inf.upstream-once
#[tokio::test]
async fn a_request_that_an_upstream_may_have_seen_is_not_sent_again() {
    let ends = [
        End::GoAway(NO_ERROR),
        End::GoAway(INTERNAL_ERROR),
        End::GoAway(ENHANCE_YOUR_CALM),
        End::Reset(INTERNAL_ERROR),
        End::Reset(CANCEL),
        End::Reset(ENHANCE_YOUR_CALM),
        End::Close,
    ];
    for end in ends {
        let listener = Listener::start().await;
        let client = client(&listener.base_url);
        let request = asked(&client);
        let mut peer = listener.accept(&[]).await;
        let stream = soon(peer.request()).await.expect("a request");
        match end {
            End::GoAway(reason) => peer.go_away(stream, reason).await,
            End::Reset(reason) => peer.reset(stream, reason).await,
            End::Close => {}
        }
        if !matches!(end, End::Reset(_)) {
            peer.close().await;
        }
        let answer = request.answer().await;
        assert_eq!(answer.err(), Some(SendError::Closed), "{end:?}");
    }
}

/// Holds: inf.upstream-once
#[tokio::test]
async fn a_request_that_an_upstream_has_not_seen_is_sent_again_elsewhere() {
    let listener = Listener::start().await;
    let client = client(&listener.base_url);
    let request = asked(&client);
    let mut peer = listener.accept(&[]).await;
    soon(peer.request()).await.expect("a request");
    peer.go_away(0, NO_ERROR).await;
    let mut other = soon(listener.accept(&[])).await;
    let stream = soon(other.request()).await.expect("the same request");
    other.answer(stream).await;
    assert_eq!(body_of(request.answer().await).await, "ok");
    assert!(is_at_rest(&client));
}

/// Holds: inf.upstream-streams
#[tokio::test]
async fn a_peer_that_lowers_its_limit_gets_no_more_streams_than_that() {
    for fewer in [0, 1] {
        let listener = Listener::start().await;
        let client = client(&listener.base_url);
        let mut peer = {
            let warming = asked(&client);
            let mut peer = listener.accept(&[Setting::StreamsMax(8)]).await;
            let stream = soon(peer.request()).await.expect("a request");
            peer.answer(stream).await;
            assert_eq!(body_of(warming.answer().await).await, "ok");
            peer
        };
        let first = [asked(&client), asked(&client)];
        let streams = [soon(peer.request()).await.expect("one"), soon(peer.request()).await.expect("another")];
        peer.set(&[Setting::StreamsMax(fewer)]).await;
        peer.settle().await;
        let third = asked(&client);
        let mut other = soon(listener.accept(&[Setting::StreamsMax(8)])).await;
        let stream = soon(other.request()).await.expect("the third");
        other.answer(stream).await;
        assert_eq!(body_of(third.answer().await).await, "ok");
        for (request, stream) in first.into_iter().zip(streams) {
            peer.answer(stream).await;
            assert_eq!(body_of(request.answer().await).await, "ok");
        }
        assert!(is_at_rest(&client));
    }
}

#[tokio::test]
async fn an_upstream_that_took_no_streams_for_a_while_is_tried_again() {
    let server = Server::start(Some(0)).await;
    let client = client(&server.base_url);
    let waiting = begin(&client, owner(1), "/ok", 3);
    until("it was asked", || server.connections() > 0).await;
    server.take(10);
    assert_eq!(soon(waiting.join_all()).await, ["ok"; 3]);
    assert!(server.connections() < 6, "{} connections", server.connections());
}

#[tokio::test]
async fn a_request_that_an_upstream_never_takes_is_cancelled() {
    let listener = Listener::start().await;
    let client = client(&listener.base_url);
    let request = asked(&client);
    let mut peer = listener.accept(&[Setting::StreamWindow(0)]).await;
    // The request may be sent before the settings are known.
    let first = soon(peer.head()).await.expect("a request");
    peer.answer(first).await;
    assert_eq!(body_of(request.answer().await).await, "ok");
    let request = asked(&client);
    let second = soon(peer.head()).await.expect("a second request");
    request.leave().await;
    let reset = soon(async {
        loop {
            let frame = peer.next().await.expect("a frame");
            if frame.stream == second && frame.reset().is_some() {
                return frame.reset();
            }
        }
    });
    assert_eq!(reset.await, Some(CANCEL));
    assert!(is_at_rest(&client));
}

#[tokio::test]
async fn informational_responses_are_skipped() {
    let listener = Listener::start().await;
    let client = client(&listener.base_url);
    let request = asked(&client);
    let mut peer = listener.accept(&[]).await;
    let stream = soon(peer.request()).await.expect("a request");
    for _ in 0..2_000 {
        peer.hint(stream).await;
    }
    peer.settle().await;
    peer.answer(stream).await;
    assert_eq!(body_of(request.answer().await).await, "ok");
}

#[tokio::test]
async fn connecting_has_a_deadline_for_all_waiting_requests() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = client(&format!("https://{}", silent.local_addr().expect("its address")));
    let requests = [asked(&client), asked(&client), asked(&client)];
    let (_stream, _) = soon(silent.accept()).await.expect("a connection");
    until("all wait", || pool(&client).lock().queue.len() == 3).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    for request in requests {
        assert_eq!(request.answer().await.err(), Some(SendError::ConnectTimeout));
    }
    assert!(is_at_rest(&client));
}

/// Holds: inf.upstream-streams
#[tokio::test]
async fn unread_small_frames_end_no_connection() {
    let server = Server::start(Some(100)).await;
    let client = client(&server.base_url);
    must_be_served(&client, owner(2)).await;
    let held = begin(&client, owner(2), "/hold", 1);
    until("it has arrived", || server.requests() == 2).await;
    let mut unread = Vec::new();
    for _ in 0..66 {
        unread.push(soon(ask(&client, owner(1), "/drip")).await.expect("an answer"));
    }
    until("each has what its window takes", || server.has_filled(66)).await;
    server.open_gate();
    assert_eq!(soon(held.join_all()).await, ["ok"]);
    drop(unread);
    until("all have gone", || is_at_rest(&client)).await;
}

/// Holds: inf.upstream-streams
#[tokio::test]
async fn streams_that_one_tenant_cancels_end_no_other_stream() {
    let listener = Listener::start().await;
    let client = client(&listener.base_url);
    let held = asked(&client);
    let mut peer = listener.accept(&[]).await;
    let held_stream = soon(peer.request()).await.expect("a request");
    // More streams than h2 remembers; each is answered late and in pieces.
    let mut cancelled = Vec::new();
    for _ in 0..200 {
        let request = asked(&client);
        cancelled.push(soon(peer.request()).await.expect("a request"));
        request.leave().await;
    }
    for stream in &cancelled {
        peer.begin_answer(*stream).await;
    }
    for _ in 0..10 {
        for stream in &cancelled {
            peer.drip(*stream).await;
        }
        soon(peer.settle()).await;
    }
    peer.answer(held_stream).await;
    assert_eq!(body_of(held.answer().await).await, "ok");
}
