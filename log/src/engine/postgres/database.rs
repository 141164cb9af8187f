//! Where the database is, and how its sessions are set up.

use std::fmt;
use std::fs::File;
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

/// The parameters by which an address says how its connections are encrypted, and the variable that says so for addresses
/// without one.
const SSL_MODE: [&str; 2] = ["sslmode", "ssl-mode"];
const SSL_MODE_VARIABLE: &str = "PGSSLMODE";

/// Settings of every session: a commit is on the disk when it returns, and no statement or lock is waited for without limit. The
/// server's signs of life keep idle connections known to the network, and end a session whose node is gone, with its locks, after
/// eleven seconds.
const SESSION: [(&str, &str); 11] = [
    ("application_name", "ledgerway"),
    ("search_path", "ledger"),
    ("synchronous_commit", "on"),
    // A lost race shows as a closed gate, and every statement sees what was committed before it.
    ("default_transaction_isolation", r"read\ committed"),
    ("statement_timeout", "5s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("timezone", "UTC"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
];

/// Further settings of the writer's session, which looks up everything by an index. PostgreSQL keeps the generic plan of a prepared
/// statement from its first executions, when the tables are nearly empty, and would go on reading whole tables until they are
/// analyzed, about a minute later.
const OF_WRITER: [(&str, &str); 8] = [
    // It asks five times a second for what others have appended. A process that is stopped in its turn must not keep the others
    // from appending.
    ("idle_session_timeout", "2s"),
    // Its few statements are planned once: planning an append anew takes as long as a small one.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    // A plan node that is switched off but needed has a huge cost, which would start JIT compilation.
    ("jit", "off"),
];

/// The address of a shared database, with its credentials. Shown without the password.
#[derive(Clone)]
pub struct DatabaseAddress {
    options: PgConnectOptions,
}

/// Not the address of a PostgreSQL database.
#[derive(Debug, thiserror::Error)]
pub enum WrongAddress {
    #[error("it must begin with postgres:// or postgresql://")]
    Scheme,
    /// Without the address, which may have a password in it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it names no database: postgres://USER@HOST/DATABASE")]
    NoDatabase,
    /// Without the place, which may be in a password.
    #[error(
        "it has an @ or a / where none can be: in a user, a password or the name of a database, write %40 or %2F for it, and %25 \
         for a %"
    )]
    NotEncoded,
    /// Without the name if that may be a part of a password.
    #[error("it has a parameter that has no effect{}", shown(.0))]
    Parameter(String),
    #[error("its {parameter} {path:?} cannot be read: {source}")]
    File { parameter: String, path: String, source: std::io::Error },
}

/// Parameters after the address of the server that take effect.
const PARAMETERS: [&str; 18] = [
    "sslmode", "ssl-mode", "sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key",
    "statement-cache-capacity", "host", "hostaddr", "port", "dbname", "user", "password", "application_name",
    "options",
];

/// The parameters that name a file.
const FILES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// The name of a parameter, if it looks like one.
fn shown(name: &str) -> String {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'));
    if is_name { format!(": {name}") } else { String::new() }
}

/// A setting of a session in the database.
#[derive(Clone, Copy, Debug)]
pub struct SessionSetting {
    pub name: &'static str,
    pub value: &'static str,
}

impl DatabaseAddress {
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// How another part of the program connects to the same database: with these settings of its session, such as
    /// a `search_path` of `views`, beside or instead of those of every session of the log.
    pub fn connect_options(&self, session: &[SessionSetting]) -> PgConnectOptions {
        self.options.clone().options(session.iter().map(|setting| (setting.name, setting.value)))
    }

    /// For the session of a writer.
    pub(super) fn for_writer(&self) -> Self {
        Self { options: self.options.clone().options(OF_WRITER) }
    }

    /// True if an address that was shown is that of this database, whoever its user is.
    pub fn is_shown_as(&self, shown: &str) -> bool {
        shown.ends_with(&format!("@{}", self.place()))
    }

    /// The part of this database's address that follows the user.
    fn place(&self) -> String {
        let Self { options } = self;
        let (host, port, database) =
            (options.get_host(), options.get_port(), options.get_database().unwrap_or_default());
        let socket = options.get_socket().map(|folder| folder.to_string_lossy());
        match socket.as_deref().or_else(|| host.starts_with('/').then_some(host)) {
            Some(folder) => format!("localhost:{port}/{database}?host={}", folder.trim_end_matches('/')),
            None => format!("{host}:{port}/{database}"),
        }
    }

