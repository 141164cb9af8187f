//! Settings by name. Each is a variable and, except for secrets, a flag; errors use the name that was given.

use std::collections::BTreeSet;
use std::fmt;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

pub const PREFIX: &str = "LEDGERWAY_";
/// The end of the variable that names a file with a secret, after the secret's own variable.
const FILE_SUFFIX: &str = "_FILE";

/// A setting: its variable, and a valid value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub variable: &'static str,
    pub example: &'static str,
    /// Its flag takes a value only after `=`.
    is_switch: bool,
    /// True if it has no flag, and can be in a file.
    pub is_secret: bool,
}

const NEW_KEY: &str = "\"$(openssl rand -hex 32)\"";

macro_rules! settings {
    ($($name:ident = $kind:ident($example:expr),)+) => {
        $(pub const $name: Setting = Setting::$kind(concat!("LEDGERWAY_", stringify!($name)), $example);)+

        /// Every setting of this version.
        pub const ALL: &[Setting] = &[$($name),+];
    };
}

settings! {
    LISTEN = with_value("127.0.0.1:8080"),
    METRICS_LISTEN = with_value("127.0.0.1:9090"),
    GRPC_LISTEN = with_value("127.0.0.1:8081"),
    DATA = with_value("./ledgerway-data"),
    DATABASE_URL = secret("postgres://ledgerway@db.internal/ledgerway"),
    NATS_URL = secret("nats://ledgerway:PASSWORD@nats.internal:4222"),
    NATS_REPLICAS = with_value("3"),
    NATS_MAX_GIB = with_value("100"),
    OBJECT_STORE_URL = secret("s3://audit-logs/ledgerway?region=eu-central-1"),
    CONTENT_URL = secret("s3://content/ledgerway?region=eu-central-1"),
    ARCHIVING = switch("true"),
    ARCHIVE_SEGMENT_EVENTS = with_value("50000"),
    ARCHIVE_SEGMENT_SECONDS = with_value("300"),
    TRANSPARENCY = switch("true"),
    TRANSPARENCY_ANEW = switch("true"),
    RECORD_READS = switch("false"),
    ACCESS_LOG = with_value("view"),
    ACCESS_LOG_ENTRIES = with_value("1000000"),
    LOG_ORIGIN = with_value("gateway.example.com/ledger"),
    WITNESSES = with_value("\"witness.example.org/w1+a27d8a4d+BHMwCHH0TBaOfJSd4sdQ5gwsm7j/UwAXxaJnI06ctNuO https://witness.example.org\""),
    ALERTS_URL = secret("https://hooks.internal/budgets"),
    ALERTS_SECRET = secret("\"whsec_$(openssl rand -base64 32)\""),
    AUDIT_SYSLOG = with_value("tls://siem.internal:6514"),
    AUDIT_FORMAT = with_value("ocsf"),
    AUDIT_MESSAGE_BYTES = with_value("8192"),
    AUDIT_WEBHOOK = secret("https://siem.internal/ledgerway"),
    AUDIT_WEBHOOK_SECRET = secret("\"whsec_$(openssl rand -base64 32)\""),
    REDIS_URL = secret("redis://default:PASSWORD@limits.internal:6379"),
    DEV = switch("true"),
    MODE = with_value("all"),
    PROVIDERS_FROM_ENV = switch("false"),
    VIEWS = switch("false"),
    ANALYTICS = switch("false"),
    APPLY = with_value("./config"),
    APPLY_PRUNE = with_value("managed-by=git"),
    ENABLE_HOT_RELOAD = switch("true"),
    BREAKER_FAILURES = with_value("5"),
    BREAKER_SECONDS = with_value("60"),
    RETRY_PERCENT = with_value("20"),
    KEEP_ALIVE_SECONDS = with_value("15"),
    SNAPSHOT_EVENTS = with_value("100000"),
    SNAPSHOT_GIB = with_value("10"),
    BEDROCK = switch("true"),
    ADMIN_KEY = secret(NEW_KEY),
    NODE_KEY = secret(NEW_KEY),
    NODE_KEY_PREVIOUS = secret("\"$(cat ./ledgerway-data/node.key)\""),
    PREVIOUS_KEY_LOST = switch("true"),
    SERVES_TENANTS = with_value("default/acme,ten_0193d6a0000070008000000000000001"),
    HOLD_TTL_SECONDS = with_value("900"),
    HOLD_SHARE = with_value("0.5"),
    UNKNOWN_USAGE = with_value("charge_hold"),
    DRAIN_TIMEOUT_SECONDS = with_value("30"),
    DRAIN_DELAY_SECONDS = with_value("5"),
    RATE_LIMIT_REQUESTS = with_value("1000"),
    ADMIN_RATE_LIMIT_REQUESTS = with_value("1000"),
    BODY_MEMORY_MIB = with_value("160"),
    ANSWER_MEMORY_MIB = with_value("160"),
    CORS_ORIGINS = with_value("https://app.example.com,http://localhost:3000"),
    TRUSTED_PROXIES = with_value("10.0.0.0/8"),
    JSON = switch("true"),
    LOG_ONLY = switch("true"),
    URL = with_value("https://gateway.example.com"),
    KEY = with_value("\"$(cat ./ledgerway-data/dev.key)\""),
    KEY_FILE = with_value("./ledgerway-data/dev.key"),
}

