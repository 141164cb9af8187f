//! The replay: what is recorded is decided again, under the rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use access::limits::RateLimitPermit;
use chrono::{DateTime, TimeDelta, Utc};
use events::event::access::AccessRateLimited;
use events::event::admin::{Budget, Enforcement, WhenShort};
use events::event::hold::{BudgetAdjusted, BudgetReserved, BudgetWindow};
use events::event::inference::{
    AttemptFailed, BudgetShortfall, InferenceAdmitted, InferenceEnded, InferenceRefused, Versions,
};
use events::event::{Access, Context, Event, Hold, Inference, Recorded, Resource};
use events::ids::{BudgetId, RequestId};
use events::ledger::{Admission, AdmitDecision, Balances, Charge, IfShort, RefuseDecision, UnknownUsage};
use events::limit::{LimitName, LimitedMeasure};
use events::money::{NanoUsd, NanoUsdSum, Tariff};
use events::refusal::ErrorCode;
use events::usage::{Usage, UsageSource};
use projections::tables::Tables;
use serde_json::Value;

use crate::correction::{Corrected, LastRequests, late_end};
use crate::ending::ending;
use crate::limits::{Fate, Limits};
use crate::pricing::{Bound, NoPrice, Pricing, scaled};
use crate::report::{Figures, Party, Refuser, Report};
use crate::rules::Rules;
use crate::{LifeOf, Period, WhatIfError};

/// The refusals of one event that are decided again: more than a caller can send in the second that one event stands for.
const ROLLED_UP_MAX: u64 = 1_000_000;

pub(crate) struct Replay<'r> {
    rules: &'r Rules,
    period: Period,
    /// The balances as recorded, until the period ends.
    recorded: Balances,
    /// The balances under the rules, from when the period begins until it ends.
    ruled: Option<Balances>,
    tables: Tables,
    pricing: Pricing,
    limits: Limits<'r>,
    /// The admission whose hold comes next.
    admitted: Option<(RequestId, Box<InferenceAdmitted>)>,
    open: HashMap<RequestId, OpenRequest>,
    /// Those that the rules refused: what they were charged is corrected in the record alone.
    refused: LastRequests<()>,
    /// Those that were charged another hold than the recorded one, because nobody knew what they had used.
    charged_holds: LastRequests<Costs>,
    windows_forgotten_at: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    report: Report,
}

/// A request that was admitted, as recorded, and has not ended.
struct OpenRequest {
    party: Party,
    /// False for one that was admitted before the period: it is charged as recorded, and not reported.
    is_counted: bool,
    /// As recorded.
    held: NanoUsd,
    standing: Standing,
    /// The price by which it is charged if the rules route it elsewhere.
    route: Option<Arc<Tariff>>,
    permit: RateLimitPermit,
    failed_calls: Costs,
    failed_calls_tokens: u64,
    ended: Option<Costs>,
}

/// What became of a request under the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Held { held: NanoUsd, is_shortened: bool },
    Refused,
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

/// A request that the balances are asked to hold money for.
struct Asked<'a> {
    request_id: RequestId,
    context: &'a Context,
    bound: Bound,
    ttl: Duration,
    admitted: Box<InferenceAdmitted>,
}

impl<'r> Replay<'r> {
    pub(crate) fn new(rules: &'r Rules, period: Period) -> Self {
        Self {
            rules,
            period,
            recorded: Balances::default(),
            ruled: None,
            tables: Tables::default(),
            pricing: Pricing::new(rules),
            limits: Limits::new(&rules.rate_limits, period.from),
            admitted: None,
            open: HashMap::new(),
            refused: LastRequests::default(),
            charged_holds: LastRequests::default(),
            windows_forgotten_at: None,
            last: None,
            report: Report { period, ..Report::default() },
        }
    }

    /// Takes the next event of the log.
    pub(crate) fn apply(&mut self, recorded: &Recorded, life: LifeOf<'_>) -> Result<(), WhatIfError> {
        let now = recorded.recorded_at;
        (self.report.position, self.last) = (recorded.position, Some(now));
        if self.period.has_begun(now) && self.ruled.is_none() {
            self.begin(recorded.position, now);
        }
        self.limits.move_to(now);
        match &recorded.event {
            Event::Inference(fact) => self.inference(recorded, fact)?,
            Event::Hold(fact) => self.hold(recorded, fact, life)?,
            Event::Access(Access::RateLimited(limited)) => self.rate_limited(recorded, limited),
            Event::Resource(fact) => self.resource(recorded, fact),
            Event::Access(_) | Event::Alert(_) => {}
        }
        if self.period.has_ended(now) {
            return Ok(());
        }
        self.recorded.fold(recorded).map_err(|error| unsound(recorded, error.to_string()))
    }

