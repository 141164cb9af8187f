//! The errors for settings that are valid, and turn out to be unusable where they are used.

use std::io::ErrorKind;
use std::path::Path;

use access_control::limits::{CounterError, SharingNode};
use cli::settings::{Advice, Setting, WrongConfig, setting, two_ledgers};
use events_log::{DatabaseAddress, LEDGER_FILE};
use projections::views::VIEWS_FILE;
use secrets::log_key::LogKeyError;

use super::{Config, ListenAddress};

impl Config {
    /// The error for an address of `setting` on which the server cannot listen.
    pub fn listen_failed(&self, setting: Setting, address: &ListenAddress, error: &std::io::Error) -> WrongConfig {
        if error.kind() == ErrorKind::AddrInUse {
            let problem = format!("is {address}, which is already in use; choose another port");
            return self.flags.wrong_with(setting, problem, &address.with_next_port().to_string());
        }
        self.flags.wrong(setting, format!("is {address}, and listening there failed ({error})"))
    }

    /// The error for a host name of `setting` that does not resolve.
    pub fn resolve_failed(&self, setting: Setting, address: &ListenAddress, error: &std::io::Error) -> WrongConfig {
        self.flags.wrong(setting, format!("is \"{address}\", a name that does not resolve ({error})"))
    }

    /// The error for a data folder whose ledger would be left unused.
    pub fn two_ledgers(&self, database: &DatabaseAddress) -> WrongConfig {
        two_ledgers(&self.data, database, &self.flags)
    }

    /// The error for a data folder whose ledger was moved to a database.
    pub fn moved_ledger(&self, moved_to: &str, marker: &Path) -> WrongConfig {
        let (variable, marker) = (setting::DATABASE_URL.variable, marker.display());
        let problem = format!(
            "is a folder whose ledger was moved to {moved_to}: start nodes of that database ({variable}), with other folders; if the \
             move was interrupted, run it again; to serve this one all the same, without what was recorded in the database, delete \
             {marker}"
        );
        self.flags.wrong_with(setting::DATA, problem, "./ledgerway-node")
    }

    /// The error for a data folder with views whose ledger is missing: its database was not given, or it was lost.
    pub fn views_without_ledger(&self) -> WrongConfig {
        let (variable, data) = (setting::DATABASE_URL.variable, &self.data);
        let problem = format!(
            "is a folder with the views of a ledger, and without that ledger: if it is in a database, set {variable}; if there was a \
             {}, restore it from a backup; for a new ledger, delete {} or give another folder",
            data.join(LEDGER_FILE).display(),
            data.join(VIEWS_FILE).display()
        );
        self.flags.wrong_with(setting::DATA, problem, "./ledgerway-new")
    }

    /// The error for a data folder that cannot be created or written. `path` is where it failed.
    pub fn data_unusable(&self, path: &Path, error: &std::io::Error) -> WrongConfig {
        let problem = format!("names a folder that cannot be created or written ({}: {error})", path.display());
        self.flags.wrong(setting::DATA, problem)
    }

    /// The error for another name of the log than the one that is recorded.
    pub fn other_origin(&self, error: &LogKeyError) -> WrongConfig {
        let name = self.flags.name_of(setting::LOG_ORIGIN);
        WrongConfig { name, problem: format!("cannot be used: {error}"), advice: Advice::Unset }
    }

    /// The error for a Redis that this node cannot use while other nodes are connected to theirs.
    pub fn redis_unusable(error: &CounterError, variable: impl Fn(&str) -> Option<String>) -> WrongConfig {
        let problem = format!(
            "is the address of a Redis that this node cannot use ({error}), and other nodes are connected to theirs; it does not start, \
             because it would count by its share beside them: let this node reach the server and use it, or correct the address with its \
             user and password"
        );
        setting::REDIS_URL.wrong_as_secret(problem, variable)
    }

    /// The error for a node without a Redis beside one that shares its counts.
    pub fn redis_missing(sharing: &SharingNode) -> WrongConfig {
        let problem = format!(
            "is not set, and {sharing}; this node does not start, because it would admit every rate limit once more: stop \
             the nodes that share their counts, set it to off while you replace them, or give this node their Redis"
        );
        setting::REDIS_URL.wrong_as_variable(problem)
    }
}

#[cfg(test)]
mod tests {
    use cli::settings::Flags;

    use super::super::tests::args;
    use super::*;

    #[test]
    fn a_port_in_use_is_answered_with_the_next_one_as_the_example() {
        let taken = std::io::Error::from(ErrorKind::AddrInUse);
        let config = Config::read(&args(), &Flags::default(), |_| None).expect("a configuration");
        for (tried, example) in [
            ("127.0.0.1:8080", "127.0.0.1:8081"),
            ("0.0.0.0:80", "0.0.0.0:81"),
            ("localhost:9090", "localhost:9091"),
            ("[::1]:65535", "[::1]:65534"),
        ] {
            let wrong =
                config.listen_failed(setting::LISTEN, &ListenAddress::parse(tried).expect("an address"), &taken);
            assert_eq!(wrong.advice, setting::Advice::Example(format!("LEDGERWAY_LISTEN={example}")), "{wrong}");
        }
    }
}
