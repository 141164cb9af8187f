//! From where a request comes if proxies are in front of the gateway: the audit records it with each change.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks (`10.0.0.0/8`), separated by commas.
    ///
    /// Errors: the first part that is neither.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let parts = text.split(',').map(str::trim);
        parts.map(|part| network(part).ok_or(part)).collect::<Result<_, _>>().map(Self)
    }

    /// The address of the client of a request that came from `peer`: the last one that no trusted proxy has. A client can write
    /// what it likes into the header, but not behind what a proxy adds.
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.has(peer) {
            return peer;
        }
        let mut client = peer;
        let lines = headers.get_all(&FORWARDED_FOR).into_iter().rev();
        let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        while self.has(client)
            && let Some(hop) = hops.next().and_then(|hop| address(hop.trim()))
        {
            client = hop;
        }
        client
    }

    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_and_networks_are_read_and_others_named() {
        assert!(TrustedProxies::parse("10.0.0.0/8, 192.0.2.7,2001:db8::/32").is_ok());
        for wrong in ["nginx", "10.0.0.0/33", ""] {
            assert_eq!(TrustedProxies::parse(&format!("::1,{wrong}")), Err(wrong));
        }
    }

    #[test]
    fn only_what_trusted_proxies_add_is_believed() {
        let proxies = TrustedProxies::parse("10.0.0.0/8,::1").expect("networks");
        for (peer, lines, client) in [
            ("192.0.2.1", &["198.51.100.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:db8::5]:4711"], "2001:db8::5"),
            // The client's own text comes first.
            ("10.0.0.1", &["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
            ("::1", &["198.51.100.9", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.9, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["\u{e4}"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).expect("a header"));
            }
            let expected: IpAddr = client.parse().expect("an address");
            assert_eq!(proxies.client_of(peer.parse().expect("an address"), &headers), expected, "{peer} {lines:?}");
        }
        let headers = HeaderMap::from_iter([(FORWARDED_FOR.clone(), HeaderValue::from_static("192.0.2.1"))]);
        let peer = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(TrustedProxies::default().client_of(peer, &headers), peer, "nobody is trusted by default");
    }
}
