//! The HTTP server: accepts connections, HTTP/1.1 and HTTP/2, with a bound on every wait, and has threads of their own serve them.
//! Connections are tasks of one set; dropping it ends them.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdTcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::Method;
use http::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use projections::figures::GaugeGuard;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection_threads::{ConnectionRuntimes, ThreadRuntimes};
use super::connection_watch::{ConnectionRequests, WatchedConnection};
use super::parse_errors::ParseErrorResponses;
use crate::guarded_body::GuardedBody;

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

/// The handler of the requests of a listener. Cheap to clone.
pub trait RequestHandler: Clone + Send + Sync + 'static {
    /// Counts a connection until the returned value is dropped.
    fn connection_opens(&self) -> GaugeGuard;

    /// The responses to requests that cannot be parsed, and so never reach the handler.
    fn parse_error_responses(&self) -> ParseErrorResponses;

    /// Answers one request.
    fn answer(self, request: Request, peer: IpAddr) -> impl Future<Output = Response> + Send;
}

/// A bound listener that is not accepting yet.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        #[cfg(target_os = "linux")]
        bound_unsent_bytes(&listener)?;
        Ok(Self { listener })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts at most `connections_max` connections at a time, until it is dropped, and the connections with it.
    pub async fn serve_at_most(self, connections_max: usize, handler: impl RequestHandler, runtimes: ThreadRuntimes) {
        let permits = Arc::new(Semaphore::new(connections_max));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match self.accept().await {
                Ok((stream, peer)) => {
                    let (handler, runtimes) = (handler.clone(), runtimes.for_connection());
                    let runtime = runtimes.runtime().clone();
                    let serve = async move {
                        serve_connection(runtimes, stream, peer, handler).await;
                        drop(permit);
                    };
                    connections.spawn_on(serve, &runtime);
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
    peer: SocketAddr,
    handler: impl RequestHandler,
) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot watch a connection"),
    };
    let _ = stream.set_nodelay(true);
    let _open = handler.connection_opens();
    let requests = Arc::<ConnectionRequests>::default();
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (handler, request_begun) = (handler.clone(), requests.begin(request.version()));
        let is_get = request.method() == Method::GET;
        async move {
            // hyper keeps room for this future as long as the connection lives. The large part of it is boxed, so that an
            // idle connection does not hold it.
            let answer = Box::pin(handler.answer(request.map(Body::new), peer.ip())).await;
            if is_get && answer.headers().get(CONTENT_TYPE).is_some_and(|media| media == "text/event-stream") {
                request_begun.mark_endless();
            }
            Ok::<_, Infallible>(answer.map(|body| GuardedBody::new(body, request_begun)))
        }
    });
    let stream = WatchedConnection::new(stream, Arc::clone(&requests), handler.parse_error_responses());
    let builder = builder(runtimes);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // hyper has no deadline for the first bytes, which decide on the protocol.
    let served = match tokio::time::timeout(IDLE_MAX, serving.as_mut()).await {
        Ok(served) => served,
        Err(_) if requests.heads() > 0 => serving.await,
        Err(_) => return,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpSocket;

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
