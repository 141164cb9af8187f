//! Tests of connections that are kept for later requests, and of what makes one useless for them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Runtime};

use super::*;
use crate::pool::lease::READY_MAX;
use crate::tests::serve_at;
use crate::{ATTEMPTS_MAX, IDLE_CONNECTION_MAX, LOOK_FOR_CLOSED_EVERY};

/// More connections than a task may look at in one turn.
const MANY: usize = 150;
const FIRST_READ_MAX: usize = 4096;

#[tokio::test]
async fn http1_connections_are_reused_and_a_closed_one_is_replaced() {
    let (origin, mut server) = serve(OK).await;
    let client = client(&origin);
    for _ in 0..5 {
        must_be_served(&client, None).await;
    }
    assert_eq!(pool(&client).lock().idle.len(), 1);
    let asked = begin(&client, None, "/ok", 3);
    assert_eq!(asked.join_all().await, ["ok"; 3]);
    until("they are kept", || (1..=3).contains(&pool(&client).lock().idle.len())).await;
    server.shutdown().await;
    advance(LOOK_FOR_CLOSED_EVERY).await;
    until("they are closed", || pool(&client).lock().idle.is_empty()).await;
    assert_eq!(ask(&client, None, "/ok").await.err(), Some(SendError::Connect));
    let (_, _server) = serve_at(&origin, OK).await;
    must_be_served(&client, None).await;
}

#[tokio::test]
async fn a_request_is_given_a_connection_of_its_own_runtime_and_another_one_if_there_is_none() {
    let (origin, _server) = serve(OK).await;
    let client = client(&origin);
    // Two at a time, each on a connection of its own.
    let two_at_a_time = async |client: &UpstreamClient| {
        let (first, second) = tokio::join!(ask(client, None, "/ok"), ask(client, None, "/ok"));
        body_of(first).await;
        body_of(second).await;
    };
    let there = on_another_runtime(&client, two_at_a_time).await;
    must_be_served(&client, None).await;
    let here = Handle::current().id();
    let mut state = pool(&client).lock();
    let mut next_of = |runtime| state.idle.take(Some(runtime)).map(|connection| connection.runtime());
    assert_eq!(next_of(here), Some(here), "the one that was used here last");
    assert_eq!(next_of(here), Some(there.handle().id()));
    assert_eq!(next_of(here), None);
    drop(state);
    there.shutdown_background();
}

#[tokio::test]
async fn a_connection_is_watched_by_the_runtime_of_its_request() {
    let (origin, _server) = serve(OK).await;
    let client = client(&origin);
    let there = on_another_runtime(&client, async |client| must_be_served(client, None).await).await;
    // Nothing runs there any more: what arrives is noticed only here.
    must_be_served(&client, None).await;
    assert_eq!(pool(&client).lock().idle.len(), 1, "the same connection");
    there.shutdown_background();
}

/// Runs something on a runtime of its own, which then stands still.
async fn on_another_runtime(
    client: &Arc<UpstreamClient>,
    what: impl AsyncFnOnce(&UpstreamClient) + Send + 'static,
) -> Runtime {
    let client = Arc::clone(client);
    let ran = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(what(&client));
        runtime
    });
    ran.await.expect("no panic")
}

/// Makes this many idle connections to a server that answers one request on each, and returns the server's ends.
async fn leave_idle(client: &UpstreamClient, listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let asking = async {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(ask(client, None, "/ok").await);
        }
        for answer in answers {
            assert_eq!(body_of(answer).await, "ok");
        }
    };
    let answering = async {
        let mut streams = Vec::new();
        for _ in 0..count {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            answer_one(&mut stream).await;
            streams.push(stream);
        }
        streams
    };
    let ((), streams) = tokio::join!(asking, answering);
    assert_eq!(pool(client).lock().idle.len(), count);
    streams
}

async fn answer_one(stream: &mut TcpStream) {
    assert!(stream.read(&mut [0; FIRST_READ_MAX]).await.expect("a request") > 0);
    stream.write_all(OK).await.expect("a reader");
}

/// The client must send its next request on a new connection.
async fn must_be_served_anew(client: &UpstreamClient, listener: &TcpListener) {
    // What the server did has arrived, over loopback; the runtime looks at its sockets before it sleeps.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let answering = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        answer_one(&mut stream).await;
        stream
    };
    let ((), _stream) = tokio::join!(must_be_served(client, None), answering);
    assert_eq!(pool(client).lock().idle.len(), 1, "the closed ones are gone, and the new one is kept");
}

#[tokio::test]
async fn a_request_does_not_get_an_idle_connection_that_its_peer_has_closed() {
    let (listener, origin) = listener().await;
    let client = client(&origin);
    drop(leave_idle(&client, &listener, MANY).await);
    must_be_served_anew(&client, &listener).await;
}

#[tokio::test]
async fn a_request_does_not_get_an_idle_connection_on_which_something_came_unasked() {
    let (listener, origin) = listener().await;
    let client = client(&origin);
    // More than a request is sent again to.
    let mut streams = leave_idle(&client, &listener, ATTEMPTS_MAX + 1).await;
    for stream in &mut streams {
        stream.write_all(OK).await.expect("a reader");
    }
    must_be_served_anew(&client, &listener).await;
}

