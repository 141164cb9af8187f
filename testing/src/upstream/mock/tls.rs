//! TLS for mocks, with a certificate of their own.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The path of the certificate, for `SSL_CERT_FILE`.
pub const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls/certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls/key.pem");

/// An acceptor that offers only HTTP/2.
pub fn acceptor() -> TlsAcceptor {
    let mut config = config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// An acceptor of connections that speak neither version of HTTP.
pub fn stream_acceptor() -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(config()))
}

pub fn config() -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(KEY).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions of TLS").with_no_client_auth();
    builder.with_single_cert(vec![certificate], key).expect("a certificate and its key")
}
