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
use names::NotResolved;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::guard::is_forbidden;
use super::moving_socket::MovingSocket;
use super::sockets::Sockets;
use super::{Owner, SendError};

/// The deadline for resolving, connecting and TLS together.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The longest attempt at one address before the next is tried.
const ADDRESS_MAX: Duration = Duration::from_secs(3);
/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 6;

pub(super) type TransportStream = MaybeHttpsStream<TokioIo<MovingSocket>>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, SendError>> + Send>>;

/// Opens TCP connections and, for `https`, TLS, which negotiates HTTP/1.1 or HTTP/2.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<GuardedTcp>,
    /// The owner of the providers.
    pub(super) owner: Owner,
    pub(super) sockets: Sockets,
}

impl Connector {
    /// Connects for providers of this owner.
    pub(super) fn new(
        tls: &Arc<rustls::ClientConfig>,
        owner: Owner,
        allow_private_network: bool,
        sockets: &Sockets,
    ) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.as_ref().clone())
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(GuardedTcp { owner, allow_private_network, sockets: sockets.clone() });
        Self { https, owner, sockets: sockets.clone() }
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
    /// Whose names are resolved: the provider's owner, who chose them.
    owner: Owner,
    allow_private_network: bool,
    sockets: Sockets,
}

impl Service<Uri> for GuardedTcp {
    type Response = TokioIo<MovingSocket>;
    type Error = SendError;
    type Future = Connecting<TokioIo<MovingSocket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { owner, allow_private_network, sockets } = self.clone();
        Box::pin(async move {
            let addresses = AllowedAddresses::of(resolve(&uri, owner).await?, allow_private_network)?;
            let permit = sockets.take(owner).await?;
            connect(&addresses).await.map(|stream| TokioIo::new(MovingSocket::new(stream, permit)))
        })
    }
}

/// Addresses that were checked. Only they are connected to: no name is resolved again after the check, so a name cannot lead
/// elsewhere in between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AllowedAddresses(Vec<SocketAddr>);

impl AllowedAddresses {
    /// Those of the addresses that may be called. Errors: there are none, or none of them may be called.
    pub(super) fn of(mut resolved: Vec<SocketAddr>, allow_private: bool) -> Result<Self, SendError> {
        if resolved.is_empty() {
            return Err(SendError::Resolve);
        }
        resolved.retain(|address| !is_forbidden(address.ip(), allow_private));
        resolved.truncate(ADDRESSES_MAX);
        if resolved.is_empty() { Err(SendError::Forbidden) } else { Ok(Self(resolved)) }
    }
}

pub(super) async fn resolve(uri: &Uri, owner: Owner) -> Result<Vec<SocketAddr>, SendError> {
    let host = uri.host().ok_or(SendError::Resolve)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let addresses = names::resolve(host, owner).await.map_err(|why| match why {
        NotResolved::NoAddresses => SendError::Resolve,
        NotResolved::Busy => SendError::NoLookUp,
    })?;
    Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
}

pub(super) async fn connect(addresses: &AllowedAddresses) -> Result<TcpStream, SendError> {
    let mut failure = SendError::Connect;
    for address in &addresses.0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    /// A name that is public when it is checked and private a moment later gains nothing: what was checked is what is connected
    /// to, and the next connection is checked anew.
    ///
    /// Holds: admin.private-network
    #[test]
    fn an_address_that_was_not_checked_cannot_be_connected_to() {
        let mut answers = [addresses(&["93.184.215.14:443"]), addresses(&["127.0.0.1:443"])].into_iter();
        let mut resolve = || answers.next().expect("no third look-up");
        let checked = AllowedAddresses::of(resolve(), false).expect("a public address");
        assert_eq!(checked.0, addresses(&["93.184.215.14:443"]));
        assert_eq!(AllowedAddresses::of(resolve(), false), Err(SendError::Forbidden));
    }

    #[test]
    fn of_a_name_with_several_addresses_only_the_allowed_ones_are_tried() {
        let mixed = ["127.0.0.1:80", "93.184.215.14:80", "[::ffff:10.0.0.1]:80", "169.254.169.254:80"];
        let allowed = |allow_private| AllowedAddresses::of(addresses(&mixed), allow_private).expect("some").0;
        assert_eq!(allowed(false), addresses(&mixed[1..2]));
        assert_eq!(allowed(true), addresses(&mixed[..3]));
        let many: Vec<_> = (1..20).map(|last| SocketAddr::from(([1, 1, 1, last], 80))).collect();
        assert_eq!(AllowedAddresses::of(many, false).expect("some").0.len(), ADDRESSES_MAX);
        assert_eq!(AllowedAddresses::of(Vec::new(), true), Err(SendError::Resolve));
    }
}
