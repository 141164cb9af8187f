//! The address of NATS: one or several servers of one cluster, with the credentials that all of them take.

use std::fmt;
use std::str::FromStr;

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use url::Url;

const SERVERS_MAX: usize = 16;
const SCHEMES: [&str; 2] = ["nats", "tls"];

/// Shown without its credentials.
#[derive(Clone)]
pub struct NatsAddress {
    servers: Vec<ServerAddr>,
    credentials: Credentials,
}

#[derive(Clone, Default, PartialEq, Eq)]
enum Credentials {
    #[default]
    None,
    Token(String),
    Password {
        user: String,
        password: String,
    },
}

/// Not the address of a NATS server. Without the address, which may have a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongNatsAddress {
    #[error("it must begin with nats:// or tls://")]
    Scheme,
    #[error("it cannot be read: it must be nats://USER:PASSWORD@HOST:PORT")]
    Unreadable,
    #[error(
        "it has a path, a parameter or a fragment, which has no effect; in a user, a password or a token, write %2F for a /, %3F for \
         a ?, %23 for a # and %25 for a %"
    )]
    Beyond,
    #[error("it has a user or a password that is not percent-encoded UTF-8")]
    NotEncoded,
    #[error("its servers have different credentials: they must be servers of one cluster")]
    Different,
    #[error("it has more than {SERVERS_MAX} servers")]
    TooMany,
}

impl NatsAddress {
    pub(crate) fn servers(&self) -> &[ServerAddr] {
        &self.servers
    }

    pub(crate) fn authenticate(&self, options: ConnectOptions) -> ConnectOptions {
        match self.credentials.clone() {
            Credentials::None => options,
            Credentials::Token(token) => options.token(token),
            Credentials::Password { user, password } => options.user_and_password(user, password),
        }
    }
}

impl fmt::Display for NatsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.servers.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}", server.as_url_str())?;
        }
        Ok(())
    }
}

impl FromStr for NatsAddress {
    type Err = WrongNatsAddress;

    /// Reads servers separated by commas. Credentials may be those of the first server alone.
    fn from_str(text: &str) -> Result<Self, WrongNatsAddress> {
        let mut servers = Vec::new();
        let mut credentials = Credentials::None;
        for (index, server) in text.split(',').enumerate() {
            if index == SERVERS_MAX {
                return Err(WrongNatsAddress::TooMany);
            }
            let (server, given) = read_server(server.trim())?;
            if index == 0 {
                credentials = given;
            } else if given != Credentials::None && given != credentials {
                return Err(WrongNatsAddress::Different);
            }
            servers.push(server);
        }
        Ok(Self { servers, credentials })
    }
}

fn read_server(text: &str) -> Result<(ServerAddr, Credentials), WrongNatsAddress> {
    let has_scheme = |scheme: &&str| text.strip_prefix(*scheme).is_some_and(|rest| rest.starts_with("://"));
    if !SCHEMES.iter().any(has_scheme) {
        return Err(WrongNatsAddress::Scheme);
    }
    let mut url = Url::parse(text).map_err(|_| WrongNatsAddress::Unreadable)?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(WrongNatsAddress::Beyond);
    }
    // The library escapes an @ that is not the last one.
    if text.matches('@').count() > 1 {
        return Err(WrongNatsAddress::NotEncoded);
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(WrongNatsAddress::Unreadable);
    }
    let credentials = read_credentials(&url)?;
    let without = [url.set_username(""), url.set_password(None)];
    if without.iter().any(Result::is_err) {
        return Err(WrongNatsAddress::Unreadable);
    }
    url.set_path("");
    let server = ServerAddr::from_url(url).map_err(|_| WrongNatsAddress::Unreadable)?;
    Ok((server, credentials))
}

/// A user without a password is a token.
fn read_credentials(url: &Url) -> Result<Credentials, WrongNatsAddress> {
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| WrongNatsAddress::NotEncoded)?;
        Ok(decoded.into_owned())
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(Credentials::None),
        ("", Some(_)) => Err(WrongNatsAddress::Unreadable),
        (token, None) => Ok(Credentials::Token(decoded(token)?)),
        (user, Some(password)) => Ok(Credentials::Password { user: decoded(user)?, password: decoded(password)? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NatsAddress, WrongNatsAddress> {
        text.parse()
    }

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        for (given, shown) in [
            ("nats://bus", "nats://bus"),
            ("nats://bus:4222/", "nats://bus:4222"),
            ("tls://relay:s3cret@bus.internal:4443", "tls://bus.internal:4443"),
            ("nats://t0ken@[::1]:4222", "nats://[::1]:4222"),
            ("nats://u:s3cret@a:1, nats://b:2 ,nats://u:s3cret@c:3", "nats://a:1,nats://b:2,nats://c:3"),
        ] {
            assert_eq!(read(given).expect("an address").to_string(), shown);
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let credentials = |text: &str| read(text).expect("an address").credentials;
        assert!(credentials("nats://bus") == Credentials::None);
        assert!(credentials("nats://t%40ken@bus") == Credentials::Token("t@ken".into()));
        let both = Credentials::Password { user: "u:1".into(), password: "a/b@c%".into() };
        assert!(credentials("nats://u%3A1:a%2Fb%40c%25@bus,nats://other") == both);
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        use WrongNatsAddress::*;
        let many = vec!["nats://u:s3cret@bus"; SERVERS_MAX + 1].join(",");
        for (wrong, why) in [
            ("", Scheme),
            ("bus:4222", Scheme),
            ("http://u:s3cret@bus", Scheme),
            ("ws://bus", Scheme),
            ("natss://bus", Scheme),
            ("nats://bus,", Scheme),
            ("nats://", Unreadable),
            ("nats://u:s3cret@", Unreadable),
            ("nats://u:s3cret@bus:port", Unreadable),
            ("nats://:s3cret@bus", Unreadable),
            ("nats://u:s3 cret@b us", Unreadable),
            ("nats://u:s3@cret@bus", NotEncoded),
            ("nats://u:%ffs3cret@bus", NotEncoded),
            ("nats://bus/s3cret", Beyond),
            ("nats://bus?password=s3cret", Beyond),
            ("nats://bus#s3cret", Beyond),
            ("nats://u:s3cret@a,nats://u:other@b", Different),
            ("nats://a,nats://u:s3cret@b", Different),
            (&many, TooMany),
        ] {
            let refused = read(wrong).err().unwrap_or_else(|| panic!("{wrong}"));
            assert_eq!(refused, why, "{wrong}");
            assert!(!refused.to_string().contains("s3"), "{refused}");
        }
    }
}
