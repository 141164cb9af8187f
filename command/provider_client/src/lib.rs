//! The HTTP client for providers: one client per provider, each with its own connection pool. [`guard`] checks every address
//! before a connection to it. The client reads no proxy settings from the environment and follows no redirects: a 3xx is a
//! status like any other. It bounds the time to connect; the caller bounds the wait for a response.
//!
//! - `pool`: the connections to one provider, shared among tenants. Whoever has an HTTP/1.1 connection polls it
//!   (`pool/http1.rs`), and a request is given one of its own thread, or one that moves there (`pool/idle.rs`,
//!   `moving_socket`).
//! - `sockets`: those of all pools together, and `provider_calls`: the calls to one provider, which have bounds.
//! - `loop_mark`: marks requests, so that those that come back are known. `probe`: which step of a connection fails.

mod connect;
pub mod guard;
mod loop_mark;
mod moving_socket;
mod pool;
mod probe;
mod provider_calls;
mod request_body;
mod shares;
mod sockets;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use events::event::admin::Provider;
use events::ids::{IdMap, ProviderId};
use http::{Request, Response, Uri};
use hyper_rustls::ConfigBuilderExt;

use connect::Connector;
pub use loop_mark::{CDN_LOOP, LoopEntries, LoopMark, Looping};
pub use names::Owner;
pub use pool::ResponseBody;
use pool::{NoResponse, Origin, Pool};
pub use probe::{CertificateFault, Probe, ProbeFault};
use provider_calls::ProviderCalls;
pub use request_body::{RequestBody, Transmission};
pub use shares::Shares;
use sockets::Sockets;

/// Cached clients. Beyond this, the least recently used one is dropped with its connections.
const CLIENTS_MAX: usize = 4096;
/// The most idle connections of a pool.
const IDLE_CONNECTIONS_MAX: usize = 512;
/// Shorter than the usual limit of servers and load balancers (60 s), so that this side closes first.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(50);
/// How often a pool looks for idle connections that their peers have closed.
const LOOK_FOR_CLOSED_EVERY: Duration = Duration::from_secs(5);
/// The largest head of a response, and how much of a body is read ahead of its consumer.
const READ_BUFFER_MAX: usize = 128 * 1024;
const HEADER_LIST_MAX: u32 = 64 * 1024;
/// A slow reader stalls its own stream after this many bytes, and never the other streams of the connection.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Larger than the windows of all streams together, which already bound memory. h2 closes a connection on which too much unread
/// data arrived in small frames, and derives that limit from half of this window.
const CONNECTION_WINDOW: u32 = 96 * 1024 * 1024;
/// The most streams of one connection, even if its peer allows more.
const STREAMS_MAX: usize = 100;
/// The smallest frames that may lie unread on all streams of a connection at once. Events of streams are larger.
const SMALL_FRAME: usize = 32;
const _: () = {
    // h2 adds overhead to a smaller frame: the difference to this size.
    const FRAME: usize = 256;
    let unread = STREAMS_MAX * STREAM_WINDOW as usize / SMALL_FRAME;
    assert!(unread * (FRAME - SMALL_FRAME) <= CONNECTION_WINDOW as usize / 2);
};
/// Attempts to send a request that the upstream has not processed.
const ATTEMPTS_MAX: usize = 3;
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
const HTTP2_PING_WAIT: Duration = Duration::from_secs(10);

