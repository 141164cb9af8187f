//! The way to providers: one HTTP client a provider, with connections of its own. Every address is judged by [`guard`]
//! before it is connected to; environment proxies are not read, redirects not followed (a 3xx is a status like any
//! other). Waiting for an answer is the caller's to bound; connecting is bounded here.

mod connect;
pub mod guard;
mod pool;
mod request_body;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use events::event::admin::Provider;
use events::ids::{IdMap, ProviderId};
use http::{Request, Response, Uri};
use hyper_rustls::ConfigBuilderExt;

use connect::{ConnectFailure, Connector};
use pool::{NotAnswered, Origin, Pool};
pub use pool::{Party, ResponseBody};
pub use request_body::{RequestBody, Transmission};

/// Clients that are kept; beyond it the one that was used longest ago goes, with its connections.
const CLIENTS_MAX: usize = 4096;
const IDLE_CONNECTIONS_MAX: usize = 512;
/// Shorter than what servers and load balancers commonly use (60 s), so that we close first.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(50);
/// The head of an answer, and how much of a body is read ahead of whoever consumes it.
const READ_BUFFER_MAX: usize = 128 * 1024;
const HEADER_LIST_MAX: u32 = 64 * 1024;
/// A slow reader stalls its own stream after this much, and never its neighbours on the connection.
const STREAM_WINDOW: u32 = 64 * 1024;
/// More than the windows of all streams together, which are what bounds memory: h2 ends a connection once what is unread on
/// it came in too many small frames, and it takes half of this as the measure of how many.
const CONNECTION_WINDOW: u32 = 96 * 1024 * 1024;
/// Streams of one connection, also where its peer takes more.
const STREAMS_MAX: usize = 100;
/// Frames of this size may lie unread on all streams of a connection. Pieces of streamed answers are larger.
const SMALL_FRAME: usize = 32;
const _: () = {
    // What h2 takes a frame to cost beside its bytes, if these are fewer.
    const FRAME: usize = 256;
    let unread = STREAMS_MAX * STREAM_WINDOW as usize / SMALL_FRAME;
    assert!(unread * (FRAME - SMALL_FRAME) <= CONNECTION_WINDOW as usize / 2);
};
/// How often a request is sent that no upstream has looked at.
const TRIES_MAX: usize = 3;
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
const HTTP2_PING_WAIT: Duration = Duration::from_secs(10);

/// No TLS configuration could be made, so that nothing can be called.
#[derive(Debug, thiserror::Error)]
#[error("prepare TLS for upstream connections: {0}")]
pub struct TlsSetupError(#[from] rustls::Error);

/// Why no answer came. None of these repeats what an upstream said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The name does not resolve.
    #[error("resolve the upstream's name")]
    Resolve,
    /// Every address of it is one that may not be called.
    #[error("the upstream's address is not allowed")]
    Forbidden,
    /// Refused or unreachable.
    #[error("connect to the upstream")]
    Connect,
    /// Neither accepted nor refused in time, TLS included.
    #[error("connect to the upstream in time")]
    ConnectTimeout,
    /// No TLS connection: certificate, name or protocol.
    #[error("agree on TLS with the upstream")]
    Tls,
    /// As many requests as may be are under way there, and none of them ended in time.
    #[error("wait for a connection to the upstream")]
    Busy,
    /// It was asked a few times, and did not look at the request.
    #[error("the upstream refuses requests without looking at them")]
    Refused,
    /// The connection ended before the head of an answer was whole.
    #[error("the upstream closed the connection")]
    Closed,
    /// What came is no HTTP, or its head is larger than we read.
    #[error("the upstream's answer is not HTTP")]
    Malformed,
}

impl SendError {
    /// The upstream cannot have seen the request, so that nothing of it can be billed.
    pub const fn nothing_was_sent(self) -> bool {
        match self {
            Self::Resolve
            | Self::Forbidden
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Tls
            | Self::Busy
            | Self::Refused => true,
            Self::Closed | Self::Malformed => false,
        }
    }

    /// One word for events: `resolve`, `forbidden`, `connect`, `connect_timeout`, `tls`, `busy`, `refused`, `closed`,
    /// `malformed`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Forbidden => "forbidden",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
        }
    }
}

/// The clients of all providers. Cheap to share: lookups take a read lock for one hash.
pub struct UpstreamClients {
    tls: Arc<rustls::ClientConfig>,
    clients: RwLock<IdMap<ProviderId, Cached>>,
    /// Counts lookups, so that the client that was used longest ago is known.
    lookups: AtomicU64,
}

