//! The failed calls of one request, and the usage that their providers reported.

use events::event::inference::{AttemptFailed, ReportedByFailedCall};
use events::money::NanoUsd;

/// The failed calls, in the order in which they failed.
#[derive(Default)]
pub struct FailedCalls {
    attempts: Vec<AttemptFailed>,
    tokens: u64,
}

impl FailedCalls {
    pub fn push(&mut self, attempt: AttemptFailed) {
        let tokens = attempt.reported.usage.as_ref().map(|usage| &usage.tokens);
        let tokens = tokens.map_or(0, |tokens| tokens.input().saturating_add(tokens.output()));
        self.tokens = self.tokens.saturating_add(tokens);
        self.attempts.push(attempt);
    }

    /// The tokens reported for all of them together.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The cost of the request including its failed calls. A report whose cost would overflow the sum is dropped.
    pub fn cost_with(&mut self, own: NanoUsd) -> NanoUsd {
        let mut sum = own;
        for attempt in &mut self.attempts {
            let cost = attempt.reported.cost_usd.unwrap_or(NanoUsd::ZERO);
            match sum.checked_add(cost) {
                Some(with) => sum = with,
                None => attempt.reported = ReportedByFailedCall::default(),
            }
        }
        sum
    }

    /// Calls of which nobody knows what they used cost no more than this together.
    pub fn limit_unknown(&mut self, most: NanoUsd) {
        let mut left = most;
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.reported.is_charged_unknown()) {
            let cost = attempt.reported.cost_usd.map_or(NanoUsd::ZERO, |cost| cost.min(left));
            attempt.reported.cost_usd = Some(cost);
            left = left.checked_sub(cost).unwrap_or(NanoUsd::ZERO);
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Takes the failed calls out, for the ledger, in the order in which they were made: of two that were made at the same time, the
    /// second one may have failed first.
    pub fn take(&mut self) -> Vec<AttemptFailed> {
        self.attempts.sort_by_key(|attempt| attempt.attempt);
        std::mem::take(&mut self.attempts)
    }
}

#[cfg(test)]
mod tests {
    use events::event::inference::Backend;
    use events::usage::{TokenClasses, Usage, UsageSource};
    use uuid::Uuid;

    use super::*;

    fn failed(tokens: u64, cost: i64) -> AttemptFailed {
        let backend = Backend {
            provider_id: Uuid::from_u128(1).into(),
            provider: "p".to_owned(),
            model: "m".to_owned(),
            provider_key_id: None,
        };
        let tokens = TokenClasses { output_text_tokens: tokens, ..TokenClasses::default() };
        let reported = ReportedByFailedCall {
            usage: Some(Usage::new(tokens, UsageSource::Provider)),
            provider_usage: None,
            cost_usd: Some(NanoUsd::new(cost)),
            price_version: Some(1),
        };
        let (reason, status, upstream_code) = ("in_band_error".to_owned(), None, None);
        AttemptFailed { backend, attempt: 1, reason, status, upstream_code, latency_ms: 1, reported }
    }

    #[test]
    fn reports_of_failed_calls_add_up_as_far_as_money_can_count() {
        let mut calls = FailedCalls::default();
        [failed(3, 20), failed(u64::MAX, i64::MAX - 10), failed(1, 5)].into_iter().for_each(|call| calls.push(call));
        assert_eq!(calls.tokens(), u64::MAX);
        assert_eq!(calls.cost_with(NanoUsd::new(7)), NanoUsd::new(32));
        let costs: Vec<_> = calls.take().into_iter().map(|attempt| attempt.reported.cost_usd).collect();
        assert_eq!(costs, [Some(NanoUsd::new(20)), None, Some(NanoUsd::new(5))]);
        assert_eq!(calls.cost_with(NanoUsd::new(7)), NanoUsd::new(7));
    }
}
