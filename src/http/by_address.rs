//! Connections and requests, counted by the address that they come from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of an IPv6 address that a client cannot choose.
const IPV6_NETWORK: u128 = !0 << 64;

/// An address as it is counted: of IPv6 the network of 64 bits, all of which one client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceAddress(IpAddr);

impl SourceAddress {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK).into(),
        })
    }
}

/// Counts by address.
#[derive(Default)]
pub struct AddressCounts(HashMap<SourceAddress, usize>);

impl AddressCounts {
    pub fn of(&self, address: SourceAddress) -> usize {
        self.0.get(&address).copied().unwrap_or_default()
    }

    pub fn add(&mut self, address: SourceAddress) {
        *self.0.entry(address).or_default() += 1;
    }

    pub fn remove(&mut self, address: SourceAddress) {
        if let Some(count) = self.0.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&address);
            }
        }
    }
}

/// The requests in progress that come by way of trusted proxies, by the client that a proxy names.
pub struct ProxiedRequests {
    of_client_max: usize,
    by_client: Mutex<AddressCounts>,
}

impl ProxiedRequests {
    pub fn new(of_client_max: usize) -> Self {
        Self { of_client_max, by_client: Mutex::default() }
    }

    /// Counts a request until the returned value is dropped; `None` if its client has as many as one may.
    pub fn begin(self: &Arc<Self>, client: IpAddr) -> Option<ProxiedRequest> {
        let client = SourceAddress::of(client);
        let mut by_client = self.lock();
        if by_client.of(client) >= self.of_client_max {
            return None;
        }
        by_client.add(client);
        Some(ProxiedRequest { requests: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, AddressCounts> {
        self.by_client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of a trusted proxy's client, which counts until this is dropped.
pub struct ProxiedRequest {
    requests: Arc<ProxiedRequests>,
    client: SourceAddress,
}

impl Drop for ProxiedRequest {
    fn drop(&mut self) {
        self.requests.lock().remove(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_address_what_it_maps() {
        let of = |text| SourceAddress::of(ip(text));
        assert_eq!(of("2001:db8:0:1:ffff::1"), of("2001:db8:0:1::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn a_client_has_as_many_requests_as_it_may_and_takes_none_from_another() {
        let requests = Arc::new(ProxiedRequests::new(2));
        let mut held: Vec<_> = [(); 3].map(|()| requests.begin(ip("192.0.2.1"))).into_iter().flatten().collect();
        assert_eq!(held.len(), 2);
        assert!(requests.begin(ip("192.0.2.2")).is_some());
        held.pop();
        assert!(requests.begin(ip("192.0.2.1")).is_some(), "one has ended");
        held.clear();
        assert!(requests.lock().0.is_empty(), "nothing is kept of who has gone");
    }
}
