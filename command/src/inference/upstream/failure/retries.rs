//! Retries: after how long a target whose call has failed is called again.

use std::time::Duration;

use dialects::UpstreamRefusalKind;
use provider_client::SendError;

use super::{CallFailure, Cause};

/// The longest `Retry-After` that is waited for at the same target if another one can be called, and if none can.
const SHORT_RETRY_AFTER: Duration = Duration::from_secs(1);
const LAST_RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often a target may be called if no other one can be, and it says when to come back.
const LAST_CALLS_MAX: u32 = 3;
/// The shortest pause before another call; up to as much again is added at random.
const BACKOFF: Duration = Duration::from_millis(100);
/// A `Retry-After` is exceeded by up to this part of it at random, so that those who were told the same do not come back together.
const JITTER_PART: u32 = 4;

/// The calls so far of a request to one target, of which the last one has failed.
#[derive(Clone, Copy, Debug)]
pub struct CallsSoFar {
    pub calls: u32,
    /// No other target is left.
    pub is_last: bool,
}

impl CallFailure {
    /// After how long to call the same target again; `None` if that would not help. Only the first failure of a target is retried
    /// there, and one more if the target says when to come back and no other one is left; `jitter` is in 0..=255.
    pub fn retry_after(&self, CallsSoFar { calls, is_last }: CallsSoFar, jitter: u8) -> Option<Duration> {
        // Each call of a circle makes more of them.
        if self.is_loop() {
            return None;
        }
        let at_random = |most: Duration| most * u32::from(jitter) / 255;
        let backoff = (calls == 1).then(|| BACKOFF + at_random(BACKOFF));
        let (calls_max, longest) = if is_last { (LAST_CALLS_MAX, LAST_RETRY_AFTER) } else { (2, SHORT_RETRY_AFTER) };
        let after = |wait: Duration| {
            (calls < calls_max && wait <= longest)
                .then(|| wait.max(BACKOFF) + at_random(wait.max(BACKOFF) / JITTER_PART))
        };
        match &self.cause {
            // The call has waited for a free connection already, and others would wait behind it; an address stays forbidden.
            Cause::Send(
                SendError::Busy
                | SendError::ProviderFull
                | SendError::NoSocket
                | SendError::NoLookUp
                | SendError::Forbidden,
            ) => None,
            Cause::Send(error) => backoff.filter(|_| error.nothing_was_sent()),
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::RateLimited { retry_after } => retry_after.and_then(after),
                UpstreamRefusalKind::Transient { retry_after } => retry_after.map_or(backoff, after),
                _ => None,
            },
            // A time-out has taken enough time already; a malformed answer may have been billed.
            _ => None,
        }
    }
}