    /// What can be forgotten is forgotten, so that memory does not grow with the log.
    pub(crate) fn end_page(&mut self) {
        let Some(now) = self.last else { return };
        let is_due = self.windows_forgotten_at.is_none_or(|at| now - at >= TimeDelta::days(1));
        for balances in [Some(&mut self.recorded), self.ruled.as_mut()].into_iter().flatten() {
            // There are no rows here.
            balances.rows_are_written();
            // Only what refusals have left is swept, not holds: their ends are recorded.
            balances.sweep(UnknownUsage::ChargeHold, 0, now);
            if is_due {
                balances.forget_past_windows(now);
            }
        }
        if is_due {
            self.windows_forgotten_at = Some(now);
        }
    }

    pub(crate) fn finish(mut self) -> Report {
        let tenants = self.report.tenants.keys().flatten();
        let named = tenants.filter_map(|id| Some((*id, self.tables.tenant(*id)?.value.name.clone())));
        self.report.tenant_names = named.collect();
        for request in self.open.values().filter(|request| request.is_counted) {
            self.report.count(&request.party, |figures| figures.open += 1);
        }
        self.report
    }

    fn begin(&mut self, position: u64, now: DateTime<Utc>) {
        let mut ruled = self.recorded.clone();
        self.rules.budgets.begin(&mut ruled, position, now);
        self.limits.begin(&mut self.tables, now);
        self.ruled = Some(ruled);
    }

    fn resource(&mut self, recorded: &Recorded, fact: &Resource) {
        self.pricing.fold(recorded);
        match fact {
            Resource::RateLimit(change) => return self.limits.fold(change, recorded, &mut self.tables),
            Resource::Budget(change) => {
                if let Some(ruled) = &mut self.ruled {
                    self.rules.budgets.fold(ruled, change, recorded.position, recorded.recorded_at);
                }
            }
            _ => {}
        }
        self.tables.fold(recorded);
    }

