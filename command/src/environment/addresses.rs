//! Addresses in variables: where a region, this machine or a private network is meant.

use std::net::IpAddr;

use provider_client::guard;

use crate::admin::base_url;

/// Suffixes of names that only private networks have.
const LOCAL_ENDS: [&str; 6] = [".local", ".localhost", ".internal", ".lan", ".home.arpa", ".svc"];

/// The address with its region. AWS has another domain in China.
pub fn in_region(template: &str, region: Option<&str>) -> String {
    let Some(region) = region else { return template.to_owned() };
    let address = template.replace("{region}", region);
    let is_chinese = region.starts_with("cn-") && template.ends_with(".amazonaws.com");
    if is_chinese { address + ".cn" } else { address }
}

/// True for this port of this machine.
pub fn is_this_gateway(address: &str, port: u16) -> bool {
    local_port(address) == Some(port)
}

/// True if both are addresses of one port of this machine.
pub fn is_same_local_port(one: &str, other: &str) -> bool {
    local_port(one).is_some_and(|port| local_port(other) == Some(port))
}

/// True if a server in a private network is meant. `resolve` looks names up; one that does not resolve counts by its form.
pub fn may_be_private(address: &str, resolve: Option<fn(&str) -> Vec<IpAddr>>) -> bool {
    if base_url::is_forbidden(address, false) {
        return true;
    }
    let host = url::Url::parse(address).ok().and_then(|url| url.domain().map(str::to_owned));
    let Some(host) = host else { return false };
    let found = resolve.map(|resolve| resolve(&host)).unwrap_or_default();
    match found.as_slice() {
        [] => !host.contains('.') || LOCAL_ENDS.iter().any(|end| host.ends_with(end)),
        found => found.iter().any(|ip| guard::is_forbidden(*ip, false)),
    }
}

/// The port of an address of this machine; `None` for other addresses.
fn local_port(address: &str) -> Option<u16> {
    let url = url::Url::parse(address).ok()?;
    let is_here = match url.host()? {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(ip) => is_loopback(ip.into()),
        url::Host::Ipv6(ip) => is_loopback(ip.into()),
    };
    url.port_or_known_default().filter(|_| is_here)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}
