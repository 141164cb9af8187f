//! Where a syslog receiver is.

use std::fmt;
use std::str::FromStr;

use events::named;
use url::Url;

/// An address of a receiver: `tcp://HOST:PORT`, or `tls://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogAddress {
    pub(crate) transport: Transport,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

named! {
    /// How a receiver is reached, by the scheme of its address.
    pub enum Transport {
        /// In the clear, as in RFC 6587.
        Tcp = "tcp",
        /// RFC 5425.
        Tls = "tls",
    }
}

impl Transport {
    const fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 514,
            Self::Tls => 6514,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongSyslogAddress {
    #[error("it must begin with tcp:// or tls://")]
    Scheme,
    #[error("it must be tcp://HOST:PORT or tls://HOST:PORT, and no more")]
    Form,
}

impl FromStr for SyslogAddress {
    type Err = WrongSyslogAddress;

    fn from_str(text: &str) -> Result<Self, WrongSyslogAddress> {
        let transport = text.split_once("://").and_then(|(scheme, _)| Transport::parse(scheme));
        let transport = transport.ok_or(WrongSyslogAddress::Scheme)?;
        let url = Url::parse(text).map_err(|_| WrongSyslogAddress::Form)?;
        let has_more = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
            || !["", "/"].contains(&url.path());
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port().unwrap_or(transport.default_port());
        if has_more || host.is_empty() || port == 0 {
            return Err(WrongSyslogAddress::Form);
        }
        Ok(Self { transport, host, port })
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = (self.transport, &self.host, self.port);
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_transport_a_host_and_a_port() {
        for (text, shown) in [
            ("tcp://siem.internal:1514", "tcp://siem.internal:1514"),
            ("tcp://siem.internal", "tcp://siem.internal:514"),
            ("tls://10.0.0.7", "tls://10.0.0.7:6514"),
            ("tls://[2001:db8::1]:6515/", "tls://[2001:db8::1]:6515"),
        ] {
            assert_eq!(
                text.parse::<SyslogAddress>().map(|address| address.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for text in ["", "siem.internal:514", "udp://siem.internal:514", "https://siem.internal"] {
            assert_eq!(text.parse::<SyslogAddress>(), Err(WrongSyslogAddress::Scheme), "{text}");
        }
        for text in [
            "tcp://", "tcp://:514", "tcp://siem:0", "tcp://siem:65536", "tcp://user@siem", "tcp://user:secret@siem",
            "tcp://siem/path", "tcp://siem?x=1", "tls://siem#x", "tcp://a b",
        ] {
            assert_eq!(text.parse::<SyslogAddress>(), Err(WrongSyslogAddress::Form), "{text}");
        }
    }
}