/// The level of the log: a variable of the library that writes it, and no setting of ours.
pub const RUST_LOG: Setting = Setting::with_value("RUST_LOG", "info,provider_client=debug");

impl Setting {
    /// A setting with an example of its value.
    pub const fn with_value(variable: &'static str, example: &'static str) -> Self {
        Self { variable, example, is_switch: false, is_secret: false }
    }

    /// A setting whose flag is a switch.
    const fn switch(variable: &'static str, example: &'static str) -> Self {
        Self { variable, example, is_switch: true, is_secret: false }
    }

    /// A setting that is only a variable, or in the file that a variable names.
    const fn secret(variable: &'static str, example: &'static str) -> Self {
        Self { variable, example, is_switch: false, is_secret: true }
    }

    /// The variable that names a file with this secret.
    pub fn file_variable(self) -> String {
        format!("{}{FILE_SUFFIX}", self.variable)
    }

    /// The variable in which this secret was given: its own, or the one that names its file.
    pub fn given_name(self, variable: impl Fn(&str) -> Option<String>) -> String {
        let in_file = self.file_variable();
        if variable(&in_file).is_some() { in_file } else { self.variable.to_owned() }
    }

    /// True for the variable that names a file with this secret.
    pub fn is_in_file_of(self, variable: &str) -> bool {
        self.is_secret && variable.strip_suffix(FILE_SUFFIX) == Some(self.variable)
    }

    /// Whether its value is a secret.
    pub fn holds_secret(self) -> bool {
        // A client's key has a flag for its file, and no other setting with a secret has a flag.
        self.is_secret || self == KEY
    }

    fn flag(self) -> String {
        let name = self.variable.strip_prefix(PREFIX).unwrap_or(self.variable);
        format!("--{}", name.to_ascii_lowercase().replace('_', "-"))
    }

    /// The error for a setting that has no flag.
    pub fn wrong_as_variable(self, problem: impl Into<String>) -> WrongConfig {
        let advice = Advice::Example(format!("{}={}", self.variable, self.example));
        WrongConfig { name: self.variable.to_owned(), problem: problem.into(), advice }
    }

    /// The address of `what` in this secret variable; `None` if it is unset. It may have a password in it, and is not repeated.
    ///
    /// Errors: it is empty, as a secret that was not filled in (`unset_to` says what unsetting it does), or not such an address.
    pub fn address<A, E: fmt::Display>(
        self,
        what: &str,
        unset_to: &str,
        variable: impl Fn(&str) -> Option<String>,
        parse: impl FnOnce(&str) -> Result<A, E>,
    ) -> Result<Option<A>, WrongConfig> {
        let Some(text) = variable(self.variable) else { return Ok(None) };
        let parsed = match text.trim() {
            "" => Err(format!("is empty: give the address of {what}, or unset it {unset_to}")),
            text => parse(text).map(Some).map_err(|error| format!("is not the address of {what}: {error}")),
        };
        parsed.map_err(|problem| self.wrong_as_secret(problem, variable))
    }

    /// The error for a secret, with the variable that was given: its own, or the one that names its file.
    pub fn wrong_as_secret(self, problem: impl Into<String>, variable: impl Fn(&str) -> Option<String>) -> WrongConfig {
        let name = self.given_name(variable);
        if name == self.variable {
            return self.wrong_as_variable(problem);
        }
        let quote = if self.example.starts_with('"') { "" } else { "'" };
        let advice = Advice::Example(format!("echo {quote}{}{quote} > FILE", self.example));
        WrongConfig { name, problem: format!("names a file whose content {}", problem.into()), advice }
    }
}

/// A setting has a wrong value. The value of a secret is not repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}{advice}")]
pub struct WrongConfig {
    /// The flag or the variable that was given.
    pub name: String,
    pub problem: String,
    pub advice: Advice,
}

