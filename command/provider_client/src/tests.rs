//! Tests against servers on loopback with scripted responses.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use events::event::admin::ProviderKindName;
use uuid::Uuid;

/// More sockets than any test needs.
pub const SOCKETS: usize = 16_384;
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub fn provider(id: u128, base_url: &str, allow_private_network: bool) -> Provider {
    Provider {
        base_url: Some(base_url.to_owned()),
        allow_private_network,
        timeout_ms: 1000,
        idle_timeout_ms: 1000,
        secret_generation: 1,
        ..Provider::new(ProviderId::from(Uuid::from_u128(id)), "local", ProviderKindName::literal("openai"))
    }
}

fn clients() -> UpstreamClients {
    UpstreamClients::new(LoopMark::new([1; 16]), SOCKETS).expect("a TLS configuration")
}

/// A server that answers each request of each connection with these bytes; without bytes it closes the connection.
pub async fn serve(answer: &'static [u8]) -> (String, JoinSet<()>) {
    serve_at("http://127.0.0.1:0", answer).await
}

/// The same server at this address.
pub async fn serve_at(origin: &str, answer: &'static [u8]) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind(origin.trim_start_matches("http://")).await.expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("its address"));
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut buffer = [0; 4096];
                while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {
                    if answer.is_empty() || stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (origin, server)
}

async fn get(origin: &str, allow_private_network: bool) -> Result<Response<ResponseBody>, SendError> {
    let request = Request::get(origin).body(RequestBody::default()).expect("a request");
    clients().client(&provider(1, origin, allow_private_network)).send(None, request).await
}

/// Holds: admin.private-network
#[tokio::test]
async fn a_private_address_is_called_only_where_it_is_allowed() {
    let (origin, _server) = serve(OK).await;
    assert_eq!(get(&origin, true).await.expect("an answer").status(), 200);
    assert_eq!(get(&origin, false).await.err(), Some(SendError::Forbidden));
    let named = origin.replace("127.0.0.1", "localhost");
    assert_eq!(get(&named, false).await.err(), Some(SendError::Forbidden));
    assert_eq!(get("http://169.254.169.254/latest", true).await.err(), Some(SendError::Forbidden));
    assert_eq!(get("http://[::ffff:169.254.169.254]/", true).await.err(), Some(SendError::Forbidden));
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (origin, _server) = serve(b"HTTP/1.1 307 Go\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(get(&origin, true).await.expect("an answer").status(), 307);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nobody = format!("http://{}", listener.local_addr().expect("its address"));
    drop(listener);
    assert_eq!(get(&nobody, true).await.err(), Some(SendError::Connect));
    assert_eq!(get("http://no-such-host.invalid/", true).await.err(), Some(SendError::Resolve));

    let (closing, _server) = serve(b"").await;
    assert_eq!(get(&closing, true).await.err(), Some(SendError::Closed));
    let (babbling, _server) = serve(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    assert_eq!(get(&babbling, true).await.err(), Some(SendError::Malformed));
    let (plain, _server) = serve(OK).await;
    assert_eq!(get(&plain.replace("http://", "https://"), true).await.err(), Some(SendError::Tls));
}

#[tokio::test]
async fn a_probe_tells_at_which_step_a_connection_fails() {
    let probe = |base_url: String, allow_private_network| async move {
        let found = clients().probe(&provider(1, &base_url, allow_private_network)).await;
        (found.addresses.is_some(), found.is_tls, found.fault)
    };
    let (plain, _server) = serve(OK).await;
    assert_eq!(probe(plain.clone(), true).await, (true, false, None));
    assert_eq!(probe(plain.clone(), false).await, (true, false, Some(ProbeFault::Private)));
    let https = plain.replace("http://", "https://");
    assert_eq!(probe(https, true).await, (true, true, Some(ProbeFault::Handshake)));
    for (base_url, fault) in [
        ("http://169.254.169.254", ProbeFault::NeverAllowed),
        ("http://no-such-host.invalid", ProbeFault::Resolve),
        ("http://127.0.0.1:9", ProbeFault::Connect),
        ("", ProbeFault::NoAddress),
    ] {
        assert_eq!(probe(base_url.to_owned(), true).await.2, Some(fault), "{base_url}");
    }
    let server = pool::tests::server::Server::start(None).await;
    let untrusted = Some(ProbeFault::Certificate(CertificateFault::UnknownIssuer));
    assert_eq!(probe(server.base_url.clone(), true).await, (true, true, untrusted));
    let trusting = UpstreamClients::with(pool::tests::server::tls(), LoopMark::new([1; 16]), SOCKETS);
    assert_eq!(trusting.probe(&provider(1, &server.base_url, true)).await.fault, None);
    let other_name = server.base_url.replace("127.0.0.1", "127.0.0.2").replace("localhost", "127.0.0.2");
    let fault = trusting.probe(&provider(1, &other_name, true)).await.fault;
    assert!(
        matches!(fault, Some(ProbeFault::Connect | ProbeFault::Certificate(CertificateFault::OtherName))),
        "{fault:?}"
    );
}

#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    static ENDLESS: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut head = b"HTTP/1.1 200 OK\r\nx-much: ".to_vec();
        head.resize(READ_BUFFER_MAX + 4096, b'a');
        head
    });
    let (origin, _server) = serve(&ENDLESS).await;
    assert_eq!(get(&origin, true).await.err(), Some(SendError::Malformed));
}

#[test]
fn a_client_lasts_until_its_destination_changes() {
    let clients = clients();
    let first = clients.client(&provider(1, "http://a.example", false));
    assert!(Arc::ptr_eq(&first, &clients.client(&provider(1, "http://a.example", false))));
    assert!(!Arc::ptr_eq(&first, &clients.client(&provider(2, "http://a.example", false))));
    assert!(!Arc::ptr_eq(&first, &clients.client(&provider(1, "http://a.example", true))));
    assert!(!Arc::ptr_eq(&first, &clients.client(&provider(1, "http://a.example", false))));
}
