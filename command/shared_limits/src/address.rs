//! The address of Redis: one server, or several of one cluster.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The port of a server whose address has none.
const PORT: u16 = 6379;

/// One server, or some servers of a cluster: `redis://user:password@one:6379,two:6379`. It is shown only by its hosts, because it
/// may have a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// At least one.
    servers: Vec<Url>,
}

/// Why a text is no address of Redis. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("it is not a URL")]
    NotAUrl,
    #[error("it must begin with redis:// or rediss://")]
    Scheme,
    #[error("a host is missing; in a password, write %2F for a / and %40 for an @")]
    NoHost,
    #[error("what follows a comma must be host:port")]
    FurtherServer,
    #[error("its path must be the number of a database, from 0 to 65535; in a password, write %2F for a /")]
    Database,
    #[error("a cluster has only the database 0")]
    DatabaseOfCluster,
    #[error("it must have no ? and no #; in a password, write %3F and %23 for them")]
    Parameters,
}

impl FromStr for RedisAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (authority, database) = match text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('/')) {
            Some((_, database)) => (&text[..text.len() - database.len() - 1], database),
            None => (text, ""),
        };
        // A password may have a comma.
        let hosts_begin = authority.rfind('@').map_or(0, |at| at + 1);
        let mut hosts = authority[hosts_begin..].split(',');
        let first = hosts.next().ok_or(AddressError::NoHost)?;
        let first =
            Url::parse(&format!("{}{first}/{database}", &authority[..hosts_begin])).map_err(|error| match error {
                url::ParseError::EmptyHost => AddressError::NoHost,
                _ => AddressError::NotAUrl,
            })?;
        check(&first, database)?;
        let mut servers = vec![first];
        for host in hosts {
            servers.push(further(&servers[0], host)?);
        }
        match servers.len() > 1 && !matches!(database, "" | "0") {
            true => Err(AddressError::DatabaseOfCluster),
            false => Ok(Self { servers }),
        }
    }
}

fn check(first: &Url, database: &str) -> Result<(), AddressError> {
    if !matches!(first.scheme(), "redis" | "rediss") {
        return Err(AddressError::Scheme);
    }
    if first.host_str().is_none_or(str::is_empty) {
        return Err(AddressError::NoHost);
    }
    if first.query().is_some() || first.fragment().is_some() {
        return Err(AddressError::Parameters);
    }
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err(AddressError::Database);
    }
    Ok(())
}

/// Another server with the same scheme and credentials.
fn further(first: &Url, host: &str) -> Result<Url, AddressError> {
    let parsed = Url::parse(&format!("{}://{host}", first.scheme())).map_err(|_| AddressError::FurtherServer)?;
    let has_more = !parsed.username().is_empty() || parsed.password().is_some() || !matches!(parsed.path(), "" | "/");
    let host = parsed.host_str().filter(|host| !host.is_empty() && !has_more).ok_or(AddressError::FurtherServer)?;
    let mut server = first.clone();
    server.set_host(Some(host)).map_err(|_| AddressError::FurtherServer)?;
    server.set_port(parsed.port()).map_err(|()| AddressError::FurtherServer)?;
    Ok(server)
}

impl RedisAddress {
    pub(crate) fn servers(&self) -> &[Url] {
        &self.servers
    }

    /// The hosts with their ports, without users and passwords.
    pub fn shown(&self) -> String {
        let shown = |server: &Url| {
            let port = server.port().unwrap_or(PORT);
            format!("{}:{port}", server.host_str().unwrap_or_default())
        };
        self.servers.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisAddress(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Result<Vec<String>, AddressError> {
        let address: RedisAddress = text.parse()?;
        Ok(address.servers.iter().map(Url::to_string).collect())
    }

    #[test]
    fn an_address_names_one_server_or_several_of_a_cluster() {
        assert_eq!(servers("redis://127.0.0.1:6379"), Ok(vec!["redis://127.0.0.1:6379/".to_owned()]));
        assert_eq!(servers("rediss://me:s3,cret@one/2"), Ok(vec!["rediss://me:s3,cret@one/2".to_owned()]));
        assert_eq!(
            servers("redis://:pw@one:1,two:2,[::1]:3/0"),
            Ok(["redis://:pw@one:1/0", "redis://:pw@two:2/0", "redis://:pw@[::1]:3/0"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_reason_alone() {
        for (text, error) in [
            ("", AddressError::NotAUrl),
            ("127.0.0.1:6379", AddressError::NotAUrl),
            ("http://one", AddressError::Scheme),
            ("unix:///run/redis.sock", AddressError::Scheme),
            ("redis://", AddressError::NoHost),
            ("redis://one/x", AddressError::Database),
            ("redis://one/70000", AddressError::Database),
            ("redis://one?protocol=3", AddressError::Parameters),
            ("redis://one,two/3", AddressError::DatabaseOfCluster),
            ("redis://one,", AddressError::FurtherServer),
            ("redis://one,two:x", AddressError::FurtherServer),
        ] {
            assert_eq!(servers(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let address: RedisAddress = "redis://me:s3cret@one".parse().expect("an address");
        assert!(!format!("{address:?}").contains("s3cret"));
        assert_eq!(address.shown(), "one:6379");
        let address: RedisAddress = "rediss://me:s3cret@one:1,[::1]:3".parse().expect("an address");
        assert_eq!(address.shown(), "one:1, [::1]:3");
    }
}