#[tokio::test]
async fn idle_connections_are_closed_when_their_peers_close_them_and_others_stay() {
    let (listener, origin) = listener().await;
    let client = client(&origin);
    let mut streams = leave_idle(&client, &listener, MANY).await;
    let kept = streams.swap_remove(MANY / 2);
    drop(streams);
    advance(LOOK_FOR_CLOSED_EVERY).await;
    until("the others are closed", || pool(&client).lock().idle.len() == 1).await;
    drop(kept);
    advance(LOOK_FOR_CLOSED_EVERY).await;
    until("it is closed as well", || pool(&client).lock().idle.is_empty()).await;
}

#[tokio::test]
async fn a_connection_that_is_looked_at_comes_back_before_those_that_became_idle_later() {
    let (listener, origin) = listener().await;
    let client = client(&origin);
    let _streams = leave_idle(&client, &listener, 3).await;
    let mut state = pool(&client).lock();
    let looked_at = state.idle.take_at(1).expect("three are idle");
    let since = looked_at.since;
    let (_last, first) = (state.idle.take(None).expect("the last"), state.idle.take(None).expect("the first"));
    drop(state.keep_idle(first));
    state.idle.put_back(looked_at);
    assert_eq!((state.idle.len(), state.oldest_idle()), (2, Some(since)));
}

#[tokio::test]
async fn a_look_that_panics_is_not_the_last() {
    let (_listener, origin) = listener().await;
    let client = client(&origin);
    let pool = pool(&client);
    pool.lock().is_reaped = true;
    let reaper = reap::Reaper::new(pool);
    let mut looking = JoinSet::new();
    looking.spawn(async move {
        let _reaper = reaper;
        panic!("in a look");
    });
    assert!(looking.join_next().await.is_some_and(|ended| ended.is_err_and(|error| error.is_panic())));
    assert!(!pool.lock().is_reaped);
}

/// A peer that answers before it has read the request.
#[tokio::test]
async fn after_an_early_response_the_connection_is_used_again_if_the_rest_of_the_request_is_read_in_time() {
    const BODY: usize = 32 * 1024 * 1024;
    /// All that is left of the request, whatever was read of it before it was answered.
    const REST: usize = BODY - FIRST_READ_MAX;
    for is_read in [true, false] {
        let (listener, origin) = listener().await;
        let client = client(&origin);
        let body = RequestBody::new(vec![b'x'; BODY].into(), Transmission::default());
        let request = Request::post("http://upstream.example/").body(body).expect("a request");
        let answering = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            answer_one(&mut stream).await;
            stream
        };
        let (answer, mut stream) = tokio::join!(client.send(None, request), answering);
        assert_eq!(body_of(answer).await, "ok");
        assert_eq!(pool(&client).lock().idle.len(), 0, "the request is not sent yet");
        if !is_read {
            // The wait for the connection begins.
            tokio::task::yield_now().await;
            advance(READY_MAX).await;
        }
        let (mut buffer, mut received) = (vec![0; 1 << 20], 0);
        while received < REST
            && let Ok(read @ 1..) = timeout(SOON, stream.read(&mut buffer)).await.expect("it goes on, or is closed")
        {
            received += read;
        }
        assert_eq!(received >= REST, is_read, "{received}");
        until("it is kept if it was read", || pool(&client).lock().idle.len() == usize::from(is_read)).await;
    }
}

/// A peer that does not read, so that nothing but the end of the connection can be sent to it.
#[tokio::test]
async fn a_request_that_is_given_up_closes_its_connection() {
    const BODY: usize = 32 * 1024 * 1024;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = client(&format!("http://{}", listener.local_addr().expect("its address")));
    let body = RequestBody::new(vec![b'x'; BODY].into(), Transmission::default());
    let request = Request::post("http://upstream.example/").body(body).expect("a request");
    let given_up = timeout(Duration::from_millis(200), client.send(None, request)).await;
    assert!(given_up.is_err(), "it was answered");
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let (mut buffer, mut received) = (vec![0; 1 << 20], 0);
    while let Ok(read) = timeout(SOON, stream.read(&mut buffer)).await.expect("it is closed")
        && read > 0
    {
        received += read;
    }
    assert!((1..BODY).contains(&received), "{received}");
}

#[tokio::test]
async fn over_tls_a_server_without_http2_gets_http1() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = client(&format!("https://{}", listener.local_addr().expect("its address")));
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream = server::acceptor(b"http/1.1").accept(stream).await.expect("TLS");
        while matches!(stream.read(&mut [0; 4096]).await, Ok(read) if read > 0) {
            stream.write_all(OK).await.expect("a reader");
        }
    });
    for _ in 0..3 {
        must_be_served(&client, None).await;
    }
    assert_eq!(pool(&client).lock().idle.len(), 1);
}

#[tokio::test]
async fn connections_that_are_idle_for_long_are_closed() {
    let mut server = Server::start(None).await;
    let http2 = client(&server.base_url);
    must_be_served(&http2, None).await;
    let (origin, _http1) = serve(OK).await;
    let http1 = client(&origin);
    must_be_served(&http1, None).await;
    assert_eq!((server.open_connections(), pool(&http1).lock().idle.len()), (1, 1));
    advance(IDLE_CONNECTION_MAX).await;
    until("both are closed", || server.open_connections() == 0 && pool(&http1).lock().idle.is_empty()).await;
    must_be_served(&http2, None).await;
    assert_eq!(server.connections(), 2);
    server.end();
}