/// TLS could not be configured, so no provider can be called.
#[derive(Debug, thiserror::Error)]
#[error("prepare TLS for upstream connections: {0}")]
pub struct TlsSetupError(#[from] rustls::Error);

/// Why no response came. No message repeats text from the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum SendError {
    /// The name does not resolve.
    Resolve,
    /// None of the name's addresses may be called.
    Forbidden,
    /// The connection was refused, or the address is unreachable.
    Connect,
    /// No connection in time, including TLS.
    ConnectTimeout,
    /// The TLS handshake failed: certificate, name or protocol.
    Tls,
    /// The pool was at its bound, and no request ended in time.
    Busy,
    /// This process has as many calls to the provider under way as it may.
    ProviderFull,
    /// This process has as many connections to providers as it may.
    NoSocket,
    /// This process looks up as many names as it may.
    NoLookUp,
    /// Several attempts were refused without being processed.
    Refused,
    /// The connection ended before the head of a response was complete.
    Closed,
    /// The response is not HTTP, or its head is too large.
    Malformed,
}

impl SendError {
    /// True if the upstream cannot have seen the request, so it cannot bill for it.
    pub const fn nothing_was_sent(self) -> bool {
        match self {
            Self::Resolve
            | Self::Forbidden
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Tls
            | Self::Busy
            | Self::ProviderFull
            | Self::NoSocket
            | Self::NoLookUp
            | Self::Refused => true,
            Self::Closed | Self::Malformed => false,
        }
    }

    /// The reason in events.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Forbidden => "forbidden",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Busy => "busy",
            Self::ProviderFull | Self::NoSocket | Self::NoLookUp => "no_place",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
        }
    }

    fn of(error: &hyper::Error) -> Self {
        if error.is_parse() { Self::Malformed } else { Self::Closed }
    }
}

/// The clients of all providers. A lookup takes a read lock for one hash.
pub struct UpstreamClients {
    tls: Arc<rustls::ClientConfig>,
    loop_mark: LoopMark,
    sockets: Sockets,
    clients: RwLock<IdMap<ProviderId, Cached>>,
    /// Counts lookups, to find the least recently used client.
    lookups: AtomicU64,
}

struct Cached {
    client: Arc<UpstreamClient>,
    base_url: Option<String>,
    allow_private_network: bool,
    used: AtomicU64,
}

impl Cached {
    /// Returns whether the client connects where the provider says now. If not, the old connections must no longer be used.
    fn is_of(&self, provider: &Provider) -> bool {
        self.allow_private_network == provider.allow_private_network && self.base_url == provider.base_url
    }
}

impl UpstreamClients {
    /// Trusts the certificates of the machine; if it has none, Mozilla's as of the build. All clients together have at most so many
    /// sockets.
    pub fn new(loop_mark: LoopMark, sockets_max: usize) -> Result<Self, TlsSetupError> {
        Ok(Self::with(tls_config()?, loop_mark, sockets_max))
    }

    fn with(tls: rustls::ClientConfig, loop_mark: LoopMark, sockets_max: usize) -> Self {
        let (tls, sockets) = (Arc::new(tls), Sockets::new(sockets_max));
        Self { tls, loop_mark, sockets, clients: RwLock::default(), lookups: AtomicU64::new(0) }
    }

    /// The most sockets of all clients together.
    pub fn sockets_max(&self) -> usize {
        self.sockets.max()
    }

    /// Returns the mark by which requests that come back are known.
    pub const fn loop_mark(&self) -> &LoopMark {
        &self.loop_mark
    }

    /// The provider's client; a new one if its address or `allow_private_network` has changed.
    pub fn client(&self, provider: &Provider) -> Arc<UpstreamClient> {
        let used = self.lookups.fetch_add(1, Ordering::Relaxed);
        if let Some(client) = self.cached(provider, used) {
            return client;
        }
        let client = Arc::new(self.uncached_client(provider));
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = clients.get(&provider.provider_id).filter(|cached| cached.is_of(provider)) {
            return Arc::clone(&other.client);
        }
        if clients.len() >= CLIENTS_MAX {
            forget_least_used(&mut clients);
        }
        let cached = Cached {
            client: Arc::clone(&client),
            base_url: provider.base_url.clone(),
            allow_private_network: provider.allow_private_network,
            used: AtomicU64::new(used),
        };
        clients.insert(provider.provider_id, cached);
        client
    }

