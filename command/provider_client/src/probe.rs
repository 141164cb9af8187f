//! Tells at which step a connection to a provider fails: the name, the address, the connection or the certificate.

use std::sync::Arc;

use events::event::admin::Provider;
use http::Uri;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error as TlsError};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::SendError;
use super::connect::{AllowedAddresses, CONNECT_MAX, connect, resolve};
use super::sockets::Sockets;

/// The result of the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The number of addresses of the name; `None` if it does not resolve.
    pub addresses: Option<usize>,
    /// True if the address is one that needs TLS.
    pub is_tls: bool,
    pub fault: Option<ProbeFault>,
}

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFault {
    /// The provider has no address that can be called.
    NoAddress,
    Resolve,
    /// Its addresses may only be called with `allow_private_network`.
    Private,
    /// Its addresses are never called: they serve credentials to callers inside a network.
    NeverAllowed,
    Connect,
    ConnectTimeout,
    Certificate(CertificateFault),
    /// The handshake failed, but not for the certificate: most likely the port does not speak TLS.
    Handshake,
}

/// The fault found in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    Expired,
    NotYetValid,
    UnknownIssuer,
    OtherName,
    Revoked,
    Other,
}

pub async fn probe(tls: &Arc<ClientConfig>, sockets: &Sockets, provider: &Provider) -> Probe {
    let address: Option<Uri> = provider.base_url.as_deref().and_then(|address| address.parse().ok());
    let mut probe = Probe { addresses: None, is_tls: false, fault: Some(ProbeFault::NoAddress) };
    let Some(address) = address else { return probe };
    probe.is_tls = address.scheme_str() == Some("https");
    let steps = steps(tls, sockets, &address, provider, &mut probe);
    let fault = timeout(CONNECT_MAX, steps).await.unwrap_or(Some(ProbeFault::ConnectTimeout));
    Probe { fault, ..probe }
}

/// The fault of the first step that fails.
async fn steps(
    tls: &Arc<ClientConfig>,
    sockets: &Sockets,
    address: &Uri,
    provider: &Provider,
    probe: &mut Probe,
) -> Option<ProbeFault> {
    let Ok(resolved) = resolve(address, provider.tenant_id).await else { return Some(ProbeFault::Resolve) };
    probe.addresses = Some(resolved.len());
    let is_only_private = AllowedAddresses::of(resolved.clone(), true).is_ok();
    let allowed = match AllowedAddresses::of(resolved, provider.allow_private_network) {
        Ok(allowed) => allowed,
        Err(SendError::Forbidden) if is_only_private => return Some(ProbeFault::Private),
        Err(SendError::Forbidden) => return Some(ProbeFault::NeverAllowed),
        Err(_) => return Some(ProbeFault::Resolve),
    };
    // It counts until the probe has ended.
    let Ok(_permit) = sockets.take(provider.tenant_id).await else { return Some(ProbeFault::Connect) };
    let stream = match connect(&allowed).await {
        Ok(stream) => stream,
        Err(SendError::ConnectTimeout) => return Some(ProbeFault::ConnectTimeout),
        Err(_) => return Some(ProbeFault::Connect),
    };
    if !probe.is_tls {
        return None;
    }
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let Ok(name) = ServerName::try_from(host) else { return Some(ProbeFault::Resolve) };
    let connected = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    connected.err().map(|error| tls_fault(&error))
}

fn tls_fault(error: &std::io::Error) -> ProbeFault {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(TlsError::InvalidCertificate(fault)) => ProbeFault::Certificate(certificate_fault(fault)),
        Some(_) | None => ProbeFault::Handshake,
    }
}

const fn certificate_fault(error: &CertificateError) -> CertificateFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::OtherName
        }
        CertificateError::Revoked => CertificateFault::Revoked,
        // The library may add others at any time.
        _ => CertificateFault::Other,
    }
}
