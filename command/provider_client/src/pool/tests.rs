//! Tests of pools against servers on loopback.

mod frames;
mod hostile;
mod reuse;
pub mod server;

use bytes::Bytes;
use events::ids::TenantId;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::tests::{OK, SOCKETS, provider, serve};
use crate::{LoopMark, RequestBody, STREAMS_MAX, Transmission, UpstreamClient, UpstreamClients};
use server::Server;

/// Less than [`LOOK_FOR_CLOSED_EVERY`](crate::LOOK_FOR_CLOSED_EVERY), so that what is closed soon was seen by one look.
const SOON: Duration = Duration::from_secs(4);

fn client(base_url: &str) -> Arc<UpstreamClient> {
    UpstreamClients::with(server::tls(), LoopMark::new([1; 16]), SOCKETS).client(&provider(1, base_url, true))
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

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("its address"));
    (listener, origin)
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

/// Holds: inf.open-files
#[tokio::test]
async fn idle_connections_to_other_providers_make_room() {
    const MAX: usize = 8;
    let clients = UpstreamClients::with(server::tls(), LoopMark::new([1; 16]), MAX);
    let (mut asked, mut servers) = (Vec::new(), Vec::new());
    for number in 1..=20 {
        let (origin, server) = serve(OK).await;
        servers.push(server);
        let client = clients.client(&provider(number, &origin, true));
        must_be_served(&client, None).await;
        asked.push(client);
    }
    let idle: usize = asked.iter().map(|client| pool(client).lock().idle.len()).sum();
    assert!((1..=MAX).contains(&idle), "{idle}");
}

/// Holds: inf.open-files
#[tokio::test]
async fn a_call_without_a_socket_or_beyond_its_providers_bound_fails_at_once() {
    let clients = UpstreamClients::with(server::tls(), LoopMark::new([1; 16]), 2);
    let (silent, origin) = listener().await;
    let full = clients.client(&provider(1, &origin, true));
    let mut asked = JoinSet::new();
    for _ in 0..2 {
        let full = Arc::clone(&full);
        asked.spawn(async move { ask(&full, None, "/").await.err() });
    }
    let _streams = [silent.accept().await.expect("a connection"), silent.accept().await.expect("another")];
    assert_eq!(ask(&full, None, "/").await.err(), Some(SendError::ProviderFull));
    let (origin, _server) = serve(OK).await;
    let other = clients.client(&provider(2, &origin, true));
    assert_eq!(ask(&other, None, "/").await.err(), Some(SendError::NoSocket));
    asked.shutdown().await;
    must_be_served(&other, None).await;
}
