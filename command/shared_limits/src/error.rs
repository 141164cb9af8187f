//! Errors between a node and Redis.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use events::shown_text::shown_text;
use redis::{ErrorKind, RedisError};

/// Redis did not count. It names the server, and never a user or a password.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .kind.said_of(.server))]
pub struct CounterError {
    /// The address as in [`RedisAddress::shown`](crate::RedisAddress::shown).
    server: Arc<str>,
    kind: CounterErrorKind,
}

/// The cause of the failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CounterErrorKind {
    TimedOut(Duration),
    /// The client gave up first.
    ConnectTimedOut,
    /// Nothing listens there.
    ConnectionRefused,
    ConnectionClosed,
    Unreachable(String),
    Refused(String),
    NotAllowed(String),
    ReadOnly,
    TooOld(String),
    /// The policy with which it may drop keys.
    Evicts(String),
    /// Redis does not have what the node has counted.
    Lost,
    Unreadable,
}

/// The most characters of what Redis says that are passed on.
const DETAIL_CHARS_MAX: usize = 200;
/// How Redis refuses a user: its codes, and how 6 and 7.0, and then 7.2, say that a user may run a script and not a command of it.
const NOT_ALLOWED: [&str; 5] =
    ["NOAUTH", "WRONGPASS", "NOPERM", "The user executing the script can't run", "ACL failure in script"];
/// The code with which a replica refuses a write. Before Redis 7, it is inside what is said of a script, whose own code is `ERR`.
const READ_ONLY: &str = "READONLY";

impl CounterError {
    pub(crate) const fn new(server: Arc<str>, kind: CounterErrorKind) -> Self {
        Self { server, kind }
    }

    pub const fn kind(&self) -> &CounterErrorKind {
        &self.kind
    }

    /// True if only another setting, here or in Redis, will change the answer, or the end of a failover.
    pub const fn is_final(&self) -> bool {
        self.kind.is_final()
    }
}

impl CounterErrorKind {
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::NotAllowed(_) | Self::ReadOnly | Self::TooOld(_) | Self::Evicts(_) => true,
            Self::TimedOut(_)
            | Self::ConnectTimedOut
            | Self::ConnectionRefused
            | Self::ConnectionClosed
            | Self::Unreachable(_)
            | Self::Refused(_)
            | Self::Lost
            | Self::Unreadable => false,
        }
    }

    fn said_of(&self, server: &str) -> String {
        match self {
            Self::TimedOut(after) => format!("no answer from {server} within {} ms", after.as_millis()),
            Self::ConnectTimedOut => format!("no answer from {server}"),
            Self::ConnectionRefused => format!("{server} refused the connection"),
            Self::ConnectionClosed => format!("{server} closed the connection"),
            Self::Unreachable(detail) => format!("{server} cannot be reached: {detail}"),
            Self::Refused(detail) => format!("Redis at {server} refused: {detail}"),
            Self::NotAllowed(detail) => format!("Redis at {server} refuses this user: {detail}"),
            Self::ReadOnly => format!(
                "Redis at {server} is a read-only replica: use the address of a server that accepts writes, or wait until a failover is \
                 over"
            ),
            Self::TooOld(version) => format!("Redis {version} at {server} is too old: 5.0 or newer is needed"),
            Self::Evicts(policy) => format!(
                "Redis at {server} may drop counts when its memory is full: set its maxmemory-policy to noeviction instead of {policy}"
            ),
            Self::Lost => {
                format!("Redis at {server} has lost its counts, or this node was silent for five seconds")
            }
            Self::Unreadable => format!("Redis at {server} answered something that is no answer of the script"),
        }
    }

    /// Classifies the failure of a connection.
    fn of_connection(error: &RedisError) -> Self {
        if error.is_connection_refusal() {
            return Self::ConnectionRefused;
        }
        // What the client says itself has no source, and is a sentence.
        if error.source().is_some() && error.is_connection_dropped() {
            return Self::ConnectionClosed;
        }
        Self::Unreachable(shown_text(error, DETAIL_CHARS_MAX))
    }
}

impl From<RedisError> for CounterErrorKind {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::ConnectTimedOut;
        }
        let code = error.code().unwrap_or_else(|| error.category());
        let detail = match error.detail() {
            Some(detail) => detail.to_owned(),
            // What became of several commands at once has no detail, but says which of them failed, and why.
            None if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => error.to_string(),
            None => String::new(),
        };
        let detail = shown_text(format!("{code} {detail}"), DETAIL_CHARS_MAX);
        let is_not_allowed = NOT_ALLOWED.iter().any(|words| detail.contains(words));
        if error.kind() == ErrorKind::AuthenticationFailed || is_not_allowed {
            return Self::NotAllowed(detail);
        }
        if detail.contains(READ_ONLY) {
            return Self::ReadOnly;
        }
        if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() {
            return Self::of_connection(&error);
        }
        if error.is_cluster_error() { Self::Unreachable(detail) } else { Self::Refused(detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_on_one_line_of_bounded_length() {
        let said = |detail: String| CounterErrorKind::from(redis::make_extension_error("ODD".to_owned(), Some(detail)));
        let odd = CounterError::new("one:6379".into(), said("no\n\u{1b}[31mluck ".to_owned()));
        assert_eq!(odd.to_string(), "Redis at one:6379 refused: ODD no [31mluck");
        let CounterErrorKind::Refused(long) = said("\u{7}x".repeat(100_000)) else { panic!("it is refused") };
        assert_eq!(long.chars().count(), DETAIL_CHARS_MAX);
    }

    #[test]
    fn a_replica_is_recognised_by_what_every_version_says_of_a_script() {
        let said = |code: &str, detail: &str| {
            CounterErrorKind::from(redis::make_extension_error(code.to_owned(), Some(detail.to_owned())))
        };
        let of_redis_5 = "Error running script (call to f_2fa5e6a0b1ac3b2bd1ba0c1b38c37a9b2bd7f8a9): @user_script:175: \
                          @user_script: 175: -READONLY You can't write against a read only replica. ";
        let of_redis_7 = "You can't write against a read only replica. script: 2fa5e6a0, on @user_script:175.";
        for read_only in [said("ERR", of_redis_5), said("READONLY", of_redis_7)] {
            assert!(read_only == CounterErrorKind::ReadOnly && read_only.is_final(), "{read_only:?}");
        }
    }
}
