//! The sweeper's decisions: holds that nobody ended in time, and refusals of seconds gone by.

use chrono::{DateTime, Utc};

use super::{Balances, Decision, Emitted, Hold};
use crate::event::hold::BudgetExpired;
use crate::event::inference::InferenceEnded;
use crate::event::{Event, Stream};
use crate::ids::RequestId;
use crate::money::NanoUsd;
use crate::usage::{TokenClasses, Usage, UsageSource};

/// What a hold is charged whose real figures nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownUsage {
    /// All of it: the provider may have billed that much.
    #[default]
    ChargeHold,
    /// Nothing.
    Release,
}

impl UnknownUsage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChargeHold => "charge_hold",
            Self::Release => "release",
        }
    }
}

impl Balances {
    pub(super) fn sweep(&mut self, policy: UnknownUsage, holds_max: usize, now: DateTime<Utc>) -> Decision {
        let due: Vec<RequestId> = self
            .by_expiry
            .iter()
            .take_while(|(expires_at, _)| *expires_at <= now)
            .take(holds_max)
            .map(|(_, request)| *request)
            .collect();
        let mut events = self.flush_refusals(now);
        for request in due {
            let Some(hold) = self.open.get(&request).cloned() else { continue };
            let charged = match policy {
                UnknownUsage::ChargeHold => hold.held,
                UnknownUsage::Release => NanoUsd::ZERO,
            };
            let Some(given_back) = NanoUsd::ZERO.checked_sub(hold.held) else { continue };
            // A sum that cannot be counted keeps its hold: it stays visible instead of being lost.
            if self.move_all(&hold.windows, charged, given_back).is_none() {
                continue;
            }
            self.close(request);
            let alerts = match charged {
                NanoUsd::ZERO => Vec::new(),
                _ => self.announce(&hold.windows, &hold.context),
            };
            events.extend(expired(request, hold, charged, policy));
            events.extend(alerts);
        }
        Decision::Swept { events }
    }
}

fn expired(request: RequestId, hold: Hold, charged: NanoUsd, policy: UnknownUsage) -> [Emitted; 2] {
    let context = super::Context { actor: crate::event::Actor::System("sweeper"), ..hold.context };
    let aborted = InferenceEnded {
        model: hold.model,
        admitted_at: hold.admitted_at,
        backend: None,
        usage: Some(Usage { tokens: TokenClasses::default(), source: UsageSource::Unknown }),
        provider_usage: None,
        cost_usd: charged,
        price_version: None,
        finish_reason: None,
        latency_ms: None,
        first_token_ms: None,
        attempts: None,
        upstream_request_id: None,
        code: None,
        reason: Some("node_lost".to_owned()),
    };
    let expired = BudgetExpired {
        held_usd: hold.held,
        charged_usd: charged,
        budgets: hold.windows,
        policy: policy.as_str().to_owned(),
    };
    [
        Emitted {
            stream: Stream::inference(request),
            context: context.clone(),
            event: Event::InferenceAborted(Box::new(aborted)),
        },
        Emitted { stream: Stream::hold(request), context, event: Event::BudgetExpired(Box::new(expired)) },
    ]
}