    /// A client for one request to this address, with connections of its own. For addresses beside a provider's.
    pub fn uncached_client(&self, provider: &Provider) -> UpstreamClient {
        UpstreamClient::new(&self.tls, self.loop_mark.clone(), &self.sockets, provider)
    }

    /// Connects to the provider's address and negotiates TLS, step by step, without a request. The connection is closed at once.
    pub async fn probe(&self, provider: &Provider) -> Probe {
        probe::probe(&self.tls, &self.sockets, provider).await
    }

    fn cached(&self, provider: &Provider, used: u64) -> Option<Arc<UpstreamClient>> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        let cached = clients.get(&provider.provider_id).filter(|cached| cached.is_of(provider))?;
        cached.used.store(used, Ordering::Relaxed);
        Some(Arc::clone(&cached.client))
    }
}

fn forget_least_used(clients: &mut IdMap<ProviderId, Cached>) {
    let oldest = clients.iter().min_by_key(|(_, cached)| cached.used.load(Ordering::Relaxed)).map(|(id, _)| *id);
    if let Some(oldest) = oldest {
        clients.remove(&oldest);
    }
}

/// A TLS configuration that trusts the certificates of the machine.
pub fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
    };
    let roots = match builder()?.with_native_roots() {
        Ok(roots) => roots,
        Err(error) => {
            tracing::info!(%error, "the machine has no certificates; using the built-in ones");
            builder()?.with_webpki_roots()
        }
    };
    Ok(roots.with_no_client_auth())
}

/// The HTTP client of one provider.
pub struct UpstreamClient {
    /// `None` if the provider has no valid address.
    endpoint: Option<(Origin, Pool)>,
    loop_mark: LoopMark,
    calls: ProviderCalls,
}

impl UpstreamClient {
    fn new(tls: &Arc<rustls::ClientConfig>, loop_mark: LoopMark, sockets: &Sockets, provider: &Provider) -> Self {
        let address: Option<Uri> = provider.base_url.as_deref().and_then(|address| address.parse().ok());
        let origin = address.as_ref().and_then(Origin::of);
        let endpoint = origin.map(|origin| {
            let connector = Connector::new(tls, provider.tenant_id, provider.allow_private_network, sockets);
            let pool = Pool::new(connector, origin.address());
            (origin, pool)
        });
        Self { endpoint, loop_mark, calls: ProviderCalls::of(provider, sockets.max()) }
    }

    /// Sends one request and returns the response as soon as its head is complete. Only the path of the request's URI counts;
    /// `Host` and the gateway's entry of `CDN-Loop` are added. Dropping the future, or the response's body before its end, cancels the request upstream. The body's
    /// [`Transmission`] tells whether the upstream may have seen any of it. If streams are short, owners share them.
    ///
    /// Errors: see [`SendError`]. A request is sent again only if the upstream has not processed it.
    pub fn send(
        &self,
        owner: Owner,
        request: Request<RequestBody>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, SendError>> + Send + '_>> {
        // Compiled here, with all of hyper that it needs, and not in the crate that awaits it.
        Box::pin(self.send_again_if_unseen(owner, request))
    }

    async fn send_again_if_unseen(
        &self,
        owner: Owner,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let (origin, pool) = self.endpoint.as_ref().ok_or(SendError::Resolve)?;
        let call = self.calls.begin(owner).ok_or(SendError::ProviderFull)?;
        self.loop_mark.put_into(request.headers_mut());
        for _ in 0..ATTEMPTS_MAX {
            match pool.lease(owner).await?.send(request, origin).await {
                Ok(response) => return Ok(response.map(|body| body.counted_as(call))),
                Err(NoResponse::Unprocessed(returned)) => request = *returned,
                Err(NoResponse::Failed(error)) => return Err(error),
            }
        }
        Err(SendError::Refused)
    }
}

#[cfg(test)]
mod tests;
