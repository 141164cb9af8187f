//! The address to listen on: an IP address or a host name of this machine, with a port. Names are resolved at the start.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a name may take to resolve.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
const NAME_LEN_MAX: usize = 253;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Address(SocketAddr),
    Name { host: String, port: u16 },
}

impl ListenAddress {
    /// Reads `IP:PORT` or `NAME:PORT`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let has_digits_alone = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A host that ends in a number is meant as an IP address, and is not a valid one.
        let is_name = host.len() <= NAME_LEN_MAX
            && host.split('.').all(is_label)
            && !host.rsplit('.').next().is_some_and(has_digits_alone);
        let port = Some(port).filter(|port| has_digits_alone(port))?.parse().ok()?;
        is_name.then(|| Self::Name { host: host.to_owned(), port })
    }

    pub const fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    /// The same address with the next port, which is often free if this one is taken.
    pub fn with_next_port(&self) -> Self {
        let next = |port: u16| port.checked_add(1).unwrap_or(u16::MAX - 1);
        match self {
            Self::Address(address) => Self::Address(SocketAddr::new(address.ip(), next(address.port()))),
            Self::Name { host, port } => Self::Name { host: host.clone(), port: next(*port) },
        }
    }

    /// The address: of a name the first IPv4 address, like all examples and defaults, else the first of any kind.
    ///
    /// Errors: the name does not resolve, or not in time.
    pub async fn resolve(&self) -> io::Result<SocketAddr> {
        let (host, port) = match self {
            Self::Address(address) => return Ok(*address),
            Self::Name { host, port } => (host.as_str(), *port),
        };
        let resolved = tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host((host, port))).await;
        let addresses: Vec<SocketAddr> = resolved.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect();
        let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        first.copied().ok_or_else(|| io::Error::other("the name has no address"))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The addresses that a name has now, as far as they are known in time.
pub fn resolve_now(host: &str) -> Vec<IpAddr> {
    let (found, finding) = mpsc::channel();
    let host = host.to_owned();
    // The system's look-up has no time limit of its own.
    thread::spawn(move || {
        let addresses = (host.as_str(), 0).to_socket_addrs();
        let ips: Vec<IpAddr> = addresses.map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default();
        let _ = found.send(ips);
    });
    finding.recv_timeout(RESOLVE_MAX).unwrap_or_default()
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: bin.listen-name
    #[test]
    fn an_address_is_one_of_ip_or_a_name_each_with_a_port() {
        for fine in ["127.0.0.1:8080", "[::1]:0", "0.0.0.0:80", "localhost:8080", "gateway-1.internal:65535", "a_b:1"] {
            let found = ListenAddress::parse(fine).expect("an address");
            assert_eq!(found.to_string(), fine);
        }
        let long = format!("{}:1", "a".repeat(NAME_LEN_MAX + 1));
        for wrong in [
            "", "8080", ":8080", "localhost", "localhost:", "localhost:+80", "localhost:65536", "::1:80", "[::1]",
            "a b:1", "http://a:1", "1.2.3:80", "256.1.1.1:80", "a..b:1", "a.:1", "é:1", &long,
        ] {
            assert_eq!(ListenAddress::parse(wrong), None, "{wrong}");
        }
    }

    /// Holds: bin.listen-name
    #[tokio::test]
    async fn a_name_is_resolved_to_one_address_and_an_address_is_itself() {
        let resolved = |text: &str| {
            let address = ListenAddress::parse(text).expect("an address");
            async move { address.resolve().await }
        };
        assert_eq!(resolved("[::1]:7").await.expect("itself").to_string(), "[::1]:7");
        let local = resolved("localhost:7").await.expect("this machine");
        assert!(local.ip().is_loopback() && local.port() == 7, "{local}");
        assert!(resolved("no-such-host.invalid:7").await.is_err());
    }
}
