//! An HTTP/2 server over TLS whose behaviour the path of a request selects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{Request, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::STREAM_WINDOW;

const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/tls/certificate.pem"));
const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/tls/key.pem"));

/// | path | |
/// |---|---|
/// | `/ok` | responds at once |
/// | `/hold` | responds when the gate is open |
/// | `/flood` | responds without end |
/// | `/drip` | responds without end, in small pieces |
/// | `/refuse-N` | refuses the first N streams |
/// | `/leave` | responds when the gate is open; the connection takes no more requests |
pub struct Server {
    pub base_url: String,
    seen: Arc<Seen>,
    gate: watch::Sender<bool>,
    server: JoinSet<()>,
}

/// The size of one event of a stream, in bytes.
const DRIP: usize = 48;
/// Stands for a server that announces no limit of streams.
const UNANNOUNCED: u32 = u32::MAX;

#[derive(Default)]
struct Seen {
    /// The limit of streams that new connections announce.
    streams_max: AtomicU32,
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
    refused: AtomicUsize,
    /// Bytes of endless responses.
    sent: AtomicUsize,
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate")
}

/// Trusts only the server's certificate.
pub fn tls() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("versions of TLS").with_root_certificates(roots).with_no_client_auth()
}

pub fn acceptor(protocol: &[u8]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let config = builder.expect("versions of TLS").with_no_client_auth().with_single_cert(vec![certificate()], key);
    let mut config = config.expect("a certificate");
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

impl Server {
    /// Starts a server whose connections announce this limit of streams, if any.
    pub async fn start(streams_max: Option<u32>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("https://{}", listener.local_addr().expect("its address"));
        let (seen, gate) = (Arc::<Seen>::default(), watch::Sender::new(false));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&seen), gate.clone()));
        let server = Self { base_url, seen, gate, server };
        server.take(streams_max.unwrap_or(UNANNOUNCED));
        server
    }

    /// Sets the limit of streams that new connections announce.
    pub fn take(&self, streams_max: u32) {
        self.seen.streams_max.store(streams_max, Ordering::SeqCst);
    }

    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Connections that were ever accepted.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Returns whether this many endless responses have filled their windows.
    pub fn has_filled(&self, windows: usize) -> bool {
        self.seen.sent.load(Ordering::SeqCst) == windows * STREAM_WINDOW as usize
    }

    pub fn end(&mut self) {
        self.server.abort_all();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, gate: watch::Sender<bool>) {
    let (acceptor, mut connections) = (acceptor(b"h2"), JoinSet::new());
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, seen, gate) = (acceptor.clone(), Arc::clone(&seen), gate.clone());
        connections.spawn(async move {
            seen.open.fetch_add(1, Ordering::SeqCst);
            serve_connection(stream, &acceptor, &seen, &gate).await;
            seen.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve_connection(stream: TcpStream, acceptor: &TlsAcceptor, seen: &Arc<Seen>, gate: &watch::Sender<bool>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let mut builder = h2::server::Builder::new();
    let streams_max = seen.streams_max.load(Ordering::SeqCst);
    if streams_max != UNANNOUNCED {
        builder.max_concurrent_streams(streams_max);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut answers = JoinSet::new();
    while let Some(Ok((request, answer))) = connection.accept().await {
        if request.uri().path() == "/leave" {
            connection.graceful_shutdown();
        }
        answers.spawn(serve(request, answer, Arc::clone(seen), gate.subscribe()));
    }
}

async fn serve(
    request: Request<h2::RecvStream>,
    mut answer: SendResponse<Bytes>,
    seen: Arc<Seen>,
    mut gate: watch::Receiver<bool>,
) {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    if let Some(times) = path.strip_prefix("/refuse-")
        && seen.refused.fetch_add(1, Ordering::SeqCst) < times.parse().expect("a number")
    {
        answer.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    if path == "/hold" || path == "/leave" {
        let _ = gate.wait_for(|open| *open).await;
    }
    let Ok(mut body) = answer.send_response(Response::new(()), false) else { return };
    if path == "/flood" || path == "/drip" {
        let piece = if path == "/drip" { DRIP } else { 16 * 1024 };
        loop {
            body.reserve_capacity(piece);
            match std::future::poll_fn(|context| body.poll_capacity(context)).await {
                Some(Ok(capacity)) => {
                    let piece = vec![b'x'; capacity.min(piece)];
                    seen.sent.fetch_add(piece.len(), Ordering::SeqCst);
                    if body.send_data(piece.into(), false).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
    let _ = body.send_data(Bytes::from_static(b"ok"), true);
}
