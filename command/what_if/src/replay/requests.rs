//! Requests that were admitted, from their hold to its end.

use std::sync::Arc;

use access_control::limits::RateLimitPermit;
use events::event::hold::BudgetReserved;
use events::event::inference::{AttemptFailed, InferenceAdmitted, InferenceEnded};
use events::event::{Event, Hold, Recorded};
use events::ids::RequestId;
use events::ledger::Charge;
use events::money::{NanoUsd, Tariff};
use events::usage::{Usage, UsageSource};

use super::corrections::ChargedHold;
use super::decision::{Asked, Standing};
use super::{Replay, unsound};
use crate::WhatIfError;
use crate::ending::ending;
use crate::pricing::{NoPrice, scaled};
use crate::report::{Party, Refuser};

/// A request that was admitted, as recorded, and has not ended.
pub(super) struct OpenRequest {
    pub party: Party,
    /// False for one that was admitted before the period: it is charged as recorded, and not reported.
    pub is_counted: bool,
    /// The hold as recorded.
    held: NanoUsd,
    /// The bound that it asks for under the rules.
    bound: NanoUsd,
    standing: Standing,
    /// The price by which it is charged if the rules route it elsewhere.
    route: Option<Arc<Tariff>>,
    permit: RateLimitPermit,
    failed_calls: Costs,
    failed_calls_tokens: u64,
    ended: Option<Costs>,
}

/// A cost as recorded, and under the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Costs {
    recorded: NanoUsd,
    ruled: NanoUsd,
}

impl Costs {
    fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self { recorded: self.recorded.checked_add(other.recorded)?, ruled: self.ruled.checked_add(other.ruled)? })
    }
}

