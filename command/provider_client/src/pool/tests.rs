//! Tests of pools against servers on loopback.

mod frames;
mod hostile;
pub mod server;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::lease::READY_MAX;
use super::*;
use crate::tests::{OK, provider, serve, serve_at};
use crate::{
    ATTEMPTS_MAX, IDLE_CONNECTION_MAX, LOOK_FOR_CLOSED_EVERY, LoopMark, RequestBody, STREAMS_MAX, Transmission,
    UpstreamClient, UpstreamClients,
};
use server::Server;

/// Less than [`LOOK_FOR_CLOSED_EVERY`], so that what is closed soon was seen by one look.
const SOON: Duration = Duration::from_secs(4);

fn client(base_url: &str) -> Arc<UpstreamClient> {
    UpstreamClients::with(server::tls(), LoopMark::new([1; 16])).client(&provider(1, base_url, true))
}

fn pool(client: &UpstreamClient) -> &Pool {
    &client.endpoint.as_ref().expect("an address").1
}

fn owner(number: u128) -> Owner {
    Some(TenantId::from(Uuid::from_u128(number)))
}

async fn ask(client: &UpstreamClient, owner: Owner, path: &str) -> Result<Response<ResponseBody>, SendError> {
    let body = RequestBody::new(Bytes::from_static(b"{}"), Transmission::default());
    let request = Request::post(format!("https://upstream.example{path}")).body(body).expect("a request");
    client.send(owner, request).await
}

async fn body_of(answer: Result<Response<ResponseBody>, SendError>) -> Bytes {
    answer.expect("an answer").into_body().collect().await.expect("a body").to_bytes()
}

/// Lets a little more than this time pass.
async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time + Duration::from_secs(1)).await;
    tokio::time::resume();
}

/// Sends a request, which must be answered soon.
async fn must_be_served(client: &UpstreamClient, owner: Owner) {
    let answer = timeout(SOON, async { body_of(ask(client, owner, "/ok").await).await }).await;
    assert_eq!(answer.expect("in time"), "ok");
}

