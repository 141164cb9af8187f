//! What can go wrong between a node and Redis.

use std::time::Duration;

use events::shown_text::shown_text;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Redis did not count. It never contains an address or a password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CounterError {
    #[error("no answer from Redis within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    #[error("Redis refused: {0}")]
    Refused(String),
    #[error("Redis refuses this user: {0}")]
    NotAllowed(String),
    #[error("Redis is a read-only replica: name the server that accepts writes")]
    ReadOnly,
    #[error("Redis {0} is too old: 5.0 or newer is needed")]
    TooOld(String),
    #[error("Redis may drop counts when its memory is full: set its maxmemory-policy to noeviction instead of {0}")]
    Evicts(String),
    #[error("Redis answered something that is no answer of the script")]
    Unreadable,
}

/// The most characters of what Redis says that are passed on.
const DETAIL_CHARS_MAX: usize = 200;
/// The codes with which Redis refuses a user.
const NOT_ALLOWED: [&str; 3] = ["NOAUTH", "WRONGPASS", "NOPERM"];

/// How Redis 6 and 7.0, and then 7.2, say that a user may run a script and not a command of it.
const NOT_ALLOWED_IN_SCRIPT: [&str; 2] = ["The user executing the script can't run", "ACL failure in script"];

impl CounterError {
    /// True if only another setting, here or in Redis, will change the answer.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::NotAllowed(_) | Self::ReadOnly | Self::TooOld(_) | Self::Evicts(_) => true,
            Self::TimedOut(_) | Self::Unreachable(_) | Self::Refused(_) | Self::Unreadable => false,
        }
    }
}

impl From<RedisError> for CounterError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::Unreachable("timed out".to_owned());
        }
        let code = error.code().unwrap_or_else(|| error.category());
        let detail = shown_text(format!("{code} {}", error.detail().unwrap_or_default()), DETAIL_CHARS_MAX);
        let is_not_allowed =
            NOT_ALLOWED.contains(&code) || NOT_ALLOWED_IN_SCRIPT.iter().any(|words| detail.contains(words));
        if error.kind() == ErrorKind::AuthenticationFailed || is_not_allowed {
            return Self::NotAllowed(detail);
        }
        if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
            return Self::ReadOnly;
        }
        let is_away = error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal();
        if is_away || error.is_cluster_error() { Self::Unreachable(detail) } else { Self::Refused(detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_on_one_line_of_bounded_length() {
        let said = |detail: String| CounterError::from(redis::make_extension_error("ODD".to_owned(), Some(detail)));
        assert_eq!(said("no\n\u{1b}[31mluck ".to_owned()).to_string(), "Redis refused: ODD no [31mluck");
        let CounterError::Refused(long) = said("\u{7}x".repeat(100_000)) else { panic!("it is refused") };
        assert_eq!(long.chars().count(), DETAIL_CHARS_MAX);
    }
}
