//! Requests that were admitted, from their hold to its end.

use std::collections::BTreeSet;
use std::sync::Arc;

use access_control::limits::{RateLimitPermit, TokenAmounts};
use events::event::hold::{BudgetReserved, BudgetWindow};
use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted, InferenceEnded};
use events::event::{Event, Hold, Recorded};
use events::ids::RequestId;
use events::ledger::{AdmissionBounds, BrokeredBound, Charge};
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
    /// `None` if as much is held above its tenant as elsewhere.
    brokered: Option<BrokeredCalls>,
    /// The backends that are its tenant's own, as `provider_id/model`.
    own_backends: BTreeSet<String>,
    permit: RateLimitPermit,
    failed_calls: Costs,
    failed_calls_tokens: TokenAmounts,
    ended: Option<Costs>,
    /// Whether nobody knows what its last call used.
    is_usage_unknown: bool,
}

impl OpenRequest {
    /// Whether a backend is on a provider of its tenant's own.
    fn is_own(&self, backend: Option<&Backend>) -> bool {
        backend.is_some_and(|backend| !self.own_backends.is_empty() && self.own_backends.contains(&backend.key()))
    }

    /// Counts what a call costs above the tenant; `None` if money cannot count it.
    fn count_brokered(&mut self, backend: Option<&Backend>, cost: NanoUsd) -> Option<()> {
        let is_own = self.is_own(backend);
        if let Some(calls) = self.brokered.as_mut().filter(|_| !is_own) {
            calls.cost = calls.cost.checked_add(cost)?;
        }
        Some(())
    }

    /// These tokens of a call, and those of the calls that failed.
    fn with_failed_calls(&self, tokens: u64, is_own: bool) -> TokenAmounts {
        let (failed, brokered) = (self.failed_calls_tokens, if is_own { 0 } else { tokens });
        let (all, brokered) = (failed.all.saturating_add(tokens), failed.brokered.saturating_add(brokered));
        TokenAmounts { all, brokered, ..failed }
    }
}

/// Which calls of a request count above its tenant.
struct BrokeredCalls {
    /// The amount held for them under the rules.
    held: NanoUsd,
    /// The cost of the others under the rules.
    cost: NanoUsd,
}