/// Starts this many requests.
fn begin(client: &Arc<UpstreamClient>, owner: Owner, path: &'static str, count: usize) -> JoinSet<Bytes> {
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let client = Arc::clone(client);
        asked.spawn(async move { body_of(ask(&client, owner, path).await).await });
    }
    asked
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A proxy that lets a single connection through to this server; its address.
async fn front_of(server: &Server) -> (String, JoinSet<()>) {
    let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("https://{}", front.local_addr().expect("its address"));
    let behind = server.base_url.trim_start_matches("https://").to_owned();
    let mut forwarding = JoinSet::new();
    forwarding.spawn(async move {
        let (mut near, _) = front.accept().await.expect("a connection");
        drop(front);
        let mut far = tokio::net::TcpStream::connect(behind).await.expect("the server");
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    (base_url, forwarding)
}

fn is_at_rest(client: &UpstreamClient) -> bool {
    let state = pool(client).lock();
    state.queue.is_empty() && state.streams_open() == 0
}

/// Holds: inf.upstream-streams
#[tokio::test]
async fn a_connection_that_is_full_gets_another_beside_it() {
    let server = Server::start(Some(4)).await;
    let client = client(&server.base_url);
    let asked = begin(&client, owner(1), "/hold", 10);
    until("ten at once", || server.requests() == 10).await;
    must_be_served(&client, owner(1)).await;
    assert!((3..=6).contains(&server.connections()), "{}", server.connections());
    server.open_gate();
    assert!(asked.join_all().await.iter().all(|body| body == "ok"));
    assert!(is_at_rest(&client));
}

/// Holds: inf.upstream-streams
#[tokio::test]
async fn a_slow_reader_stalls_no_other_request() {
    const SLOW: usize = 300;
    let server = Server::start(None).await;
    let client = client(&server.base_url);
    let mut unread = Vec::new();
    for _ in 0..SLOW {
        unread.push(ask(&client, owner(1), "/flood").await.expect("an answer"));
    }
    until("each has what its window takes", || server.has_filled(SLOW)).await;
    must_be_served(&client, owner(2)).await;
    assert!(server.connections() >= SLOW / STREAMS_MAX, "{}", server.connections());
    drop(unread);
    until("all have gone", || is_at_rest(&client)).await;
}

/// Holds: inf.upstream-fair
#[tokio::test]
async fn no_tenant_takes_all_streams_of_an_upstream() {
    let server = Server::start(Some(1)).await;
    let client = client(&server.base_url);
    let greedy = begin(&client, owner(1), "/hold", 100);
    let share = state::CONNECTIONS_MAX * 2 / 3 + 1;
    until("its share", || server.requests() == share).await;
    must_be_served(&client, owner(2)).await;
    must_be_served(&client, None).await;
    assert_eq!(server.requests(), share + 2, "the greedy got more while others were served");
    assert_eq!(pool(&client).lock().queue.len(), 100 - share);
    server.open_gate();
    assert_eq!(timeout(SOON, greedy.join_all()).await.expect("all of them in time").len(), 100);
    assert!(server.connections() <= state::CONNECTIONS_MAX, "{}", server.connections());
}

/// Holds: inf.upstream-fair
#[tokio::test]
async fn no_tenant_takes_all_streams_of_a_single_connection() {
    let server = Server::start(Some(20)).await;
    let (front, _forwarding) = front_of(&server).await;
    let client = client(&front);
    must_be_served(&client, owner(1)).await;
    let greedy = begin(&client, owner(1), "/hold", 40);
    until("its share", || server.requests() == 1 + 14).await;
    for number in 2..6 {
        must_be_served(&client, owner(number)).await;
    }
    assert_eq!(server.connections(), 1);
    server.open_gate();
    assert_eq!(timeout(SOON, greedy.join_all()).await.expect("all of them in time").len(), 40);
}

/// Holds: inf.upstream-fair
#[tokio::test]
async fn the_tenant_with_the_fewest_streams_goes_first() {
    let server = Server::start(Some(1)).await;
    let client = client(&server.base_url);
    let mut tasks = Vec::new();
    // Three owners take all streams.
    let open = |number| pool(&client).lock().streams_of(owner(number));
    for (number, share) in [(1, 43), (2, 14), (3, 5)] {
        tasks.push(begin(&client, owner(number), "/hold", 60));
        until("its share", || open(number) == share).await;
    }
    tasks.push(begin(&client, owner(4), "/hold", 1));
    until("the newcomer is served", || open(4) == 1).await;
    assert_eq!([1, 2, 3].map(open), [43, 14, 5]);
}

#[tokio::test]
async fn a_stream_that_was_refused_unprocessed_is_tried_again_and_not_without_end() {
    let server = Server::start(None).await;
    let client = client(&server.base_url);
    assert_eq!(body_of(ask(&client, None, "/refuse-2").await).await, "ok");
    assert_eq!((server.requests(), server.connections()), (3, 1));
    let server = Server::start(None).await;
    let client = self::client(&server.base_url);
    assert_eq!(ask(&client, None, "/refuse-9").await.err(), Some(SendError::Refused));
    assert_eq!(server.requests(), 3);
    assert!(is_at_rest(&client));
}

#[tokio::test]
async fn after_a_goaway_open_streams_continue_and_another_connection_takes_new_ones() {
    let server = Server::start(None).await;
    let client = client(&server.base_url);
    must_be_served(&client, None).await;
    let leaving = begin(&client, None, "/leave", 1);
    until("it has arrived", || server.requests() == 2).await;
    for _ in 0..5 {
        must_be_served(&client, None).await;
    }
    assert_eq!(server.connections(), 2);
    server.open_gate();
    assert_eq!(timeout(SOON, leaving.join_all()).await.expect("in time"), ["ok"]);
    until("the old one has gone", || server.open_connections() == 1).await;
    assert!(is_at_rest(&client));
}

#[tokio::test]
async fn one_connection_is_opened_for_all_waiting_requests() {
    let server = Server::start(None).await;
    let client = client(&server.base_url);
    let asked = begin(&client, owner(1), "/ok", 40);
    assert_eq!(timeout(SOON, asked.join_all()).await.expect("in time").len(), 40);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_request_that_leaves_leaves_nothing_behind() {
    let server = Server::start(Some(2)).await;
    let client = client(&server.base_url);
    // Leave while the connection is opened, while waiting for the response, and while reading it.
    for pause in [0, 1, 3, 10, 50] {
        let mut asked = begin(&client, owner(1), "/hold", 30);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        asked.shutdown().await;
        let unread = ask(&client, owner(1), "/flood").await.expect("an answer");
        drop(unread);
    }
    until("all have gone", || is_at_rest(&client)).await;
    must_be_served(&client, owner(1)).await;
}

#[tokio::test]
async fn requests_that_wait_in_vain_fail_soon_and_others_wait_for_a_stream() {
    let nobody = { tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it") };
    let client = client(&format!("https://{nobody}"));
    let mut asked = JoinSet::new();
    for _ in 0..30 {
        let client = Arc::clone(&client);
        asked.spawn(async move { ask(&client, owner(1), "/ok").await.err() });
    }
    let failed = timeout(SOON, asked.join_all()).await.expect("in time");
    assert!(failed.iter().all(|error| *error == Some(SendError::Connect)), "{failed:?}");
    assert!(is_at_rest(&client));

    // A single connection that takes one request; no other can be opened.
    let server = Server::start(Some(1)).await;
    let (front, _forwarding) = front_of(&server).await;
    let client = self::client(&front);
    let first = begin(&client, owner(1), "/hold", 1);
    until("it has arrived", || server.requests() == 1).await;
    let second = begin(&client, owner(2), "/hold", 3);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(pool(&client).lock().connecting <= 3, "it is tried again and again");
    server.open_gate();
    assert_eq!(timeout(SOON, first.join_all()).await.expect("in time"), ["ok"]);
    assert_eq!(timeout(SOON, second.join_all()).await.expect("in time").len(), 3);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn no_request_waits_without_end() {
    let server = Server::start(Some(1)).await;
    let (front, _forwarding) = front_of(&server).await;
    let client = client(&front);
    let _holding = begin(&client, owner(1), "/hold", 1);
    until("it has all there is", || server.requests() == 1).await;
    let waiting = ask(&client, None, "/ok");
    let (answer, ()) = tokio::join!(waiting, async {
        until("it waits", || pool(&client).lock().queue.len() == 1).await;
        tokio::time::pause();
        tokio::time::advance(WAIT_MAX).await;
        tokio::time::resume();
    });
    assert_eq!(answer.err(), Some(SendError::Busy));
    assert!(pool(&client).lock().queue.is_empty());
}

#[tokio::test]
async fn an_upstream_that_never_takes_a_stream_is_not_tried_without_end() {
    let server = Server::start(Some(0)).await;
    let client = client(&server.base_url);
    let waiting = ask(&client, None, "/ok");
    let (answer, ()) = tokio::join!(waiting, async {
        until("it was asked", || server.connections() > 0).await;
        tokio::time::pause();
        tokio::time::advance(WAIT_MAX).await;
        tokio::time::resume();
    });
    assert!(matches!(answer.err(), Some(SendError::Busy | SendError::Refused)));
    assert!(is_at_rest(&client));
    assert!(server.connections() <= 6, "{} connections", server.connections());
}

#[tokio::test]
async fn a_connection_that_has_had_many_streams_is_replaced_and_its_open_streams_continue() {
    let server = Server::start(None).await;
    let client = client(&server.base_url);
    must_be_served(&client, owner(1)).await;
    let held = begin(&client, owner(2), "/hold", 1);
    until("it has arrived", || server.requests() == 2).await;
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        asking.spawn(async move {
            for _ in 0..state::STREAMS_OF_A_CONNECTION_MAX / 20 {
                must_be_served(&client, owner(1)).await;
            }
        });
    }
    asking.join_all().await;
    assert_eq!(server.connections(), 2);
    assert_eq!(server.open_connections(), 2);
    server.open_gate();
    assert_eq!(timeout(SOON, held.join_all()).await.expect("in time"), ["ok"]);
    until("the old one is closed", || server.open_connections() == 1).await;
    must_be_served(&client, owner(1)).await;
    assert_eq!(server.connections(), 2);
}

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

/// More connections than a task may look at in one turn.
const MANY: usize = 150;

const FIRST_READ_MAX: usize = 4096;

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

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("its address"));
    (listener, origin)
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
    let reaper = reap::Reaper(pool.downgrade());
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
