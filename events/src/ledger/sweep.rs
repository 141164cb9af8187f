//! The sweeper's decisions: holds that were not ended in time, and refusals of past seconds.

use chrono::{DateTime, Utc};

use super::{Balances, Emitted, Hold};
use crate::event::hold::BudgetExpired;
use crate::event::inference::InferenceEnded;
use crate::event::{self, Actor, Context, Inference, Stream};
use crate::ids::RequestId;
use crate::money::NanoUsd;
use crate::named;
use crate::usage::{TokenClasses, Usage, UsageSource};

named! {
    /// The charge for a hold whose real figures are unknown.
    #[derive(Default)]
    pub enum UnknownUsage {
        /// The whole hold: the provider may have billed that much.
        #[default]
        ChargeHold = "charge_hold",
        /// Nothing.
        Release = "release",
    }
}

/// Events after which a sweep ends no further hold: an end also has the alerts of its budgets. The next sweep continues.
const SWEPT_EVENTS_MAX: usize = 2_048;

impl Balances {
    /// Ends expired holds, at most `holds_max`, and writes out rolled-up refusals of past seconds: a bounded part, of which the next
    /// sweep has the rest. The events are empty if nothing came due.
    pub fn sweep(&mut self, policy: UnknownUsage, holds_max: usize, now: DateTime<Utc>) -> Vec<Emitted> {
        let due = self.by_expiry.iter().take_while(|(at, _)| *at <= now).take(holds_max);
        let due: Vec<RequestId> = due.map(|(_, request)| *request).collect();
        let mut events = self.flush_refusals(now);
        for request in due {
            if events.len() >= SWEPT_EVENTS_MAX {
                break;
            }
            let Some(hold) = self.open.get(&request).cloned() else { continue };
            let charge = |held| match policy {
                UnknownUsage::ChargeHold => held,
                UnknownUsage::Release => NanoUsd::ZERO,
            };
            let charged = charge(hold.held);
            let brokered = charge(hold.brokered.as_ref().map_or(NanoUsd::ZERO, |part| part.held));
            self.move_each(hold.ended(charged, brokered));
            self.close(request);
            let alerts = self.announce_each(hold.ended(charged, brokered), &hold.context);
            events.extend(expired(request, hold, charged, brokered, policy));
            events.extend(alerts);
        }
        events
    }
}

fn expired(request: RequestId, hold: Hold, charged: NanoUsd, brokered: NanoUsd, policy: UnknownUsage) -> [Emitted; 2] {
    let brokered = hold.recorded_part(Some(brokered));
    let context = Context { actor: Actor::System("sweeper"), ..hold.context };
    let aborted = InferenceEnded {
        usage: Some(Usage::new(TokenClasses::default(), UsageSource::Unknown)),
        reason: Some("node_lost".to_owned()),
        ..InferenceEnded::new(hold.model, hold.admitted_at, charged)
    };
    let expired = BudgetExpired {
        held_usd: hold.held,
        charged_usd: charged,
        budgets: hold.windows,
        policy: policy.as_str().to_owned(),
        brokered,
    };
    [
        (Stream::inference(request), Inference::Aborted(Box::new(aborted)).into()),
        (Stream::hold(request), event::Hold::Expired(Box::new(expired)).into()),
    ]
    .map(|(stream, event)| Emitted { stream, context: context.clone(), event })
}