impl BrokeredCalls {
    /// The part of the cost that its own providers cost. What nobody knows of the others costs no more than is held for them.
    fn own_part(&self, cost: NanoUsd, is_unknown: bool) -> NanoUsd {
        let brokered = if is_unknown { self.cost.min(self.held) } else { self.cost };
        cost.checked_sub(brokered).unwrap_or(NanoUsd::ZERO).max(NanoUsd::ZERO)
    }
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
            brokered: reserved.brokered.as_ref().map(|part| BrokeredCalls { held: part.held_usd, cost: NanoUsd::ZERO }),
            own_backends: self.pricing.own_backends(&admitted),
            permit: RateLimitPermit::default(),
            failed_calls: Costs::default(),
            failed_calls_tokens: TokenAmounts::NONE,
            ended: None,
            is_usage_unknown: false,
        };
        let counted = self.count_limits(recorded, &admitted);
        if is_counted {
            self.report.count(&request.party, |figures| figures.admitted += 1);
            request.route = self.route(recorded, &admitted.model)?;
            let bound = self.pricing.bound(&admitted, reserved.held_usd, request.route.as_deref());
            let bound = bound.ok_or(WhatIfError::Overflow { position: recorded.position })?;
            request.bound = bound.held;
            let brokered = self.brokered(recorded, reserved, &admitted)?;
            let brokered = brokered.filter(|_| request.route.is_none());
            request.brokered = brokered.map(|bound| BrokeredCalls { held: bound.held, cost: NanoUsd::ZERO });
            let ttl = (reserved.expires_at - now).to_std().unwrap_or_default();
            let bounds = AdmissionBounds::NONE;
            let asked = Asked { request_id, context: &recorded.context, bound, brokered, ttl, bounds, admitted };
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

    /// The part of the bound that is held above the tenant under the rules; `None` if that is all of it.
    fn brokered(
        &self,
        recorded: &Recorded,
        reserved: &BudgetReserved,
        admitted: &InferenceAdmitted,
    ) -> Result<Option<BrokeredBound>, WhatIfError> {
        let is_guest = self.tables.is_guest(&recorded.context.chain());
        let is_above = |window: &BudgetWindow| {
            let budget = self.recorded.budget(window.budget_id);
            budget.is_some_and(|in_force| in_force.budget.scope.owner.is_above_tenant(is_guest))
        };
        // Until there was this part, budgets above the tenant counted all of a request.
        let is_whole = || self.pricing.own_backends(admitted).is_empty() || reserved.budgets.iter().any(is_above);
        if reserved.brokered.is_none() && is_whole() {
            return Ok(None);
        }
        let bound = self.pricing.brokered_bound(admitted, reserved);
        let bound = bound.ok_or(WhatIfError::Overflow { position: recorded.position })?;
        Ok(Some(BrokeredBound { is_guest, ..bound }))
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
        let output = admitted.max_output_tokens.saturating_add(admitted.output_tokens_beyond_cap.unwrap_or(0));
        let bound = admitted.input_tokens_bound.saturating_add(output);
        let all = admitted.rate_limited_tokens.unwrap_or(bound);
        // What its other providers could take is not recorded, if there are some.
        let own = self.pricing.own_backends(admitted);
        let is_all_own = !own.is_empty() && own.len() == admitted.versions.prices.len();
        let is_guest = !own.is_empty() && self.tables.is_guest(&recorded.context.chain());
        let tokens = TokenAmounts { all, brokered: if is_all_own { 0 } else { all }, is_guest };
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
            request.failed_calls_tokens =
                request.with_failed_calls(tokens_of(usage), request.is_own(Some(&attempt.backend)));
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
        request.count_brokered(Some(&attempt.backend), costs.ruled).ok_or_else(overflow)?;
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
        let counted = ruled.and_then(|ruled| request.count_brokered(ended.backend.as_ref(), ruled));
        counted.ok_or(WhatIfError::Overflow { position: recorded.position })?;
        request.is_usage_unknown = ended.usage.as_ref().is_some_and(|usage| usage.source == UsageSource::Unknown);
        let own = ruled.map(|ruled| Costs { recorded: own, ruled });
        let mut costs = own.and_then(|own| own.checked_add(request.failed_calls));
        if let (Some(costs), Standing::Held { held, is_shortened: true }) = (&mut costs, request.standing) {
            costs.ruled = costs.ruled.min(held);
        }
        request.ended = Some(costs.ok_or(WhatIfError::Overflow { position: recorded.position })?);
        settle_tokens(request, ended);
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
            let own = request.brokered.map(|calls| calls.own_part(charge.amount(), request.is_usage_unknown));
            let own = own.unwrap_or(NanoUsd::ZERO);
            let _ = balances.end(&ending(request_id, &recorded.context, charge, own));
        }
        Ok(())
    }
}

/// Replaces the tokens that a request had reserved by those that it took, as the gateway does.
fn settle_tokens(request: &mut OpenRequest, ended: &InferenceEnded) {
    let (failed, is_own) = (request.failed_calls_tokens, request.is_own(ended.backend.as_ref()));
    match &ended.usage {
        Some(usage) if usage.source == UsageSource::Unknown && is_own => {
            request.permit.keep_own_reserved(failed.brokered);
        }
        Some(usage) if usage.source == UsageSource::Unknown => request.permit.keep_reserved(),
        Some(usage) => request.permit.settle(request.with_failed_calls(tokens_of(usage), is_own)),
        None if failed.all > 0 => request.permit.settle(failed),
        None => {}
    }
}

const fn tokens_of(usage: &Usage) -> u64 {
    usage.tokens.input().saturating_add(usage.tokens.output())
}