    /// The database at an address, with the value of `PGSSLMODE`.
    fn at(url: &str, ssl_mode: Option<&str>) -> Result<Self, WrongAddress> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(WrongAddress::Scheme);
        }
        check_form(url)?;
        let url = Url::parse(url).map_err(|error| WrongAddress::Unreadable(error.to_string()))?;
        check_files(&url)?;
        let unreadable = |error: sqlx::Error| WrongAddress::Unreadable(error.to_string());
        let mut options = PgConnectOptions::from_url(&url).map_err(unreadable)?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(WrongAddress::NoDatabase);
        }
        if !url.query_pairs().any(|(name, _)| SSL_MODE.contains(&name.as_ref())) {
            let mode = match ssl_mode {
                Some(mode) => mode.parse().map_err(unreadable)?,
                None if is_local(&options) => PgSslMode::Prefer,
                // A node of a cluster needs its database's identity proved.
                None => PgSslMode::VerifyFull,
            };
            options = options.ssl_mode(mode);
        }
        Ok(Self { options: options.options(SESSION) })
    }
}

/// True if connections do not leave this machine. A host that begins with a slash is the folder of a socket.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]")
}

impl FromStr for DatabaseAddress {
    type Err = WrongAddress;

    fn from_str(url: &str) -> Result<Self, WrongAddress> {
        let ssl_mode = std::env::var(SSL_MODE_VARIABLE).ok().filter(|mode| !mode.is_empty());
        Self::at(url, ssl_mode.as_deref())
    }
}

/// Refuses what would be taken for something else, or for nothing: a password that is not encoded ends early, and its rest is
/// then the host and the name of the database, which are shown; a parameter that is not known is ignored.
fn check_form(url: &str) -> Result<(), WrongAddress> {
    let (_, address) = url.split_once("://").unwrap_or_default();
    let (_, after_host) = address.split_at(address.find(['/', '?', '#']).unwrap_or(address.len()));
    let (path, query) = after_host.split_once('?').unwrap_or((after_host, ""));
    if after_host.contains('@') || path.trim_start_matches('/').contains('/') {
        return Err(WrongAddress::NotEncoded);
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, _) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_option = name.starts_with("options[") && name.ends_with(']');
        if !PARAMETERS.contains(&name) && !is_option {
            return Err(WrongAddress::Parameter(name.to_owned()));
        }
    }
    Ok(())
}

/// A file that is not there would later be an error without its name.
fn check_files(url: &Url) -> Result<(), WrongAddress> {
    for (parameter, path) in url.query_pairs().filter(|(name, _)| FILES.contains(&name.as_ref())) {
        File::open(&*path).map_err(|source| WrongAddress::File {
            parameter: parameter.into_owned(),
            path: path.into_owned(),
            source,
        })?;
    }
    Ok(())
}

impl fmt::Display for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}", self.options.get_username(), self.place())
    }
}

impl fmt::Debug for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str) -> DatabaseAddress {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn refused(url: &str) -> String {
        url.parse::<DatabaseAddress>().err().unwrap_or_else(|| panic!("{url} is taken")).to_string()
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_no_part_of_it_is_shown() {
        for password in ["q7@x7/z7", "q7/x7@z7", "77/x7@z7", "77/x7", "77?x7", "77#x7", "77?x7@z7=1", "77#x7@z7", "/x7"]
        {
            let words = refused(&format!("postgres://user:{password}@db.internal/ledgerway"));
            assert!(!words.contains('7'), "{password}: {words}");
        }
        assert!(refused("postgres://db/ledger/way").contains("%2F"));
        for url in
            ["postgres://u:q7%40x7%2Fz7@db/ledgerway", "postgres://u:q7@x7@db/ledgerway", "postgres://db//ledgerway"]
        {
            assert!(database(url).to_string().ends_with("@db:5432/ledgerway"), "{url}");
        }
        assert!(database("postgres://u@db/ledger%40way").to_string().ends_with("@db:5432/ledger@way"));
    }

    #[test]
    fn a_socket_is_shown_by_its_folder() {
        for url in [
            "postgres://u:q7@%2Frun%2Fa:5433/ledger",
            "postgres://u@localhost:5433/ledger?host=/run/a",
            "postgres://u@db/ledger?host=/run/a/&port=5433",
        ] {
            let shown = database(url).to_string();
            assert_eq!(shown, "postgres://u@localhost:5433/ledger?host=/run/a", "{url}");
            assert_eq!(database(&shown).to_string(), shown, "it can be given again");
        }
    }