struct Cached {
    client: Arc<UpstreamClient>,
    reach: Reach,
    used: AtomicU64,
}

/// What a client was made for. When it changes the old connections must not be used any more.
#[derive(Clone, PartialEq, Eq)]
struct Reach {
    base_url: Option<String>,
    allow_private_network: bool,
}

impl Reach {
    fn is_of(&self, provider: &Provider) -> bool {
        self.allow_private_network == provider.allow_private_network && self.base_url == provider.base_url
    }
}

impl UpstreamClients {
    /// With the roots of trust of the machine; where it has none, Mozilla's as of the build.
    pub fn new() -> Result<Self, TlsSetupError> {
        Ok(Self::with(tls_config()?))
    }

    fn with(tls: rustls::ClientConfig) -> Self {
        Self { tls: Arc::new(tls), clients: RwLock::default(), lookups: AtomicU64::new(0) }
    }

    /// The provider's client; a new one when its address or `allow_private_network` changed.
    pub fn client(&self, provider: &Provider) -> Arc<UpstreamClient> {
        let used = self.lookups.fetch_add(1, Ordering::Relaxed);
        if let Some(client) = self.cached(provider, used) {
            return client;
        }
        let client = Arc::new(UpstreamClient::new(&self.tls, provider));
        let reach =
            Reach { base_url: provider.base_url.clone(), allow_private_network: provider.allow_private_network };
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = clients.get(&provider.provider_id).filter(|cached| cached.reach == reach) {
            return Arc::clone(&other.client);
        }
        if clients.len() >= CLIENTS_MAX {
            forget_least_used(&mut clients);
        }
        clients.insert(provider.provider_id, Cached { client: Arc::clone(&client), reach, used: AtomicU64::new(used) });
        client
    }

    fn cached(&self, provider: &Provider, used: u64) -> Option<Arc<UpstreamClient>> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        let cached = clients.get(&provider.provider_id).filter(|cached| cached.reach.is_of(provider))?;
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

/// Trusts what the machine trusts.
pub fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
    };
    let roots = match builder()?.with_native_roots() {
        Ok(roots) => roots,
        Err(error) => {
            tracing::info!(%error, "the machine has no certificates: using the built-in ones");
            builder()?.with_webpki_roots()
        }
    };
    Ok(roots.with_no_client_auth())
}

/// The way to one provider.
pub struct UpstreamClient {
    /// `None` without an address that is one.
    way: Option<(Origin, Pool)>,
}

impl UpstreamClient {
    fn new(tls: &Arc<rustls::ClientConfig>, provider: &Provider) -> Self {
        let address: Option<Uri> = provider.base_url.as_deref().and_then(|address| address.parse().ok());
        let origin = address.as_ref().and_then(Origin::of);
        let way = origin.map(|origin| {
            let pool = Pool::new(Connector::new(tls, provider.allow_private_network), origin.address());
            (origin, pool)
        });
        Self { way }
    }

    /// Sends one request (of its URI the path counts; `Host` is added) and gives the answer as soon as its head is whole.
    /// Dropping the future, or the answer's body before its end, cancels the request upstream. Whether the upstream may
    /// have seen any of it is what the body's [`Transmission`] says. Where the upstream can take no more, what it can
    /// take is shared by `party`.
    pub async fn send(
        &self,
        party: Party,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let (origin, pool) = self.way.as_ref().ok_or(SendError::Resolve)?;
        for _ in 0..TRIES_MAX {
            match pool.lease(party).await?.send(request, origin).await {
                Ok(answer) => return Ok(answer),
                Err(NotAnswered::Untouched(again)) => request = *again,
                Err(NotAnswered::Failed(error)) => return Err(error),
            }
        }
        Err(SendError::Refused)
    }
}

impl SendError {
    fn of(error: &hyper::Error) -> Self {
        if error.is_parse() { Self::Malformed } else { Self::Closed }
    }
}

impl From<ConnectFailure> for SendError {
    fn from(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Resolve => Self::Resolve,
            ConnectFailure::Forbidden => Self::Forbidden,
            ConnectFailure::Connect => Self::Connect,
            ConnectFailure::Timeout => Self::ConnectTimeout,
            ConnectFailure::Tls => Self::Tls,
        }
    }
}

#[cfg(test)]
mod tests;
