//! Log lines while the writer fails: it tries again several times a second, with the same result.

use std::time::Duration;

use crate::log::LogError;

/// How often a cause is named that stays.
const REPEAT_EVERY: Duration = Duration::from_secs(60);
/// How soon a cause is named again that had passed: a failure that comes and goes with every attempt must not be named with each.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Maximum number of causes that are named in `REPEAT_EVERY`.
const CAUSES_MAX: usize = 8;

/// Which failures have been named. Times are those of the monotonic clock.
#[derive(Default)]
pub(super) struct FailureLog {
    named: Vec<NamedCause>,
    /// True if a failure was named, and not yet that it has passed.
    is_open: bool,
}

struct NamedCause {
    cause: String,
    at: Duration,
    /// The writer has worked since.
    has_passed: bool,
}

impl FailureLog {
    /// Notes a failure. True if a line should name it: its cause has changed, or was last named a while ago.
    pub(super) fn take_news(&mut self, error: &LogError, now: Duration) -> bool {
        let kept = |named: &NamedCause| if named.has_passed { AGAIN_AFTER } else { REPEAT_EVERY };
        self.named.retain(|named| now.saturating_sub(named.at) < kept(named));
        let cause = cause(error);
        if self.named.len() >= CAUSES_MAX || self.named.iter().any(|named| named.cause == cause) {
            return false;
        }
        self.named.push(NamedCause { cause, at: now, has_passed: false });
        self.is_open = true;
        true
    }

    /// Notes that the writer works. True if a line should say so, because the last one named a failure.
    pub(super) fn take_end(&mut self) -> bool {
        self.named.iter_mut().for_each(|named| named.has_passed = true);
        std::mem::take(&mut self.is_open)
    }
}

/// The part of an error that is the same for every attempt: the text without numbers, which are times, positions and processes.
fn cause(error: &LogError) -> String {
    error.to_string().chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{EngineError, EngineErrorKind};

    fn engine(message: impl Into<String>) -> LogError {
        EngineError { kind: EngineErrorKind::Unavailable, message: message.into() }.into()
    }

    fn behind(seconds: u64) -> LogError {
        LogError::ClockBehind { by: Duration::from_secs(seconds) }
    }

    #[test]
    fn each_cause_is_named_when_it_begins_and_once_a_minute() {
        let mut log = FailureLog::default();
        let forked = LogError::Forked { ours: 9, theirs: 4 };
        let mut named = Vec::new();
        for tenths in (0..600).step_by(2) {
            let now = Duration::from_millis(tenths * 100);
            // The first ends, and the second stays.
            let error = if tenths < 10 { &engine("the session was ended") } else { &forked };
            if log.take_news(error, now) {
                named.push(tenths);
            }
        }
        assert_eq!(named, [0, 10]);
        assert!(!log.take_news(&forked, Duration::from_secs(60)));
        assert!(log.take_news(&forked, Duration::from_secs(61)));
    }

    #[test]
    fn a_number_that_changes_is_no_other_cause() {
        let mut log = FailureLog::default();
        assert!(log.take_news(&behind(99), Duration::ZERO));
        assert!((1..1000).all(|tenths| !log.take_news(&behind(100 + tenths), Duration::from_millis(tenths))));
    }

    #[test]
    fn the_end_of_a_named_failure_is_said_once() {
        let mut log = FailureLog::default();
        assert!(!log.take_end(), "nothing had failed");
        assert!(log.take_news(&engine("gone"), Duration::ZERO));
        assert!(log.take_end());
        assert!(!log.take_end());
        assert!(log.take_news(&engine("gone"), Duration::from_secs(9)), "another outage");
    }

    /// Its last line would otherwise say for a minute that all is well.
    #[test]
    fn an_outage_that_begins_soon_after_another_of_its_cause_is_named_within_seconds() {
        let mut log = FailureLog::default();
        assert!(log.take_news(&engine("gone"), Duration::ZERO));
        assert!(log.take_end());
        let failing = (30..300).step_by(2).map(|tenths| Duration::from_millis(tenths * 100));
        let mut named: Vec<_> = failing.clone().filter(|now| log.take_news(&engine("gone"), *now)).collect();
        assert_eq!(named, [Duration::from_secs(5)]);
        log = FailureLog::default();
        assert!(log.take_news(&engine("gone"), Duration::ZERO));
        assert!(log.take_end());
        assert!(log.take_news(&engine("another"), Duration::from_millis(2900)));
        named = failing.filter(|now| log.take_news(&engine("gone"), *now)).collect();
        assert_eq!(named, [Duration::from_secs(5)], "behind another one");
    }

    #[test]
    fn neither_many_causes_nor_one_that_comes_and_goes_fill_the_log() {
        let mut log = FailureLog::default();
        let letters = || ('a'..='z').map(|letter| engine(String::from(letter)));
        assert_eq!(letters().filter(|error| log.take_news(error, Duration::ZERO)).count(), CAUSES_MAX);
        let mut log = FailureLog::default();
        let mut lines = 0;
        for tenths in (0..600).step_by(2) {
            let now = Duration::from_millis(tenths * 100);
            lines += u32::from(log.take_news(&engine("gone"), now)) + u32::from(log.take_end());
        }
        assert_eq!(lines, 24, "it begins and ends once in five seconds");
    }
}