    #[test]
    fn databases_are_the_same_if_all_but_their_users_are() {
        let same = [
            ["postgres://u:q7@db/ledger", "postgres://v@db:5432/ledger?sslmode=require"],
            ["postgres://u@db/ledger", "postgres://u%40corp@db/ledger"],
            ["postgres://u@%2Frun%2Fa/ledger", "postgres://v@localhost/ledger?host=/run/a"],
        ];
        let other = [
            ["postgres://u@db/ledger", "postgres://u@db/ledger2"],
            ["postgres://u@db/ledger", "postgres://u@db:5433/ledger"],
            ["postgres://u@db/ledger", "postgres://u@other.db/ledger"],
            ["postgres://u@localhost/ledger", "postgres://u@localhost/ledger?host=/run/a"],
            ["postgres://u@localhost/ledger?host=/run/a", "postgres://u@localhost/ledger?host=/run/b"],
            ["postgres://u@%2Frun%2Fa/ledger", "postgres://u@%2Frun%2Fb/ledger"],
            ["postgres://u@localhost/ledger?host=/run/a", "postgres://u@localhost/ledger?host=/run/a&port=5433"],
        ];
        for (pairs, are_same) in [(same.as_slice(), true), (other.as_slice(), false)] {
            for [one, two] in pairs {
                for (one, two) in [(one, two), (two, one)] {
                    assert_eq!(database(one).is_shown_as(&database(two).to_string()), are_same, "{one} {two}");
                }
            }
        }
    }

    #[test]
    fn a_parameter_without_effect_is_refused_by_name() {
        for name in ["sslcrl", "channel_binding", "target_session_attrs", "connect_timeout", "keepalives"] {
            let words = refused(&format!("postgres://u@db/ledgerway?sslmode=require&{name}=1"));
            assert_eq!(words, format!("it has a parameter that has no effect: {name}"));
        }
        assert_eq!(refused("postgres://u@db/ledgerway?Secret1"), "it has a parameter that has no effect");
        let known = "sslmode=verify-ca&sslrootcert=/dev/null&port=6432&options=-c%20geqo%3Doff&options[jit]=off";
        assert_eq!(database(&format!("postgres://u@db/ledgerway?{known}")).options.get_port(), 6432);
        database("postgres://u@db/ledgerway?");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        for name in FILES {
            let words = refused(&format!("postgres://u:q7@db/ledgerway?{name}=/none/ca.pem"));
            assert!(words.starts_with(&format!("its {name} \"/none/ca.pem\" cannot be read: ")), "{words}");
        }
    }

    /// The mode of its connections; `None` if the address is refused.
    fn ssl_mode(url: &str, variable: Option<&str>) -> Option<String> {
        DatabaseAddress::at(url, variable).ok().map(|database| format!("{:?}", database.options.get_ssl_mode()))
    }

    #[test]
    fn tls_is_as_it_was_asked_for() {
        for (query, variable, wanted) in [
            ("?sslmode=require", None, "Require"),
            ("?ssl-mode=require", None, "Require"),
            ("?application_name=a&sslmode=verify-ca", None, "VerifyCa"),
            ("?sslmode=disable", None, "Disable"),
            ("", Some("require"), "Require"),
            ("?sslmode=verify-full", Some("disable"), "VerifyFull"),
            ("?ssl-mode=verify-full", Some("disable"), "VerifyFull"),
        ] {
            for host in ["db.example.com", "localhost"] {
                let url = format!("postgres://u:p@{host}/ledger{query}");
                assert_eq!(ssl_mode(&url, variable).as_deref(), Some(wanted), "{url} {variable:?}");
            }
        }
        assert_eq!(ssl_mode("postgres://u@db.example.com/ledger", Some("on")), None);
        assert_eq!(ssl_mode("postgres://u@db.example.com/ledger?sslmode=on", None), None);
    }

    #[test]
    fn a_remote_server_proves_its_identity_unless_something_else_was_asked_for() {
        for url in [
            "postgres://u@db.example.com/ledger",
            "postgresql://u:p@db.example.com:5433/ledger?application_name=sslmode",
            // Nothing but a parameter asks for anything.
            "postgres://u:sslmode=disable@db.example.com/ledger",
            "postgres://sslmode=disable:p@db.example.com/ledger",
            "postgres://u@db.example.com/sslmode=disable",
            "postgres://u@db.example.com/ledger?options=sslmode=disable",
            "postgres://u@db.example.com/ledger#sslmode=disable",
            // These hosts only look like this machine.
            "postgres://u@localhost.example.com/ledger",
            "postgres://u@localhost/ledger?host=db.example.com",
            "postgres://localhost@db.example.com/ledger",
        ] {
            assert_eq!(ssl_mode(url, None).as_deref(), Some("VerifyFull"), "{url}");
        }
    }

    #[test]
    fn this_machine_needs_no_proof() {
        for url in [
            "postgres://u@localhost/ledger",
            "postgres://u:p@127.0.0.1:5433/ledger",
            "postgres://u@[::1]/ledger",
            "postgres://u@%2Frun%2Fpostgresql/ledger",
            "postgres:///ledger?host=/run/postgresql",
        ] {
            assert_eq!(ssl_mode(url, None).as_deref(), Some("Prefer"), "{url}");
        }
    }
}
