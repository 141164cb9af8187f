//! Connecting: resolve the name, check every address, connect and negotiate TLS, all within one deadline.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower_service::Service;

use super::SendError;
use super::guard::is_forbidden;

/// The deadline for resolving, connecting and TLS together.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The longest attempt at one address before the next is tried.
const ADDRESS_MAX: Duration = Duration::from_secs(3);
/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 6;

pub(super) type TransportStream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, SendError>> + Send>>;

/// Opens TCP connections and, for `https`, TLS, which negotiates HTTP/1.1 or HTTP/2.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<GuardedTcp>,
}

impl Connector {
    pub(super) fn new(tls: &Arc<rustls::ClientConfig>, allow_private_network: bool) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.as_ref().clone())
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(GuardedTcp { allow_private_network });
        Self { https }
    }

    pub(super) async fn connect(&self, address: Uri) -> Result<TransportStream, SendError> {
        let connecting = self.https.clone().call(address);
        let connected = timeout(CONNECT_MAX, connecting).await.map_err(|_| SendError::ConnectTimeout)?;
        // Any other error came from the TLS handshake, or from a scheme that no provider can have.
        connected.map_err(|error| error.downcast_ref().copied().unwrap_or(SendError::Tls))
    }
}

/// Opens TCP connections to allowed addresses. It connects to the very address that it checked.
#[derive(Clone)]
struct GuardedTcp {
    allow_private_network: bool,
}

impl Service<Uri> for GuardedTcp {
    type Response = TokioIo<TcpStream>;
    type Error = SendError;
    type Future = Connecting<TokioIo<TcpStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let allow_private_network = self.allow_private_network;
        Box::pin(async move {
            let addresses = resolve(&uri).await?;
            connect(allowed(addresses, allow_private_network)?).await.map(TokioIo::new)
        })
    }
}

async fn resolve(uri: &Uri) -> Result<Vec<SocketAddr>, SendError> {
    let host = uri.host().ok_or(SendError::Resolve)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let addresses = lookup_host((host, port)).await.map_err(|_| SendError::Resolve)?;
    Ok(addresses.collect())
}

/// The addresses that may be called. Errors: there are none, or none of them may be called.
fn allowed(mut addresses: Vec<SocketAddr>, allow_private: bool) -> Result<Vec<SocketAddr>, SendError> {
    if addresses.is_empty() {
        return Err(SendError::Resolve);
    }
    addresses.retain(|address| !is_forbidden(address.ip(), allow_private));
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() { Err(SendError::Forbidden) } else { Ok(addresses) }
}

async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, SendError> {
    let mut failure = SendError::Connect;
    for address in addresses {
        match timeout(ADDRESS_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Nagle's algorithm would delay small writes until an acknowledgement: 40 ms per request.
                return stream.set_nodelay(true).map(|()| stream).map_err(|_| SendError::Connect);
            }
            Ok(Err(_)) => failure = SendError::Connect,
            Err(_) => failure = SendError::ConnectTimeout,
        }
    }
    Err(failure)
}
