//! The HTTP server: accepts connections, HTTP/1.1 and HTTP/2, with a bound on every wait, and has threads of their own serve them.
//! Connections are tasks of one set; dropping it ends them. `connection_places.rs` decides which of them have to leave.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, TcpStream as StdTcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Version};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::connection_places::{ConnectionPlace, ConnectionPlaces};
use super::connection_requests::{ConnectionRequests, ResponseInProgress};
use super::connection_threads::{ConnectionRuntimes, ThreadRuntimes};
use super::connection_watch::WatchedConnection;
use super::parse_errors::ParseErrorResponses;
use crate::metrics::ResponseMetrics;

/// A connection that has sent no request by then, or is idle for so long, is closed. Longer than load balancers keep an idle
/// connection, so that they close it first.
const IDLE_MAX: Duration = Duration::from_secs(75);
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// The most bytes that a socket buffers before it sends them. The kernel would buffer up to 4 MiB (`tcp_wmem`) for every
/// client that reads slowly, and the gateway would fetch as much from upstreams.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;
/// Pause after a failed accept, such as one for too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most connections that wait to be accepted, if the kernel allows as many (`somaxconn`): one that finds no room there tries
/// again after a second.
const BACKLOG: u32 = 4096;
/// The time for the first request on a reserved place.
const RESERVED_HEAD_MAX: Duration = Duration::from_secs(1);
/// The time to tell the client of a silent connection that it ends, as HTTP/2 does; one without a key is told nothing.
const LEAVE_MAX: Duration = Duration::from_millis(10);
/// The pause between two looks at a connection that ends once it has answered a request that came in that time.
const LEAVING_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two warnings that reserved places are in use.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// The handler of the requests of a listener. Cheap to clone.
pub trait RequestHandler: Clone + Send + Sync + 'static {
    fn metrics(&self) -> &ResponseMetrics;

    /// True for a proxy whose word for where its clients are is taken.
    fn is_trusted_proxy(&self, peer: IpAddr) -> bool;

    /// The responses to requests that cannot be parsed, and so never reach the handler.
    fn parse_error_responses(&self) -> ParseErrorResponses;

    /// Answers one request of a connection.
    fn answer(self, request: Request, connection: Arc<ConnectionRequests>) -> impl Future<Output = Response> + Send;
}