    fn inference(&mut self, recorded: &Recorded, fact: &Inference) -> Result<(), WhatIfError> {
        match fact {
            Inference::Admitted(admitted) => {
                self.admitted = recorded.context.request_id.map(|request| (request, admitted.clone()));
            }
            Inference::Refused(refused) => self.refused(recorded, refused),
            Inference::AttemptFailed(attempt) => self.attempt_failed(recorded, attempt)?,
            Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended) => {
                self.ended(recorded, ended)?;
            }
        }
        Ok(())
    }

    fn hold(&mut self, recorded: &Recorded, fact: &Hold, life: LifeOf<'_>) -> Result<(), WhatIfError> {
        match fact {
            Hold::Reserved(reserved) => self.reserved(recorded, reserved),
            Hold::Settled(settled) => self.closed(recorded, Some(settled.charged_usd)),
            Hold::Expired(expired) => self.closed(recorded, Some(expired.charged_usd)),
            Hold::Released(_) => self.closed(recorded, None),
            Hold::Adjusted(adjusted) => self.adjusted(recorded, adjusted, life),
        }
    }

    /// A recorded admission. In the period it is decided again.
    fn reserved(&mut self, recorded: &Recorded, reserved: &BudgetReserved) -> Result<(), WhatIfError> {
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
        self.limits.count(&recorded.context.chain(), &self.tables, Some(tokens)).map_err(Some)
    }

    fn route(&self, recorded: &Recorded, model: &str) -> Result<Option<Arc<Tariff>>, WhatIfError> {
        let route = self.pricing.route(model, &self.tables, recorded.recorded_at);
        route.map_err(|NoPrice { provider, model }| WhatIfError::Unpriced {
            position: recorded.position,
            provider,
            model,
        })
    }

    /// Asks the ledger, as the gateway does: a budget that shrinks is asked to lower the output cap.
    ///
    /// Errors: the budget that refuses.
    fn ask(&mut self, asked: Asked<'_>, now: DateTime<Utc>) -> Result<Standing, Option<Refuser>> {
        let Asked { request_id, context, bound, ttl, admitted } = asked;
        let Some(ruled) = &mut self.ruled else { return Ok(Standing::Refused) };
        let mut admission = Admission {
            request_id,
            context: context.clone(),
            planned_at: u64::MAX,
            limits_known_at: u64::MAX,
            held: bound.held,
            ttl,
            if_short: IfShort::Refuse,
            admitted,
        };
        let mut refused_by = match admit(ruled, &admission, now) {
            Ok(standing) => return Ok(standing),
            Err(budget) => budget,
        };
        let shrinks = |id: BudgetId| ruled.budget(id).is_some_and(|of| of.budget.when_short == WhenShort::Shrink);
        if let Some(shrinking) = bound.shrinking.filter(|_| refused_by.is_some_and(shrinks)) {
            admission.if_short = IfShort::Shrink(shrinking);
            refused_by = match admit(ruled, &admission, now) {
                Ok(standing) => return Ok(standing),
                Err(budget) => budget,
            };
        }
        Err(refused_by.map(|id| Refuser {
            rule: self.rules.budgets.rule(id),
            scope: ruled.budget(id).map(|in_force| in_force.budget.scope),
        }))
    }

    fn attempt_failed(&mut self, recorded: &Recorded, attempt: &AttemptFailed) -> Result<(), WhatIfError> {
        let Some(request) = recorded.context.request_id.and_then(|request| self.open.get_mut(&request)) else {
            return Ok(());
        };
        let cost = attempt.reported.cost_usd.unwrap_or(NanoUsd::ZERO);
        let mut costs = Costs { recorded: cost, ruled: cost };
        let overflow = || WhatIfError::Overflow { position: recorded.position };
        if let Some(usage) = &attempt.reported.usage {
            request.failed_calls_tokens = request.failed_calls_tokens.saturating_add(tokens_of(usage));
            if request.is_counted && attempt.reported.price_version.is_some() && usage.source != UsageSource::Unknown {
                let ruled = self.pricing.of_call(None, Some(&attempt.backend), usage, cost);
                costs.ruled = ruled.ok_or_else(overflow)?;
            }
        }
        request.failed_calls = request.failed_calls.checked_add(costs).ok_or_else(overflow)?;
        Ok(())
    }

    /// The end of a request: what its own call costs under the rules, and which tokens it took.
    fn ended(&mut self, recorded: &Recorded, ended: &InferenceEnded) -> Result<(), WhatIfError> {
        let Some(request) = recorded.context.request_id.and_then(|request| self.open.get_mut(&request)) else {
            return Ok(());
        };
        let own = ended.cost_usd.checked_sub(request.failed_calls.recorded);
        let own = own.ok_or_else(|| unsound(recorded, "it cost less than its failed calls".to_owned()))?;
        let ruled = match (&ended.usage, request.standing) {
            _ if !request.is_counted => Some(own),
            (Some(usage), Standing::Held { held, .. }) if usage.source == UsageSource::Unknown => {
                Some(if own == request.held { held } else { own })
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
    fn closed(&mut self, recorded: &Recorded, charged: Option<NanoUsd>) -> Result<(), WhatIfError> {
        let request_id = recorded.context.request_id;
        let Some((request_id, request)) = request_id.and_then(|id| Some((id, self.open.remove(&id)?))) else {
            return Ok(());
        };
        let ended = request.ended.ok_or_else(|| unsound(recorded, "a hold ended before its request".to_owned()))?;
        let ruled = match request.standing {
            Standing::Held { .. } => charged.map(|_| ended.ruled),
            Standing::Refused => None,
        };
        if let (Some(charged), Some(ruled)) = (charged, ruled)
            && charged == request.held
            && charged != ruled
        {
            self.charged_holds.add(request_id, Costs { recorded: charged, ruled });
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

    /// A correction. Both sides get it, unless the rules have made it void.
    fn adjusted(
        &mut self,
        recorded: &Recorded,
        adjusted: &BudgetAdjusted,
        life: LifeOf<'_>,
    ) -> Result<(), WhatIfError> {
        if self.ruled.is_none() {
            return Ok(());
        }
        let corrected = Corrected::of(life(adjusted.of)?);
        let corrected = corrected.ok_or_else(|| unsound(recorded, format!("{} was not admitted", adjusted.of)))?;
        let is_counted = self.period.includes(corrected.admitted_at);
        let is_void = is_counted
            && (self.refused.get(adjusted.of).is_some()
                || (adjusted.price.is_some() && self.pricing.changes(&corrected.model, corrected.backend.as_ref())));
        let ruled = match self.charged_holds.get(adjusted.of) {
            _ if is_void => NanoUsd::ZERO,
            // The request ended after its hold had expired: only what it cost in all is known, not its tokens.
            Some(hold) if adjusted.price.is_none() => {
                late_delta(adjusted.delta_usd, *hold).ok_or(WhatIfError::Overflow { position: recorded.position })?
            }
            _ => adjusted.delta_usd,
        };
        if is_counted {
            let party = Party::new(&corrected.context, Some(&corrected.model));
            self.report.count(&party, |figures| figures.charge(adjusted.delta_usd, ruled));
        }
        if is_void || self.period.has_ended(recorded.recorded_at) {
            return Ok(());
        }
        let mut windows = adjusted.budgets.clone();
        if is_counted {
            windows.extend(self.rules.budgets.added_windows(&recorded.context.chain(), corrected.admitted_at));
        }
        let (late, hold) = late_end(adjusted, &recorded.context, windows, ruled);
        if let Some(balances) = &mut self.ruled {
            let _ =
                balances.end_late(&late, &hold).map_err(|_| WhatIfError::Overflow { position: recorded.position })?;
        }
        Ok(())
    }

    /// Recorded refusals of the pipeline. Those of budgets are decided again, with their recorded bound.
    fn refused(&mut self, recorded: &Recorded, refused: &InferenceRefused) {
        let now = recorded.recorded_at;
        if !self.period.includes(now) {
            return;
        }
        let party = Party::new(&recorded.context, Some(&refused.model));
        self.report.count(&party, |figures| figures.refused = figures.refused.saturating_add(refused.count));
        let mut shortfall = self.no_longer_short(refused, now);
        let counts = self.limits.counts(now);
        if shortfall.is_none() && !counts {
            return;
        }
        let (chain, mut at_most, mut admitted) = (recorded.context.chain(), NanoUsdSum::ZERO, 0);
        for _ in 0..refused.count.min(ROLLED_UP_MAX) {
            // A request counts against the limits before its budgets are asked. The others of this instant would be refused too.
            if counts && self.limits.count(&chain, &self.tables, None).is_err() {
                break;
            }
            let Some(requested) = shortfall.as_ref().map(|shortfall| shortfall.requested_usd) else { continue };
            match self.admit_refused(recorded, &refused.model, requested) {
                Some(held) => (at_most, admitted) = (at_most + held.into(), admitted + 1),
                None if counts => shortfall = None,
                None => break,
            }
        }
        self.report.count(&party, |figures| {
            figures.newly_admitted += admitted;
            figures.newly_admitted_at_most_usd = figures.newly_admitted_at_most_usd + at_most;
        });
    }

    /// The recorded shortfall of a refusal by a budget, if that budget has enough left under the rules. The recorded amounts are
    /// those of the decision, which may be a second old; what the rules have changed of them is added.
    fn no_longer_short(&self, refused: &InferenceRefused, now: DateTime<Utc>) -> Option<BudgetShortfall> {
        if refused.code != ErrorCode::BudgetExceeded {
            return None;
        }
        let shortfall: BudgetShortfall = serde_json::from_value(Value::Object(refused.details.clone())).ok()?;
        let id = shortfall.budget_id;
        if self.rules.budgets.removes(id) {
            return Some(shortfall);
        }
        let in_force = self.recorded.budget(id).map(|in_force| in_force.budget.clone());
        let period = in_force.as_ref().map_or(events::time::Period::Total, |budget| budget.period);
        let recorded = Budget {
            limit_usd: shortfall.limit_usd,
            ..in_force.unwrap_or_else(|| Budget::new(id, shortfall.scope, shortfall.limit_usd, period))
        };
        let budget = self.rules.budgets.applied_to(recorded);
        let window = BudgetWindow { budget_id: id, window_start: period.window_start(now) };
        let saved = self.recorded.amounts(&window).used() - self.ruled.as_ref()?.amounts(&window).used();
        let used = shortfall.settled_usd + shortfall.held_usd - saved;
        let is_short = used + shortfall.requested_usd.into() > budget.limit_usd.into();
        (!is_short || budget.enforcement == Enforcement::Observe).then_some(shortfall)
    }

    /// Asks the ledger for a request that was refused. If it is admitted, its whole bound is charged, as for any request whose cost
    /// is unknown. Returns the bound.
    fn admit_refused(&mut self, recorded: &Recorded, model: &str, requested: NanoUsd) -> Option<NanoUsd> {
        let request_id = recorded.context.request_id?;
        let bound = Bound { held: requested, shrinking: None };
        let (ttl, admitted) = (Duration::ZERO, Box::new(refused_admission(model)));
        let asked = Asked { request_id, context: &recorded.context, bound, ttl, admitted };
        let Ok(Standing::Held { held, .. }) = self.ask(asked, recorded.recorded_at) else { return None };
        let ending = ending(request_id, &recorded.context, Charge::Settle(held));
        self.ruled.as_mut()?.end(&ending).map(|_| held)
    }

    /// Recorded refusals of rate limits.
    fn rate_limited(&mut self, recorded: &Recorded, limited: &AccessRateLimited) {
        let is_of_inference = matches!(limited.limit_id, LimitName::Configured(_) | LimitName::Default)
            && matches!(limited.measure, LimitedMeasure::Configured(_));
        if !is_of_inference || !self.period.includes(recorded.recorded_at) {
            return;
        }
        let party = Party::new(&recorded.context, None);
        let fate = self.limits.fate(limited);
        let admitted = match fate {
            Fate::StillRefused | Fate::Undecided => 0,
            Fate::Counted if !self.limits.counts(recorded.recorded_at) => limited.count,
            Fate::Counted => {
                let chain = recorded.context.chain();
                let all = 0..limited.count.min(ROLLED_UP_MAX);
                all.take_while(|_| self.limits.count(&chain, &self.tables, None).is_ok()).count() as u64
            }
        };
        let undecided = if fate == Fate::Undecided { limited.count } else { 0 };
        self.report.count(&party, |figures| {
            figures.refused = figures.refused.saturating_add(limited.count);
            figures.newly_admitted = figures.newly_admitted.saturating_add(admitted);
            figures.undecided = figures.undecided.saturating_add(undecided);
        });
    }
}

impl Figures {
    fn charge(&mut self, recorded: NanoUsd, ruled: NanoUsd) {
        self.recorded_cost_usd = self.recorded_cost_usd + recorded.into();
        self.cost_usd = self.cost_usd + ruled.into();
    }
}

/// What the ledger decides; the budget that refuses, if it does.
fn admit(balances: &mut Balances, admission: &Admission, now: DateTime<Utc>) -> Result<Standing, Option<BudgetId>> {
    match balances.admit(admission, now) {
        AdmitDecision::Admitted { held, lowered_cap, .. } => {
            Ok(Standing::Held { held, is_shortened: lowered_cap.is_some() })
        }
        AdmitDecision::Refused(RefuseDecision::Now(decided) | RefuseDecision::NextSecond(decided)) => {
            let id = decided.refusal.details.get("budget_id").and_then(Value::as_str);
            Err(id.and_then(|id| id.parse().ok()))
        }
        // The first is of a request that has a hold, and the second of one that asks again: neither is asked here.
        AdmitDecision::AlreadyAdmitted | AdmitDecision::Short => Err(None),
    }
}

/// The correction of a charged hold under the rules: the cost that became known, in the proportion of the holds. `None` if money cannot
/// count it.
fn late_delta(delta: NanoUsd, hold: Costs) -> Option<NanoUsd> {
    let cost = hold.recorded.checked_add(delta)?;
    scaled(cost, hold.recorded, hold.ruled)?.checked_sub(hold.ruled)
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

/// The admission of a request that was refused, of which no more is recorded than its model.
fn refused_admission(model: &str) -> InferenceAdmitted {
    InferenceAdmitted {
        model: model.to_owned(),
        dialect: String::new(),
        streamed: false,
        max_output_tokens: 0,
        requested_max_output_tokens: None,
        input_tokens_bound: 0,
        body_sha256: String::new(),
        metadata: Default::default(),
        versions: Versions::default(),
        would_have_refused: Vec::new(),
        rate_limited_tokens: None,
    }
}

fn unsound(recorded: &Recorded, reason: String) -> WhatIfError {
    WhatIfError::Unsound { position: recorded.position, reason }
}

#[cfg(test)]
mod tests;