impl Replay<'_> {
    /// A recorded admission. In the period it is decided again.
    pub(super) fn reserved(&mut self, recorded: &Recorded, reserved: &BudgetReserved) -> Result<(), WhatIfError> {
        let of = recorded.context.request_id;
        let admitted = self.admitted.take().filter(|(request, _)| Some(*request) == of);
        let (request_id, admitted) = admitted
            .ok_or_else(|| unsound(recorded, "the hold's request was not admitted right before it".to_owned()))?;
        let now = recorded.recorded_at;
        if self.period.has_ended(now) {
            return Ok(());
        }
        let is_counted = self.period.includes(now);
        let mut request = OpenRequest {
            party: Party::new(&recorded.context, Some(&admitted.model)),
            is_counted,
            held: reserved.held_usd,
            bound: reserved.held_usd,
            standing: Standing::Held { held: reserved.held_usd, is_shortened: false },
            route: None,
            permit: RateLimitPermit::default(),
            failed_calls: Costs::default(),
            failed_calls_tokens: 0,
            ended: None,
        };
        let counted = self.count_limits(recorded, &admitted);
        if is_counted {
            self.report.count(&request.party, |figures| figures.admitted += 1);
            request.route = self.route(recorded, &admitted.model)?;
            let bound = self.pricing.bound(&admitted, reserved.held_usd, request.route.as_deref());
            let bound = bound.ok_or(WhatIfError::Overflow { position: recorded.position })?;
            request.bound = bound.held;
            let ttl = (reserved.expires_at - now).to_std().unwrap_or_default();
            let asked = Asked { request_id, context: &recorded.context, bound, ttl, admitted };
            let decided = counted.and_then(|permit| {
                request.permit = permit;
                self.ask(asked, now)
            });
            request.standing = decided.unwrap_or_else(|refuser| self.refuse(request_id, &request.party, refuser));
            if let Standing::Held { is_shortened: true, .. } = request.standing {
                self.report.count(&request.party, |figures| figures.newly_shortened += 1);
            }
            if request.standing == Standing::Refused {
                // What it had counted as running, and its tokens, are given back.
                request.permit = RateLimitPermit::default();
            }
        } else if let Ok(permit) = counted {
            request.permit = permit;
        }
        self.open.insert(request_id, request);
        Ok(())
    }

    fn refuse(&mut self, request: RequestId, party: &Party, refuser: Option<Refuser>) -> Standing {
        self.refused.add(request, ());
        if let Some(refuser) = refuser {
            self.report.note_refusal(refuser);
        }
        self.report.count(party, |figures| figures.newly_refused += 1);
        Standing::Refused
    }

    /// Counts an admitted request against the limits that the rules change.
    fn count_limits(
        &self,
        recorded: &Recorded,
        admitted: &InferenceAdmitted,
    ) -> Result<RateLimitPermit, Option<Refuser>> {
        if !self.limits.counts(recorded.recorded_at) {
            return Ok(RateLimitPermit::default());
        }
        let bound = admitted.input_tokens_bound.saturating_add(admitted.max_output_tokens);
        let tokens = admitted.rate_limited_tokens.unwrap_or(bound);
        self.limits.count(&admitted.scope_subject(&recorded.context), &self.tables, Some(tokens)).map_err(Some)
    }

    fn route(&self, recorded: &Recorded, model: &str) -> Result<Option<Arc<Tariff>>, WhatIfError> {
        let route = self.pricing.route(model, &self.tables, recorded.recorded_at);
        route.map_err(|NoPrice { provider, model }| WhatIfError::Unpriced {
            position: recorded.position,
            provider,
            model,
        })
    }

    pub(super) fn attempt_failed(&mut self, recorded: &Recorded, attempt: &AttemptFailed) -> Result<(), WhatIfError> {
        let Some(request) = recorded.context.request_id.and_then(|request| self.open.get_mut(&request)) else {
            return Ok(());
        };
        let cost = attempt.reported.cost_usd.unwrap_or(NanoUsd::ZERO);
        let mut costs = Costs { recorded: cost, ruled: cost };
        let overflow = || WhatIfError::Overflow { position: recorded.position };
        if let Some(usage) = &attempt.reported.usage {
            request.failed_calls_tokens = request.failed_calls_tokens.saturating_add(tokens_of(usage));
            let ruled = match request.standing {
                _ if !request.is_counted => Some(cost),
                Standing::Held { held, .. } if attempt.reported.is_charged_unknown() => {
                    scaled(cost, request.held, held)
                }
                _ if attempt.reported.price_version.is_some() && usage.source != UsageSource::Unknown => {
                    self.pricing.of_call(None, Some(&attempt.backend), usage, cost)
                }
                _ => Some(cost),
            };
            costs.ruled = ruled.ok_or_else(overflow)?;
        }
        request.failed_calls = request.failed_calls.checked_add(costs).ok_or_else(overflow)?;
        Ok(())
    }

    /// The end of a request: what its own call costs under the rules, and which tokens it took.
    pub(super) fn ended(&mut self, recorded: &Recorded, ended: &InferenceEnded) -> Result<(), WhatIfError> {
        let Some(request) = recorded.context.request_id.and_then(|request| self.open.get_mut(&request)) else {
            return Ok(());
        };
        let own = ended.cost_usd.checked_sub(request.failed_calls.recorded);
        let own = own.ok_or_else(|| unsound(recorded, "it cost less than its failed calls".to_owned()))?;
        let ruled = match (&ended.usage, request.standing) {
            _ if !request.is_counted => Some(own),
            (Some(usage), Standing::Held { held, .. }) if usage.source == UsageSource::Unknown => {
                // As much of the hold under the rules as it was of the recorded one.
                scaled(own, request.held, held)
            }
            (Some(usage), _) if ended.price_version.is_some() && usage.source != UsageSource::Unknown => {
                self.pricing.of_call(request.route.as_deref(), ended.backend.as_ref(), usage, own)
            }
            _ => Some(own),
        };
        let own = ruled.map(|ruled| Costs { recorded: own, ruled });
        let mut costs = own.and_then(|own| own.checked_add(request.failed_calls));
        if let (Some(costs), Standing::Held { held, is_shortened: true }) = (&mut costs, request.standing) {
            costs.ruled = costs.ruled.min(held);
        }
        request.ended = Some(costs.ok_or(WhatIfError::Overflow { position: recorded.position })?);
        settle_tokens(request, ended.usage.as_ref());
        Ok(())
    }

    /// The end of a hold: charged as recorded; `None` if it was released.
    pub(super) fn closed(&mut self, recorded: &Recorded, charged: Option<NanoUsd>) -> Result<(), WhatIfError> {
        let request_id = recorded.context.request_id;
        let Some((request_id, request)) = request_id.and_then(|id| Some((id, self.open.remove(&id)?))) else {
            return Ok(());
        };
        let ended = request.ended.ok_or_else(|| unsound(recorded, "a hold ended before its request".to_owned()))?;
        let ruled = match request.standing {
            Standing::Held { .. } => charged.map(|_| ended.ruled),
            Standing::Refused => None,
        };
        // Its request may end after all.
        if let (Event::Hold(Hold::Expired(_)), Some(charged), Some(ruled)) = (&recorded.event, charged, ruled)
            && charged != ruled
        {
            self.charged_holds.add(request_id, ChargedHold { recorded: charged, bound: request.bound, ruled });
        }
        if request.is_counted {
            let (recorded, ruled) = (charged.unwrap_or(NanoUsd::ZERO), ruled.unwrap_or(NanoUsd::ZERO));
            self.report.count(&request.party, |figures| figures.charge(recorded, ruled));
        }
        if self.period.has_ended(recorded.recorded_at) {
            return Ok(());
        }
        if let Some(balances) = &mut self.ruled {
            let charge = ruled.map_or_else(|| Charge::Release { reason: String::new() }, Charge::Settle);
            // `None` if it was refused.
            let _ = balances.end(&ending(request_id, &recorded.context, charge));
        }
        Ok(())
    }
}

/// Replaces the tokens that a request had reserved by those that it took, as the gateway does.
fn settle_tokens(request: &mut OpenRequest, usage: Option<&Usage>) {
    match usage {
        Some(usage) if usage.source == UsageSource::Unknown => request.permit.keep_reserved(),
        Some(usage) => request.permit.settle(tokens_of(usage).saturating_add(request.failed_calls_tokens)),
        None if request.failed_calls_tokens > 0 => request.permit.settle(request.failed_calls_tokens),
        None => {}
    }
}

const fn tokens_of(usage: &Usage) -> u64 {
    usage.tokens.input().saturating_add(usage.tokens.output())
}