/// A bound listener that is not accepting yet.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        #[cfg(target_os = "linux")]
        bound_unsent_bytes(&listener)?;
        Ok(Self { listener })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves at most `connections_max` connections at a time, until it is dropped, and the connections with it.
    pub async fn serve_at_most(self, connections_max: usize, handler: impl RequestHandler, runtimes: ThreadRuntimes) {
        let places = ConnectionPlaces::new(connections_max);
        let (mut connections, mut warned_at) = (JoinSet::new(), None);
        loop {
            while connections.try_join_next().is_some() {}
            places.room().await;
            match self.accept().await {
                Ok((stream, peer)) => {
                    let is_trusted_proxy = handler.is_trusted_proxy(peer.ip());
                    // Without a place, the connection is closed.
                    let Some(place) = places.take(peer.ip(), is_trusted_proxy) else { continue };
                    if place.requests().place().is_reserved() {
                        warn_of_reserved_places(&mut warned_at);
                    }
                    let (handler, runtimes) = (handler.clone(), runtimes.for_connection());
                    let runtime = runtimes.runtime().clone();
                    connections.spawn_on(serve_connection(runtimes, stream, place, handler), &runtime);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts a connection and takes it off this runtime's watch, so that another thread can watch it.
    async fn accept(&self) -> io::Result<(StdTcpStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((stream.into_std()?, peer))
    }
}

/// Listens as [`TcpListener::bind`] does, with a longer line of connections to accept.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn warn_of_reserved_places(warned_at: &mut Option<Instant>) {
    if warned_at.is_none_or(|at| at.elapsed() >= WARNING_PAUSE) {
        *warned_at = Some(Instant::now());
        tracing::warn!(
            "all connections are busy, or those that one address may have: new ones serve health, metrics and the operator alone"
        );
    }
}

/// Bounds the unsent bytes of all accepted connections, which inherit the option. Bytes that were sent and are not yet
/// acknowledged come on top, as many as the peer's window allows, so that fast connections stay fast.
#[cfg(target_os = "linux")]
fn bound_unsent_bytes(listener: &TcpListener) -> io::Result<()> {
    socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

fn builder(runtimes: ConnectionRuntimes) -> Builder<ConnectionRuntimes> {
    let mut builder = Builder::new(runtimes);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(IDLE_MAX);
    builder
}

/// Serves one connection until it ends. Errors are the client's, so they are logged for debugging alone.
async fn serve_connection(
    runtimes: ConnectionRuntimes,
    stream: StdTcpStream,
    place: ConnectionPlace,
    handler: impl RequestHandler,
) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot watch a connection"),
    };
    let _ = stream.set_nodelay(true);
    let metrics = handler.metrics();
    let requests = Arc::clone(place.requests());
    let is_reserved = requests.place().is_reserved();
    let _open = metrics.connection_opens();
    let _reserved = is_reserved.then(|| metrics.reserved_connection_opens());
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (handler, connection) = (handler.clone(), Arc::clone(&requests));
        let request_begun = requests.begin(request.version());
        let is_get = request.method() == Method::GET;
        // HTTP/2 has no such header.
        let says_close = is_reserved && request.version() < Version::HTTP_2;
        async move {
            // hyper keeps room for this future as long as the connection lives. The large part of it is boxed, so that an
            // idle connection does not hold it.
            let mut answer = Box::pin(handler.answer(request.map(Body::new), connection)).await;
            if is_get && answer.headers().get(CONTENT_TYPE).is_some_and(|media| media == "text/event-stream") {
                request_begun.mark_endless();
            }
            if says_close {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| ResponseInProgress::new(body, request_begun)))
        }
    });
    let stream = WatchedConnection::new(stream, Arc::clone(&requests), handler.parse_error_responses());
    let builder = builder(runtimes);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    poll_fn(|context| {
        requests.set_waker(context.waker());
        Poll::Ready(())
    })
    .await;
    // hyper has no deadline for the first bytes, which decide on the protocol.
    let mut first_head = pin!(tokio::time::sleep(if is_reserved { RESERVED_HEAD_MAX } else { IDLE_MAX }));
    let mut takes_requests = true;
    let served = poll_fn(|context| {
        if place.is_to_end() {
            metrics.connection_ended_for_others();
            return Poll::Ready(None);
        }
        if let Poll::Ready(served) = serving.as_mut().poll(context) {
            return Poll::Ready(Some(served));
        }
        if requests.heads() == 0 {
            return first_head.as_mut().poll(context).map(|()| None);
        }
        // A reserved place is for requests that have come together.
        if is_reserved && mem::take(&mut takes_requests) {
            serving.as_mut().graceful_shutdown();
            return serving.as_mut().poll(context).map(Some);
        }
        Poll::Pending
    })
    .await;
    let served = match served {
        Some(served) => served,
        None if requests.is_known() => {
            serving.as_mut().graceful_shutdown();
            let mut pause = LEAVE_MAX;
            loop {
                // It may be asked again, once it is not busy any more.
                let ends = poll_fn(|context| {
                    if place.is_to_end() { Poll::Ready(None) } else { serving.as_mut().poll(context).map(Some) }
                });
                match tokio::time::timeout(pause, ends).await {
                    Ok(Some(served)) => break served,
                    Ok(None) => return,
                    // A request has crossed the word that it ends.
                    Err(_) if place.is_kept() => pause = LEAVING_PAUSE,
                    Err(_) => return,
                }
            }
        }
        None => return,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_takes_little_for_a_client_that_does_not_read() {
        const WINDOW_BYTES: u32 = 64 * 1024;
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a listener");
        let client = TcpSocket::new_v4().expect("a socket");
        client.set_recv_buffer_size(WINDOW_BYTES).expect("a small window");
        let client = client.connect(server.address().expect("its address")).await.expect("a connection");
        let (accepted, _) = server.listener.accept().await.expect("the same connection");
        let chunk = [0; 16 * 1024];
        let mut taken = 0;
        // Bytes that were sent make room for more, until the client's window is full.
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(200), accepted.writable()).await {
            taken += accepted.try_write(&chunk).unwrap_or(0);
        }
        assert!(taken <= 512 * 1024, "{taken} bytes");
        drop(client);
    }
}
