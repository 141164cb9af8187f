//! The address of an upstream, as far as it can be checked before it is resolved. The guard of the upstream client checks the
//! resolved addresses at every connection.

use provider_client::guard;

use crate::credential_like::is_key;

const NO_URL: &str = "must be a URL such as https://api.example.com/v1";

/// The address in its normal form, without a trailing slash.
///
/// Errors: the reason why it is not the address of an upstream.
pub fn normal_form(text: &str) -> Result<String, &'static str> {
    let url = url::Url::parse(text).map_err(|_| NO_URL)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(NO_URL);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a user name or a password: send credentials in api_key");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment");
    }
    if url.path_segments().is_some_and(|mut segments| segments.any(is_key)) {
        return Err("must not have a key in its path, because events contain it: send it in api_key or secret_headers");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// True if the address alone shows that it must not be called: it is a literal IP address that the guard forbids, this machine
/// by name, or not a URL.
pub fn is_forbidden(base_url: &str, allow_private_network: bool) -> bool {
    let Ok(url) = url::Url::parse(base_url) else { return true };
    match url.host() {
        None => true,
        Some(url::Host::Ipv4(ip)) => guard::is_forbidden(ip.into(), allow_private_network),
        Some(url::Host::Ipv6(ip)) => guard::is_forbidden(ip.into(), allow_private_network),
        Some(url::Host::Domain(name)) => !allow_private_network && is_this_machine(name),
    }
}

/// True if both are URLs with the same scheme, host and port.
pub fn same_origin(one: &str, other: &str) -> bool {
    let origin = |text: &str| url::Url::parse(text).ok().map(|url| url.origin());
    origin(one).zip(origin(other)).is_some_and(|(one, other)| one == other)
}

fn is_this_machine(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_trailing_slash_and_nothing_else() {
        for (text, normal) in [
            ("https://api.example.com/v1", "https://api.example.com/v1"),
            ("https://api.example.com/v1/", "https://api.example.com/v1"),
            ("HTTPS://API.example.com:443", "https://api.example.com"),
            ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
            ("https://eu.example.com/v1/projects/sk-telecom-ai", "https://eu.example.com/v1/projects/sk-telecom-ai"),
        ] {
            assert_eq!(normal_form(text).as_deref(), Ok(normal), "{text}");
        }
    }

    #[test]
    fn other_texts_than_addresses_of_upstreams_are_refused() {
        for (text, error) in [
            ("", "must be a URL"),
            ("api.example.com", "must be a URL"),
            ("https://", "must be a URL"),
            ("ftp://example.com", "must begin with http"),
            ("file:///etc/passwd", "must begin with http"),
            ("https://me@example.com", "must not have a user name"),
            ("https://me:pw@example.com", "must not have a user name"),
            ("https://example.com?key=1", "must not have a query"),
            ("https://example.com#x", "must not have a query"),
            ("https://example.com/sk-proj-4b1f7a90c2d38e65/v1", "must not have a key in its path"),
        ] {
            assert!(normal_form(text).unwrap_err().starts_with(error), "{text}");
        }
    }

    #[test]
    fn scheme_host_and_port_make_an_origin() {
        let given = "https://api.example.com/v1";
        for same in ["https://api.example.com/v2", "https://API.example.com:443"] {
            assert!(same_origin(given, same), "{same}");
        }
        for other in ["http://api.example.com/v1", "https://api.example.com:8443/v1", "https://example.com/v1", "x"] {
            assert!(!same_origin(given, other), "{other}");
        }
    }

    #[test]
    fn private_addresses_need_an_opt_in_and_metadata_never_gets_one() {
        for (text, without, with) in [
            ("https://api.example.com", false, false),
            ("https://1.1.1.1", false, false),
            ("http://127.0.0.1:1", true, false),
            ("http://0x7f.1", true, false),
            ("http://2130706433", true, false),
            ("http://[::1]", true, false),
            ("http://[::ffff:10.0.0.1]", true, false),
            ("http://localhost:1", true, false),
            ("http://api.localhost", true, false),
            ("http://169.254.169.254", true, true),
            ("http://[fe80::1]", true, true),
            ("nonsense", true, true),
        ] {
            assert_eq!((is_forbidden(text, false), is_forbidden(text, true)), (without, with), "{text}");
        }
    }
}
