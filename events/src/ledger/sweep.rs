//! The sweeper's decisions: holds that were not ended in time, and refusals of past seconds.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::journal::Undo;
use super::{Balances, Emitted, Hold, SweepDecision};
use crate::event::hold::BudgetExpired;
use crate::event::inference::InferenceEnded;
use crate::event::{self, Actor, Context, Inference, Stream};
use crate::ids::{IdMap, RequestId};
use crate::money::NanoUsd;
use crate::named;
use crate::usage::{TokenClasses, Usage, UsageSource};

/// The time after which a hold whose charge cannot be counted is tried again: an adjustment may have made room by then.
const TRY_AGAIN_AFTER: TimeDelta = TimeDelta::minutes(10);

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

/// Expired holds that are open because their charge could not be counted, by the time of their next try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PostponedHolds {
    until: IdMap<RequestId, DateTime<Utc>>,
    by_time: BTreeSet<(DateTime<Utc>, RequestId)>,
}

impl PostponedHolds {
    pub(super) fn put(&mut self, request: RequestId, until: DateTime<Utc>) {
        self.remove(request);
        self.until.insert(request, until);
        self.by_time.insert((until, request));
    }

    /// Removes a hold; returns the time until which it was postponed, if it was.
    pub(super) fn remove(&mut self, request: RequestId) -> Option<DateTime<Utc>> {
        let until = self.until.remove(&request)?;
        self.by_time.remove(&(until, request));
        Some(until)
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        due(&self.by_time, now).next().is_some()
    }
}

fn due(by_time: &BTreeSet<(DateTime<Utc>, RequestId)>, now: DateTime<Utc>) -> impl Iterator<Item = RequestId> {
    by_time.iter().take_while(move |(at, _)| *at <= now).map(|(_, request)| *request)
}

impl Balances {
    /// Ends expired holds, at most `holds_max`, and writes out the rolled-up refusals of past seconds.
    pub fn sweep(&mut self, policy: UnknownUsage, holds_max: usize, now: DateTime<Utc>) -> SweepDecision {
        // Postponed holds come last: however many they are, they do not delay the others.
        let due: Vec<RequestId> =
            due(&self.by_expiry, now).chain(due(&self.postponed.by_time, now)).take(holds_max).collect();
        let (mut events, mut uncountable) = (self.flush_refusals(now), Vec::new());
        for request in due {
            let Some(hold) = self.open.get(&request).cloned() else { continue };
            let charged = match policy {
                UnknownUsage::ChargeHold => hold.held,
                UnknownUsage::Release => NanoUsd::ZERO,
            };
            let Some(released) = NanoUsd::ZERO.checked_sub(hold.held) else { continue };
            // If the sum cannot be counted, the hold stays open, and so visible, instead of being lost.
            if self.move_all(&hold.windows, charged, released).is_err() {
                self.postpone(request, hold.expires_at, now + TRY_AGAIN_AFTER);
                uncountable.push(request);
                continue;
            }
            self.close(request);
            let alerts = self.announce(&hold.windows, charged, &hold.context);
            events.extend(expired(request, hold, charged, policy));
            events.extend(alerts);
        }
        SweepDecision { events, uncountable }
    }

    fn postpone(&mut self, request: RequestId, expires_at: DateTime<Utc>, until: DateTime<Utc>) {
        self.by_expiry.remove(&(expires_at, request));
        let before = self.postponed.remove(request);
        self.postponed.put(request, until);
        self.journal.note(|| Undo::Postponed { request, until: before });
    }
}

fn expired(request: RequestId, hold: Hold, charged: NanoUsd, policy: UnknownUsage) -> [Emitted; 2] {
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
    };
    [
        (Stream::inference(request), Inference::Aborted(Box::new(aborted)).into()),
        (Stream::hold(request), event::Hold::Expired(Box::new(expired)).into()),
    ]
    .map(|(stream, event)| Emitted { stream, context: context.clone(), event })
}