/// Advice about a wrong value.
#[derive(Debug, PartialEq, Eq)]
pub enum Advice {
    /// A flag or a variable with a valid value.
    Example(String),
    Unset,
    /// No setting has a similar name.
    ReadHelp,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Example(example) => write!(f, ", for example {example}"),
            Self::Unset => f.write_str(", so unset it"),
            Self::ReadHelp => f.write_str("; `ledgerway serve --help` lists them"),
        }
    }
}

/// The command that was given, whatever it is a part of, and its arguments.
pub fn innermost<'a>(command: &'a Command, matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    let given = matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)));
    given.map_or((command, matches), |(command, matches)| innermost(command, matches))
}

/// The settings that were given as flags. A flag overrides its variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    variables: BTreeSet<String>,
}

impl Flags {
    /// The flags of the command line.
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        let (command, matches) = innermost(command, matches);
        let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let variables = command
            .get_arguments()
            .filter_map(|argument| Some((argument.get_env()?, argument.get_id())))
            .filter(|(_, id)| is_given(id.as_str()))
            .map(|(variable, _)| variable.to_string_lossy().into_owned());
        Self { variables: variables.collect() }
    }

    /// True if the setting was given as a flag.
    pub fn has(&self, setting: Setting) -> bool {
        self.variables.contains(setting.variable)
    }

    /// The name under which the setting was given.
    pub fn name_of(&self, setting: Setting) -> String {
        if self.has(setting) { setting.flag() } else { setting.variable.to_owned() }
    }

    /// The error for a wrong value.
    pub fn wrong(&self, setting: Setting, problem: impl Into<String>) -> WrongConfig {
        self.wrong_with(setting, problem, setting.example)
    }

    /// The error for a wrong value, with another example.
    pub fn wrong_with(&self, setting: Setting, problem: impl Into<String>, example: &str) -> WrongConfig {
        let name = self.name_of(setting);
        let between = if name == setting.variable || setting.is_switch { '=' } else { ' ' };
        let advice = Advice::Example(format!("{name}{between}{example}"));
        WrongConfig { problem: problem.into(), advice, name }
    }

    /// Names the setting in the error, if reading its value failed.
    pub fn check<T>(&self, setting: Setting, read: Result<T, String>) -> Result<T, WrongConfig> {
        read.map_err(|problem| self.wrong(setting, problem))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::arguments::{Cli, is_switch};

    fn flags(line: &[&str]) -> Flags {
        let mut command = Cli::command();
        let matches = command.try_get_matches_from_mut(line).expect("a command line");
        Flags::of(&command, &matches)
    }

    /// Secrets have no flags: every user of a machine can see the arguments of its processes.
    #[test]
    fn every_flag_is_a_setting_and_every_setting_but_a_secret_is_a_flag() {
        let command = Cli::command();
        let all =
            || command.get_subcommands().flat_map(|command| std::iter::once(command).chain(command.get_subcommands()));
        let arguments = || all().flat_map(Command::get_arguments);
        for argument in arguments().filter(|argument| argument.get_env().is_some()) {
            let variable = argument.get_env().expect("a variable").to_string_lossy();
            let found = ALL.iter().find(|setting| setting.variable == variable).expect("a setting");
            assert_eq!(Some(found.flag().as_str()), argument.get_long().map(|long| format!("--{long}")).as_deref());
            assert_eq!(found.is_switch, is_switch(argument), "{variable}");
            // As the help says it.
            assert!(!found.is_switch || ["true", "false"].contains(&found.example), "{variable}");
        }
        for setting in ALL.iter().copied() {
            let is_flag = arguments().any(|argument| argument.get_env().is_some_and(|env| env == setting.variable));
            assert_ne!(is_flag, setting.holds_secret(), "{}", setting.variable);
        }
    }

    #[test]
    fn an_error_uses_the_name_that_was_given() {
        let given = flags(&["ledgerway", "serve", "--listen", "x", "--dev"]);
        assert_eq!(given.wrong(LISTEN, "is x").to_string(), "--listen is x, for example --listen 127.0.0.1:8080");
        assert_eq!(given.name_of(DEV), "--dev");
        let wrong = given.wrong(MODE, "is y").to_string();
        assert_eq!(wrong, "LEDGERWAY_MODE is y, for example LEDGERWAY_MODE=all");
        assert_eq!(flags(&["ledgerway", "verify", "--data", "d", "--json"]).name_of(JSON), "--json");
        assert_eq!(flags(&["ledgerway", "catalogue", "list", "--json"]).name_of(JSON), "--json");
        assert_eq!(flags(&["ledgerway", "completions", "bash"]), Flags::default());
    }
}
