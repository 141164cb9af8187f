//! The calls of one request that failed or were cancelled, and the usage that their providers reported.

use access_control::limits::TokenAmounts;
use events::event::inference::{AttemptFailed, Payer, ReportedByFailedCall};
use events::money::NanoUsd;

/// The failed calls, in the order in which they failed, or were cancelled.
#[derive(Default)]
pub struct FailedCalls {
    calls: Vec<FailedAttempt>,
    tokens: TokenAmounts,
    /// Whether a target may have got the request by one of them.
    may_have_been_sent: bool,
}

/// A failed call, and whose account at its provider it was billed to.
pub struct FailedAttempt {
    pub event: AttemptFailed,
    pub payer: Payer,
    pub upstream_request_id: Option<String>,
    /// Whether the target may have got the request by it.
    pub may_have_been_sent: bool,
    /// True if it was cancelled for the other one of two calls, and so has not failed by itself.
    pub is_cancelled: bool,
}

impl FailedCalls {
    pub fn push(&mut self, failed: FailedAttempt) {
        let FailedAttempt { event, payer, .. } = &failed;
        let tokens = event.reported.usage.as_ref().map(|usage| &usage.tokens);
        let tokens = tokens.map_or(0, |tokens| tokens.input().saturating_add(tokens.output()));
        self.tokens.all = self.tokens.all.saturating_add(tokens);
        if *payer == Payer::Brokered {
            self.tokens.brokered = self.tokens.brokered.saturating_add(tokens);
        }
        self.may_have_been_sent |= failed.may_have_been_sent;
        self.calls.push(failed);
    }

    /// Whether a target may have got the request by one of them, also if it was called again in vain.
    pub const fn may_have_been_sent(&self) -> bool {
        self.may_have_been_sent
    }

    /// The one that failed last by itself.
    pub fn last(&self) -> Option<&FailedAttempt> {
        self.calls.iter().rev().find(|call| !call.is_cancelled)
    }

    /// The cost of those that were billed to this account.
    pub fn cost_for(&self, payer: Payer) -> NanoUsd {
        let of_payer = self.calls.iter().filter(|call| call.payer == payer);
        let costs = of_payer.filter_map(|call| call.event.reported.cost_usd);
        costs.fold(NanoUsd::ZERO, |sum, cost| sum.checked_add(cost).unwrap_or(NanoUsd::MAX))
    }

    /// The tokens reported for all of them together.
    pub const fn tokens(&self) -> TokenAmounts {
        self.tokens
    }

    /// The cost of the request including its failed calls. A report whose cost would overflow the sum is dropped.
    pub fn cost_with(&mut self, own: NanoUsd) -> NanoUsd {
        let mut sum = own;
        for FailedAttempt { event, .. } in &mut self.calls {
            let cost = event.reported.cost_usd.unwrap_or(NanoUsd::ZERO);
            match sum.checked_add(cost) {
                Some(with) => sum = with,
                None => event.reported = ReportedByFailedCall::default(),
            }
        }
        sum
    }

    /// Calls of which nobody knows what they used cost no more than this together.
    pub fn limit_unknown(&mut self, most: NanoUsd) {
        let mut left = most;
        let attempts = self.calls.iter_mut().map(|call| &mut call.event);
        for attempt in attempts.filter(|attempt| attempt.reported.is_charged_unknown()) {
            let cost = attempt.reported.cost_usd.map_or(NanoUsd::ZERO, |cost| cost.min(left));
            attempt.reported.cost_usd = Some(cost);
            left = left.checked_sub(cost).unwrap_or(NanoUsd::ZERO);
        }
    }

    /// Takes the failed calls out, for the ledger, in the order in which they were made: of two that were made at the same time, the
    /// second one may have failed first.
    pub fn take(&mut self) -> Vec<AttemptFailed> {
        self.calls.sort_by_key(|call| call.event.attempt);
        std::mem::take(&mut self.calls).into_iter().map(|call| call.event).collect()
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

    fn of(event: AttemptFailed, payer: Payer) -> FailedAttempt {
        FailedAttempt { event, payer, upstream_request_id: None, may_have_been_sent: true, is_cancelled: false }
    }

    #[test]
    fn reports_of_failed_calls_add_up_as_far_as_money_can_count() {
        let mut calls = FailedCalls::default();
        [failed(3, 20), failed(u64::MAX, i64::MAX - 10), failed(1, 5)]
            .into_iter()
            .for_each(|call| calls.push(of(call, Payer::Own)));
        assert_eq!((calls.tokens().all, calls.tokens().brokered), (u64::MAX, 0));
        assert_eq!(calls.cost_with(NanoUsd::new(7)), NanoUsd::new(32));
        calls.push(of(failed(1, 3), Payer::Brokered));
        let by_payer = [Payer::Own, Payer::Brokered].map(|payer| calls.cost_for(payer));
        assert_eq!(by_payer, [NanoUsd::new(25), NanoUsd::new(3)]);
        let costs: Vec<_> = calls.take().into_iter().map(|attempt| attempt.reported.cost_usd).collect();
        assert_eq!(costs, [Some(NanoUsd::new(20)), None, Some(NanoUsd::new(5)), Some(NanoUsd::new(3))]);
        assert_eq!(calls.cost_with(NanoUsd::new(7)), NanoUsd::new(7));
    }
}
